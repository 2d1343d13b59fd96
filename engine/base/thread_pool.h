// Threads that do work together, phase after phase.
//
// A phase is a number of pieces. Each member begins with its own share of them and then helps those that are
// behind, so that a member that lost its core to somebody else holds up the others for the piece it is at and
// no longer; one that does not come at all is done without. What a piece computes does not depend on who
// computes it.
//
// One thread at a time calls Run and takes part as member 0. Between runs the workers spin for a moment,
// since the next step usually follows at once, then sleep, so that an idle server costs nothing.
#ifndef ROPEWAY_ENGINE_BASE_THREAD_POOL_H_
#define ROPEWAY_ENGINE_BASE_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "engine/base/wait_word.h"

namespace ropeway {

// The state of the phase that a team is at. A phase has a number, one more than that of the one before.
class PhaseBoard {
 public:
  explicit PhaseBoard(int members);

  // Claims a piece of the `share` pieces of `member` in `phase`: its number in the share, or -1 where all are
  // claimed or the phase is over.
  int64_t Claim(int member, uint32_t phase, int64_t share);

  // `pieces` more of the `all` pieces of `phase` are done.
  void AddDone(uint32_t phase, int64_t pieces, int64_t all);

  bool IsOver(uint32_t phase) const { return Reached(over_.Load(), phase); }
  void AwaitEndOf(uint32_t phase, SpinBudget& budget);

 private:
  // Numbers of phases wrap around.
  static bool Reached(uint32_t now, uint32_t phase) { return static_cast<int32_t>(now - phase) >= 0; }

  struct alignas(64) Claims {
    std::atomic<uint64_t> word = 0;  // the phase, and how many pieces of the member's share are claimed in it
  };
  const std::unique_ptr<Claims[]> claims_;      // [members]
  alignas(64) std::atomic<uint64_t> done_ = 0;  // the phase, and how many of its pieces are done
  alignas(64) WaitWord over_;                   // the last phase that is over
};

// What a member of the team knows inside Run.
class Team {
 public:
  struct Place {
    int index = 0, size = 1;
    uint32_t last_phase = 0;  // of the run before
  };
  // `delay` is that of ThreadPoolOptions. All that is referred to outlives the team.
  Team(const Place& place, PhaseBoard& board, SpinBudget& budget, const std::function<void(int)>& delay)
      : index_(place.index),
        size_(place.size),
        phase_(place.last_phase),
        board_(board),
        budget_(budget),
        delay_(delay) {}
  int index() const { return index_; }
  int size() const { return size_; }
  uint32_t phase() const { return phase_; }  // the last one that was begun

  // One phase: body(piece) once for each piece of [0, count), by some member. Returns when all are done; what
  // any of them wrote, all see. A member's own pieces, count * index / size and following, come first and in
  // order.
  //
  // All members make the same calls in the same order. One that is late may find that others have done all of
  // this phase and of those after it: outside of `body` it may touch only what is its own, or never changes.
  void ForEach(int64_t count, absl::FunctionRef<void(int64_t piece)> body);

 private:
  // Works off what is left of the share of `member`; returns how many pieces that were.
  int64_t WorkOff(int member, int64_t count, absl::FunctionRef<void(int64_t)> body);

  const int index_, size_;
  uint32_t phase_;
  PhaseBoard& board_;
  SpinBudget& budget_;
  const std::function<void(int)>& delay_;
};

struct ThreadPoolOptions {
  int threads = 1;  // >= 1
  // Called by a member before each piece and on its way from phase to phase, in tests that hold members up.
  std::function<void(int member)> delay;
};

class ThreadPool {
 public:
  // RESOURCE_EXHAUSTED where the system does not give so many threads. REQUIRES: threads >= 1.
  static absl::StatusOr<std::unique_ptr<ThreadPool>> Make(const ThreadPoolOptions& options);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Runs body once on each member and returns when all are done.
  void Run(absl::FunctionRef<void(Team&)> body) { Run(body, Attendance::kAll); }

  // Runs a body that is phases alone. Returns when all phases are over and nobody runs the body any more:
  // members that have not begun by then do not.
  void RunPhases(absl::FunctionRef<void(Team&)> body) { Run(body, Attendance::kWhoComes); }

 private:
  enum class Attendance { kAll, kWhoComes };

  // What a worker is asked, and answers.
  enum State : uint32_t { kIdle, kCalled, kRunning, kDismissed };
  struct alignas(64) Worker {
    std::atomic<State> state = kIdle;
    std::thread thread;
  };

  explicit ThreadPool(const ThreadPoolOptions& options);
  absl::Status Start();
  void Run(absl::FunctionRef<void(Team&)> body, Attendance attendance);
  void Work(int index);
  uint32_t RunMember(int index, SpinBudget& budget);

  const int size_;
  const std::function<void(int)> delay_;
  PhaseBoard board_;
  const std::unique_ptr<Worker[]> workers_;  // [size], the first one unused
  SpinBudget budget_;                        // of the caller

  // Written by Run before workers are called.
  const absl::FunctionRef<void(Team&)>* body_ = nullptr;
  uint32_t first_phase_ = 0;  // the last phase of the run before

  alignas(64) WaitWord runs_;      // counts runs; workers wait for it
  alignas(64) WaitWord finished_;  // counts workers that came to the end of a body; the caller waits for it
};

// How many threads compute best on what of the machine this process may use (machine.h), at least 1.
int NumUsableProcessors();

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_THREAD_POOL_H_
