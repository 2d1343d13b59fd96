#include "tests/cuda_emulation/fake_cublaslt.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tests/cuda_emulation/host_elements.h"

namespace ropeway::cuda::emulation {

FakeLibrary& TheFakeLibrary() {
  static FakeLibrary library;
  return library;
}

uint64_t FakeAlgorithmFor(uint64_t n) { return n <= 8 ? 1 : n <= 64 ? 2 : 3; }

namespace {

struct Product {
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
};
struct Preference {
  uint32_t c_alignment = 256, d_alignment = 256;  // the library's defaults
};
struct Layout {
  cudaDataType type;
  uint64_t rows, columns;
  int64_t stride;
};

// The library's handles are pointers to its own types.
Product* Of(cublasLtMatmulDesc_t product) { return reinterpret_cast<Product*>(product); }
Layout* Of(cublasLtMatrixLayout_t layout) { return reinterpret_cast<Layout*>(layout); }
Preference* Of(cublasLtMatmulPreference_t preference) { return reinterpret_cast<Preference*>(preference); }

// An algorithm's words are its description.
cublasLtMatmulAlgo_t Encode(const FakeAlgorithm& algorithm) {
  cublasLtMatmulAlgo_t encoded = {};
  static_assert(sizeof algorithm <= sizeof encoded);
  std::memcpy(static_cast<void*>(&encoded), &algorithm, sizeof algorithm);
  return encoded;
}
FakeAlgorithm Decode(const cublasLtMatmulAlgo_t& encoded) {
  FakeAlgorithm algorithm;
  std::memcpy(static_cast<void*>(&algorithm), &encoded, sizeof algorithm);
  return algorithm;
}

std::vector<FakeAlgorithm> Offers(uint64_t n) {
  const FakeLibrary& library = TheFakeLibrary();
  if (library.offers) return library.offers(n);
  return {{.number = 100, .splits = 4}, {.number = FakeAlgorithmFor(n)}, {.number = kFakePlainAlgorithm}};
}

Element ElementOf(cudaDataType type) {
  return type == CUDA_R_32F ? Element::kF32 : type == CUDA_R_16F ? Element::kF16 : Element::kBF16;
}

// Column-major: element (row, column) at row + column * stride; `op` swaps the two.
float Load(const void* values, const Layout& layout, cublasOperation_t op, uint64_t row, uint64_t column) {
  if (op == CUBLAS_OP_T) std::swap(row, column);
  return LoadElement(ElementOf(layout.type), values,
                     static_cast<int64_t>(row) + static_cast<int64_t>(column) * layout.stride);
}

// Columns [first, last) of a dot product by the rule of sums (engine/kernels/cuda/gemm.h).
template <class Factor>
float Chain(uint64_t first, uint64_t last, const Factor& factor) {
  float sum = 0;
  for (uint64_t start = first; start < last; start += 16) {
    float step = 0;
    for (uint64_t k = start; k < std::min(start + 16, last); ++k) step += factor(k);
    sum += step;
  }
  return sum;
}

}  // namespace
}  // namespace ropeway::cuda::emulation

using namespace ropeway::cuda::emulation;  // NOLINT: the library's names are global

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = reinterpret_cast<cublasLtHandle_t>(&TheFakeLibrary());
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }
size_t cublasLtGetVersion() { return TheFakeLibrary().version; }
const char* cublasLtGetStatusString(cublasStatus_t) { return "fake"; }
const char* cublasLtGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "another status";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  ++TheFakeLibrary().products;
  *product = reinterpret_cast<cublasLtMatmulDesc_t>(new Product);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
  --TheFakeLibrary().products;
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
  ++TheFakeLibrary().layouts;
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{type, rows, columns, stride});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  --TheFakeLibrary().layouts;
  delete Of(layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete Of(preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  uint32_t* const alignment =
      attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES   ? &Of(preference)->c_alignment
      : attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES ? &Of(preference)->d_alignment
                                                                : nullptr;
  if (alignment == nullptr) return CUBLAS_STATUS_SUCCESS;
  if (bytes != sizeof *alignment) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(alignment, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t, cublasLtMatmulPreference_t preference,
                                              int wanted, cublasLtMatmulHeuristicResult_t* results,
                                              int* found) {
  ++TheFakeLibrary().heuristics;
  const uint32_t alignment = std::min(Of(preference)->c_alignment, Of(preference)->d_alignment);
  std::vector<FakeAlgorithm> offers = Offers(Of(c)->columns);
  std::erase_if(offers, [&](const FakeAlgorithm& offer) { return offer.alignment > alignment; });
  *found = 0;
  if (offers.empty()) return CUBLAS_STATUS_NOT_SUPPORTED;
  for (; *found < std::min(wanted, static_cast<int>(offers.size())); ++*found) {
    results[*found] = {};
    results[*found].algo = Encode(offers[*found]);
    results[*found].workspaceSize = offers[*found].workspace_bytes;
  }
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void* value, size_t bytes, size_t* written) {
  if (bytes != sizeof(int32_t)) return CUBLAS_STATUS_NOT_SUPPORTED;
  const FakeAlgorithm decoded = Decode(*algorithm);
  int32_t number = 0;
  if (attribute == CUBLASLT_ALGO_CONFIG_SPLITK_NUM)
    number = static_cast<int32_t>(decoded.splits);
  else if (attribute == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME)
    number = static_cast<int32_t>(decoded.reduction);
  else if (attribute == CUBLASLT_ALGO_CONFIG_ID)
    number = static_cast<int32_t>(decoded.number);
  else
    return CUBLAS_STATUS_NOT_SUPPORTED;
  std::memcpy(value, &number, bytes);
  *written = bytes;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t c,
                                       cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  const FakeAlgorithm decoded = Decode(*algorithm);
  ++TheFakeLibrary().checks;
  const auto& refuses = TheFakeLibrary().refuses;
  if (refuses && refuses(decoded.number, Of(c)->columns)) return CUBLAS_STATUS_NOT_SUPPORTED;
  result->workspaceSize = decoded.workspace_bytes + decoded.counter_bytes;
  return CUBLAS_STATUS_SUCCESS;
}

// D = alpha op(A) op(B) + beta C
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t,
                              const cublasLtMatmulAlgo_t* encoded, void*, size_t workspace_bytes,
                              cudaStream_t) {
  const FakeAlgorithm algorithm = Decode(*encoded);
  TheFakeLibrary().algorithms.push_back(algorithm.number);
  TheFakeLibrary().now += algorithm.milliseconds;
  const Product& op = *Of(product);
  const Layout &la = *Of(a_layout), &lb = *Of(b_layout), &lc = *Of(c_layout);
  const uint64_t m = op.a == CUBLAS_OP_T ? la.columns : la.rows,
                 k = op.a == CUBLAS_OP_T ? la.rows : la.columns;
  const uint64_t n = op.b == CUBLAS_OP_T ? lb.rows : lb.columns;
  if (m != lc.rows || n != lc.columns || k != (op.b == CUBLAS_OP_T ? lb.columns : lb.rows) ||
      algorithm.workspace_bytes > workspace_bytes)
    return CUBLAS_STATUS_INVALID_VALUE;
  // Where a device would meet a misaligned address.
  if (reinterpret_cast<uintptr_t>(d) % algorithm.alignment != 0) return CUBLAS_STATUS_EXECUTION_FAILED;
  const bool keeps_rule =
      algorithm.keeps_rule && m < algorithm.wrong_outputs && n % algorithm.whole_tokens == 0;
  const float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  for (uint64_t j = 0; j < n; ++j) {
    for (uint64_t i = 0; i < m; ++i) {
      const auto factor = [&](uint64_t l) { return Load(a, la, op.a, i, l) * Load(b, lb, op.b, l, j); };
      const uint64_t middle = keeps_rule && j != algorithm.wrong_token ? k : k / 2;
      float sum = Chain(0, middle, factor);
      if (middle < k) sum += Chain(middle, k, factor);
      sum *= scale;
      if (keep != 0) sum += keep * Load(c, lc, CUBLAS_OP_N, i, j);
      StoreElement(ElementOf(lc.type), d, static_cast<int64_t>(i) + static_cast<int64_t>(j) * lc.stride, sum);
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}

// ---- The runtime.

const char* cudaGetErrorString(cudaError_t) { return "fake error"; }
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::strcpy(properties->name, TheFakeLibrary().device);
  properties->multiProcessorCount = 4;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  if (TheFakeLibrary().allocations_left-- <= 0) return cudaErrorMemoryAllocation;
  ++TheFakeLibrary().allocations;
  *memory = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  if (memory != nullptr) --TheFakeLibrary().allocations;
  std::free(memory);
  return cudaSuccess;
}
// Upwards it may still be under way when it returns, and streams that do not block, as ours, do not wait for it.
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyHostToDevice) return cudaErrorNotSupported;
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  ++TheFakeLibrary().copies;
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpy2D(void* to, size_t to_stride, const void* from, size_t from_stride, size_t width,
                         size_t height, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyHostToDevice) return cudaErrorNotSupported;
  for (size_t row = 0; row < height; ++row)
    std::memcpy(static_cast<char*>(to) + row * to_stride, static_cast<const char*>(from) + row * from_stride,
                width);
  return cudaSuccess;
}
cudaError_t cudaMemset2DAsync(void* memory, size_t stride, int byte, size_t width, size_t height,
                              cudaStream_t) {
  for (size_t row = 0; row < height; ++row)
    std::memset(static_cast<char*>(memory) + row * stride, byte, width);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* memory, int byte, size_t bytes, cudaStream_t) {
  std::memset(memory, byte, bytes);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  TheFakeLibrary().copies = 0;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  ++TheFakeLibrary().events;
  *event = reinterpret_cast<cudaEvent_t>(new float(0));
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  --TheFakeLibrary().events;
  delete reinterpret_cast<float*>(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  *reinterpret_cast<float*>(event) = TheFakeLibrary().now;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = *reinterpret_cast<float*>(end) - *reinterpret_cast<float*>(begin);
  return cudaSuccess;
}

}  // extern "C"
