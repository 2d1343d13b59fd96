#include "engine/exec/cuda/stream_check.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cuda/kernel_check.h"

namespace ropeway {
namespace {

// For one processor, so that its block has several rounds of jobs, the last of one warp alone.
constexpr int kRows = 4 * 16 + 5, kTokens = 3, kColumns = 4096 + 256 + 48;

}  // namespace

absl::StatusOr<std::string> WhyNoBulkCopies(cuda::Element element, const cuda::KernelTable& kernels,
                                            cuda::Runtime& runtime, cuda::Stream stream) {
  KernelCheck check(runtime, stream, "checking products by bulk copies, which --bulk_copies=off leaves out");
  ASSIGN_OR_RETURN(const CudaMemory weights, check.Put(Rounded(element, UnevenNumbers(kRows * kColumns, 1))));
  ASSIGN_OR_RETURN(const CudaMemory x, check.Put(Rounded(element, UnevenNumbers(kTokens * kColumns, 2))));
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
