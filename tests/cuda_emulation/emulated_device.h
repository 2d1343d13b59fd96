// CUDA's device names for the host compiler: what engine/kernels/cuda/device.h is built on where a kernel is
// compiled to be emulated.
//
// Everything lies in ropeway::cuda, where kernels are, so that nothing clashes with NVIDIA's headers.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_DEVICE_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_DEVICE_H_

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/cuda_emulation/block_context.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) alignas(bytes)
// An empty __shared__ would make a variable of every thread.
#define __shared__ static_assert(false, "write ROPEWAY_SHARED or ROPEWAY_DYNAMIC_SHARED for __shared__");

#define threadIdx (::ropeway::cuda::emulation::current_thread->thread_index)
#define blockIdx (::ropeway::cuda::emulation::current_block->block_index)
#define blockDim (::ropeway::cuda::emulation::current_block->block_dim)
#define gridDim (::ropeway::cuda::emulation::current_block->grid_dim)

#define ROPEWAY_SHARED(name, ...)                                                                         \
  static char ropeway_shared_key_##name;                                                                  \
  auto& name = *static_cast<std::type_identity_t<__VA_ARGS__>*>(::ropeway::cuda::emulation::StaticShared( \
      &ropeway_shared_key_##name, sizeof(std::type_identity_t<__VA_ARGS__>),                              \
      alignof(std::type_identity_t<__VA_ARGS__>)))
#define ROPEWAY_DYNAMIC_SHARED(type, name) \
  type* const name = static_cast<type*>(::ropeway::cuda::emulation::DynamicShared())
#define ROPEWAY_DEVICE inline

namespace ropeway::cuda {

inline constexpr int warpSize = 32;

// ---- Barriers and warp collectives.
inline void __syncthreads(emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::SyncThreads(at);
}
inline int __syncthreads_or(int predicate, emulation::SourceLine at = emulation::SourceLine::Here()) {
  return emulation::SyncThreadsReduce(predicate != 0, emulation::Reduction::kOr, at);
}
inline int __syncthreads_and(int predicate, emulation::SourceLine at = emulation::SourceLine::Here()) {
  return emulation::SyncThreadsReduce(predicate != 0, emulation::Reduction::kAnd, at);
}
inline int __syncthreads_count(int predicate, emulation::SourceLine at = emulation::SourceLine::Here()) {
  return emulation::SyncThreadsReduce(predicate != 0, emulation::Reduction::kCount, at);
}
inline void __syncwarp(unsigned mask = ~0u, emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::SyncWarp(mask, at);
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              emulation::SourceLine at = emulation::SourceLine::Here()) {
  return emulation::Ballot(mask, predicate != 0, at);
}
inline int __any_sync(unsigned mask, int predicate,
                      emulation::SourceLine at = emulation::SourceLine::Here()) {
  return emulation::Ballot(mask, predicate != 0, at) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      emulation::SourceLine at = emulation::SourceLine::Here()) {
  return emulation::Ballot(mask, predicate != 0, at) == mask;
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize,
              emulation::SourceLine at = emulation::SourceLine::Here()) {
  const int lane = static_cast<int>(emulation::current_thread->lane);
  return emulation::ShuffleFrom(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), at);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize,
                  emulation::SourceLine at = emulation::SourceLine::Here()) {
  const int lane = static_cast<int>(emulation::current_thread->lane), source = lane ^ lanes;
  return emulation::ShuffleFrom(mask, value, source > (lane | (width - 1)) ? lane : source, at);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = warpSize,
                   emulation::SourceLine at = emulation::SourceLine::Here()) {
  const int lane = static_cast<int>(emulation::current_thread->lane);
  const int source = lane + static_cast<int>(lanes);
  return emulation::ShuffleFrom(mask, value, source > (lane | (width - 1)) ? lane : source, at);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = warpSize,
                 emulation::SourceLine at = emulation::SourceLine::Here()) {
  const int lane = static_cast<int>(emulation::current_thread->lane);
  const int source = lane - static_cast<int>(lanes);
  return emulation::ShuffleFrom(mask, value, source < (lane & ~(width - 1)) ? lane : source, at);
}

// ---- Atomics and fences.
template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).fetch_add(value, std::memory_order_relaxed);
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).exchange(value, std::memory_order_relaxed);
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  std::atomic_ref<T>(*address).compare_exchange_strong(compare, value, std::memory_order_relaxed);
  return compare;
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  std::atomic_ref<T> reference(*address);
  T old = reference.load(std::memory_order_relaxed);
  while (old < value && !reference.compare_exchange_weak(old, value, std::memory_order_relaxed)) {
  }
  return old;
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  std::atomic_ref<T> reference(*address);
  T old = reference.load(std::memory_order_relaxed);
  while (value < old && !reference.compare_exchange_weak(old, value, std::memory_order_relaxed)) {
  }
  return old;
}

// Orders what a thread did before it in front of whatever a thread does behind a later one: more than CUDA
// promises, which needs an atomic between them.
inline void __threadfence() {
  static std::atomic<int> fences;
  fences.fetch_add(1, std::memory_order_acq_rel);
}

// ---- Arithmetic.
template <class T>
T __ldcg(const T* address) {
  return *address;
}
template <class T>
T __ldg(const T* address) {
  return *address;
}
constexpr int min(int a, int b) { return a < b ? a : b; }
constexpr int max(int a, int b) { return a > b ? a : b; }
constexpr unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
constexpr unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
constexpr int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
constexpr int __popc(unsigned value) { return std::popcount(value); }
constexpr int __clz(int value) { return std::countl_zero(static_cast<unsigned>(value)); }
constexpr int __ffs(int value) { return value == 0 ? 0 : std::countr_zero(static_cast<unsigned>(value)) + 1; }
constexpr float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
constexpr unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
constexpr float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
constexpr int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyint(value)); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
// Byte i of the result is that of y and x together, x's first, which bits 4 i to 4 i + 2 of the selector name.
constexpr unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = uint64_t{y} << 32 | x;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(bytes >> (selector >> (4 * i) & 7) * 8 & 255) << (8 * i);
  return result;
}
// c + the dot product of four signed bytes.
constexpr int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 32; i += 8) c += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return c;
}

// ---- What device.h wraps.
inline uint4 LoadStreamed(const void* global) { return *static_cast<const uint4*>(global); }
inline float FastExp(float value) { return std::exp(value); }
inline float FastExp2(float value) { return std::exp2(value); }
inline float FastLog(float value) { return std::log(value); }
inline float FastRsqrt(float value) { return rsqrtf(value); }
inline float FastDivide(float a, float b) { return a / b; }

inline uint32_t BitsOf(fp16 value) { return value.bits; }
inline uint32_t BitsOf(bf16 value) { return value.bits; }
inline uint32_t BitsOf(fp8 value) { return value.bits; }
template <class T>
uint32_t PackPair(float low, float high) {
  return BitsOf(FromFloat<T>(low)) | BitsOf(FromFloat<T>(high)) << 16;
}
template <class T>
float2 UnpackPair(uint32_t pair) {
  return {ToFloat(T{static_cast<uint16_t>(pair)}), ToFloat(T{static_cast<uint16_t>(pair >> 16)})};
}
inline uint32_t SubtractHalves(uint32_t a, uint32_t b) {
  const float2 from = UnpackPair<fp16>(a), what = UnpackPair<fp16>(b);
  return PackPair<fp16>(from.x - what.x, from.y - what.y);
}
inline uint32_t MaskedOr(uint32_t bits, uint32_t mask, uint32_t others) { return (bits & mask) | others; }
inline uint16_t PackFp8Pair(float low, float high) {
  return static_cast<uint16_t>(BitsOf(FromFloat<fp8>(low)) | BitsOf(FromFloat<fp8>(high)) << 8);
}
inline float2 UnpackFp8Pair(uint16_t pair) {
  return {ToFloat(fp8{static_cast<uint8_t>(pair)}), ToFloat(fp8{static_cast<uint8_t>(pair >> 8)})};
}

inline void PrefetchL2(const void*) {}
inline void CpAsync16(void* shared, const void* global, bool predicate = true,
                      emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::AsyncCopy16(shared, global, predicate, at);
}
inline void CpAsync16Streamed(void* shared, const void* global, bool predicate = true,
                              emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::AsyncCopy16(shared, global, predicate, at);
}
inline void CpAsyncCommit() { emulation::AsyncCopyCommit(); }
template <int kGroupsInFlight>
void CpAsyncWait() {
  emulation::AsyncCopyWait(kGroupsInFlight);
}
inline void LoadMatrixX4(uint32_t (&fragments)[4], const void* row,
                         emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::LoadMatrices(fragments, row, false, at);
}
inline void LoadMatrixX4Trans(uint32_t (&fragments)[4], const void* row,
                              emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::LoadMatrices(fragments, row, true, at);
}
template <class T>
void MmaM16N8K16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4],
                 emulation::SourceLine at = emulation::SourceLine::Here()) {
  static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, fp16>);
  constexpr auto kType = std::is_same_v<T, bf16> ? emulation::MmaType::kBF16 : emulation::MmaType::kFP16;
  emulation::Mma16x8x16({kType, d, a, b, c}, at);
}

inline void GridDependencyWait(emulation::SourceLine at = emulation::SourceLine::Here()) {
  emulation::WaitForGrids(at);
}
inline void LaunchDependents() {}

template <class... Parameters, class... Arguments>
ErrorCode Launch(Stream stream, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                 Arguments&&... arguments) {
  std::tuple<Parameters...> values(static_cast<Parameters>(arguments)...);
  return emulation::LaunchKernel(stream, {grid, block, shared_bytes},
                                 [kernel, values] { std::apply(kernel, values); });
}
template <class... Parameters, class... Arguments>
ErrorCode LaunchDependent(Stream stream, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                          size_t shared_bytes, Arguments&&... arguments) {
  std::tuple<Parameters...> values(static_cast<Parameters>(arguments)...);
  return emulation::LaunchKernel(stream, {grid, block, shared_bytes, true},
                                 [kernel, values] { std::apply(kernel, values); });
}

template <class... Parameters>
int BlocksPerProcessor(void (*)(Parameters...), int, size_t) {
  return 2;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_EMULATED_DEVICE_H_
