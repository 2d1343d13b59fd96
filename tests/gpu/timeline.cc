// Where the time of a step goes: what ran on a GPU, kernel by kernel, graphs and dependent launches included, of any program
// that is started with this library:
//
//   CUDA_INJECTION64_PATH=$PWD/lib/libcuda_timeline.so ROPEWAY_TIMELINE=timeline.txt bin/engine_bench --device=cuda ...
//
// A line for each of the last launches and copies, in the order of their starts: start, duration, and by how much the end came
// behind the latest end before it, all in microseconds. The last is what a launch adds, where launches overlap.
#include <cupti.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

namespace {

constexpr size_t kBufferBytes = size_t{8} << 20;
constexpr size_t kLast = 1000;  // launches that are told of
constexpr int kNameWidth = 80;

struct Event {
  uint64_t begin_ns, end_ns;
  std::string name;
};

class Timeline {
 public:
  void Add(Event event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }

  void Write() {
    const std::lock_guard lock(mutex_);
    const char* const path = std::getenv("ROPEWAY_TIMELINE");
    std::FILE* const file = path == nullptr ? stdout : std::fopen(path, "w");
    if (file == nullptr || events_.empty()) return;
    std::sort(events_.begin(), events_.end(),
              [](const Event& a, const Event& b) { return a.begin_ns < b.begin_ns; });
    const size_t first = events_.size() - std::min(events_.size(), kLast);
    const uint64_t origin = events_[first].begin_ns;
    uint64_t latest = origin;
    const auto us = [](uint64_t from, uint64_t to) { return static_cast<double>(to - from) * 1e-3; };
    for (size_t i = first; i < events_.size(); ++i) {
      const Event& event = events_[i];
      std::fprintf(file, "%10.2f %9.2f %9.2f  %.*s\n", us(origin, event.begin_ns),
                   us(event.begin_ns, event.end_ns), us(std::min(latest, event.end_ns), event.end_ns),
                   kNameWidth, event.name.c_str());
      latest = std::max(latest, event.end_ns);
    }
    std::fflush(file);
  }

 private:
  std::mutex mutex_;
  std::vector<Event> events_;
};

// The callbacks of CUPTI have no argument that could carry it, and may come while the program ends.
Timeline& TheTimeline() {
  static auto& timeline = *new Timeline;
  return timeline;
}

std::string Readable(const char* name) {
  int status = 0;
  char* const text = abi::__cxa_demangle(name == nullptr ? "?" : name, nullptr, nullptr, &status);
  std::string readable = status == 0 ? text : name == nullptr ? "?" : name;
  std::free(text);
  for (const char* noise : {"(anonymous namespace)::", "ropeway::cuda::", "void "})
    for (size_t at = 0; (at = readable.find(noise)) != std::string::npos;)
      readable.erase(at, std::string(noise).size());
  return readable;
}

void CUPTIAPI OnBufferWanted(uint8_t** buffer, size_t* bytes, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *bytes = *buffer == nullptr ? 0 : kBufferBytes;
  *max_records = 0;
}

void CUPTIAPI OnBufferFull(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t bytes) {
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, bytes, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const auto& kernel = *reinterpret_cast<CUpti_ActivityKernel9*>(record);
      TheTimeline().Add({kernel.start, kernel.end, Readable(kernel.name)});
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const auto& copy = *reinterpret_cast<CUpti_ActivityMemcpy5*>(record);
      TheTimeline().Add({copy.start, copy.end, "copy of " + std::to_string(copy.bytes) + " bytes"});
    }
  }
  std::free(buffer);
}

void Finish() {
  cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  TheTimeline().Write();
}

}  // namespace

// What the driver calls where CUDA_INJECTION64_PATH names this library.
extern "C" int InitializeInjection() {
  if (cuptiActivityRegisterCallbacks(OnBufferWanted, OnBufferFull) != CUPTI_SUCCESS) return 0;
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY);
  std::atexit(Finish);
  return 1;
}
