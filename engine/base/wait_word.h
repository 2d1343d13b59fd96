// A number that threads wait for: they spin for a moment, then sleep until it is set.
//
// Thread-safe. Sleeping is a futex and never a yield: a thread that yields to a stranger on its core gives a
// whole slice of it away for each look, while one that sleeps is owed the core when it is woken.
#ifndef ROPEWAY_ENGINE_BASE_WAIT_WORD_H_
#define ROPEWAY_ENGINE_BASE_WAIT_WORD_H_

#include <atomic>
#include <cstdint>

#include "absl/functional/function_ref.h"

namespace ropeway {

// How long a thread spins before it sleeps: long as long as that helps, short once it did not, since then
// whoever is waited for has lost its core. Of one thread.
class SpinBudget {
 public:
  int spins() const { return spins_; }
  void OnSpinningHelped() { spins_ = spins_ * 2 < kMost ? spins_ * 2 : kMost; }
  void OnSlept() { spins_ = spins_ / 4 > kFewest ? spins_ / 4 : kFewest; }

 private:
  // A pause takes 20 to 60 ns: from 1 to 3 us up to 60 to 180 us.
  static constexpr int kMost = 3000, kFewest = 50;
  int spins_ = kMost;
};

class WaitWord {
 public:
  uint32_t Load() const { return value_.load(std::memory_order_acquire); }

  // Whoever waits sees all that was written before.
  void Set(uint32_t value);
  void Add(uint32_t count);

  // Returns once `reached(value)` is true.
  void Await(absl::FunctionRef<bool(uint32_t)> reached, SpinBudget& budget);

 private:
  void WakeSleepers();

  std::atomic<uint32_t> value_ = 0;
  std::atomic<int32_t> sleepers_ = 0;
};

// Tells the processor that this thread spins.
inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_WAIT_WORD_H_
