// AVX-512 VNNI tiles: 32 rows (two vectors of 16 lanes) x T <= 8 tokens.
//
// Every output element is acc = 0; for each block b of 32 columns in order: acc = fma(value_b, scale_b, acc),
// by one fixed sequence of float operations per format, whatever T is. Integer sums are exact. So a row's
// bytes depend neither on the number of tokens, nor on the tile that computes it, nor on the thread.
//
// Per 32 columns of a tile with T = 8, two 16-row halves (Q8_0):
//   128 vpdpbusd          8 groups x 2 halves x 8 tokens; 16 independent chains, latency 4 x 2 per cycle = 8
//   needed
//    16 vcvtdq2ps, 16 vmulps, 16 vfmadd
//   100 loads             8 groups x (2 weight vectors + 8 broadcasts), 2 scales, 8 + 8 scale and init
//   broadcasts, and
//                         what is spilled of the 16 float accumulators
// T = 8 and 32 rows need fewer loads than any other tile whose sums fit, and batches of 8, 16 and 32 divide.
// Zen 5: vpdpbusd, vmulps and vfmadd share two pipes, vcvtdq2ps goes to the other two: 160 / 2 = 80 cycles,
// 80 % of the vpdpbusd peak. Other formats: mins add 16 vfmadd, half-block scales 16 vfmadd and 16 vcvtdq2ps,
// unpacking 24 (4 bits) or 60 (6 bits) logic operations.
#include <immintrin.h>

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
// clang-format on

__m512i LoadCodes(const uint8_t* p) { return _mm512_load_si512(p); }
__m512 LoadHalves(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}
__m512 LoadU8(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
}
__m512 LoadS8(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
}
__m512i BroadcastInt(const uint8_t* p) { return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(p)); }
__m512 BroadcastFloat(const uint8_t* p) { return _mm512_set1_ps(*reinterpret_cast<const float*>(p)); }

// Formats. Codes() gives 16 rows x 4 columns as unsigned bytes. kCentred: the codes' zero is 128, which the
// activations' init takes off; codes of fewer bits are shifted up, and kOutput takes the factor off at the
// end, exactly. kHalves: one scale per 16 columns.

template <PanelFormat kFormat>
struct Format {
  static constexpr bool kSixBits = kFormat == kPanelQ6_K;
  static constexpr bool kNibbles = kFormat == kPanelQ4_0 || kFormat == kPanelQ4_1 || kFormat == kPanelQ4_K;
  static constexpr bool kSuper = kFormat == kPanelQ8_K || kFormat == kPanelQ4_K;
  static constexpr bool kCentred = kFormat == kPanelQ8_0 || kFormat == kPanelQ4_0;
  static constexpr bool kMin = kFormat == kPanelQ8_1 || kFormat == kPanelQ4_1 || kSuper;
  static constexpr bool kHalves = kSixBits;
  static constexpr float kOutput = kFormat == kPanelQ4_0 ? 1.f / 16 : kSixBits ? 1.f / 4 : 1;
  static constexpr PlaneBytes kPlanes = kPlaneBytes[kFormat];

  static __m512i Codes(const uint8_t* block, int group, int half) {
    if constexpr (!kNibbles && !kSixBits) return LoadCodes(block + (group * 2 + half) * 64);
    const __m512i pair = LoadCodes(block + (group / 2 * 2 + half) * 64);
    if constexpr (kFormat == kPanelQ4_0)  // sixteen times the nibble
      return _mm512_and_si512(group % 2 ? pair : _mm512_slli_epi16(pair, 4),
                              _mm512_set1_epi8(static_cast<char>(0xF0)));
    if constexpr (kNibbles)
      return _mm512_and_si512(group % 2 ? _mm512_srli_epi16(pair, 4) : pair, _mm512_set1_epi8(15));
    // Four times the six bits: bits 2..5 from the nibble, 6..7 from the quad.
    const __m512i quad = LoadCodes(block + 512 + (group / 4 * 2 + half) * 64);
    const __m512i low = group % 2 ? _mm512_srli_epi16(pair, 2) : _mm512_slli_epi16(pair, 2);
    const int shift = 6 - 2 * (group % 4);
    const __m512i high = shift == 0 ? quad : _mm512_slli_epi16(quad, static_cast<unsigned>(shift));
    return _mm512_ternarylogic_epi32(_mm512_and_si512(low, _mm512_set1_epi8(0x3C)), high,
                                     _mm512_set1_epi8(static_cast<char>(0xC0)), 0xF8);
  }

  // Products of 11 bits and 6 or 8 bits: exact. `part` is 1 for columns 16..31 of a format with kHalves.
  static __m512 Scale(const uint8_t* side, const uint8_t* super, int part, int half) {
    if constexpr (kSuper) return _mm512_mul_ps(LoadU8(side + 16 * half), LoadHalves(super + 32 * half));
    if constexpr (kHalves)
      return _mm512_mul_ps(LoadS8(side + 32 * part + 16 * half), LoadHalves(super + 32 * half));
    return LoadHalves(side + 32 * half);
  }

  static __m512 Min(const uint8_t* side, const uint8_t* super, int half) {
    if constexpr (!kSuper) return LoadHalves(side + 64 + 32 * half);
    const __m512 minus = _mm512_sub_ps(_mm512_setzero_ps(), LoadHalves(super + 64 + 32 * half));
    return _mm512_mul_ps(LoadU8(side + 32 + 16 * half), minus);
  }
};

// Codes of groups [kFirst, kFirst + kCount) times the activations of T tokens, onto sum.
template <class F, int T, int kFirst, int kCount>
[[gnu::always_inline]] inline void Multiply(const uint8_t* block, const uint8_t* x, __m512i (&sum)[2][T]) {
#pragma GCC unroll 8
  for (int g = kFirst; g < kFirst + kCount; ++g) {
    const __m512i w0 = F::Codes(block, g, 0), w1 = F::Codes(block, g, 1);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512i a = BroadcastInt(x + (g * T + t) * 4);
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

[[gnu::always_inline]] inline void Prefetch(const uint8_t*& p, int64_t lines) {
  for (int64_t i = 0; i < lines; ++i, p += 64) _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}

// One block of a format with a scale per 16 columns.
template <class F, int T>
[[gnu::always_inline]] inline void AccumulateHalves(const uint8_t* block, const uint8_t* side,
                                                    const uint8_t* super, const uint8_t* x,
                                                    const uint8_t* halves, __m512 (&acc)[2][T]) {
  const uint8_t* scales = x + 32 * T;
  __m512i sum[2][T];
  __m512 value[2][T];
  Start<true>(halves, sum);
  Multiply<F, T, 0, 4>(block, x, sum);
  for (int h = 0; h < 2; ++h) {
    const __m512 scale = F::Scale(side, super, 0, h);
    for (int t = 0; t < T; ++t) value[h][t] = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[h][t]), scale);
  }
  Start<true>(halves + 4 * T, sum);
  Multiply<F, T, 4, 4>(block, x, sum);
  for (int h = 0; h < 2; ++h) {
    const __m512 scale = F::Scale(side, super, 1, h);
    for (int t = 0; t < T; ++t) {
      value[h][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[h][t]), scale, value[h][t]);
      acc[h][t] = _mm512_fmadd_ps(value[h][t], BroadcastFloat(scales + 4 * t), acc[h][t]);
    }
  }
}

// One block of a format with a scale per 32 columns.
template <class F, int T>
[[gnu::always_inline]] inline void Accumulate(const uint8_t* block, const uint8_t* side, const uint8_t* super,
                                              const uint8_t* x, const uint8_t* sums, __m512 (&acc)[2][T]) {
  const uint8_t* scales = x + 32 * T;
  __m512i sum[2][T];
  Start<F::kCentred>(x + 36 * T, sum);
  Multiply<F, T, 0, 8>(block, x, sum);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512 scale = F::Scale(side, super, 0, h);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512 both = _mm512_mul_ps(scale, BroadcastFloat(scales + 4 * t));
      acc[h][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[h][t]), both, acc[h][t]);
    }
    if constexpr (F::kMin) {
      const __m512 min = F::Min(side, super, h);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) acc[h][t] = _mm512_fmadd_ps(min, BroadcastFloat(sums + 4 * t), acc[h][t]);
    }
  }
}

template <int T>
[[gnu::always_inline]] inline void Finish(const TileArgs& args, const __m512 (&acc)[2][T], float factor) {
  const Lanes bias0 = args.bias ? Load(args.bias) : Zero(), bias1 = args.bias ? Load(args.bias + 16) : Zero();
  for (int t = 0; t < T; ++t) {
    float* y = args.y + t * args.y_stride;
    Lanes low = {_mm512_mul_ps(acc[0][t], _mm512_set1_ps(factor))};
    Lanes high = {_mm512_mul_ps(acc[1][t], _mm512_set1_ps(factor))};
    if (args.bias != nullptr) low = Add(low, bias0), high = Add(high, bias1);
    if (args.epilogue == kTileSiluGate) {
      Store(y, Mul(Silu(low), high));
    } else if (args.epilogue == kTileGeluGate) {
      Store(y, Mul(GeluTanh(low), high));
    } else {
      if (args.epilogue == kTileAdd) low = Add(Load(y), low), high = Add(Load(y + 16), high);
      Store(y, low);
      Store(y + 16, high);
    }
  }
}

template <class F, int T>
void IntegerTile(const TileArgs& args) {
  constexpr PlaneBytes kPlanes = F::kPlanes;
  const int64_t blocks = args.columns / kBlock;
  const uint8_t* prefetch = args.prefetch;
  const uint8_t* x = args.activations;
  const uint8_t* sums = x + SumsOffset(blocks, T);
  const uint8_t* halves = x + HalvesOffset(blocks, T);
  __m512 acc[2][T] = {};
  for (int64_t b = 0; b < blocks; ++b, x += MainBytes(T)) {
    const uint8_t* block = args.codes + b * kPlanes.code;
    const uint8_t* side = args.side + b * kPlanes.side;
    const uint8_t* super = args.super + b / 8 * kPlanes.super;
    Prefetch(prefetch, args.prefetch_lines);
    if constexpr (F::kHalves)
      AccumulateHalves<F, T>(block, side, super, x, halves + b * 8 * T, acc);
    else
      Accumulate<F, T>(block, side, super, x, sums + b * 4 * T, acc);
  }
  Finish<T>(args, acc, F::kOutput);
}

template <int T>
void FloatTile(const TileArgs& args) {
  const float* w = reinterpret_cast<const float*>(args.codes);
  const float* x = reinterpret_cast<const float*>(args.activations);
  const uint8_t* prefetch = args.prefetch;
  __m512 acc[2][T] = {};
  for (int64_t k = 0; k < args.columns; ++k, w += kRows, x += T) {
    if (k % kBlock == 0) Prefetch(prefetch, args.prefetch_lines);
    const __m512 w0 = _mm512_load_ps(w), w1 = _mm512_load_ps(w + 16);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512 a = _mm512_set1_ps(x[t]);
      acc[0][t] = _mm512_fmadd_ps(w0, a, acc[0][t]);
      acc[1][t] = _mm512_fmadd_ps(w1, a, acc[1][t]);
    }
  }
  Finish<T>(args, acc, 1);
}

}  // namespace

#define ROPEWAY_TILES(TILE) \
  { TILE(1), TILE(2), TILE(3), TILE(4), TILE(5), TILE(6), TILE(7), TILE(8) }
#define ROPEWAY_Q8_0(T) &IntegerTile<Format<kPanelQ8_0>, T>
#define ROPEWAY_Q8_1(T) &IntegerTile<Format<kPanelQ8_1>, T>
#define ROPEWAY_Q8_K(T) &IntegerTile<Format<kPanelQ8_K>, T>
#define ROPEWAY_Q4_0(T) &IntegerTile<Format<kPanelQ4_0>, T>
#define ROPEWAY_Q4_1(T) &IntegerTile<Format<kPanelQ4_1>, T>
#define ROPEWAY_Q4_K(T) &IntegerTile<Format<kPanelQ4_K>, T>
#define ROPEWAY_Q6_K(T) &IntegerTile<Format<kPanelQ6_K>, T>
#define ROPEWAY_F32(T) &FloatTile<T>

extern const TileKernels kTiles;
const TileKernels kTiles = {
    .quantize = &QuantizeAvx2,
    .tile = {ROPEWAY_TILES(ROPEWAY_Q8_0), ROPEWAY_TILES(ROPEWAY_Q8_1), ROPEWAY_TILES(ROPEWAY_Q8_K),
             ROPEWAY_TILES(ROPEWAY_Q4_0), ROPEWAY_TILES(ROPEWAY_Q4_1), ROPEWAY_TILES(ROPEWAY_Q4_K),
             ROPEWAY_TILES(ROPEWAY_Q6_K), ROPEWAY_TILES(ROPEWAY_F32)},
};

}  // namespace ropeway::kernels::avx512
