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
#include <string>

#include "engine/kernels/cuda/cublaslt_gemm.h"

namespace ropeway::cuda {
namespace {

constexpr int64_t kTypicalTokens = 64;
constexpr int kMaxCandidates = 32;

// Numbers of tokens for which an algorithm must do before it is pinned, so that none fails in a request: one,
// few and many, whole tiles and parts of them.
constexpr int64_t kCheckedTokens[] = {1, 2, 7, 8, 17, 64, 128, 200, 256, 512, 2048};

// A kernel that could not be executed may have lost the device, which the CUDA runtime's code says.
ErrorCode CodeOf(cublasStatus_t status) {
  if (status == CUBLAS_STATUS_SUCCESS) return cudaSuccess;
  if (status == CUBLAS_STATUS_EXECUTION_FAILED) return cudaErrorLaunchFailure;
  return kFirstGemmError + static_cast<ErrorCode>(status);
}

// What helps whoever reads of it.
const char* MeaningOf(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "the library did not start; it must fit the driver, and needs memory of its own";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "memory is short: lower gpu_memory_fraction";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "a size, stride or address is refused";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "the device lacks what the product needs";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "no algorithm takes these sizes and types";
    default:
      return "the library failed";
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

// "x [64, 4096] times W [11, 4096] transposed, bf16 to f32"
std::string ShapeOf(const GemmArgs& args) {
  const auto name = [](Element element) {
    return element == Element::kF32 ? "f32" : element == Element::kF16 ? "f16" : "bf16";
  };
  const std::string columns = std::to_string(args.columns);
  return "x [" + std::to_string(args.tokens) + ", " + columns + "] times W [" + std::to_string(args.outputs) +
         ", " + columns + "] transposed, " + name(args.element) + " to " + name(args.out);
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
    auto status = Find(args, &plan);
    if (status == CUBLAS_STATUS_SUCCESS) {
      const float alpha = 1;
      status = cublasLtMatmul(handle_, product_, &alpha, args.weights, plan->layouts.weights, args.x,
                              plan->layouts.x, &args.beta, args.y, plan->layouts.y, args.y, plan->layouts.y,
                              &plan->algorithm, workspace_, options_.workspace_bytes,
                              static_cast<cudaStream_t>(stream.native));
    }
    if (status != CUBLAS_STATUS_SUCCESS) failed_shape_ = ShapeOf(args);
    return CodeOf(status);
  }

  std::string Describe(ErrorCode code) const override {
    const auto status = static_cast<cublasStatus_t>(code - kFirstGemmError);
    return std::string(cublasLtGetStatusName(status)) + ": " + MeaningOf(status) + "; " + failed_shape_;
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

  // The fastest for a typical number of tokens, by the library's estimate, that does not split K and does for
  // any number.
  cublasStatus_t Choose(const GemmArgs& args, const Layouts& typical, cublasLtMatmulAlgo_t* algorithm) {
    cublasLtMatmulHeuristicResult_t candidates[kMaxCandidates];
    int count = 0;
    const auto status =
        cublasLtMatmulAlgoGetHeuristic(handle_, product_, typical.weights, typical.x, typical.y, typical.y,
                                       preference_, kMaxCandidates, candidates, &count);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    for (int i = 0; i < count; ++i) {
      if (candidates[i].state != CUBLAS_STATUS_SUCCESS) continue;
      if (SplitsK(candidates[i].algo) || !DoesForAnyTokens(args, candidates[i].algo)) continue;
      *algorithm = candidates[i].algo;
      return CUBLAS_STATUS_SUCCESS;
    }
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }

  bool DoesForAnyTokens(const GemmArgs& args, const cublasLtMatmulAlgo_t& algorithm) {
    for (const int64_t tokens : kCheckedTokens) {
      Layouts layouts;
      auto status = MakeLayouts(args, tokens, &layouts);
      if (status == CUBLAS_STATUS_SUCCESS) status = CheckAlgorithm(layouts, algorithm);
      Destroy(layouts);
      if (status != CUBLAS_STATUS_SUCCESS) return false;
    }
    return true;
  }

  cublasStatus_t CheckAlgorithm(const Layouts& layouts, const cublasLtMatmulAlgo_t& algorithm) {
    cublasLtMatmulHeuristicResult_t checked = {};
    const auto status = cublasLtMatmulAlgoCheck(handle_, product_, layouts.weights, layouts.x, layouts.y,
                                                layouts.y, &algorithm, &checked);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const bool fits = checked.workspaceSize <= static_cast<size_t>(options_.workspace_bytes);
    return fits ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
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
      if (status == CUBLAS_STATUS_SUCCESS) status = Choose(args, typical, &place->second);
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
    if (status == CUBLAS_STATUS_SUCCESS) status = CheckAlgorithm(plan.layouts, plan.algorithm);
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
  std::string failed_shape_;  // of the last product that failed
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
