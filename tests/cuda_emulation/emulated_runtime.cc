#include "tests/cuda_emulation/emulated_runtime.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iterator>
#include <utility>

#include "tests/cuda_emulation/tensor_maps.h"

namespace ropeway::cuda::emulation {
namespace {

// As CUDA has it: each thread has one current device.
constinit thread_local const EmulatedRuntime* bound_runtime = nullptr;

const char* NameOf(ErrorCode code) {
  switch (code) {
    case kSuccess:
      return "cudaSuccess";
    case kInvalidValue:
      return "cudaErrorInvalidValue";
    case kOutOfMemory:
      return "cudaErrorMemoryAllocation: out of memory";
    case kInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case kInvalidHandle:
      return "cudaErrorInvalidResourceHandle";
    case kKernelFailed:
      return "cudaErrorLaunchFailure";
    case kNotSupported:
      return "cudaErrorNotSupported";
    case kCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    default:
      return "cudaErrorUnknown";
  }
}

}  // namespace

struct EmulatedRuntime::StreamState {
  EmulatedRuntime* runtime;
  std::deque<Work> queue;
  uint64_t num_enqueued = 0, num_done = 0;
  bool capturing = false;
  std::vector<Work> captured;
};
struct EmulatedRuntime::EventState {
  Stream stream;
  uint64_t count = 0;  // work of the stream before it
};
struct EmulatedRuntime::GraphState {
  std::vector<Work> works;
};

EmulatedRuntime::EmulatedRuntime(RuntimeOptions options)
    : options_(std::move(options)), memory_(options_.memory_bytes) {
  for (int i = 0; i < std::max(1, options_.os_threads); ++i) {
    executors_.push_back(std::make_unique<BlockExecutor>());
  }
}

EmulatedRuntime::~EmulatedRuntime() {
  for (const auto& [address, bytes] : pinned_) std::free(reinterpret_cast<void*>(address));
  if (bound_runtime == this) bound_runtime = nullptr;
}

ErrorCode EmulatedRuntime::Bind() {
  bound_runtime = this;
  return lost_;
}

ErrorCode EmulatedRuntime::Enter(bool allowed_in_capture) {
  if (bound_runtime != this) return Refuse(kInvalidValue, "the calling thread has not bound this device");
  if (lost_ != kSuccess) return lost_;
  if (const ErrorCode error = TakeInjectedError()) {
    if (IsFatal(error)) lost_ = error;
    return Refuse(error, "injected by the test");
  }
  if (!allowed_in_capture && IsCapturing()) {
    return Refuse(kCaptureUnsupported, "a call that is forbidden while a stream is captured");
  }
  return kSuccess;
}

ErrorCode EmulatedRuntime::EnterAllocation() {
  {
    std::lock_guard lock(mutex_);
    ++counts_.allocations;
  }
  return Enter(false);
}

ErrorCode EmulatedRuntime::EnterWait() {
  {
    std::lock_guard lock(mutex_);
    ++counts_.waits;
  }
  return Enter(false);
}

ErrorCode EmulatedRuntime::Refuse(ErrorCode code, std::string why) const {
  std::lock_guard lock(mutex_);
  details_[code] = std::move(why);
  return code;
}

ErrorCode EmulatedRuntime::Fail(std::string why) {
  lost_ = kKernelFailed;
  for (const auto& stream : streams_) {
    stream->queue.clear();
    stream->num_done = stream->num_enqueued;
  }
  return Refuse(kKernelFailed, std::move(why));
}

ErrorCode EmulatedRuntime::Info(DeviceInfo* info) {
  if (const ErrorCode error = Enter(true)) return error;
  *info = {.name = options_.name,
           .major = options_.major,
           .minor = options_.minor,
           .processors = options_.processors,
           .total_bytes = static_cast<int64_t>(memory_.total_bytes()),
           .free_bytes = static_cast<int64_t>(memory_.free_bytes())};
  return kSuccess;
}

// ---- Memory.

ErrorCode EmulatedRuntime::Malloc(void** memory, size_t bytes) {
  if (const ErrorCode error = EnterAllocation()) return error;
  *memory = bytes == 0 ? nullptr : memory_.Allocate(bytes);
  if (*memory != nullptr || bytes == 0) return kSuccess;
  return Refuse(kOutOfMemory, std::to_string(bytes) + " bytes asked for, " +
                                  std::to_string(memory_.free_bytes()) + " free");
}

ErrorCode EmulatedRuntime::Free(void* memory) {
  if (memory == nullptr) return kSuccess;
  if (const ErrorCode error = EnterWait()) return error;
  if (const ErrorCode error = RunAll()) return error;  // cudaFree waits for the device
  return memory_.Free(memory) ? kSuccess
                              : Refuse(kInvalidValue, "Free of an address that Malloc did not give");
}

ErrorCode EmulatedRuntime::MallocHost(void** memory, size_t bytes) {
  if (const ErrorCode error = EnterAllocation()) return error;
  const size_t size = (std::max<size_t>(bytes, 1) + 63) / 64 * 64;
  *memory = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (bytes <= options_.pinned_bytes - pinned_bytes_) *memory = std::aligned_alloc(64, size);
    if (*memory != nullptr) {
      std::memset(*memory, 0xFF, size);
      pinned_[reinterpret_cast<uintptr_t>(*memory)] = bytes;
      pinned_bytes_ += bytes;
      return kSuccess;
    }
  }
  return Refuse(kOutOfMemory, "pinned memory of the host");
}

ErrorCode EmulatedRuntime::FreeHost(void* memory) {
  if (memory == nullptr) return kSuccess;
  if (const ErrorCode error = EnterWait()) return error;
  if (const ErrorCode error = RunAll()) return error;
  {
    std::lock_guard lock(mutex_);
    if (const auto found = pinned_.find(reinterpret_cast<uintptr_t>(memory)); found != pinned_.end()) {
      pinned_bytes_ -= found->second;
      pinned_.erase(found);
      std::free(memory);
      return kSuccess;
    }
  }
  return Refuse(kInvalidValue, "FreeHost of an address that MallocHost did not give");
}

bool EmulatedRuntime::IsPinned(const void* address, size_t bytes) const {
  std::lock_guard lock(mutex_);
  const auto begin = reinterpret_cast<uintptr_t>(address);
  const auto after = pinned_.upper_bound(begin);
  if (after == pinned_.begin()) return false;
  const auto [start, size] = *std::prev(after);
  return begin - start <= size && bytes <= size - (begin - start);
}

CallCounts EmulatedRuntime::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

// ---- Streams.

EmulatedRuntime::StreamState* EmulatedRuntime::Find(Stream stream) const {
  for (const auto& candidate : streams_) {
    if (candidate.get() == stream.native) return candidate.get();
  }
  return nullptr;
}

bool EmulatedRuntime::IsCapturing() const {
  return std::any_of(streams_.begin(), streams_.end(), [](const auto& stream) { return stream->capturing; });
}

ErrorCode EmulatedRuntime::CreateStream(Stream* stream) {
  if (const ErrorCode error = Enter(false)) return error;
  streams_.push_back(std::make_unique<StreamState>());
  streams_.back()->runtime = this;
  stream->native = streams_.back().get();
  return kSuccess;
}

ErrorCode EmulatedRuntime::DestroyStream(Stream stream) {
  const ErrorCode error = lost_ != kSuccess ? lost_ : Synchronize(stream);
  std::erase_if(streams_, [&](const auto& candidate) { return candidate.get() == stream.native; });
  return error;
}

ErrorCode EmulatedRuntime::Enqueue(Stream stream, Work work) {
  StreamState* state = Find(stream);
  if (state == nullptr)
    return Refuse(kInvalidHandle, "no stream of this device (the default stream is not used)");
  if (state->capturing) {
    state->captured.push_back(std::move(work));
    return kSuccess;
  }
  state->queue.push_back(std::move(work));
  ++state->num_enqueued;
  return options_.lazy_streams ? kSuccess : RunUntil(*state, state->num_enqueued);
}

ErrorCode EmulatedRuntime::RunUntil(StreamState& stream, uint64_t count) {
  if (stream.num_done >= count) return lost_;
  DeviceMemory::Access access(memory_);
  while (stream.num_done < count) {
    const Work work = std::move(stream.queue.front());
    stream.queue.pop_front();
    ++stream.num_done;
    if (stream.num_done < count && stream.queue.front().begin) stream.queue.front().begin();
    if (const ErrorCode error = work.run()) return error;
  }
  if (memory_.FindOverrun() != nullptr)
    return Fail("device memory was written past the end of an allocation");
  return lost_;
}

ErrorCode EmulatedRuntime::RunAll() {
  for (const auto& stream : streams_) {
    if (const ErrorCode error = RunUntil(*stream, stream->num_enqueued)) return error;
  }
  return kSuccess;
}

ErrorCode EmulatedRuntime::Synchronize(Stream stream) {
  if (const ErrorCode error = EnterWait()) return error;
  StreamState* state = Find(stream);
  if (state == nullptr) return Refuse(kInvalidHandle, "no stream of this device");
  return RunUntil(*state, state->num_enqueued);
}

ErrorCode EmulatedRuntime::CreateEvent(Event* event) {
  if (const ErrorCode error = Enter(false)) return error;
  event->native = new EventState;
  return kSuccess;
}

ErrorCode EmulatedRuntime::DestroyEvent(Event event) {
  delete static_cast<EventState*>(event.native);
  return kSuccess;
}

ErrorCode EmulatedRuntime::Record(Event event, Stream stream) {
  if (const ErrorCode error = Enter(false)) return error;
  const StreamState* state = Find(stream);
  if (state == nullptr) return Refuse(kInvalidHandle, "no stream of this device");
  *static_cast<EventState*>(event.native) = {.stream = stream, .count = state->num_enqueued};
  return kSuccess;
}

ErrorCode EmulatedRuntime::Wait(Event event) {
  if (const ErrorCode error = EnterWait()) return error;
  const auto& recorded = *static_cast<const EventState*>(event.native);
  StreamState* state = Find(recorded.stream);
  if (state == nullptr) return kSuccess;  // never recorded, or what it was behind is done
  return RunUntil(*state, recorded.count);
}

ErrorCode EmulatedRuntime::Copy(void* to, const void* from, size_t bytes, CopyKind kind, Stream stream) {
  if (const ErrorCode error = Enter(true)) return error;
  const bool to_device = kind != CopyKind::kDeviceToHost, from_device = kind != CopyKind::kHostToDevice;
  if (!(to_device ? memory_.Contains(to, bytes) : IsPinned(to, bytes))) {
    return Refuse(kInvalidValue, to_device ? "the destination of a copy is not inside one device allocation"
                                           : "the destination of a copy is not inside one pinned allocation");
  }
  if (!(from_device ? memory_.Contains(from, bytes) : IsPinned(from, bytes))) {
    return Refuse(kInvalidValue, from_device ? "the source of a copy is not inside one device allocation"
                                             : "the source of a copy is not inside one pinned allocation");
  }
  return Enqueue(stream, {[to, from, bytes] {
                   std::memmove(to, from, bytes);
                   return kSuccess;
                 }});
}

ErrorCode EmulatedRuntime::Fill(void* memory, int byte, size_t bytes, Stream stream) {
  if (const ErrorCode error = Enter(true)) return error;
  if (!memory_.Contains(memory, bytes)) {
    return Refuse(kInvalidValue, "what is filled is not inside one device allocation");
  }
  return Enqueue(stream, {[memory, byte, bytes] {
                   std::memset(memory, byte, bytes);
                   return kSuccess;
                 }});
}

// Of one allocation, which is more than the driver asks for.
ErrorCode EmulatedRuntime::EncodeTensorMap(const TensorMapLayout& layout, TensorMap* map) {
  if (const ErrorCode error = Enter(true)) return error;
  if (!options_.tensor_maps || options_.major < 9)
    return Refuse(kNotSupported, "the driver makes no tensor maps for this device");
  if (const char* wrong = WrongOfLayout(layout))
    return Refuse(kInvalidValue, std::string("a tensor map: ") + wrong);
  const int64_t bytes = layout.sizes[0] * 2 + (layout.sizes[1] - 1) * layout.strides[0] +
                        (layout.sizes[2] - 1) * layout.strides[1];
  if (!memory_.Contains(layout.data, static_cast<size_t>(bytes)))
    return Refuse(kInvalidValue, "a tensor map of what is not inside one device allocation");
  *map = ToTensorMap(layout);
  return kSuccess;
}

// ---- Graphs.

ErrorCode EmulatedRuntime::BeginCapture(Stream stream) {
  if (const ErrorCode error = Enter(false)) return error;
  StreamState* state = Find(stream);
  if (state == nullptr) return Refuse(kInvalidHandle, "no stream of this device");
  state->capturing = true;
  state->captured.clear();
  return kSuccess;
}

ErrorCode EmulatedRuntime::EndCapture(Stream stream, Graph* graph) {
  StreamState* state = Find(stream);
  if (state == nullptr || !state->capturing) return Refuse(kInvalidHandle, "the stream is not captured");
  state->capturing = false;
  std::vector<Work> works = std::move(state->captured);
  if (const ErrorCode error = Enter(true)) return error;
  graph->native = new GraphState{std::move(works)};
  return kSuccess;
}

ErrorCode EmulatedRuntime::Launch(Graph graph, Stream stream) {
  if (const ErrorCode error = Enter(false)) return error;
  for (const Work& work : static_cast<GraphState*>(graph.native)->works) {
    if (const ErrorCode error = Enqueue(stream, work)) return error;
  }
  return kSuccess;
}

ErrorCode EmulatedRuntime::DestroyGraph(Graph graph) {
  delete static_cast<GraphState*>(graph.native);
  return kSuccess;
}

// ---- Errors.

std::string EmulatedRuntime::Describe(ErrorCode code) const {
  std::lock_guard lock(mutex_);
  const auto found = details_.find(code);
  return std::string(NameOf(code)) + (found == details_.end() ? "" : ": " + found->second);
}

void EmulatedRuntime::InjectError(ErrorCode code, int calls) {
  std::lock_guard lock(mutex_);
  injected_code_ = code;
  injected_calls_ = calls;
}

ErrorCode EmulatedRuntime::TakeInjectedError() {
  std::lock_guard lock(mutex_);
  return injected_calls_ >= 0 && injected_calls_-- == 0 ? injected_code_ : kSuccess;
}

// ---- Work that is launched.

ErrorCode EnqueueOnHost(Stream stream, std::function<void()> work) {
  auto* state = static_cast<EmulatedRuntime::StreamState*>(stream.native);
  if (state == nullptr) return kInvalidHandle;
  if (const ErrorCode error = state->runtime->Enter(true)) return error;
  return state->runtime->Enqueue(stream, {[work = std::move(work)] {
                                   work();
                                   return kSuccess;
                                 }});
}

ErrorCode LaunchKernel(Stream stream, const LaunchShape& shape, std::function<void()> body) {
  auto* state = static_cast<EmulatedRuntime::StreamState*>(stream.native);
  if (state == nullptr) return kInvalidHandle;
  EmulatedRuntime* runtime = state->runtime;
  if (const ErrorCode error = runtime->Enter(true)) return error;
  if (const ErrorCode error = runtime->CheckLaunch(shape)) return error;
  if (shape.dependent) return runtime->Enqueue(stream, runtime->EarlyWork(shape, std::move(body)));
  return runtime->Enqueue(
      stream, {[runtime, shape, body = std::move(body)] { return runtime->RunKernel(shape, body); }});
}

}  // namespace ropeway::cuda::emulation
