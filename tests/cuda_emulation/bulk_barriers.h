// The barriers with phases of one block, and the bulk copies that they wait for.
//
// Plain arrays, like all that fibers share (block_executor.h).
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_BULK_BARRIERS_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_BULK_BARRIERS_H_

#include <cstdint>

#include "tests/cuda_emulation/tensor_maps.h"

namespace ropeway::cuda::emulation {

inline constexpr int kMaxBlockThreads = 1024;

// Of a box, or of a run.
struct BulkCopy {
  char* to;
  int64_t bytes;
  // Of a box.
  TensorMapLayout from;
  int at[3];  // where the box begins: column, row, plane
  // Of a run: where it lies; null of a box.
  const char* run;
};

// Phases are counted from 0; those before `phase` are over.
struct BulkBarrier {
  static constexpr int kMaxCopies = 64;

  const void* memory;
  int initialiser;  // the thread
  bool fenced;
  int arrivals;  // of each phase
  unsigned phase;
  // Of the phase under way.
  int missing;               // arrivals
  int64_t expected, coming;  // bytes
  BulkCopy copies[kMaxCopies];
  int num_copies;
  uint16_t waiting[kMaxBlockThreads];
  int num_waiting;
  char syncs[2];  // addresses for ThreadSanitizer, by the phase's parity

  bool CanEnd() const { return missing == 0 && coming == expected; }
  void BeginPhase() {
    missing = arrivals;
    expected = coming = 0;
    num_copies = num_waiting = 0;
  }
};

struct BulkBarriers {
  static constexpr int kMaxBarriers = 32;
  static constexpr int64_t kMaxEarlyBytes = 256 << 10;

  BulkBarrier barriers[kMaxBarriers];
  int count = 0;
  // What was there before the kernel in front ran, where it is copied before it has.
  alignas(16) char early[kMaxEarlyBytes];
  int64_t early_bytes = 0;

  void Clear() { count = 0, early_bytes = 0; }

  BulkBarrier* Find(const void* memory) {
    for (int i = 0; i < count; ++i)
      if (barriers[i].memory == memory) return &barriers[i];
    return nullptr;
  }
  bool HasCopies() const {
    for (int i = 0; i < count; ++i)
      if (barriers[i].num_copies > 0) return true;
    return false;
  }
};

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_BULK_BARRIERS_H_
