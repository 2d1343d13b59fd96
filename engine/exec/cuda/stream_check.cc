#include "engine/exec/cuda/stream_check.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cuda/kernel_check.h"
#include "engine/tensor/half.h"

namespace ropeway {
namespace {

// For one processor, so that its block has several rounds of jobs, the last of one warp alone.
constexpr int kRows = 4 * 16 + 5, kTokens = 3, kColumns = 4096 + 256 + 48;

// In [-1, 1), of very different size, so that sums have much to round.
std::vector<uint16_t> RandomNumbers(cuda::Element element, int64_t count, uint64_t seed) {
  std::vector<uint16_t> numbers(static_cast<size_t>(count));
  for (size_t i = 0; i < numbers.size(); ++i) {
    const auto number = static_cast<float>(2 * UnitInterval(seed, i) - 1) * (i % 3 == 0 ? 0x1p-5f : 1.0f);
    numbers[i] = element == cuda::Element::kF16 ? FloatToHalf(number) : FloatToBFloat16(number);
  }
  return numbers;
}

}  // namespace

absl::StatusOr<std::string> WhyNoBulkCopies(cuda::Element element, const cuda::KernelTable& kernels,
                                            cuda::Runtime& runtime, cuda::Stream stream) {
  KernelCheck check(runtime, stream, "checking products by bulk copies, which --bulk_copies=off leaves out");
  ASSIGN_OR_RETURN(const CudaMemory weights, check.Put(RandomNumbers(element, kRows * kColumns, 1)));
  ASSIGN_OR_RETURN(const CudaMemory x, check.Put(RandomNumbers(element, kTokens * kColumns, 2)));
  RETURN_IF_ERROR(check.MakeOutput(kTokens * kRows * 4));
  std::vector<uint8_t> bytes[2];
  for (const bool bulk : {false, true}) {
    RETURN_IF_ERROR(check.FillOutput(bulk ? 0xFF : 0xFE));
    const cuda::ErrorCode error =
        kernels.dense_matmul({.weights = {cuda::DenseType(element), kRows, kColumns, weights.data()},
                              .element = element,
                              .out = cuda::Element::kF32,
                              .num_tokens = kTokens,
                              .processors = 1,
                              .x = x.data(),
                              .y = check.output(),
                              .y_stride = kRows,
                              .bulk_copies = bulk},
                             stream);
    if (bulk && error != 0 && !runtime.IsFatal(error))
      return absl::StrCat("the device does not take their kernel: ", runtime.Describe(error));
    RETURN_IF_ERROR(check.Check(error));
    ASSIGN_OR_RETURN(bytes[bulk], check.ReadOutput());
  }
  return bytes[0] == bytes[1] ? "" : "bulk copies give other bytes";
}

}  // namespace ropeway
