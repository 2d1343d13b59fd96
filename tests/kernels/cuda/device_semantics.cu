#include "engine/kernels/cuda/device.h"
#include "tests/kernels/cuda/device_semantics.h"

namespace ropeway::cuda {
namespace {

__global__ void ExchangeKernel(int32_t* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const auto put = [&](Exchange row, int value) { out[row * 32 + lane] = value; };
  put(kXor5, __shfl_xor_sync(kFullWarp, lane, 5));
  put(kUp3, __shfl_up_sync(kFullWarp, lane, 3));
  put(kDown3, __shfl_down_sync(kFullWarp, lane, 3));
  put(kFrom7, __shfl_sync(kFullWarp, lane, 7));
  put(kXorInEights, __shfl_xor_sync(kFullWarp, lane, 3, 8));
  put(kUpInEights, __shfl_up_sync(kFullWarp, lane, 3, 8));
  put(kDownInEights, __shfl_down_sync(kFullWarp, lane, 3, 8));
  put(kFromInEights, __shfl_sync(kFullWarp, lane, 2, 8));
  put(kBallotOfOdd, static_cast<int>(__ballot_sync(kFullWarp, lane % 2)));
  put(kAnyOfLane9, __any_sync(kFullWarp, lane == 9) != 0);
  put(kAllOfLane9, __all_sync(kFullWarp, lane == 9) != 0);
  int got = -1;
  if (lane >= 16) got = __shfl_sync(0xFFFF0000, lane, 20);
  put(kUpperHalf, got);
}

__global__ void VoteKernel(int limit, int32_t* out) {
  const bool below = static_cast<int>(threadIdx.x) < limit;
  const int any = __syncthreads_or(below), all = __syncthreads_and(below), count = __syncthreads_count(below);
  if (threadIdx.x != 50) return;
  out[0] = any != 0;
  out[1] = all != 0;
  out[2] = count;
}

template <class T>
__global__ void MmaKernel(const float* a, const float* b, const float* c, float* d) {
  ROPEWAY_SHARED(a_tile, Vector128<T>[16][2]);
  ROPEWAY_SHARED(b_tile, Vector128<T>[16][2]);  // 8 columns of it
  const int lane = static_cast<int>(threadIdx.x), row = lane / 4, column = lane % 4 * 2;
  for (int i = lane; i < 256; i += 32) {
    a_tile[i / 16][i / 8 % 2].values[i % 8] = FromFloat<T>(a[i]);
    b_tile[i / 16][i / 8 % 2].values[i % 8] = FromFloat<T>(i % 16 < 8 ? b[i / 16 * 8 + i % 16] : 0.0f);
  }
  __syncthreads();
  uint32_t a_pairs[4], b_four[4];
  LoadMatrixX4(a_pairs, &a_tile[lane % 16][lane / 16]);
  LoadMatrixX4Trans(b_four, &b_tile[lane % 16][lane / 16]);
  const uint32_t b_pairs[2] = {b_four[0], b_four[1]};
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = c[(row + i / 2 * 8) * 8 + column + i % 2];
  MmaM16N8K16<T>(sums, a_pairs, b_pairs, sums);
  for (int i = 0; i < 4; ++i) d[(row + i / 2 * 8) * 8 + column + i % 2] = sums[i];
}

__global__ void AsyncCopyKernel(const float* in, float* out) {
  ROPEWAY_SHARED(tile, Vector128<float>[16]);
  const int t = static_cast<int>(threadIdx.x);
  CpAsync16(&tile[t], in + t * 4, t < 8);
  CpAsyncCommit();
  CpAsyncWait<0>();
  __syncthreads();
  for (int i = t; i < 64; i += 16) out[i] = tile[i / 4].values[i % 4];
}

__global__ void ReductionKernel(const float* in, float* out) {
  const float value = in[threadIdx.x];
  const float sum = BlockSum<4>(value), opposite = BlockSum<4>(-value), largest = BlockMax<4>(value);
  if (threadIdx.x != 77) return;
  out[0] = sum;
  out[1] = opposite;
  out[2] = largest;
}

__global__ void AtomicKernel(int32_t* out) {
  const int thread = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(&out[0], 1);
  atomicMax(&out[1], thread);
  atomicMin(&out[2], thread);
}

__global__ void ConversionKernel(const float* in, int count, float* out) {
  const int i = static_cast<int>(threadIdx.x);
  if (i >= count) return;
  out[5 * i] = ToFloat(FromFloat<fp16>(in[i]));
  out[5 * i + 1] = UnpackPair<bf16>(PackPair<bf16>(0, in[i])).y;
  out[5 * i + 2] = UnpackFp8Pair(PackFp8Pair(in[i], 0)).x;
  const int bits = __float_as_int(in[i]);
  out[5 * i + 3] = static_cast<float>(__dp4a(bits, bits, 1));
  out[5 * i + 4] = __uint_as_float(__byte_perm(__float_as_uint(in[i]), 0x4B000000, 0x7440 + i % 4));
}

__global__ void PackedCodeKernel(const uint32_t* in, float* out) {
  if (threadIdx.x > 0) return;
  const float2 codes = UnpackPair<fp16>(in[0]);
  const float2 differences = UnpackPair<fp16>(SubtractHalves(in[1], in[2]));
  out[0] = codes.x, out[1] = codes.y;
  out[2] = differences.x, out[3] = differences.y;
  out[4] = __uint_as_float(MaskedOr(in[3], 0x00F0, 0x3F800000));
  out[5] = __uint_as_float(LoadStreamed(in).y);
}

}  // namespace

ErrorCode LaunchExchanges(int32_t* out, Stream stream) {
  return Launch(stream, ExchangeKernel, dim3(1), dim3(32), 0, out);
}
ErrorCode LaunchVotes(int limit, int32_t* out, Stream stream) {
  return Launch(stream, VoteKernel, dim3(1), dim3(96), 0, limit, out);
}
ErrorCode LaunchMma(bool is_bf16, const float* a, const float* b, const float* c, float* d, Stream stream) {
  return Launch(stream, is_bf16 ? MmaKernel<bf16> : MmaKernel<fp16>, dim3(1), dim3(32), 0, a, b, c, d);
}
ErrorCode LaunchAsyncCopy(const float* in, float* out, Stream stream) {
  return Launch(stream, AsyncCopyKernel, dim3(1), dim3(16), 0, in, out);
}
ErrorCode LaunchReductions(const float* in, float* out, Stream stream) {
  return Launch(stream, ReductionKernel, dim3(1), dim3(128), 0, in, out);
}
ErrorCode LaunchAtomics(int32_t* out, Stream stream) {
  return Launch(stream, AtomicKernel, dim3(8), dim3(32), 0, out);
}
ErrorCode LaunchConversions(const float* in, int count, float* out, Stream stream) {
  return Launch(stream, ConversionKernel, dim3(1), dim3(128), 0, in, count, out);
}

ErrorCode LaunchPackedCodes(const uint32_t* in, float* out, Stream stream) {
  return Launch(stream, PackedCodeKernel, dim3(1), dim3(32), 0, in, out);
}

}  // namespace ropeway::cuda
