#include "tests/cuda_emulation/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if ROPEWAY_EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if ROPEWAY_EMULATION_TSAN
#include <sanitizer/tsan_interface.h>
extern "C" {
void __tsan_write16(void* address);
void __tsan_read16(void* address);
void __tsan_write8(void* address);
void __tsan_read8(void* address);
}
#endif

// Saves the registers that a call keeps, changes stacks, restores the other's.
#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.globl ropeway_switch_stack
.hidden ropeway_switch_stack
.type ropeway_switch_stack,@function
ropeway_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size ropeway_switch_stack,.-ropeway_switch_stack
)");
#else
#error "the emulation switches stacks on x86-64 only"
#endif
extern "C" void ropeway_switch_stack(void** save, void* load);

namespace ropeway::cuda::emulation {
namespace {

constexpr size_t kStackBytes = ROPEWAY_EMULATION_ASAN || ROPEWAY_EMULATION_TSAN ? 256 * 1024 : 64 * 1024;
constexpr size_t kGuardBytes = 4096;
constexpr int kSavedRegisters = 6;

char* AllocateStack() {
  void* memory = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuardBytes, PROT_NONE) != 0) {
    std::perror("cuda_emulation: the stack of a device thread");
    std::abort();
  }
  return static_cast<char*>(memory) + kGuardBytes;
}

}  // namespace

Fiber::~Fiber() {
#if ROPEWAY_EMULATION_TSAN
  if (owns_stack_) __tsan_destroy_fiber(sanitizer_fiber_);
#endif
  if (!owns_stack_) return;
  AllowAccess(stack_, kStackBytes);  // or what is mapped here next would inherit it
  munmap(stack_ - kGuardBytes, kGuardBytes + kStackBytes);
}

void Fiber::AdoptThread() {
#if ROPEWAY_EMULATION_TSAN
  sanitizer_fiber_ = __tsan_get_current_fiber();
#endif
#if ROPEWAY_EMULATION_ASAN
  pthread_attr_t attributes;
  void* stack = nullptr;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &stack, &stack_bytes_);
  pthread_attr_destroy(&attributes);
  stack_ = static_cast<char*>(stack);
#endif
}

void Fiber::Restart(void (*entry)()) {
  if (!owns_stack_) {
    stack_ = AllocateStack();
    stack_bytes_ = kStackBytes;
    owns_stack_ = true;
  } else {
    AllowAccess(stack_, kStackBytes);  // red zones of frames that were abandoned
  }
  fake_stack_ = nullptr;
#if ROPEWAY_EMULATION_TSAN
  if (sanitizer_fiber_ != nullptr) __tsan_destroy_fiber(sanitizer_fiber_);
  sanitizer_fiber_ = __tsan_create_fiber(0);
#endif
  auto* top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack_ + kStackBytes) & ~uintptr_t{15});
  *--top = nullptr;  // a return address, so that the stack is aligned as a call leaves it
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  stack_pointer_ = top;
}

void Fiber::Entered() {
#if ROPEWAY_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void Fiber::Switch(Fiber& from, Fiber& to, [[maybe_unused]] bool synchronizes) {
#if ROPEWAY_EMULATION_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.stack_, to.stack_bytes_);
#endif
#if ROPEWAY_EMULATION_TSAN
  __tsan_switch_to_fiber(to.sanitizer_fiber_, synchronizes ? 0 : __tsan_switch_to_fiber_no_sync);
#endif
  ropeway_switch_stack(&from.stack_pointer_, to.stack_pointer_);
#if ROPEWAY_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::OrderBefore([[maybe_unused]] Fiber& other, [[maybe_unused]] Fiber& running) {
#if ROPEWAY_EMULATION_TSAN
  __tsan_switch_to_fiber(other.sanitizer_fiber_, 0);
  __tsan_switch_to_fiber(running.sanitizer_fiber_, 0);
#endif
}

#if ROPEWAY_EMULATION_TSAN
void SanitizerRelease(void* address) { __tsan_release(address); }
void SanitizerAcquire(void* address) { __tsan_acquire(address); }
void SanitizerRead16(const void* address) { __tsan_read16(const_cast<void*>(address)); }
void SanitizerWrite16(void* address) { __tsan_write16(address); }
void SanitizerRead8(const void* address) { __tsan_read8(const_cast<void*>(address)); }
void SanitizerWrite8(void* address) { __tsan_write8(address); }
#else
void SanitizerRelease(void*) {}
void SanitizerAcquire(void*) {}
void SanitizerRead16(const void*) {}
void SanitizerWrite16(void*) {}
void SanitizerRead8(const void*) {}
void SanitizerWrite8(void*) {}
#endif

#if ROPEWAY_EMULATION_ASAN
void ForbidAccess(void* memory, size_t bytes) { ASAN_POISON_MEMORY_REGION(memory, bytes); }
void AllowAccess(void* memory, size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(memory, bytes); }
#else
void ForbidAccess(void*, size_t) {}
void AllowAccess(void*, size_t) {}
#endif

}  // namespace ropeway::cuda::emulation
