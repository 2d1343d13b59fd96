// Mistakes with bulk copies, one per kernel, where kPlanted. planted_bugs_test.py says which build must notice which.
#include "engine/kernels/cuda/bulk_copy.h"
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/warpgroup.h"
#include "tests/cuda_emulation/planted_bugs.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = kBugOutputs, kWarps = kThreads / 32;

// A box, whose rows from kBugRows on are outside of the map.
using Panel = uint16_t[kBugBoxRows][kPanelColumns];
constexpr int kBoxBytes = sizeof(Panel);
static_assert(kBoxBytes % kPanelAlignment == 0 && kBugBoxRows == 2 * kBugRows);

struct Shared {
  Panel panel, more;
  PhaseBarrier filled, emptied;
};

// Shared memory of a block, where the swizzle wants it.
#define SHARED(name)                                                       \
  ROPEWAY_SHARED(memory, unsigned char[sizeof(Shared) + kPanelAlignment]); \
  auto& name = *reinterpret_cast<Shared*>(                                 \
      memory + (kPanelAlignment - SharedAddress(memory) % kPanelAlignment) % kPanelAlignment)

ROPEWAY_DEVICE int ThreadId() { return static_cast<int>(threadIdx.x); }

ROPEWAY_DEVICE void Begin(Shared& shared, int arrivals = 1, bool fenced = true) {
  if (ThreadId() == 0) {
    InitBarrier(shared.filled, arrivals);
    InitBarrier(shared.emptied, kWarps);
    if (fenced) FenceBarriers();
  }
  __syncthreads();
}

// By the first thread.
ROPEWAY_DEVICE void Fill(const TensorMap& map, Shared& shared, int bytes = kBoxBytes) {
  if (ThreadId() != 0) return;
  ArriveExpecting(shared.filled, bytes);
  CopyBox(shared.panel, map, 0, 0, 0, shared.filled);
}

ROPEWAY_DEVICE float FloatAt(const Panel& panel, int row, int column) {
  const int piece = SwizzledColumn(row, column / 8 * 8);
  return *reinterpret_cast<const float*>(&panel[row][piece + column % 8]);
}
// The thread's number of `in`, and a zero.
ROPEWAY_DEVICE float Read(const Panel& panel) {
  const int row = ThreadId() / 32, column = ThreadId() % 32 * 2;
  return FloatAt(panel, row, column) + FloatAt(panel, kBugRows + row, column);
}

using BulkKernel = void (*)(TensorMap, const float*, float*);

__global__ void InFront(const float* in, float* out) { out[threadIdx.x] = in[threadIdx.x]; }

template <BulkKernel kPlanted, BulkKernel kRight, bool kDependent>
ErrorCode LaunchBulk(bool planted, const BugArguments& arguments, Stream stream) {
  const BulkKernel kernel = planted ? kPlanted : kRight;
  if (!kDependent)
    return Launch(stream, kernel, dim3(1), dim3(kThreads), 0, arguments.map, arguments.in, arguments.out);
  if (const ErrorCode error =
          Launch(stream, InFront, dim3(1), dim3(kThreads), 0, arguments.in, arguments.out))
    return error;
  return LaunchDependent(stream, kernel, dim3(1), dim3(kThreads), 0, arguments.map, arguments.in,
                         arguments.out);
}

// The kernel in front writes what the map is of.
__global__ void Write(float* in, float factor) { in[threadIdx.x] = factor * static_cast<float>(threadIdx.x); }

template <BulkKernel kPlanted, BulkKernel kRight>
ErrorCode LaunchBehindWriter(bool planted, const BugArguments& arguments, Stream stream) {
  auto* const in = const_cast<float*>(arguments.in);
  for (const float factor : {2.0f, 1.0f})
    if (const ErrorCode error = Launch(stream, Write, dim3(1), dim3(kThreads), 0, in, factor)) return error;
  return LaunchDependent(stream, planted ? kPlanted : kRight, dim3(1), dim3(kThreads), 0, arguments.map,
                         arguments.in, arguments.out);
}

// ---- Counts.

template <bool kPlanted>
__global__ void BytesThatNeverCome(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  Fill(map, shared, kPlanted ? 2 * kBoxBytes : kBoxBytes);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

// Rows outside of the map count, too.
template <bool kPlanted>
__global__ void RowsOutsideNotCounted(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  Fill(map, shared, kPlanted ? kBoxBytes / 2 : kBoxBytes);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

template <bool kPlanted>
__global__ void ArrivesWithoutExpecting(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  if (ThreadId() == 0) {
    if (kPlanted)
      Arrive(shared.filled);
    else
      ArriveExpecting(shared.filled, kBoxBytes);
    CopyBox(shared.panel, map, 0, 0, 0, shared.filled);
  }
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

template <bool kPlanted>
__global__ void OneArrivalTooMany(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  Fill(map, shared);
  if (kPlanted && ThreadId() == 32) Arrive(shared.filled);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

template <bool kPlanted>
__global__ void OneArrivalTooFew(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared, kPlanted ? 2 : 1);
  Fill(map, shared);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

// ---- Phases.

// The phase before the first is over from the beginning.
template <bool kPlanted>
__global__ void WaitsForTheOtherParity(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  Fill(map, shared);
  WaitForPhase(shared.filled, kPlanted ? 1 : 0);
  out[ThreadId()] = Read(shared.panel);
}

template <bool kPlanted>
__global__ void OneWarpAwaits(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  Fill(map, shared);
  if (!kPlanted || ThreadId() < 32) WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

// Twice, and the mean.
ROPEWAY_DEVICE void ReadAndEmpty(Shared& shared, unsigned parity, float* out) {
  WaitForPhase(shared.filled, parity);
  out[ThreadId()] += Read(shared.panel) / 2;
  __syncwarp();
  if (ThreadId() % 32 == 0) Arrive(shared.emptied);
}
template <bool kPlanted>
__global__ void FilledBeforeAllHaveRead(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  Fill(map, shared);
  ReadAndEmpty(shared, 0, out);
  if (!kPlanted && ThreadId() == 0) WaitForPhase(shared.emptied, 0);
  Fill(map, shared);
  ReadAndEmpty(shared, 1, out);
}

// Lanes may still read when the first one says that the warp has.
template <bool kPlanted>
__global__ void EmptiedBeforeTheWarpHasRead(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  Fill(map, shared);
  for (unsigned parity = 0; parity < 2; ++parity) {
    WaitForPhase(shared.filled, parity);
    out[ThreadId()] += Read(shared.panel) / 2;
    if (!kPlanted) __syncwarp();
    if (ThreadId() % 32 == 0) Arrive(shared.emptied);
    if (parity == 1) break;
    if (ThreadId() == 0) WaitForPhase(shared.emptied, 0);
    Fill(map, shared);
  }
}

template <bool kPlanted>
__global__ void EndsWithBulkCopyUnderWay(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  Fill(map, shared);
  if (!kPlanted) WaitForPhase(shared.filled, 0);
  out[ThreadId()] = static_cast<float>(ThreadId());
}

// ---- Places and fences.

template <bool kPlanted>
__global__ void BoxWithinTheSwizzle(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  const auto& panel = *reinterpret_cast<const Panel*>(&shared.panel[kPlanted ? 1 : 0]);
  if (ThreadId() == 0) {
    ArriveExpecting(shared.filled, kBoxBytes);
    CopyBox(const_cast<Panel&>(panel), map, 0, 0, 0, shared.filled);
  }
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(panel);
}

template <bool kPlanted>
__global__ void BarriersWithoutFence(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared, 1, !kPlanted);
  Fill(map, shared);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

template <bool kPlanted>
__global__ void BarrierInitialisedTwice(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  if (kPlanted && ThreadId() == 1) InitBarrier(shared.filled, 1);
  Begin(shared);
  Fill(map, shared);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

// Accesses of threads and bulk copies to one place need a fence between them.
template <bool kPlanted>
__global__ void BulkCopyOverCpAsync(const __grid_constant__ TensorMap map, const float* in, float* out) {
  SHARED(shared);
  Begin(shared);
  if (ThreadId() == 0) {
    CpAsync16(shared.panel, in);
    CpAsyncCommit();
    CpAsyncWait<0>();
    if (!kPlanted) FenceAsyncProxy();
  }
  Fill(map, shared);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

template <bool kPlanted>
__global__ void NoTensorMap(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  const TensorMap other;
  Fill(kPlanted ? other : map, shared);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

// ---- Behind another kernel.

// What the kernel in front writes is copied before it has.
template <bool kPlanted>
__global__ void BoxBeforeGridWait(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  if (kPlanted) Fill(map, shared);
  GridDependencyWait();
  FenceGlobalForBulkCopies();
  if (!kPlanted) Fill(map, shared);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

template <bool kPlanted>
__global__ void GlobalWithoutFence(const __grid_constant__ TensorMap map, const float*, float* out) {
  SHARED(shared);
  Begin(shared);
  GridDependencyWait();
  if (!kPlanted) FenceGlobalForBulkCopies();
  Fill(map, shared);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = Read(shared.panel);
}

// ---- Runs.

struct RunShared {
  alignas(16) float numbers[kBugOutputs];
  PhaseBarrier filled;
};

// By one lane, which is elected where the others are there too. Some bytes are expected beforehand.
ROPEWAY_DEVICE void StartRun(const float* in, RunShared& shared, int bytes, int late_bytes) {
  if (ThreadId() >= 32 || !IsElected()) return;
  ExpectBytes(shared.filled, sizeof(shared.numbers) - 256);
  CopyRun(shared.numbers, in, bytes, shared.filled);
  ArriveExpecting(shared.filled, late_bytes);
}
ROPEWAY_DEVICE void BeginRun(RunShared& shared) {
  if (ThreadId() == 0) {
    InitBarrier(shared.filled, 1);
    FenceBarriers();
  }
  __syncthreads();
}

template <bool kPlanted>
__global__ void RunOfOddBytes(const __grid_constant__ TensorMap, const float* in, float* out) {
  ROPEWAY_SHARED(shared, RunShared);
  BeginRun(shared);
  StartRun(in, shared, kPlanted ? 504 : 512, 256);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = shared.numbers[ThreadId()];
}

template <bool kPlanted>
__global__ void RunExpectsTooFewBytes(const __grid_constant__ TensorMap, const float* in, float* out) {
  ROPEWAY_SHARED(shared, RunShared);
  BeginRun(shared);
  StartRun(in, shared, 512, kPlanted ? 0 : 256);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = shared.numbers[ThreadId()];
}

template <bool kPlanted>
__global__ void RunReadUnderWay(const __grid_constant__ TensorMap, const float* in, float* out) {
  ROPEWAY_SHARED(shared, RunShared);
  BeginRun(shared);
  StartRun(in, shared, 512, 256);
  if (!kPlanted) WaitForPhase(shared.filled, 0);
  out[ThreadId()] = shared.numbers[ThreadId()];
  if (kPlanted) WaitForPhase(shared.filled, 0);
}

// What the kernel in front writes is copied before it has.
template <bool kPlanted>
__global__ void RunBeforeGridWait(const __grid_constant__ TensorMap, const float*, float* out) {
  ROPEWAY_SHARED(shared, RunShared);
  BeginRun(shared);
  if (kPlanted) StartRun(out, shared, 512, 256);
  GridDependencyWait();
  FenceGlobalForBulkCopies();
  if (!kPlanted) StartRun(out, shared, 512, 256);
  WaitForPhase(shared.filled, 0);
  out[ThreadId()] = shared.numbers[ThreadId()];
}

constexpr float Numbers(int i) { return static_cast<float>(i); }

// clang-format off
#define BUG(kernel, dependent) {#kernel, LaunchBulk<kernel<true>, kernel<false>, dependent>, Numbers}
constexpr PlantedBug kBugs[] = {
    BUG(BytesThatNeverCome, false),
    BUG(RowsOutsideNotCounted, false),
    BUG(ArrivesWithoutExpecting, false),
    BUG(OneArrivalTooMany, false),
    BUG(OneArrivalTooFew, false),
    BUG(WaitsForTheOtherParity, false),
    BUG(OneWarpAwaits, false),
    BUG(FilledBeforeAllHaveRead, false),
    BUG(EmptiedBeforeTheWarpHasRead, false),
    BUG(EndsWithBulkCopyUnderWay, false),
    BUG(BoxWithinTheSwizzle, false),
    BUG(BarriersWithoutFence, false),
    BUG(BarrierInitialisedTwice, false),
    BUG(BulkCopyOverCpAsync, false),
    BUG(NoTensorMap, false),
    {"BoxBeforeGridWait", LaunchBehindWriter<BoxBeforeGridWait<true>, BoxBeforeGridWait<false>>, Numbers},
    BUG(GlobalWithoutFence, true),
    BUG(RunOfOddBytes, false),
    BUG(RunExpectsTooFewBytes, false),
    BUG(RunReadUnderWay, false),
    BUG(RunBeforeGridWait, true),
};
#undef BUG
// clang-format on

}  // namespace

std::span<const PlantedBug> PlantedBulkBugs() { return kBugs; }

}  // namespace ropeway::cuda
