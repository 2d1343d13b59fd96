#include "engine/exec/cuda/fp8_check.h"

#include <cstring>
#include <vector>

#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cuda/memory.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/tensor_view.h"

namespace ropeway {
namespace {

// More than a tile of warpgroups each way, and more stages than are ever under way.
constexpr int kRows = 128 + 72, kTokens = cuda::kFp8WarpgroupTile + 40, kColumns = 1000;

// In [-1, 1), of very different size, so that sums have much to round.
std::vector<float> RandomNumbers(int64_t count, uint64_t seed) {
  std::vector<float> numbers(static_cast<size_t>(count));
  for (size_t i = 0; i < numbers.size(); ++i) {
    const auto number = static_cast<float>(2 * UnitInterval(seed, i) - 1);
    numbers[i] = i % 3 == 0 ? number * 0x1p-5f : number;
  }
  return numbers;
}

// W and x of one product, on the device.
class Product {
 public:
  Product(cuda::Element element, cuda::Runtime& runtime, cuda::Stream stream)
      : element_(element), runtime_(runtime), stream_(stream) {}

  absl::Status Upload() {
    const std::vector<float> w = RandomNumbers(int64_t{kRows} * kColumns, 1);
    std::vector<uint8_t> image(static_cast<size_t>(cuda::Fp8LayoutOf(kRows, kColumns).bytes));
    cuda::PackFp8Rows(ViewOf(w, kRows), kRows, 0, image.data());
    RETURN_IF_ERROR(Put(image, weights_));
    const std::vector<float> x = RandomNumbers(int64_t{kTokens} * kColumns, 2);
    std::vector<uint8_t> x_image(x.size() * sizeof(float));
    std::memcpy(x_image.data(), x.data(), x_image.size());
    RETURN_IF_ERROR(Put(x_image, x_));
    constexpr int64_t kRoom = 2 * kTokens * cuda::Fp8RowBytes(kColumns);
    ASSIGN_OR_RETURN(codes_, Make(MemoryKind::kDevice, kRoom));
    ASSIGN_OR_RETURN(scales_, Make(MemoryKind::kDevice, kTokens * 4));
    ASSIGN_OR_RETURN(y_, Make(MemoryKind::kDevice, OutBytes()));
    ASSIGN_OR_RETURN(read_, Make(MemoryKind::kPinned, OutBytes()));
    return absl::OkStatus();
  }

  // What the kernel, whose code is the first result, leaves of an output that had other bytes before.
  absl::StatusOr<cuda::ErrorCode> Multiply(const cuda::Fp8KernelTable& kernels, bool warpgroups,
                                           std::vector<uint8_t>& bytes) {
    const cuda::Fp8Rows rows = {codes_.data(), reinterpret_cast<float*>(scales_.data())};
    RETURN_IF_ERROR(Check(runtime_.Fill(y_.data(), warpgroups ? 0xFF : 0xFE, OutBytes(), stream_)));
    RETURN_IF_ERROR(Check(kernels.quantize({.element = cuda::Element::kF32,
                                            .num_tokens = kTokens,
                                            .columns = kColumns,
                                            .x = x_.data(),
                                            .out = rows,
                                            .as_f16 = warpgroups},
                                           stream_)));
    const cuda::ErrorCode error =
        kernels.matmul({.weights = {.rows = kRows, .columns = kColumns, .data = weights_.data()},
                        .out = element_,
                        .num_tokens = kTokens,
                        .x = rows,
                        .y = y_.data(),
                        .y_stride = kRows,
                        .gate = {},
                        .warpgroups = warpgroups},
                       stream_);
    if (error != 0) return error;
    RETURN_IF_ERROR(
        Check(runtime_.Copy(read_.data(), y_.data(), OutBytes(), cuda::CopyKind::kDeviceToHost, stream_)));
    RETURN_IF_ERROR(Check(runtime_.Synchronize(stream_)));
    bytes.assign(read_.data(), read_.data() + OutBytes());
    return 0;
  }

  absl::Status Check(cuda::ErrorCode code) {
    return CudaStatus(runtime_, code, "checking products of fp8 by warpgroups, which --wgmma=off leaves out");
  }

 private:
  int64_t OutBytes() const { return int64_t{kTokens} * kRows * BytesOf(element_); }

  static TensorView ViewOf(const std::vector<float>& values, int64_t rows) {
    return {.type = DType::kF32,
            .shape = {rows, kColumns},
            .data = reinterpret_cast<const uint8_t*>(values.data())};
  }
  absl::StatusOr<CudaMemory> Make(MemoryKind kind, int64_t bytes) {
    return CudaMemory::Make(runtime_, kind, bytes, "a check");
  }
  absl::Status Put(const std::vector<uint8_t>& bytes, CudaMemory& memory) {
    ASSIGN_OR_RETURN(const CudaMemory pinned, Make(MemoryKind::kPinned, static_cast<int64_t>(bytes.size())));
    ASSIGN_OR_RETURN(memory, Make(MemoryKind::kDevice, static_cast<int64_t>(bytes.size())));
    std::memcpy(pinned.data(), bytes.data(), bytes.size());
    RETURN_IF_ERROR(Check(
        runtime_.Copy(memory.data(), pinned.data(), bytes.size(), cuda::CopyKind::kHostToDevice, stream_)));
    return Check(runtime_.Synchronize(stream_));
  }

  const cuda::Element element_;
  cuda::Runtime& runtime_;
  const cuda::Stream stream_;
  CudaMemory weights_, x_, codes_, scales_, y_, read_;
};

}  // namespace

absl::StatusOr<bool> Fp8WarpgroupsKeepBytes(cuda::Element element, const cuda::Fp8KernelTable& kernels,
                                            cuda::Runtime& runtime, cuda::Stream stream) {
  Product product(element, runtime, stream);
  RETURN_IF_ERROR(product.Upload());
  std::vector<uint8_t> expected, got;
  ASSIGN_OR_RETURN(const cuda::ErrorCode error, product.Multiply(kernels, false, expected));
  RETURN_IF_ERROR(product.Check(error));
  ASSIGN_OR_RETURN(const cuda::ErrorCode refused, product.Multiply(kernels, true, got));
  if (refused != 0 && !runtime.IsFatal(refused)) return false;
  RETURN_IF_ERROR(product.Check(refused));
  return got == expected;
}

}  // namespace ropeway
