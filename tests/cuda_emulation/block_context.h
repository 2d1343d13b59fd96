// What an emulated kernel calls: the state of its thread and block, barriers, warp collectives, shared
// memory.
//
// emulated_device.h gives these CUDA's names. All of it may be called only inside a kernel that an
// EmulatedRuntime executes. A rule that is broken (a divergent barrier, a lane missing from a shuffle) ends
// the launch with an error that says where.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_BLOCK_CONTEXT_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_BLOCK_CONTEXT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "engine/kernels/cuda/runtime.h"
#include "tests/cuda_emulation/emulated_types.h"

namespace ropeway::cuda::emulation {

// A line of a kernel. As a default argument it names the caller's.
struct SourceLine {
  const char* file;
  int line;
  static constexpr SourceLine Here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

struct ThreadView {
  uint3 thread_index;
  unsigned lane;
};
struct BlockView {
  uint3 block_index;
  dim3 block_dim, grid_dim;
};
// Of the device thread that this OS thread executes at the moment.
extern constinit thread_local ThreadView* current_thread;
extern constinit thread_local BlockView* current_block;

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;  // dynamic
  bool dependent = false;   // may begin before the kernel in front has ended
};
// Puts a kernel on a stream; `body` runs once per device thread. Returns at once, as a launch does.
ErrorCode LaunchKernel(Stream stream, const LaunchShape& shape, std::function<void()> body);

// The block's object for `key`, the address of a static of the declaration.
void* StaticShared(const void* key, size_t bytes, size_t alignment);
void* DynamicShared();

enum class Reduction { kAnd, kOr, kCount };
void SyncThreads(SourceLine at);
int SyncThreadsReduce(bool predicate, Reduction reduction, SourceLine at);

void SyncWarp(unsigned mask, SourceLine at);
unsigned Ballot(unsigned mask, bool predicate, SourceLine at);

// Up to 16 bytes of a lane, replaced by those of lane `source`.
struct ShuffleArgument {
  alignas(16) unsigned char value[16];
  int source;
};
void Shuffle(unsigned mask, ShuffleArgument* argument, SourceLine at);

template <class T>
T ShuffleFrom(unsigned mask, T value, int source, SourceLine at) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16);
  ShuffleArgument argument = {.value = {}, .source = source};
  std::memcpy(argument.value, &value, sizeof(T));
  Shuffle(mask, &argument, at);
  std::memcpy(&value, argument.value, sizeof(T));
  return value;
}

enum class MmaType { kBF16, kFP16 };
// Fragments of mma.sync.m16n8k16: a [4], b [2] pairs; c, d [4].
struct MmaArgument {
  MmaType type;
  float* d;
  const uint32_t* a;
  const uint32_t* b;
  const float* c;
};
void Mma16x8x16(const MmaArgument& argument, SourceLine at);
// ldmatrix.x4: lane 8 q + r names row r of matrix q.
void LoadMatrices(uint32_t* fragments, const void* row, bool transpose, SourceLine at);

// cp.async: the destination is poisoned when the copy is issued, and the copy is made when the thread waits
// for it, which is the latest that a device may.
void AsyncCopy16(void* shared, const void* global, bool predicate, SourceLine at);
void AsyncCopyCommit();
void AsyncCopyWait(int groups_in_flight);

// griddepcontrol.wait. What a thread of a dependent kernel does before it is done before the kernel in front
// runs, where that can be (EmulatedRuntime); no such thread may end without it.
void WaitForGrids(SourceLine at);

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_BLOCK_CONTEXT_H_
