#include "engine/base/thread_pool.h"

#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/machine.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

// Looks at the end of a phase before a member that is done with its own share helps others. Members of a team
// that is left alone end within this time of each other, and to take a piece from one of them costs both a
// miss in the cache.
constexpr int kLooksBeforeHelping = 24;

constexpr uint64_t Pack(uint32_t phase, uint64_t count) { return uint64_t{phase} << 32 | count; }
constexpr uint32_t PhaseOf(uint64_t word) { return static_cast<uint32_t>(word >> 32); }
constexpr int64_t CountOf(uint64_t word) { return static_cast<int64_t>(word & 0xFFFFFFFF); }

}  // namespace

PhaseBoard::PhaseBoard(int members) : claims_(std::make_unique<Claims[]>(members)) {}

int64_t PhaseBoard::Claim(int member, uint32_t phase, int64_t share) {
  std::atomic<uint64_t>& word = claims_[member].word;
  uint64_t seen = word.load(std::memory_order_acquire);
  for (;;) {
    const auto ahead = static_cast<int32_t>(PhaseOf(seen) - phase);
    const int64_t claimed = ahead < 0 ? 0 : CountOf(seen);
    if (ahead > 0 || claimed >= share) return -1;
    if (word.compare_exchange_weak(seen, Pack(phase, claimed + 1), std::memory_order_acq_rel,
                                   std::memory_order_acquire))
      return claimed;
  }
}

void PhaseBoard::AddDone(uint32_t phase, int64_t pieces, int64_t all) {
  uint64_t seen = done_.load(std::memory_order_relaxed);
  int64_t done;
  do {
    done = pieces + (PhaseOf(seen) == phase ? CountOf(seen) : 0);
  } while (!done_.compare_exchange_weak(seen, Pack(phase, done), std::memory_order_acq_rel,
                                        std::memory_order_relaxed));
  if (done == all) over_.Set(phase);
}

void PhaseBoard::AwaitEndOf(uint32_t phase, SpinBudget& budget) {
  over_.Await([phase](uint32_t now) { return Reached(now, phase); }, budget);
}

void Team::ForEach(int64_t count, absl::FunctionRef<void(int64_t)> body) {
  if (count <= 0) return;
  ++phase_;
  if (delay_) delay_(index_);
  if (const int64_t done = WorkOff(index_, count, body); done > 0) board_.AddDone(phase_, done, count);
  for (int i = 0; i < kLooksBeforeHelping && size_ > 1; ++i) {
    if (board_.IsOver(phase_)) return;
    Pause();
  }
  for (int i = 1; i < size_ && !board_.IsOver(phase_); ++i)
    if (const int64_t done = WorkOff((index_ + i) % size_, count, body); done > 0)
      board_.AddDone(phase_, done, count);
  board_.AwaitEndOf(phase_, budget_);
}

int64_t Team::WorkOff(int member, int64_t count, absl::FunctionRef<void(int64_t)> body) {
  const int64_t first = count * member / size_, share = count * (member + 1) / size_ - first;
  int64_t done = 0;
  for (int64_t piece; (piece = board_.Claim(member, phase_, share)) >= 0; ++done) {
    if (delay_) delay_(index_);
    body(first + piece);
  }
  return done;
}

absl::StatusOr<std::unique_ptr<ThreadPool>> ThreadPool::Make(const ThreadPoolOptions& options) {
  ROPEWAY_CHECK(options.threads >= 1);
  std::unique_ptr<ThreadPool> pool(new ThreadPool(options));
  RETURN_IF_ERROR(pool->Start());
  return pool;
}

ThreadPool::ThreadPool(const ThreadPoolOptions& options)
    : size_(options.threads),
      delay_(options.delay),
      board_(options.threads),
      workers_(std::make_unique<Worker[]>(options.threads)) {}

absl::Status ThreadPool::Start() {
  for (int i = 1; i < size_; ++i) {
    try {
      workers_[i].thread = std::thread([this, i] { Work(i); });
    } catch (const std::system_error& error) {
      return absl::ResourceExhaustedError(absl::StrCat("cannot start thread ", i + 1, " of ", size_,
                                                       " that compute: ", error.code().message()));
    }
  }
  return absl::OkStatus();
}

ThreadPool::~ThreadPool() {
  for (int i = 1; i < size_; ++i) workers_[i].state.store(kDismissed, std::memory_order_relaxed);
  runs_.Set(runs_.Load() + 1);
  for (int i = 1; i < size_; ++i)
    if (workers_[i].thread.joinable()) workers_[i].thread.join();
}

void ThreadPool::Run(absl::FunctionRef<void(Team&)> body, Attendance attendance) {
  body_ = &body;
  const uint32_t finished = finished_.Load();
  for (int i = 1; i < size_; ++i) workers_[i].state.store(kCalled, std::memory_order_release);
  runs_.Set(runs_.Load() + 1);
  const uint32_t last_phase = RunMember(0, budget_);
  uint32_t came = static_cast<uint32_t>(size_ - 1);
  if (attendance == Attendance::kWhoComes)
    for (int i = 1; i < size_; ++i) {
      State called = kCalled;
      if (workers_[i].state.compare_exchange_strong(called, kIdle, std::memory_order_acq_rel)) --came;
    }
  finished_.Await([&](uint32_t now) { return now - finished >= came; }, budget_);
  first_phase_ = last_phase;
}

uint32_t ThreadPool::RunMember(int index, SpinBudget& budget) {
  Team team({.index = index, .size = size_, .last_phase = first_phase_}, board_, budget, delay_);
  (*body_)(team);
  return team.phase();
}

void ThreadPool::Work(int index) {
  std::atomic<State>& state = workers_[index].state;
  SpinBudget while_idle, budget;
  for (uint32_t seen = 0;;) {
    runs_.Await([seen](uint32_t now) { return now != seen; }, while_idle);
    seen = runs_.Load();
    if (state.load(std::memory_order_relaxed) == kDismissed) return;
    State called = kCalled;
    if (!state.compare_exchange_strong(called, kRunning, std::memory_order_acq_rel)) continue;
    RunMember(index, budget);
    finished_.Add(1);
  }
}

int NumUsableProcessors() { return LookAtMachine().threads(); }

}  // namespace ropeway
