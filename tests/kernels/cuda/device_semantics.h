// Kernels that each do one thing of device.h, so that the emulation and a real device can be held to the same
// answers.
#ifndef ROPEWAY_TESTS_KERNELS_CUDA_DEVICE_SEMANTICS_H_
#define ROPEWAY_TESTS_KERNELS_CUDA_DEVICE_SEMANTICS_H_

#include <cstdint>

#include "engine/kernels/cuda/runtime.h"

namespace ropeway::cuda {

// Rows of out [kNumExchanges, 32]: what each lane gets of lane numbers, by shuffles of every kind and votes.
enum Exchange {
  kXor5,
  kUp3,
  kDown3,
  kFrom7,
  kXorInEights,
  kUpInEights,
  kDownInEights,
  kFromInEights,
  kBallotOfOdd,
  kAnyOfLane9,
  kAllOfLane9,
  kUpperHalf,
  kNumExchanges
};
ErrorCode LaunchExchanges(int32_t* out, Stream stream);

// out [0 ... 3): __syncthreads_or, _and and _count of "thread < limit" over 96 threads.
ErrorCode LaunchVotes(int limit, int32_t* out, Stream stream);

// d [16, 8] = a [16, 16] b [16, 8] + c [16, 8], with a by ldmatrix and b by ldmatrix.trans from row-major
// tiles of bf16 or fp16, all given as float32.
ErrorCode LaunchMma(bool bf16, const float* a, const float* b, const float* c, float* d, Stream stream);

// out [0, 64) = in [0, 64) by cp.async, of which the second half is left out and becomes zeros.
ErrorCode LaunchAsyncCopy(const float* in, float* out, Stream stream);

// Sums and maxima over a block of 128: out [0] of in, [1] of -in, [2] the largest of in.
ErrorCode LaunchReductions(const float* in, float* out, Stream stream);

// 8 blocks of 32: out [0] counts the threads, out [1] is the largest thread number, out [2] the smallest.
ErrorCode LaunchAtomics(int32_t* out, Stream stream);

// out [5 i ...]: in [i] to fp16, bf16, fp8 and back; __dp4a of its bits with themselves; 2^23 and byte i % 4 of its bits.
ErrorCode LaunchConversions(const float* in, int count, float* out, Stream stream);

// Of in [4]: out [0, 1] the fp16 of in [0]; [2, 3] those of in [1] less those of in [2]; [4] the bits 0x00F0 of in [3] and
// those of 1; [5] in [1] as it was loaded.
ErrorCode LaunchPackedCodes(const uint32_t* in, float* out, Stream stream);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_KERNELS_CUDA_DEVICE_SEMANTICS_H_
