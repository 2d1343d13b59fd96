#include "tests/kernels/cuda/fake_cublaslt.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine/tensor/half.h"

namespace ropeway::cuda {
namespace {

// Column-major.
struct Matrix {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t stride;
};

float Sum(const uint16_t* weights, const uint16_t* x, int64_t columns) {
  float sum = 0;
  for (int64_t k = 0; k < columns; ++k) sum += BFloat16ToFloat(weights[k]) * BFloat16ToFloat(x[k]);
  return sum;
}

void Store(bool is_float, float sum, void* y, int64_t at) {
  if (is_float)
    static_cast<float*>(y)[at] = sum;
  else
    static_cast<uint16_t*>(y)[at] = FloatToBFloat16(sum);
}

}  // namespace

FakeLibrary& TheFakeLibrary() {
  static FakeLibrary library;
  return library;
}

ErrorCode FakeOwnProduct(const MatMulArgs& args, Stream) {
  const int64_t columns = args.weights.columns;
  const auto* const weights = static_cast<const uint16_t*>(args.weights.data);
  const auto* const x = static_cast<const uint16_t*>(args.x);
  for (int64_t token = 0; token < args.num_tokens; ++token)
    for (int64_t row = 0; row < args.weights.rows; ++row)
      Store(args.out == Element::kF32, Sum(weights + row * columns, x + token * columns, columns), args.y,
            token * args.y_stride + row);
  return 0;
}

}  // namespace ropeway::cuda

using ropeway::cuda::FakeAlgorithm;
using ropeway::cuda::FakeResult;
using ropeway::cuda::Matrix;
using ropeway::cuda::TheFakeLibrary;

// ---- cuBLASLt.

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = nullptr;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }
const char* cublasLtGetStatusName(cublasStatus_t) { return "a status"; }
const char* cublasLtGetStatusString(cublasStatus_t) { return "a status"; }
size_t cublasLtGetVersion() { return 1; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product, cublasComputeType_t, cudaDataType_t) {
  *product = nullptr;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
                                              const void*, size_t) {
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

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t stride) {
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Matrix{type, rows, columns, stride});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete reinterpret_cast<Matrix*>(layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int most,
                                              cublasLtMatmulHeuristicResult_t* results, int* count) {
  *count = std::min(most, static_cast<int>(TheFakeLibrary().algorithms.size()));
  for (int i = 0; i < *count; ++i) {
    results[i] = {};
    results[i].algo.data[0] = static_cast<uint64_t>(i);
  }
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                       const cublasLtMatmulAlgo_t*, cublasLtMatmulHeuristicResult_t* result) {
  *result = {};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void* value, size_t bytes, size_t*) {
  std::memset(value, 0, bytes);
  if (attribute == CUBLASLT_ALGO_CONFIG_TILE_ID)
    *static_cast<uint8_t*>(value) = static_cast<uint8_t>(algorithm->data[0] + 1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t, const void*, const void* weights,
                              cublasLtMatrixLayout_t weight_layout, const void* x,
                              cublasLtMatrixLayout_t x_layout, const void*, const void*,
                              cublasLtMatrixLayout_t, void* y, cublasLtMatrixLayout_t y_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void*, size_t, cudaStream_t) {
  const auto& [weight_type, columns, outputs, weight_stride] =
      *reinterpret_cast<const Matrix*>(weight_layout);
  const auto& of_x = *reinterpret_cast<const Matrix*>(x_layout);
  const auto& of_y = *reinterpret_cast<const Matrix*>(y_layout);
  const FakeAlgorithm& fake = TheFakeLibrary().algorithms[algorithm->data[0]];
  TheFakeLibrary().milliseconds += fake.milliseconds;
  for (int64_t token = 0; token < static_cast<int64_t>(of_x.columns); ++token) {
    for (int64_t row = 0; row < static_cast<int64_t>(outputs); ++row) {
      const FakeResult result =
          fake.result({static_cast<int64_t>(outputs), static_cast<int64_t>(of_x.columns), row, token});
      if (result == FakeResult::kNone) continue;
      const float sum = ropeway::cuda::Sum(static_cast<const uint16_t*>(weights) + row * weight_stride,
                                           static_cast<const uint16_t*>(x) + token * of_x.stride,
                                           static_cast<int64_t>(columns));
      ropeway::cuda::Store(of_y.type == CUDA_R_32F, result == FakeResult::kRight ? sum : sum * 1.01f, y,
                           token * of_y.stride + row);
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}

// ---- The runtime. An event is the time that the clock showed.

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  properties->multiProcessorCount = 4;
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t) { return "an error"; }

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = reinterpret_cast<cudaEvent_t>(new float(0));
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete reinterpret_cast<float*>(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  *reinterpret_cast<float*>(event) = TheFakeLibrary().milliseconds;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = *reinterpret_cast<float*>(end) - *reinterpret_cast<float*>(begin);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpy2D(void* to, size_t to_stride, const void* from, size_t from_stride, size_t width,
                         size_t height, cudaMemcpyKind) {
  for (size_t row = 0; row < height; ++row)
    std::memcpy(static_cast<char*>(to) + row * to_stride, static_cast<const char*>(from) + row * from_stride,
                width);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemset2DAsync(void* memory, size_t stride, int value, size_t width, size_t height,
                              cudaStream_t) {
  for (size_t row = 0; row < height; ++row)
    std::memset(static_cast<char*>(memory) + row * stride, value, width);
  return cudaSuccess;
}

}  // extern "C"
