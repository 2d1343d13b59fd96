#include "engine/exec/cuda/fp8_check.h"

#include <vector>

#include "engine/base/status_macros.h"
#include "engine/exec/cuda/kernel_check.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/tensor_view.h"

namespace ropeway {
namespace {

// More than a tile of warpgroups each way, and more stages than are ever under way.
constexpr int kRows = 128 + 72, kTokens = cuda::kFp8WarpgroupTile + 40, kColumns = 1000;

// W and x of one product, on the device.
class Product {
 public:
  Product(cuda::Element element, cuda::Runtime& runtime, cuda::Stream stream)
      : element_(element),
        check_(runtime, stream, "checking products of fp8 by warpgroups, which --wgmma=off leaves out") {}

  const KernelCheck& check() const { return check_; }

  absl::Status Upload() {
    const std::vector<float> w = UnevenNumbers(int64_t{kRows} * kColumns, 1);
    std::vector<uint8_t> image(static_cast<size_t>(cuda::Fp8LayoutOf(kRows, kColumns).bytes));
    cuda::PackFp8Rows(ViewOf(w, kRows), kRows, 0, image.data());
    ASSIGN_OR_RETURN(weights_, check_.Put(image));
    ASSIGN_OR_RETURN(x_, check_.Put(UnevenNumbers(int64_t{kTokens} * kColumns, 2)));
    ASSIGN_OR_RETURN(codes_, check_.Room(2 * kTokens * cuda::Fp8RowBytes(kColumns)));
    ASSIGN_OR_RETURN(scales_, check_.Room(kTokens * 4));
    return check_.MakeOutput(int64_t{kTokens} * kRows * BytesOf(element_));
  }

  // What the kernel, whose code is the first result, leaves of an output that had other bytes before.
  absl::StatusOr<cuda::ErrorCode> Multiply(const cuda::Fp8KernelTable& kernels, bool warpgroups,
                                           std::vector<uint8_t>& bytes) const {
    const cuda::Fp8Rows rows = {codes_.data(), reinterpret_cast<float*>(scales_.data())};
    RETURN_IF_ERROR(check_.FillOutput(warpgroups ? 0xFF : 0xFE));
    RETURN_IF_ERROR(check_.Check(kernels.quantize({.element = cuda::Element::kF32,
                                                   .num_tokens = kTokens,
                                                   .columns = kColumns,
                                                   .x = x_.data(),
                                                   .out = rows,
                                                   .as_f16 = warpgroups},
                                                  check_.stream())));
    const cuda::ErrorCode error =
        kernels.matmul({.weights = {.rows = kRows, .columns = kColumns, .data = weights_.data()},
                        .out = element_,
                        .num_tokens = kTokens,
                        .x = rows,
                        .y = check_.output(),
                        .y_stride = kRows,
                        .gate = {},
                        .warpgroups = warpgroups},
                       check_.stream());
    if (error != 0) return error;
    ASSIGN_OR_RETURN(bytes, check_.ReadOutput());
    return 0;
  }

 private:
  static TensorView ViewOf(const std::vector<float>& values, int64_t rows) {
    return {.type = DType::kF32,
            .shape = {rows, kColumns},
            .data = reinterpret_cast<const uint8_t*>(values.data())};
  }

  const cuda::Element element_;
  KernelCheck check_;
  CudaMemory weights_, x_, codes_, scales_;
};

}  // namespace

absl::StatusOr<bool> Fp8WarpgroupsKeepBytes(cuda::Element element, const cuda::Fp8KernelTable& kernels,
                                            cuda::Runtime& runtime, cuda::Stream stream) {
  Product product(element, runtime, stream);
  RETURN_IF_ERROR(product.Upload());
  std::vector<uint8_t> expected, got;
  ASSIGN_OR_RETURN(const cuda::ErrorCode error, product.Multiply(kernels, false, expected));
  RETURN_IF_ERROR(product.check().Check(error));
  ASSIGN_OR_RETURN(const cuda::ErrorCode refused, product.Multiply(kernels, true, got));
  if (refused != 0 && !runtime.IsFatal(refused)) return false;
  RETURN_IF_ERROR(product.check().Check(refused));
  return got == expected;
}

}  // namespace ropeway
