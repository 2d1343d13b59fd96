#include "tests/cuda_emulation/fake_cublaslt.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>

#include "tests/cuda_emulation/host_elements.h"

namespace ropeway::cuda::emulation {

CublasLtCalls& FakeCublasLt() {
  static CublasLtCalls calls;
  return calls;
}

uint64_t FakeAlgorithmFor(uint64_t n) { return n <= 8 ? 1 : n <= 64 ? 2 : 3; }

namespace {

constexpr uint64_t kSplitsK = 100;  // the number of an algorithm that does

struct Product {
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
};
struct Layout {
  cudaDataType type;
  uint64_t rows, columns;
  int64_t stride;
};

// The library's handles are pointers to its own types.
Product* Of(cublasLtMatmulDesc_t product) { return reinterpret_cast<Product*>(product); }
Layout* Of(cublasLtMatrixLayout_t layout) { return reinterpret_cast<Layout*>(layout); }

Element ElementOf(cudaDataType type) {
  return type == CUDA_R_32F ? Element::kF32 : type == CUDA_R_16F ? Element::kF16 : Element::kBF16;
}

// Column-major: element (row, column) at row + column * stride; `op` swaps the two.
float Load(const void* values, const Layout& layout, cublasOperation_t op, uint64_t row, uint64_t column) {
  if (op == CUBLAS_OP_T) std::swap(row, column);
  return LoadElement(ElementOf(layout.type), values,
                     static_cast<int64_t>(row) + static_cast<int64_t>(column) * layout.stride);
}

}  // namespace
}  // namespace ropeway::cuda::emulation

using ropeway::cuda::emulation::ElementOf;
using ropeway::cuda::emulation::FakeAlgorithmFor;
using ropeway::cuda::emulation::FakeCublasLt;
using ropeway::cuda::emulation::kFakePlainAlgorithm;
using ropeway::cuda::emulation::kSplitsK;
using ropeway::cuda::emulation::Layout;
using ropeway::cuda::emulation::Load;
using ropeway::cuda::emulation::Of;
using ropeway::cuda::emulation::Product;

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = reinterpret_cast<cublasLtHandle_t>(&FakeCublasLt());
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }
const char* cublasLtGetStatusString(cublasStatus_t) { return "fake"; }
const char* cublasLtGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "another status";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  ++FakeCublasLt().products;
  *product = reinterpret_cast<cublasLtMatmulDesc_t>(new Product);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
  --FakeCublasLt().products;
  delete Of(product);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t bytes) {
  if (attribute != CUBLASLT_MATMUL_DESC_TRANSA || bytes != sizeof(cublasOperation_t))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  std::memcpy(&Of(product)->a, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t stride) {
  if (stride < static_cast<int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  ++FakeCublasLt().layouts;
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{type, rows, columns, stride});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  --FakeCublasLt().layouts;
  delete Of(layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = nullptr;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t, const void*,
                                                    size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

// An algorithm's first word is its number.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  ++FakeCublasLt().heuristics;
  if (wanted < 3) return CUBLAS_STATUS_INVALID_VALUE;
  std::memset(results, 0, 3 * sizeof *results);
  results[0].algo.data[0] = kSplitsK;
  results[1].algo.data[0] = FakeAlgorithmFor(Of(c)->columns);
  results[2].algo.data[0] = kFakePlainAlgorithm;
  *found = 3;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void* value, size_t bytes, size_t* written) {
  if (attribute != CUBLASLT_ALGO_CONFIG_SPLITK_NUM || bytes != sizeof(int32_t))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  const int32_t splits = algorithm->data[0] == kSplitsK ? 4 : 1;
  std::memcpy(value, &splits, bytes);
  *written = bytes;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t c,
                                       cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t*) {
  const auto& refuses = FakeCublasLt().refuses;
  if (refuses && refuses(algorithm->data[0], Of(c)->columns)) return CUBLAS_STATUS_NOT_SUPPORTED;
  return CUBLAS_STATUS_SUCCESS;
}

// D = alpha op(A) op(B) + beta C
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t,
                              const cublasLtMatmulAlgo_t* algorithm, void*, size_t, cudaStream_t) {
  FakeCublasLt().algorithms.push_back(algorithm->data[0]);
  const Product& op = *Of(product);
  const Layout &la = *Of(a_layout), &lb = *Of(b_layout), &lc = *Of(c_layout);
  const uint64_t m = op.a == CUBLAS_OP_T ? la.columns : la.rows,
                 k = op.a == CUBLAS_OP_T ? la.rows : la.columns;
  const uint64_t n = op.b == CUBLAS_OP_T ? lb.rows : lb.columns;
  if (m != lc.rows || n != lc.columns || k != (op.b == CUBLAS_OP_T ? lb.columns : lb.rows))
    return CUBLAS_STATUS_INVALID_VALUE;
  const float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  for (uint64_t j = 0; j < n; ++j) {
    for (uint64_t i = 0; i < m; ++i) {
      float sum = 0;
      for (uint64_t l = 0; l < k; ++l) sum += Load(a, la, op.a, i, l) * Load(b, lb, op.b, l, j);
      sum *= scale;
      if (keep != 0) sum += keep * Load(c, lc, CUBLAS_OP_N, i, j);
      ropeway::cuda::emulation::StoreElement(
          ElementOf(lc.type), d, static_cast<int64_t>(i) + static_cast<int64_t>(j) * lc.stride, sum);
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

}  // extern "C"
