// Attention for AVX-512 with VDPBF16PS.
#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "engine/kernels/args.h"
#include "engine/kernels/cpu/lanes.h"
#include "engine/kernels/cpu/vector_kernels.h"

namespace ropeway::kernels::avx512_bf16 {
namespace {

// See vector_inl.h; a sum takes one register.
constexpr int kQueries = 4;
constexpr int kAccumulators = 16;
#define ROPEWAY_BF16_DOT

// The order matters.
// clang-format off
#include "engine/kernels/cpu/lanes_avx512.h"
#include "engine/kernels/cpu/vector_inl.h"
// clang-format on

// Numbers of all sizes, with the denormal ones that products come to.
inline float Sample(uint32_t& state) {
  state = state * 1664525u + 1013904223u;
  const uint32_t sign = state & 0x80000000u, mantissa = state >> 8 & 0x7F, exponent = 50 + (state >> 16) % 90;
  return __builtin_bit_cast(float, sign | exponent << 23 | mantissa << 16);
}

}  // namespace

extern const VectorKernels kVectors;
const VectorKernels kVectors = kVectorTable;

// Whether VDPBF16PS is two steps of a chain on this processor, of which no manual says it.
bool DotsAreChains() {
  constexpr unsigned kFlush = 1u << 15 | 1u << 6;
  constexpr int kRounds = 256;
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | kFlush);
  uint32_t state = 1;
  bool equal = true;
  for (int round = 0; round < kRounds; ++round) {
    alignas(64) float first[2][16], second[2][16], sum[16];
    for (int i = 0; i < 16; ++i) {
      for (int side = 0; side < 2; ++side) {
        first[side][i] = Sample(state);
        second[side][i] = Sample(state);
      }
      sum[i] = round % 2 == 0 ? Sample(state) : first[0][i] * -first[1][i];
    }
    alignas(64) float pairs[2][16];
    for (int side = 0; side < 2; ++side) StorePairs(pairs[side], Load(first[side]), Load(second[side]));
    const Lanes dot = GroupRows::MultiplyAdd(Load(pairs[0]), Load(pairs[1]), Load(sum));
    const Lanes chain = Fma(Load(first[0]), Load(first[1]), Fma(Load(second[0]), Load(second[1]), Load(sum)));
    equal =
        equal && _mm512_cmpeq_epi32_mask(_mm512_castps_si512(dot.v), _mm512_castps_si512(chain.v)) == 0xFFFF;
  }
  _mm_setcsr(before);
  return equal;
}

}  // namespace ropeway::kernels::avx512_bf16
