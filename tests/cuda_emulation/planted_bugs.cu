// One mistake per kernel, where kPlanted. planted_bugs_test.py says which build must notice which.
#include "engine/kernels/cuda/device.h"
#include "tests/cuda_emulation/planted_bugs.cuh"

namespace ropeway::cuda {
namespace {

ROPEWAY_DEVICE int ThreadId() { return static_cast<int>(threadIdx.x); }

// BlockSum of four warps, with either of its barriers.
template <bool kBefore, bool kBetween>
ROPEWAY_DEVICE float SumOfFourWarps(float value) {
  ROPEWAY_SHARED(parts, float[4]);
  const int lane = ThreadId() % 32;
  value = WarpSum(value);
  if (kBefore) __syncthreads();
  if (lane == 0) parts[ThreadId() / 32] = value;
  if (kBetween) __syncthreads();
  return WarpSum(lane < 4 ? parts[lane] : 0.0f);
}

// Partial sums are read before all are written.
template <bool kPlanted>
__global__ void SumWithoutBarrier(const float*, float* out) {
  out[threadIdx.x] = SumOfFourWarps<true, !kPlanted>(1);
}

// A second sum overwrites the parts of the first while they are read.
template <bool kPlanted>
__global__ void SumsBackToBack(const float*, float* out) {
  const float a = SumOfFourWarps<!kPlanted, true>(1), b = SumOfFourWarps<!kPlanted, true>(2);
  out[threadIdx.x] = a + 10 * b;
}

// Each warp leaves a result; one thread merges them, as split attention does.
template <bool kPlanted>
__global__ void MergeWithoutBarrier(const float*, float* out) {
  ROPEWAY_SHARED(results, float[4][32]);
  results[threadIdx.x / 32][threadIdx.x % 32] = 1;
  if (!kPlanted) __syncthreads();
  if (threadIdx.x < 32) {
    float sum = 0;
    for (int w = 0; w < 4; ++w) sum += results[w][threadIdx.x];
    out[threadIdx.x] = sum;
  }
}

// In-order execution hides it: only threads with lower numbers are read.
template <bool kPlanted>
__global__ void LowerNeighbour(const float*, float* out) {
  ROPEWAY_SHARED(values, float[128]);
  const int t = ThreadId();
  values[t] = static_cast<float>(t);
  if (!kPlanted) __syncthreads();
  out[t] = t > 0 ? values[t - 1] : 0;
}

// A reduction that trusts the lanes of a warp to move in step.
template <bool kPlanted>
__global__ void WarpInStep(const float*, float* out) {
  ROPEWAY_SHARED(values, float[64]);
  const int t = ThreadId();
  values[t] = 1;
  values[t + 32] = 0;
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    if (!kPlanted) __syncwarp();
    const float other = values[t + lanes];
    if (!kPlanted) __syncwarp();
    values[t] += other;
  }
  if (t == 0) out[0] = values[0];
}

// Tiles of `in` through two buffers. Without the last barrier a fast thread's next copy overwrites what a
// slow one still reads; without the wait the tile has not arrived.
template <bool kWait, bool kBarrier>
ROPEWAY_DEVICE void CopyTiles(const float* in, float* out) {
  ROPEWAY_SHARED(tiles, float[2][64 * 4]);
  const int t = ThreadId(), other = (t + 32) % 64;
  float sum = 0;
  CpAsync16(&tiles[0][t * 4], in + t % 32 * 4);
  CpAsyncCommit();
  for (int tile = 0; tile < 4; ++tile) {
    CpAsync16(&tiles[(tile + 1) % 2][t * 4], in + t % 32 * 4, tile < 3);
    CpAsyncCommit();
    if (kWait) CpAsyncWait<1>();
    __syncthreads();
    sum += tiles[tile % 2][other * 4];
    if (kBarrier) __syncthreads();
  }
  if (kWait) CpAsyncWait<0>();
  out[t] = sum;
}
template <bool kPlanted>
__global__ void CopyWithoutWait(const float* in, float* out) {
  CopyTiles<!kPlanted, true>(in, out);
}
template <bool kPlanted>
__global__ void BufferReusedEarly(const float* in, float* out) {
  CopyTiles<true, !kPlanted>(in, out);
}

template <bool kPlanted>
__global__ void DivergentBarrier(const float*, float* out) {
  if (kPlanted && threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}

// Some threads never come.
template <bool kPlanted>
__global__ void PartialBarrier(const float*, float* out) {
  if (!kPlanted || threadIdx.x < 32) __syncthreads();
  out[threadIdx.x] = 1;
}

template <bool kPlanted>
__global__ void ReturnBeforeBarrier(const float*, float* out) {
  if (kPlanted && threadIdx.x >= 100) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

template <bool kPlanted>
__global__ void ShuffleWithEndedLanes(const float*, float* out) {
  if (threadIdx.x >= 16) return;
  out[threadIdx.x] = __shfl_sync(kPlanted ? kFullWarp : 0xFFFF, 1.0f, 0);
}

template <bool kPlanted>
__global__ void DivergentShuffle(const float*, float* out) {
  float value = 1;
  if (threadIdx.x < 16) value = __shfl_sync(kPlanted ? kFullWarp : 0xFFFF, value, 0);
  out[threadIdx.x] = value;
}

template <bool kPlanted>
__global__ void LaneOutsideItsMask(const float*, float* out) {
  out[threadIdx.x] = __shfl_sync(kPlanted ? 0xFFFF : kFullWarp, 1.0f, 0);
}

template <bool kPlanted>
__global__ void MisalignedVector(const float*, float* out) {
  auto* vectors = reinterpret_cast<float4*>(out + kPlanted);
  vectors[threadIdx.x] = make_float4(1, 1, 1, 1);
}

template <bool kPlanted>
__global__ void MisalignedMatrixRow(const float*, float* out) {
  ROPEWAY_SHARED(tile, uint16_t[512]);
  for (int i = ThreadId(); i < 512; i += 32) tile[i] = 0;
  __syncthreads();
  uint32_t fragments[4];
  LoadMatrixX4(fragments, tile + threadIdx.x * 8 + kPlanted);
  out[threadIdx.x] = static_cast<float>(fragments[0]);
}

template <bool kPlanted>
__global__ void UninitialisedShared(const float*, float* out) {
  ROPEWAY_SHARED(values, float[32]);
  if (!kPlanted || threadIdx.x < 31) values[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = values[31 - threadIdx.x];
}

// What the block before left there is gone.
template <bool kPlanted>
__global__ void SharedOfAnotherBlock(const float*, float* out) {
  ROPEWAY_SHARED(value, float);
  if (threadIdx.x == 0 && (!kPlanted || blockIdx.x == 0)) value = 1;
  __syncthreads();
  out[blockIdx.x * 32 + threadIdx.x] = value;
}

template <bool kPlanted>
__global__ void GlobalReadPastTheEnd(const float* in, float* out) {
  out[threadIdx.x] = in[threadIdx.x + kPlanted] * 0;
}

template <bool kPlanted>
__global__ void GlobalWritePastTheEnd(const float*, float* out) {
  out[threadIdx.x + kPlanted] = 0;
}

template <bool kPlanted>
__global__ void StaticSharedPastTheEnd(const float*, float* out) {
  ROPEWAY_SHARED(rows, float[32][2]);
  volatile int columns = kPlanted ? 3 : 2;  // not known to the compiler
  for (int c = 0; c < columns; ++c) rows[threadIdx.x][c] = 1;
  __syncthreads();
  out[threadIdx.x] = rows[threadIdx.x][0];
}

template <bool kPlanted>
__global__ void DynamicSharedPastTheEnd(const float*, float* out) {
  ROPEWAY_DYNAMIC_SHARED(float, values);
  values[threadIdx.x + kPlanted] = 1;
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x + kPlanted];
}

// Blocks add to one number.
template <bool kPlanted>
__global__ void SumOfBlocks(const float*, float* out) {
  if (kPlanted) {
    out[0] += 1;
  } else {
    atomicAdd(out, 1.0f);
  }
}

// A thread that is done at once does not wait for the kernel in front.
template <bool kPlanted>
__global__ void EndsWithoutGridWait(const float*, float* out) {
  if (kPlanted && threadIdx.x >= 100) return;
  GridDependencyWait();
  out[threadIdx.x] = 1;
}

// Reads what the kernel in front writes before that one has ended.
__global__ void WriteOnes(float* out) { out[threadIdx.x] = 1; }
template <bool kPlanted>
__global__ void ReadsBeforeGridWait(const float*, float* out) {
  if (!kPlanted) GridDependencyWait();
  const float value = out[threadIdx.x];
  GridDependencyWait();
  out[threadIdx.x] = value + 1;
}
// Likewise by an asynchronous copy.
template <bool kPlanted>
__global__ void CopiesBeforeGridWait(const float*, float* out) {
  ROPEWAY_SHARED(tile, float[kBugOutputs]);
  const int first = ThreadId() / 4 * 4;
  if (!kPlanted) GridDependencyWait();
  if (ThreadId() == first) CpAsync16(tile + first, out + first);
  CpAsyncCommit();
  GridDependencyWait();
  CpAsyncWait<0>();
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x] + 1;
}

constexpr float Zeros(int) { return 0; }
constexpr float Ones(int) { return 1; }
constexpr float OnesOfAWarp(int i) { return i < 32 ? 1 : 0; }
constexpr float SumOfTiles(int i) { return i < 64 ? 16.0f * static_cast<float>(i % 32) : 0; }

template <Kernel kPlanted, Kernel kRight>
ErrorCode LaunchEitherDependent(bool planted, const BugArguments& arguments, Stream stream) {
  if (const ErrorCode error = Launch(stream, WriteOnes, dim3(1), dim3(kBugOutputs), 0, arguments.out))
    return error;
  return LaunchDependent(stream, planted ? kPlanted : kRight, dim3(1), dim3(kBugOutputs), 0, arguments.in,
                         arguments.out);
}
constexpr float Twos(int) { return 2; }

// clang-format off
#define BUG(kernel, blocks, threads, want) \
  {#kernel, LaunchEither<kernel<true>, kernel<false>, blocks, threads>, want}
constexpr PlantedBug kBugs[] = {
    BUG(SumWithoutBarrier, 1, 128, [](int) { return 128.0f; }),
    BUG(SumsBackToBack, 1, 128, [](int) { return 128.0f + 10 * 256; }),
    BUG(MergeWithoutBarrier, 1, 128, [](int i) { return i < 32 ? 4.0f : 0.0f; }),
    BUG(LowerNeighbour, 1, 128, [](int i) { return i > 0 ? static_cast<float>(i - 1) : 0.0f; }),
    BUG(WarpInStep, 1, 32, [](int i) { return i == 0 ? 32.0f : 0.0f; }),
    BUG(CopyWithoutWait, 1, 64, SumOfTiles),
    BUG(BufferReusedEarly, 1, 64, SumOfTiles),
    BUG(DivergentBarrier, 1, 128, Ones),
    BUG(PartialBarrier, 1, 128, Ones),
    BUG(ReturnBeforeBarrier, 1, 128, Ones),
    BUG(ShuffleWithEndedLanes, 1, 32, [](int i) { return i < 16 ? 1.0f : 0.0f; }),
    BUG(DivergentShuffle, 1, 32, OnesOfAWarp),
    BUG(LaneOutsideItsMask, 1, 32, OnesOfAWarp),
    BUG(MisalignedVector, 1, 8, OnesOfAWarp),
    BUG(MisalignedMatrixRow, 1, 32, Zeros),
    BUG(UninitialisedShared, 1, 32, OnesOfAWarp),
    BUG(SharedOfAnotherBlock, 4, 32, Ones),
    BUG(GlobalReadPastTheEnd, 1, 128, Zeros),
    BUG(GlobalWritePastTheEnd, 1, 128, Zeros),
    BUG(StaticSharedPastTheEnd, 1, 32, OnesOfAWarp),
    BUG(DynamicSharedPastTheEnd, 1, 32, OnesOfAWarp),
    {"EndsWithoutGridWait", LaunchEitherDependent<EndsWithoutGridWait<true>, EndsWithoutGridWait<false>>, Ones},
    {"ReadsBeforeGridWait", LaunchEitherDependent<ReadsBeforeGridWait<true>, ReadsBeforeGridWait<false>>, Twos},
    {"CopiesBeforeGridWait", LaunchEitherDependent<CopiesBeforeGridWait<true>, CopiesBeforeGridWait<false>>, Twos},
    BUG(SumOfBlocks, 8, 1, [](int i) { return i == 0 ? 8.0f : 0.0f; }),
};
#undef BUG
// clang-format on

}  // namespace

std::span<const PlantedBug> PlantedBugs() { return kBugs; }

}  // namespace ropeway::cuda
