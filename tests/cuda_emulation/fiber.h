// Stacks that take turns on an OS thread; each device thread of a block has one.
//
// Told to AddressSanitizer and ThreadSanitizer, each of which must know which stack runs. Not thread-safe:
// fibers that switch to each other belong to one OS thread at a time.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_FIBER_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_FIBER_H_

#include <cstddef>

// Defined by the build, for each sanitizer. The emulator itself is compiled without -fsanitize=thread, since
// its fibers share its state by taking turns, and speaks to ThreadSanitizer by hand.
#if !defined(ROPEWAY_EMULATION_ASAN)
#define ROPEWAY_EMULATION_ASAN 0
#endif
#if !defined(ROPEWAY_EMULATION_TSAN)
#define ROPEWAY_EMULATION_TSAN 0
#endif

namespace ropeway::cuda::emulation {

class Fiber {
 public:
  Fiber() = default;
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Makes this object stand for the stack of the calling OS thread.
  void AdoptThread();

  // Makes the fiber begin at `entry` when it is switched to next, whatever it was doing before. `entry` calls
  // Entered() first and never returns.
  void Restart(void (*entry)());
  static void Entered();

  // From the running fiber to another. `synchronizes`: for ThreadSanitizer, whether what was written before
  // is seen there; a switch between device threads is no synchronisation.
  static void Switch(Fiber& from, Fiber& to, bool synchronizes);

  // For ThreadSanitizer: what `other`, a fiber that is not resumed, has done happened before what `running`
  // does next.
  static void OrderBefore(Fiber& other, Fiber& running);

 private:
  void* stack_pointer_ = nullptr;
  char* stack_ = nullptr;
  size_t stack_bytes_ = 0;
  bool owns_stack_ = false;
  [[maybe_unused]] void* fake_stack_ = nullptr;       // AddressSanitizer's
  [[maybe_unused]] void* sanitizer_fiber_ = nullptr;  // ThreadSanitizer's
};

// For ThreadSanitizer; nothing otherwise. What was done before a release of `address` is seen after an
// acquire of it.
void SanitizerRelease(void* address);
void SanitizerAcquire(void* address);
// An access of 16 or 8 bytes by the running fiber, made for it by the emulator.
void SanitizerRead16(const void* address);
void SanitizerWrite16(void* address);
void SanitizerRead8(const void* address);
void SanitizerWrite8(void* address);

// For AddressSanitizer; nothing otherwise.
void ForbidAccess(void* memory, size_t bytes);
void AllowAccess(void* memory, size_t bytes);

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_FIBER_H_
