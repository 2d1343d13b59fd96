// Gemm over cuBLASLt.
//
// cuBLASLt is column-major. A row-major matrix [rows, columns] with stride s is the column-major matrix
// [columns, rows] with leading dimension s, so y = x W^T becomes
//   y' [M, T] = op(A) B,   A = W' [K, M] transposed,   B = x' [K, T]
// without moving anything.
//
// The algorithm (kernel, tile, stages, swizzle) is chosen once per (M, K, types, strides) for kTypicalTokens
// tokens, among those that do not split K, and used for every T. An element of y is then summed over K by one
// tile's loop, the same for all T: neighbours in its tile share operands, not sums.
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <compare>
#include <cstdint>
#include <map>

#include "engine/kernels/cuda/cublaslt_gemm.h"

namespace ropeway::cuda {
namespace {

constexpr int64_t kTypicalTokens = 64;
constexpr int kMaxCandidates = 32;

// As the nearest code of the CUDA runtime, which knows how to describe it.
ErrorCode CodeOf(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return cudaSuccess;
    case CUBLAS_STATUS_ALLOC_FAILED:
      return cudaErrorMemoryAllocation;
    case CUBLAS_STATUS_INVALID_VALUE:
      return cudaErrorInvalidValue;
    case CUBLAS_STATUS_NOT_SUPPORTED:
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return cudaErrorNotSupported;
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return cudaErrorLaunchFailure;
    default:
      return cudaErrorUnknown;
  }
}

cudaDataType_t TypeOf(Element element) {
  switch (element) {
    case Element::kF32:
      return CUDA_R_32F;
    case Element::kF16:
      return CUDA_R_16F;
    case Element::kBF16:
      return CUDA_R_16BF;
  }
  return CUDA_R_32F;
}

// Matrices of a product for one T, and the descriptor all T share.
struct Layouts {
  cublasLtMatrixLayout_t weights = nullptr, x = nullptr, y = nullptr;
};

struct WeightKey {
  int64_t outputs, columns, x_stride, weight_stride, y_stride;
  Element element, out;
  auto operator<=>(const WeightKey&) const = default;
};

struct ShapeKey {
  WeightKey weights;
  int64_t tokens;
  auto operator<=>(const ShapeKey&) const = default;
};

struct Plan {
  Layouts layouts;
  cublasLtMatmulAlgo_t algorithm;
  size_t workspace_bytes = 0;
};

WeightKey KeyOf(const GemmArgs& args) {
  return {args.outputs,  args.columns, args.x_stride, args.weight_stride,
          args.y_stride, args.element, args.out};
}

class CublasLtGemm final : public Gemm {
 public:
  explicit CublasLtGemm(const GemmOptions& options) : options_(options) {}

  ~CublasLtGemm() override {
    for (auto& [key, plan] : plans_) Destroy(plan.layouts);
    if (preference_ != nullptr) cublasLtMatmulPreferenceDestroy(preference_);
    if (product_ != nullptr) cublasLtMatmulDescDestroy(product_);
    if (handle_ != nullptr) cublasLtDestroy(handle_);
    cudaFree(workspace_);
  }

  cublasStatus_t Init() {
    if (const auto status = cublasLtCreate(&handle_); status != CUBLAS_STATUS_SUCCESS) return status;
    if (cudaMalloc(&workspace_, options_.workspace_bytes) != cudaSuccess) return CUBLAS_STATUS_ALLOC_FAILED;
    // float32 products stay float32: TF32 would round the operands to 10 bits.
    auto status = cublasLtMatmulDescCreate(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    status =
        cublasLtMatmulDescSetAttribute(product_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    return MakePreference();
  }

  ErrorCode Run(const GemmArgs& args, Stream stream) override {
    Plan* plan = nullptr;
    if (const auto status = Find(args, &plan); status != CUBLAS_STATUS_SUCCESS) return CodeOf(status);
    const float alpha = 1;
    return CodeOf(cublasLtMatmul(handle_, product_, &alpha, args.weights, plan->layouts.weights, args.x,
                                 plan->layouts.x, &args.beta, args.y, plan->layouts.y, args.y,
                                 plan->layouts.y, &plan->algorithm, workspace_, options_.workspace_bytes,
                                 static_cast<cudaStream_t>(stream.native)));
  }

 private:
  static void Destroy(Layouts& layouts) {
    for (cublasLtMatrixLayout_t layout : {layouts.weights, layouts.x, layouts.y})
      if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
    layouts = {};
  }

  cublasStatus_t MakePreference() {
    auto status = cublasLtMatmulPreferenceCreate(&preference_);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const uint64_t bytes = options_.workspace_bytes;
    status = cublasLtMatmulPreferenceSetAttribute(preference_, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                  &bytes, sizeof bytes);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    // Partial sums over K are added up in no kernel but the one that made them.
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE;
    return cublasLtMatmulPreferenceSetAttribute(preference_, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                &schemes, sizeof schemes);
  }

  cublasStatus_t MakeLayouts(const GemmArgs& args, int64_t tokens, Layouts* layouts) {
    auto status = cublasLtMatrixLayoutCreate(&layouts->weights, TypeOf(args.element), args.columns,
                                             args.outputs, args.weight_stride);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    status =
        cublasLtMatrixLayoutCreate(&layouts->x, TypeOf(args.element), args.columns, tokens, args.x_stride);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    return cublasLtMatrixLayoutCreate(&layouts->y, TypeOf(args.out), args.outputs, tokens, args.y_stride);
  }

  // The fastest, by the library's estimate, that does not split K.
  cublasStatus_t Choose(const Layouts& layouts, cublasLtMatmulAlgo_t* algorithm) {
    cublasLtMatmulHeuristicResult_t candidates[kMaxCandidates];
    int count = 0;
    const auto status =
        cublasLtMatmulAlgoGetHeuristic(handle_, product_, layouts.weights, layouts.x, layouts.y, layouts.y,
                                       preference_, kMaxCandidates, candidates, &count);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    for (int i = 0; i < count; ++i) {
      if (candidates[i].state != CUBLAS_STATUS_SUCCESS) continue;
      if (SplitsK(candidates[i].algo)) continue;
      *algorithm = candidates[i].algo;
      return CUBLAS_STATUS_SUCCESS;
    }
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }

  static bool SplitsK(const cublasLtMatmulAlgo_t& algorithm) {
    int32_t splits = 1;
    size_t written = 0;
    const auto status = cublasLtMatmulAlgoConfigGetAttribute(&algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM,
                                                             &splits, sizeof splits, &written);
    return status != CUBLAS_STATUS_SUCCESS || splits > 1 || splits < 0;
  }

  // The one algorithm of these weights.
  cublasStatus_t Pinned(const GemmArgs& args, cublasLtMatmulAlgo_t* algorithm) {
    const auto [place, fresh] = pinned_.try_emplace(KeyOf(args));
    if (fresh) {
      Layouts typical;
      auto status = MakeLayouts(args, kTypicalTokens, &typical);
      if (status == CUBLAS_STATUS_SUCCESS) status = Choose(typical, &place->second);
      Destroy(typical);
      if (status != CUBLAS_STATUS_SUCCESS) {
        pinned_.erase(place);
        return status;
      }
    }
    *algorithm = place->second;
    return CUBLAS_STATUS_SUCCESS;
  }

  cublasStatus_t Find(const GemmArgs& args, Plan** found) {
    const auto [place, fresh] = plans_.try_emplace(ShapeKey{KeyOf(args), args.tokens});
    Plan& plan = place->second;
    *found = &plan;
    if (!fresh) return CUBLAS_STATUS_SUCCESS;
    auto status = MakeLayouts(args, args.tokens, &plan.layouts);
    if (status == CUBLAS_STATUS_SUCCESS) status = Pinned(args, &plan.algorithm);
    if (status == CUBLAS_STATUS_SUCCESS) {
      cublasLtMatmulHeuristicResult_t checked;
      status = cublasLtMatmulAlgoCheck(handle_, product_, plan.layouts.weights, plan.layouts.x,
                                       plan.layouts.y, plan.layouts.y, &plan.algorithm, &checked);
    }
    if (status != CUBLAS_STATUS_SUCCESS) {
      Destroy(plan.layouts);
      plans_.erase(place);
    }
    return status;
  }

  const GemmOptions options_;
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  cublasLtMatmulDesc_t product_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
  std::map<ShapeKey, Plan> plans_;
  std::map<WeightKey, cublasLtMatmulAlgo_t> pinned_;
};

}  // namespace

Gemm* MakeCublasLtGemm(const GemmOptions& options, const char** error) {
  auto* gemm = new CublasLtGemm(options);
  const cublasStatus_t status = gemm->Init();
  if (status == CUBLAS_STATUS_SUCCESS) return gemm;
  *error = cublasLtGetStatusString(status);
  delete gemm;
  return nullptr;
}

}  // namespace ropeway::cuda
