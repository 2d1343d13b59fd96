#include "engine/kernels/cuda/cublaslt.h"

#include <cuda_runtime_api.h>

#include <bit>
#include <cstdint>

namespace ropeway::cuda {
namespace {

constexpr int kMaxCandidates = 16;

// Of a counter of tiles that are handed out, which is no workspace: where y has more tiles than the device takes at a time,
// the check of an algorithm tells of 4 bytes (cuBLASLt 13.1 on an H100), though the library proposed it where there is
// none, and it runs without.
constexpr size_t kCounterBytes = 16;

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

// The attribute as a number; `missing` where the library has no such attribute.
template <class T>
int32_t Attribute(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute,
                  int32_t missing = 0) {
  T value = 0;
  size_t written = 0;
  const auto status =
      cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written);
  return status == CUBLAS_STATUS_SUCCESS ? static_cast<int32_t>(value) : missing;
}

bool SplitsK(const cublasLtMatmulAlgo_t& algorithm) {
  constexpr int32_t kUnknown = -1;
  const int32_t splits = Attribute<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, kUnknown);
  return splits < 0 || splits > 1 ||
         Attribute<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) !=
             CUBLASLT_REDUCTION_SCHEME_NONE;
}

}  // namespace

MatrixShape ShapeOf(const GemmArgs& args) {
  const auto address = reinterpret_cast<uintptr_t>(args.y);
  return {.outputs = args.outputs,
          .columns = args.columns,
          .y_stride = args.y_stride,
          .element = args.element,
          .out = args.out,
          .y_alignment = uint32_t{1} << std::countr_zero(address | kMatrixAlignment)};
}

ErrorCode CodeOf(cublasStatus_t status) {
  if (status == CUBLAS_STATUS_SUCCESS) return cudaSuccess;
  if (status == CUBLAS_STATUS_EXECUTION_FAILED) return cudaErrorLaunchFailure;
  return kFirstGemmError + static_cast<ErrorCode>(status);
}

std::string MessageOf(cublasStatus_t status) {
  return std::string(cublasLtGetStatusName(status)) + ": " + MeaningOf(status);
}

Layouts::~Layouts() {
  for (cublasLtMatrixLayout_t layout : {weights, x, y})
    if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
}

cublasStatus_t Layouts::Make(const MatrixShape& shape, int64_t tokens) {
  auto status = cublasLtMatrixLayoutCreate(&weights, TypeOf(shape.element), shape.columns, shape.outputs,
                                           shape.columns);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  status = cublasLtMatrixLayoutCreate(&x, TypeOf(shape.element), shape.columns, tokens, shape.columns);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  return cublasLtMatrixLayoutCreate(&y, TypeOf(shape.out), shape.outputs, tokens, shape.y_stride);
}

CublasLt::~CublasLt() {
  if (preference_ != nullptr) cublasLtMatmulPreferenceDestroy(preference_);
  if (product_ != nullptr) cublasLtMatmulDescDestroy(product_);
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

cublasStatus_t CublasLt::Init() {
  if (const auto status = cublasLtCreate(&handle_); status != CUBLAS_STATUS_SUCCESS) return status;
  // float32 products stay float32: TF32 would round the operands to 10 bits.
  auto status = cublasLtMatmulDescCreate(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const cublasOperation_t transposed = CUBLAS_OP_T;
  status =
      cublasLtMatmulDescSetAttribute(product_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  status = cublasLtMatmulPreferenceCreate(&preference_);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const uint64_t bytes = 0;
  status = cublasLtMatmulPreferenceSetAttribute(preference_, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                                sizeof bytes);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE;
  return cublasLtMatmulPreferenceSetAttribute(preference_, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                              &schemes, sizeof schemes);
}

cublasStatus_t CublasLt::Candidates(const Layouts& layouts, uint32_t y_alignment,
                                    std::vector<cublasLtMatmulAlgo_t>* algorithms) const {
  cublasLtMatmulHeuristicResult_t candidates[kMaxCandidates];
  int count = 0;
  // C is y, too.
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    const auto status =
        cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &y_alignment, sizeof y_alignment);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
  }
  const auto status =
      cublasLtMatmulAlgoGetHeuristic(handle_, product_, layouts.weights, layouts.x, layouts.y, layouts.y,
                                     preference_, kMaxCandidates, candidates, &count);
  algorithms->clear();
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return CUBLAS_STATUS_SUCCESS;  // there is none
  for (int i = 0; i < count && status == CUBLAS_STATUS_SUCCESS; ++i) {
    if (candidates[i].state != CUBLAS_STATUS_SUCCESS || SplitsK(candidates[i].algo)) continue;
    if (Check(layouts, candidates[i].algo) == CUBLAS_STATUS_SUCCESS)
      algorithms->push_back(candidates[i].algo);
  }
  return status;
}

cublasStatus_t CublasLt::Check(const Layouts& layouts, const cublasLtMatmulAlgo_t& algorithm) const {
  cublasLtMatmulHeuristicResult_t checked = {};
  const auto status = cublasLtMatmulAlgoCheck(handle_, product_, layouts.weights, layouts.x, layouts.y,
                                              layouts.y, &algorithm, &checked);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  return checked.workspaceSize <= kCounterBytes ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t CublasLt::Multiply(const GemmArgs& args, const Layouts& layouts,
                                  const cublasLtMatmulAlgo_t& algorithm, Stream stream) const {
  const float one = 1, zero = 0;
  return cublasLtMatmul(handle_, product_, &one, args.weights, layouts.weights, args.x, layouts.x, &zero,
                        args.y, layouts.y, args.y, layouts.y, &algorithm, nullptr, 0,
                        static_cast<cudaStream_t>(stream.native));
}

AlgorithmName NameOf(const cublasLtMatmulAlgo_t& algorithm) {
  return {.id = Attribute<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_ID),
          .tile = Attribute<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID),
          .stages = Attribute<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID),
          .inner_shape = Attribute<uint16_t>(algorithm, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID),
          .cluster_shape = Attribute<uint16_t>(algorithm, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
          .swizzle = Attribute<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING),
          .custom = Attribute<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION)};
}

}  // namespace ropeway::cuda
