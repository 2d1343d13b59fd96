// AVX-512 VNNI tiles: 32 rows (two vectors of 16 lanes) x T <= 8 tokens.
//
// Every output element is acc = 0; for each block b of 32 columns in order: acc = fma(value_b, scale_b, acc),
// by one fixed sequence of float operations per format, whatever T is. Integer sums are exact. So a row's
// bytes depend neither on the number of tokens, nor on the tile that computes it, nor on the thread.
//
// Per 32 columns of a tile with T = 8, two 16-row halves (Q8_0):
//   128 vpdpbusd          8 groups x 2 halves x 8 tokens; 16 independent chains, 8 needed (latency 4, two
//                         per cycle)
//    16 vcvtdq2ps, 16 vmulps, 16 vfmadd
//   100 loads             8 groups x (2 weight vectors + 8 broadcasts), 2 scales, 8 + 8 broadcasts of scale
//                         and init, and what is spilled of the 16 float accumulators
// T = 8 and 32 rows need fewer loads than any other tile whose sums fit, and batches of 8, 16 and 32 divide.
// Zen 5: vpdpbusd, vmulps and vfmadd share two pipes, vcvtdq2ps goes to the other two: 160 / 2 = 80 cycles,
// 80 % of the vpdpbusd peak. Other formats: mins add 16 vfmadd, half-block scales 16 vfmadd and 16 vcvtdq2ps,
// unpacking 24 (4 bits) or 60 (6 bits) logic operations.
// Zen 4 has the same shares at half the rate: one product, multiplication or fma of 512 bits a cycle, so 160
// cycles of Q8_0, 176 with mins (73 %). Measured for 512 tokens, of a peak of 469 GOPS a core, activations' rounding
// (2 %) included: Q8_0 346 to 351, Q4_1 308 to 314: 92 % of the bound at K = 576, where 18 blocks hide little of a tile's
// end. It loads one vector of 512 bits a cycle: half of the rows at a time, whose sums and accumulators would all have
// registers, needs 128 broadcasts and ran at two thirds of the speed, or at the same where they are operands of
// vpdpbusd. Each vector that is stored takes more than a cycle from the products, so that accumulators had better stay in
// registers, of which there are 13 for 16. Fetching outputs ahead and passes of half the size changed nothing; panels
// unpacked once for all tokens (25 KB of L1) made Q4_1 up to 5 % slower. What is left is the arithmetic: a scale per 32
// columns on either side and a minimum, all as exact as the file has them.
// So a step of decode of SmolLM2 Q4_1 (103,680 blocks of 32 rows and columns in its layers, 27,648 of Q8_0 in its output) has 22.7
// million cycles for eight tokens: on two cores 3.1 ms at 3.66 GHz, whatever else it takes; of 32 tokens 12.4 ms.
#include <immintrin.h>

#include <utility>

#include "engine/kernels/args.h"
#include "engine/kernels/cpu/lanes.h"
#include "engine/kernels/cpu/panel.h"
#include "engine/kernels/cpu/quantize_avx2.h"

namespace ropeway::kernels::avx512 {
namespace {

// The order matters.
// clang-format off
#include "engine/kernels/cpu/lanes_avx512.h"
#include "engine/kernels/cpu/math_inl.h"
#include "engine/kernels/cpu/tile_inl.h"
#include "engine/kernels/cpu/panel_avx512_inl.h"
// clang-format on

// Codes of groups [kFirst, kFirst + kCount) times the activations of T tokens, onto sum.
template <class F, int T, int kFirst, int kCount>
[[gnu::always_inline]] inline void Multiply(const uint8_t* block, const uint8_t* x, __m512i (&sum)[2][T]) {
#pragma GCC unroll 8
  for (int g = kFirst; g < kFirst + kCount; ++g) {
    const __m512i w0 = F::Codes(block, g, 0), w1 = F::Codes(block, g, 1);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512i a = BroadcastInt(x + t * kQuantBlock + g * 4);
      sum[0][t] = _mm512_dpbusd_epi32(sum[0][t], w0, a);
      sum[1][t] = _mm512_dpbusd_epi32(sum[1][t], w1, a);
    }
  }
}

template <bool kCentred, int T>
[[gnu::always_inline]] inline void Start(const uint8_t* init, __m512i (&sum)[2][T]) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    sum[0][t] = kCentred ? BroadcastInt(init + 4 * t) : _mm512_setzero_si512();
    sum[1][t] = sum[0][t];
  }
}

// One block of a format with a scale per 16 columns.
template <class F, int T>
[[gnu::always_inline]] inline void AccumulateHalves(const Block& b, __m512 (&acc)[2][T]) {
  __m512i sum[2][T];
  __m512 value[2][T];
  Start<F::kCode.centred>(b.halves[0], sum);
  Multiply<F, T, 0, 4>(b.codes, b.x, sum);
  for (int h = 0; h < 2; ++h) {
    const __m512 scale = F::Scale(b.side, b.super, 0, h);
    for (int t = 0; t < T; ++t) value[h][t] = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[h][t]), scale);
  }
  Start<F::kCode.centred>(b.halves[1], sum);
  Multiply<F, T, 4, 4>(b.codes, b.x, sum);
  for (int h = 0; h < 2; ++h) {
    const __m512 scale = F::Scale(b.side, b.super, 1, h);
    for (int t = 0; t < T; ++t) {
      value[h][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[h][t]), scale, value[h][t]);
      acc[h][t] = _mm512_fmadd_ps(value[h][t], BroadcastFloat(b.scales + 4 * t), acc[h][t]);
    }
    if constexpr (F::kCode.scales == QuantScales::kHalvesScaleMin)
      SubtractMins<T>(b.side, b.super, b.scales, b.halves, h, acc[h]);
  }
}

// One block of a format with a scale per 32 columns.
template <class F, int T>
[[gnu::always_inline]] inline void Accumulate(const Block& b, __m512 (&acc)[2][T]) {
  __m512i sum[2][T];
  Start<F::kCode.centred>(b.init, sum);
  Multiply<F, T, 0, 8>(b.codes, b.x, sum);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512 scale = F::Scale(b.side, b.super, 0, h);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512 both = _mm512_mul_ps(scale, BroadcastFloat(b.scales + 4 * t));
      acc[h][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[h][t]), both, acc[h][t]);
    }
    if constexpr (F::kMin) {
      const __m512 min = F::Min(b.side, b.super, h);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) acc[h][t] = _mm512_fmadd_ps(min, BroadcastFloat(b.sums + 4 * t), acc[h][t]);
    }
  }
}

template <int T>
[[gnu::always_inline]] inline void SetZero(__m512 (&acc)[2][T]) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) acc[0][t] = acc[1][t] = _mm512_setzero_ps();
}

// All of the loop is unrolled: an accumulator whose number is not known would have its place in memory, all along the way.
template <int T>
[[gnu::always_inline]] inline void FinishAll(const TileArgs& args, const __m512 (&acc)[2][T], float factor) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) Finish(args, args.y + t * args.y_stride, acc[0][t], acc[1][t], factor);
}

template <class F, int T>
void IntegerTile(const TileArgs& args) {
  const int64_t blocks = args.columns / kQuantBlock;
  Fetching fetching(args);
  Block block = FirstBlock<F>(args);
  __m512 acc[2][T];
  SetZero(acc);
  for (int64_t i = 0; i < blocks; ++i) {
    fetching.Step();
    if constexpr (F::kHalves)
      AccumulateHalves<F, T>(block, acc);
    else
      Accumulate<F, T>(block, acc);
    Advance<F>(args, i + 1, block);
  }
  FinishAll<T>(args, acc, F::kOutput);
}

// Sixteen weights of a float panel, `index` elements from its beginning.
template <DType kType>
[[gnu::always_inline]] inline __m512 LoadWeights(const uint8_t* panel, int64_t index) {
  if constexpr (kType == DType::kF32) return _mm512_load_ps(reinterpret_cast<const float*>(panel) + index);
  if constexpr (kType == DType::kF16) return LoadHalves(panel + 2 * index);
  return LoadBf16(reinterpret_cast<const uint16_t*>(panel) + index).v;
}

template <DType kType, int T>
void FloatTile(const TileArgs& args) {
  const float* x = reinterpret_cast<const float*>(args.activations);
  Fetching fetching(args);
  __m512 acc[2][T];
  SetZero(acc);
  for (int64_t k = 0; k < args.columns; ++k, x += T) {
    if (k % kQuantBlock == 0) fetching.Step();
    const __m512 w0 = LoadWeights<kType>(args.panel, k * kPanelRows);
    const __m512 w1 = LoadWeights<kType>(args.panel, k * kPanelRows + 16);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512 a = _mm512_set1_ps(x[t]);
      acc[0][t] = _mm512_fmadd_ps(w0, a, acc[0][t]);
      acc[1][t] = _mm512_fmadd_ps(w1, a, acc[1][t]);
    }
  }
  FinishAll<T>(args, acc, 1);
}

#include "engine/kernels/cpu/tile_table_inl.h"

}  // namespace

extern const TileKernels kTiles;
constexpr TileKernels kTiles = MakeTiles(&QuantizeAvx2);

}  // namespace ropeway::kernels::avx512
