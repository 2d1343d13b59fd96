// AVX-512 VNNI tiles: 32 rows (two vectors of 16 lanes) x T <= 8 tokens.
//
// Every output element is acc = 0; for each block b of 32 columns in order: acc = fma(value_b, scale_b, acc),
// by one fixed sequence of float operations per format, whatever T is. Integer sums are exact. So a row's
// bytes depend neither on the number of tokens, nor on the tile that computes it, nor on the thread.
//
// Per 32 columns of a tile with T = 8, two 16-row halves (Q8_0):
//   128 vpdpbusd          8 groups x 2 halves x 8 tokens; 16 independent chains, 8 needed (latency 4, 2 per
//   cycle)
//    16 vcvtdq2ps, 16 vmulps, 16 vfmadd
//   100 loads             8 groups x (2 weight vectors + 8 broadcasts), 2 scales, 8 + 8 scale and init
//   broadcasts,
//                         and what is spilled of the 16 float accumulators
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

// The low and the high nibbles of 16 bytes.
__m512 LoadLowNibbles(const uint8_t* p) {
  const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(bytes, _mm_set1_epi8(15))));
}
__m512 LoadHighNibbles(const uint8_t* p) {
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_cvtepi32_ps(_mm512_srli_epi32(bytes, 4));
}

// Moves bits up by `by`, or down where it is negative, across byte borders.
[[gnu::always_inline]] inline __m512i ShiftUp(__m512i v, int by) {
  if (by > 0) return _mm512_slli_epi16(v, static_cast<unsigned>(by));
  if (by < 0) return _mm512_srli_epi16(v, static_cast<unsigned>(-by));
  return v;
}

// Codes() gives 16 rows x 4 columns as unsigned bytes. The codes of centred formats are shifted up to have
// their zero at 128, which the activations' init takes off; kOutput takes the factor off at the end, exactly.
template <PanelFormat kFormat>
struct Format {
  static constexpr IntegerFormat kInfo = kIntegerFormats[kFormat];
  static constexpr bool kHalves = kInfo.scales == kHalvesScale || kInfo.scales == kHalvesScaleMin;
  static constexpr int kUp = kInfo.centred ? 8 - kInfo.low_bits - kInfo.high_bits : 0;
  static constexpr float kOutput = 1.f / (1 << kUp);

  // Bits [0, width) of the code of `group` from a plane, at bit `to` of each byte; the rest is to be masked
  // off.
  template <int kWidth, int kTo>
  [[gnu::always_inline]] static __m512i Field(const uint8_t* plane, int group, int half) {
    constexpr int kGroups = 8 / kWidth;  // in a byte
    return ShiftUp(LoadCodes(plane + (group / kGroups * 2 + half) * 64), kTo - group % kGroups * kWidth);
  }

  [[gnu::always_inline]] static __m512i Codes(const uint8_t* block, int group, int half) {
    if constexpr (kInfo.low_bits == 8) {
      return LoadCodes(block + (group * 2 + half) * 64);
    } else {
      constexpr int kLow = ((1 << kInfo.low_bits) - 1) << kUp;
      const __m512i low = _mm512_and_si512(Field<kInfo.low_bits, kUp>(block, group, half),
                                           _mm512_set1_epi8(static_cast<char>(kLow)));
      if constexpr (kInfo.high_bits == 0) {
        return low;
      } else {
        constexpr int kTo = kUp + kInfo.low_bits, kHigh = ((1 << kInfo.high_bits) - 1) << kTo;
        const __m512i high = Field<kInfo.high_bits, kTo>(block + kInfo.low_bits * kBitPlane, group, half);
        // low | (high & mask)
        return _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi8(static_cast<char>(kHigh)), 0xF8);
      }
    }
  }

  // Products of 11 bits and at most 8 bits: exact. `part` is 1 for columns 16..31 of a format with kHalves.
  static __m512 Scale(const uint8_t* side, const uint8_t* super, int part, int half) {
    if constexpr (kInfo.scales == kSuperScaleMin)
      return _mm512_mul_ps(LoadU8(side + 16 * half), LoadHalves(super + 32 * half));
    if constexpr (kInfo.scales == kHalvesScale)
      return _mm512_mul_ps(LoadS8(side + 32 * part + 16 * half), LoadHalves(super + 32 * half));
    if constexpr (kInfo.scales == kHalvesScaleMin)
      return _mm512_mul_ps(LoadLowNibbles(side + 32 * part + 16 * half), LoadHalves(super + 32 * half));
    return LoadHalves(side + 32 * half);
  }

  // Of a format with a minimum per 32 columns.
  static __m512 Min(const uint8_t* side, const uint8_t* super, int half) {
    if constexpr (kInfo.scales == kScaleMin) return LoadHalves(side + 64 + 32 * half);
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

// The minima of 16 columns: acc += (min0 init0 + min1 init1) * (dmin / 128 * scale). The sum in the first
// bracket is exact: integers below 2^23.
template <int T>
[[gnu::always_inline]] inline void SubtractMins(const uint8_t* side, const uint8_t* super,
                                                const uint8_t* scales, const uint8_t* halves,
                                                __m512 (&acc)[2][T]) {
  for (int h = 0; h < 2; ++h) {
    const __m512 min0 = LoadHighNibbles(side + 16 * h), min1 = LoadHighNibbles(side + 32 + 16 * h);
    const __m512 factor = _mm512_mul_ps(LoadHalves(super + 64 + 32 * h), _mm512_set1_ps(1.f / 128));
    for (int t = 0; t < T; ++t) {
      const __m512 init0 = _mm512_cvtepi32_ps(BroadcastInt(halves + 4 * t));
      const __m512 init1 = _mm512_cvtepi32_ps(BroadcastInt(halves + 4 * T + 4 * t));
      const __m512 sum = _mm512_fmadd_ps(min1, init1, _mm512_mul_ps(min0, init0));
      const __m512 scale = _mm512_mul_ps(factor, BroadcastFloat(scales + 4 * t));
      acc[h][t] = _mm512_fmadd_ps(sum, scale, acc[h][t]);
    }
  }
}

// One block of a format with a scale per 16 columns.
template <class F, int T>
[[gnu::always_inline]] inline void AccumulateHalves(const uint8_t* block, const uint8_t* side,
                                                    const uint8_t* super, const uint8_t* x,
                                                    const uint8_t* halves, __m512 (&acc)[2][T]) {
  const uint8_t* scales = x + 32 * T;
  __m512i sum[2][T];
  __m512 value[2][T];
  Start<F::kInfo.centred>(halves, sum);
  Multiply<F, T, 0, 4>(block, x, sum);
  for (int h = 0; h < 2; ++h) {
    const __m512 scale = F::Scale(side, super, 0, h);
    for (int t = 0; t < T; ++t) value[h][t] = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[h][t]), scale);
  }
  Start<F::kInfo.centred>(halves + 4 * T, sum);
  Multiply<F, T, 4, 4>(block, x, sum);
  for (int h = 0; h < 2; ++h) {
    const __m512 scale = F::Scale(side, super, 1, h);
    for (int t = 0; t < T; ++t) {
      value[h][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[h][t]), scale, value[h][t]);
      acc[h][t] = _mm512_fmadd_ps(value[h][t], BroadcastFloat(scales + 4 * t), acc[h][t]);
    }
  }
  if constexpr (F::kInfo.scales == kHalvesScaleMin) SubtractMins<T>(side, super, scales, halves, acc);
}

// One block of a format with a scale per 32 columns.
template <class F, int T>
[[gnu::always_inline]] inline void Accumulate(const uint8_t* block, const uint8_t* side, const uint8_t* super,
                                              const uint8_t* x, const uint8_t* sums, __m512 (&acc)[2][T]) {
  const uint8_t* scales = x + 32 * T;
  __m512i sum[2][T];
  Start<F::kInfo.centred>(x + 36 * T, sum);
  Multiply<F, T, 0, 8>(block, x, sum);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512 scale = F::Scale(side, super, 0, h);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512 both = _mm512_mul_ps(scale, BroadcastFloat(scales + 4 * t));
      acc[h][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[h][t]), both, acc[h][t]);
    }
    if constexpr (F::kInfo.scales != kScale) {
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
  const int64_t blocks = args.columns / kBlock;
  const uint8_t* prefetch = args.prefetch;
  const uint8_t* x = args.activations;
  const uint8_t* sums = x + SumsOffset(blocks, T);
  const uint8_t* halves = x + HalvesOffset(blocks, T);
  __m512 acc[2][T] = {};
  for (int64_t b = 0; b < blocks; ++b, x += MainBytes(T)) {
    const uint8_t* block = args.codes + b * F::kInfo.code_bytes;
    const uint8_t* side = args.side + b * F::kInfo.side_bytes;
    const uint8_t* super = args.super + b / 8 * F::kInfo.super_bytes;
    Prefetch(prefetch, args.prefetch_lines);
    if constexpr (F::kHalves)
      AccumulateHalves<F, T>(block, side, super, x, halves + b * 8 * T, acc);
    else
      Accumulate<F, T>(block, side, super, x, sums + b * 4 * T, acc);
  }
  Finish<T>(args, acc, F::kOutput);
}

// Sixteen weights of a float panel, `index` elements from its beginning.
template <PanelFormat kFormat>
[[gnu::always_inline]] inline __m512 LoadWeights(const uint8_t* panel, int64_t index) {
  if constexpr (kFormat == kPanelF32) return _mm512_load_ps(reinterpret_cast<const float*>(panel) + index);
  if constexpr (kFormat == kPanelF16) return LoadHalves(panel + 2 * index);
  return LoadBf16(reinterpret_cast<const uint16_t*>(panel) + index).v;
}

template <PanelFormat kFormat, int T>
void FloatTile(const TileArgs& args) {
  const float* x = reinterpret_cast<const float*>(args.activations);
  const uint8_t* prefetch = args.prefetch;
  __m512 acc[2][T] = {};
  for (int64_t k = 0; k < args.columns; ++k, x += T) {
    if (k % kBlock == 0) Prefetch(prefetch, args.prefetch_lines);
    const __m512 w0 = LoadWeights<kFormat>(args.codes, k * kRows);
    const __m512 w1 = LoadWeights<kFormat>(args.codes, k * kRows + 16);
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

#define ROPEWAY_TILES(TILE, FORMAT)                                                           \
  {                                                                                           \
    &TILE<FORMAT, 1>, &TILE<FORMAT, 2>, &TILE<FORMAT, 3>, &TILE<FORMAT, 4>, &TILE<FORMAT, 5>, \
        &TILE<FORMAT, 6>, &TILE<FORMAT, 7>, &TILE<FORMAT, 8>                                  \
  }
#define ROPEWAY_INTEGERS(FORMAT) ROPEWAY_TILES(IntegerTile, Format<FORMAT>)

extern const TileKernels kTiles;
const TileKernels kTiles = {
    .quantize = &QuantizeAvx2,
    .tile = {ROPEWAY_INTEGERS(kPanelQ4_0), ROPEWAY_INTEGERS(kPanelQ4_1), ROPEWAY_INTEGERS(kPanelQ5_0),
             ROPEWAY_INTEGERS(kPanelQ5_1), ROPEWAY_INTEGERS(kPanelQ8_0), ROPEWAY_INTEGERS(kPanelQ2_K),
             ROPEWAY_INTEGERS(kPanelQ3_K), ROPEWAY_INTEGERS(kPanelQ4_K), ROPEWAY_INTEGERS(kPanelQ5_K),
             ROPEWAY_INTEGERS(kPanelQ6_K), ROPEWAY_TILES(FloatTile, kPanelF32),
             ROPEWAY_TILES(FloatTile, kPanelF16), ROPEWAY_TILES(FloatTile, kPanelBF16)},
};

}  // namespace ropeway::kernels::avx512
