#include "engine/base/wait_word.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace ropeway {
namespace {

// The kernel looks at the four bytes of the atomic.
static_assert(sizeof(std::atomic<uint32_t>) == 4 && std::atomic<uint32_t>::is_always_lock_free);

void SleepWhile(std::atomic<uint32_t>& word, uint32_t value) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void WakeAll(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

void WaitWord::Set(uint32_t value) {
  value_.store(value, std::memory_order_seq_cst);
  WakeSleepers();
}

void WaitWord::Add(uint32_t count) {
  value_.fetch_add(count, std::memory_order_seq_cst);
  WakeSleepers();
}

// Either the sleeper sees the new value before it sleeps, or its count is seen here: both sides write one and
// then read the other, in the one order that all agree on.
void WaitWord::WakeSleepers() {
  if (sleepers_.load(std::memory_order_seq_cst) > 0) WakeAll(value_);
}

void WaitWord::Await(absl::FunctionRef<bool(uint32_t)> reached, SpinBudget& budget) {
  for (int i = budget.spins(); i > 0; --i) {
    if (reached(Load())) {
      budget.OnSpinningHelped();
      return;
    }
    Pause();
  }
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  for (uint32_t value; !reached(value = value_.load(std::memory_order_seq_cst));) SleepWhile(value_, value);
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  budget.OnSlept();
}

}  // namespace ropeway
