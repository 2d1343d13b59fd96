// Runtime over the CUDA runtime library.
#include "engine/kernels/cuda/runtime.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "engine/kernels/cuda/native_runtime.h"

namespace ropeway::cuda {
namespace {

cudaStream_t NativeStream(Stream stream) { return static_cast<cudaStream_t>(stream.native); }
cudaEvent_t NativeEvent(Event event) { return static_cast<cudaEvent_t>(event.native); }
cudaGraphExec_t NativeGraph(Graph graph) { return static_cast<cudaGraphExec_t>(graph.native); }

cudaMemcpyKind NativeKind(CopyKind kind) {
  switch (kind) {
    case CopyKind::kHostToDevice:
      return cudaMemcpyHostToDevice;
    case CopyKind::kDeviceToHost:
      return cudaMemcpyDeviceToHost;
    case CopyKind::kDeviceToDevice:
      return cudaMemcpyDeviceToDevice;
  }
  return cudaMemcpyDefault;
}

// The driver's function, by way of the runtime library: the driver itself is not linked. Null where it has none.
decltype(&cuTensorMapEncodeTiled) FindTensorMapEncoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
#else
  const cudaError_t error =
      cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
  if (error != cudaSuccess) (void)cudaGetLastError();
  if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

class CudaRuntime final : public Runtime {
 public:
  explicit CudaRuntime(int device) : device_(device) {}

  ErrorCode Bind() override { return cudaSetDevice(device_); }
  ErrorCode Info(DeviceInfo* info) override;

  ErrorCode Malloc(void** memory, size_t bytes) override { return Forget(cudaMalloc(memory, bytes)); }
  ErrorCode Free(void* memory) override { return cudaFree(memory); }
  ErrorCode MallocHost(void** memory, size_t bytes) override { return Forget(cudaMallocHost(memory, bytes)); }
  ErrorCode FreeHost(void* memory) override { return cudaFreeHost(memory); }

  ErrorCode CreateStream(Stream* stream) override {
    return cudaStreamCreateWithFlags(reinterpret_cast<cudaStream_t*>(&stream->native), cudaStreamNonBlocking);
  }
  ErrorCode DestroyStream(Stream stream) override { return cudaStreamDestroy(NativeStream(stream)); }
  ErrorCode Synchronize(Stream stream) override { return cudaStreamSynchronize(NativeStream(stream)); }
  ErrorCode CreateEvent(Event* event) override {
    return cudaEventCreateWithFlags(reinterpret_cast<cudaEvent_t*>(&event->native), cudaEventDisableTiming);
  }
  ErrorCode DestroyEvent(Event event) override { return cudaEventDestroy(NativeEvent(event)); }
  ErrorCode Record(Event event, Stream stream) override {
    return cudaEventRecord(NativeEvent(event), NativeStream(stream));
  }
  ErrorCode Wait(Event event) override { return cudaEventSynchronize(NativeEvent(event)); }
  ErrorCode Copy(void* to, const void* from, size_t bytes, CopyKind kind, Stream stream) override {
    return cudaMemcpyAsync(to, from, bytes, NativeKind(kind), NativeStream(stream));
  }
  ErrorCode Fill(void* memory, int byte, size_t bytes, Stream stream) override {
    return cudaMemsetAsync(memory, byte, bytes, NativeStream(stream));
  }

  ErrorCode EncodeTensorMap(const TensorMapLayout& layout, TensorMap* map) override;

  // Of this thread alone: other devices of the process go on as they were.
  ErrorCode BeginCapture(Stream stream) override {
    return cudaStreamBeginCapture(NativeStream(stream), cudaStreamCaptureModeThreadLocal);
  }
  ErrorCode EndCapture(Stream stream, Graph* graph) override;
  ErrorCode Launch(Graph graph, Stream stream) override {
    return cudaGraphLaunch(NativeGraph(graph), NativeStream(stream));
  }
  ErrorCode DestroyGraph(Graph graph) override { return cudaGraphExecDestroy(NativeGraph(graph)); }

  std::string Describe(ErrorCode code) const override { return DescribeError(code); }
  bool IsFatal(ErrorCode code) const override { return IsFatalError(code); }

 private:
  // An allocation that did not fit is no reason for the next launch to fail: CUDA would report it there.
  static ErrorCode Forget(cudaError_t error) {
    if (error != cudaSuccess) (void)cudaGetLastError();
    return error;
  }

  const int device_;
};

ErrorCode CudaRuntime::Info(DeviceInfo* info) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device_)) return error;
  size_t free_bytes = 0, total_bytes = 0;
  if (const cudaError_t error = cudaMemGetInfo(&free_bytes, &total_bytes)) return error;
  *info = {.name = properties.name,
           .major = properties.major,
           .minor = properties.minor,
           .processors = properties.multiProcessorCount,
           .total_bytes = static_cast<int64_t>(total_bytes),
           .free_bytes = static_cast<int64_t>(free_bytes)};
  return cudaSuccess;
}

ErrorCode CudaRuntime::EncodeTensorMap(const TensorMapLayout& layout, TensorMap* map) {
  static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) && alignof(TensorMap) >= alignof(CUtensorMap));
  const auto encode = FindTensorMapEncoder();
  if (encode == nullptr) return cudaErrorNotSupported;
  cuuint64_t sizes[3], strides[2];
  cuuint32_t box[3];
  for (int i = 0; i < 3; ++i) {
    sizes[i] = static_cast<cuuint64_t>(layout.sizes[i]);
    box[i] = static_cast<cuuint32_t>(layout.box[i]);
  }
  for (int i = 0; i < 2; ++i) strides[i] = static_cast<cuuint64_t>(layout.strides[i]);
  const cuuint32_t steps[3] = {1, 1, 1};
  // Numbers of 16 bits, whatever they are: only zeros outside of the array are made of nothing.
  const CUresult result =
      encode(reinterpret_cast<CUtensorMap*>(map), CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, layout.data, sizes,
             strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

ErrorCode CudaRuntime::EndCapture(Stream stream, Graph* graph) {
  cudaGraph_t captured = nullptr;
  if (const cudaError_t error = cudaStreamEndCapture(NativeStream(stream), &captured)) return error;
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, captured, 0);
  (void)cudaGraphDestroy(captured);
  graph->native = executable;
  return error;
}

}  // namespace

std::string DescribeError(ErrorCode code) {
  const auto error = static_cast<cudaError_t>(code);
  return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
}

bool IsFatalError(ErrorCode code) {
  // Later toolkits than the oldest that there may be name them.
  constexpr ErrorCode kContained = 226, kTensorMemoryLeak = 721;
  switch (code) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorContextIsDestroyed:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorExternalDevice:
    case cudaErrorMpsRpcFailure:
    case cudaErrorMpsConnectionFailed:
    case cudaErrorMpsClientTerminated:
    case cudaErrorDevicesUnavailable:
    case cudaErrorUnknown:
    case kContained:
    case kTensorMemoryLeak:
      return true;
    default:
      return false;
  }
}

int CountDevices(std::string* error) {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess) {
    (void)cudaGetLastError();
    *error = DescribeError(code);
    return 0;
  }
  if (count == 0) *error = "the driver knows no device";
  return count;
}

std::unique_ptr<Runtime> MakeCudaRuntime(int device, std::string* error) {
  const int count = CountDevices(error);
  if (count == 0) return nullptr;
  if (device < 0 || device >= count) {
    *error = "device " + std::to_string(device) + " of " + std::to_string(count);
    return nullptr;
  }
  cudaDeviceProp properties;
  if (const cudaError_t code = cudaGetDeviceProperties(&properties, device)) {
    *error = DescribeError(code);
    return nullptr;
  }
  if (properties.major < 8) {
    *error = std::string(properties.name) + " has compute capability " + std::to_string(properties.major) +
             "." + std::to_string(properties.minor) + "; 8.0 and later are supported";
    return nullptr;
  }
  return std::make_unique<CudaRuntime>(device);
}

}  // namespace ropeway::cuda
