// cuBLASLt as Gemm uses it: y = x W^T, float32 sums, no split of K, no workspace.
//
// cuBLASLt is column-major. A row-major matrix [rows, columns] with stride s is the column-major matrix
// [columns, rows] with leading dimension s, so y = x W^T becomes
//   y' [M, T] = op(A) B,   A = W' [K, M] transposed,   B = x' [K, T]
// without moving anything.
//
// An algorithm that splits K adds up parts of it in memory: in a workspace, or in y. There is no workspace,
// and reductions are not allowed, so that no such algorithm is offered; one that says it splits is left out.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_CUBLASLT_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_CUBLASLT_H_

#include <cublasLt.h>

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/kernels/cuda/gemm.h"
#include "engine/kernels/cuda/gemm_choices.h"

namespace ropeway::cuda {

// What the library takes for granted of matrices, in bytes, unless it is told otherwise.
inline constexpr uint32_t kMatrixAlignment = 256;

// What products of one matrix have in common.
struct MatrixShape {
  int64_t outputs = 0, columns = 0, y_stride = 0;
  Element element = Element::kBF16, out = Element::kBF16;
  // Of y in bytes, of a part of a wider row perhaps; x and W are aligned to 256, as all are where nothing is said.
  uint32_t y_alignment = kMatrixAlignment;
  auto operator<=>(const MatrixShape&) const = default;
};
MatrixShape ShapeOf(const GemmArgs& args);

// A kernel that could not be executed may have lost the device, which the CUDA runtime's code says.
ErrorCode CodeOf(cublasStatus_t status);

// "CUBLAS_STATUS_NOT_SUPPORTED: no algorithm takes these sizes and types"
std::string MessageOf(cublasStatus_t status);

// The matrices of a product for one T.
class Layouts {
 public:
  Layouts() = default;
  Layouts(const Layouts&) = delete;
  Layouts& operator=(const Layouts&) = delete;
  ~Layouts();
  cublasStatus_t Make(const MatrixShape& shape, int64_t tokens);

  cublasLtMatrixLayout_t weights = nullptr, x = nullptr, y = nullptr;
};

class CublasLt {
 public:
  CublasLt() = default;
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;
  ~CublasLt();
  cublasStatus_t Init();

  // Those that do not split K and that do for y of this alignment, the best by the library's estimate first.
  cublasStatus_t Candidates(const Layouts& layouts, uint32_t y_alignment,
                            std::vector<cublasLtMatmulAlgo_t>* algorithms) const;
  cublasStatus_t Check(const Layouts& layouts, const cublasLtMatmulAlgo_t& algorithm) const;
  cublasStatus_t Multiply(const GemmArgs& args, const Layouts& layouts, const cublasLtMatmulAlgo_t& algorithm,
                          Stream stream) const;

 private:
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t product_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
};

AlgorithmName NameOf(const cublasLtMatmulAlgo_t& algorithm);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_CUBLASLT_H_
