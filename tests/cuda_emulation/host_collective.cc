#include "tests/cuda_emulation/host_collective.h"

#include <condition_variable>
#include <cstring>
#include <mutex>

#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_elements.h"

namespace ropeway::cuda::emulation {
namespace {

// Where the ranks meet.
class Meeting {
 public:
  explicit Meeting(int size) : parts_(size) {}

  // Waits until all ranks have come with their values, lets each call `use` on all of them, and waits until
  // all have. Without effect after Abort.
  template <typename Use>
  void Meet(int rank, const void* values, int64_t bytes, const Use& use) {
    std::unique_lock lock(mutex_);
    const auto* from = static_cast<const uint8_t*>(values);
    parts_[rank].assign(from, from + bytes);
    if (!Wait(lock)) return;
    use(parts_);
    Wait(lock);
  }

  void Abort() {
    std::lock_guard lock(mutex_);
    aborted_ = true;
    all_.notify_all();
  }

 private:
  bool Wait(std::unique_lock<std::mutex>& lock) {
    const uint64_t round = round_;
    if (++arrived_ == parts_.size()) {
      arrived_ = 0;
      ++round_;
      all_.notify_all();
    } else {
      all_.wait(lock, [&] { return round_ != round || aborted_; });
    }
    return !aborted_;
  }

  std::mutex mutex_;
  std::condition_variable all_;
  std::vector<std::vector<uint8_t>> parts_;
  size_t arrived_ = 0;
  uint64_t round_ = 0;
  bool aborted_ = false;
};

class HostCollective final : public Collective {
 public:
  HostCollective(int rank, std::shared_ptr<Meeting> meeting) : rank_(rank), meeting_(std::move(meeting)) {}

  ErrorCode AllReduce(void* values, int64_t count, Element element, Stream stream) override {
    return EnqueueOnHost(stream, [=, this] {
      meeting_->Meet(rank_, values, count * BytesOf(element), [&](const auto& parts) {
        for (int64_t i = 0; i < count; ++i) {
          float sum = 0;
          for (const auto& part : parts) sum += LoadElement(element, part.data(), i);
          StoreElement(element, values, i, sum);
        }
      });
    });
  }

  ErrorCode Broadcast(int32_t* values, int64_t count, Stream stream) override {
    return EnqueueOnHost(stream, [=, this] {
      const int64_t bytes = count * static_cast<int64_t>(sizeof(int32_t));
      meeting_->Meet(rank_, values, bytes, [&](const auto& parts) {
        if (rank_ != 0) std::memcpy(values, parts[0].data(), static_cast<size_t>(bytes));
      });
    });
  }

  void Abort() override { meeting_->Abort(); }

 private:
  const int rank_;
  const std::shared_ptr<Meeting> meeting_;
};

}  // namespace

std::vector<std::unique_ptr<Collective>> MakeHostCollectives(int size) {
  const auto meeting = std::make_shared<Meeting>(size);
  std::vector<std::unique_ptr<Collective>> collectives;
  for (int rank = 0; rank < size; ++rank)
    collectives.push_back(std::make_unique<HostCollective>(rank, meeting));
  return collectives;
}

}  // namespace ropeway::cuda::emulation
