// AVX2 tiles, compiled twice: with AVX-VNNI (ROPEWAY_AVX_VNNI = 1) and without. Same panels as AVX-512, in
// four quarters of 8 rows, and the same sequence of float operations: every integer sum, and so every output
// byte, is that of tile_avx512.cc.
//
// Registers: 2 quarters x up to 4 tokens of integer sums, 2 weight vectors (and their magnitudes), a
// broadcast that serves both quarters; the float accumulators [4 quarters][T] live in L1. A tile of 8 tokens
// takes two such steps per block. Per 8 rows x 4 columns x token (32 multiply-adds):
//   AVX-VNNI      1 vpdpbusd
//   AVX2, 8 bits  vpsignb, vpmaddubsw, vpmaddwd, vpaddd: |w| * (a with w's sign), since pairs of u8 * s8 of
//                 full range would saturate 16 bits (255 * 127 * 2) but 128 * 127 * 2 = 32512 does not
//   AVX2, 4 bits  or fewer: vpmaddubsw, vpaddw, and one vpmaddwd per 32 columns, since
//                 8 groups * 2 * 15 * 127 = 30480 fits 16 bits
//   AVX2, 5 bits  the same per 4 groups: 4 * 2 * 31 * 127 = 31496 fits
//   AVX2, 6 bits  the same per 2 groups: 2 * 2 * 63 * 127 = 32004 fits
#include <immintrin.h>

#include <utility>

#include "engine/kernels/args.h"
#include "engine/kernels/cpu/lanes.h"
#include "engine/kernels/cpu/panel.h"
#include "engine/kernels/cpu/quantize_avx2.h"

#if ROPEWAY_AVX_VNNI
#define ROPEWAY_NAMESPACE avx_vnni
#else
#define ROPEWAY_NAMESPACE avx2
#endif

namespace ropeway::kernels::ROPEWAY_NAMESPACE {
namespace {

// The order matters.
// clang-format off
#include "engine/kernels/cpu/lanes_avx2.h"
#include "engine/kernels/cpu/math_inl.h"
#include "engine/kernels/cpu/tile_inl.h"
// clang-format on

using Vector = __m256i;

Vector LoadCodes(const uint8_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
__m256 LoadHalves(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
__m128i LoadEight(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
__m256 LoadU8(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(LoadEight(p))); }
__m256 LoadS8(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(LoadEight(p))); }
Vector BroadcastInt(const uint8_t* p) { return _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(p)); }
__m256 BroadcastFloat(const uint8_t* p) { return _mm256_broadcast_ss(reinterpret_cast<const float*>(p)); }

__m256 LoadLowNibbles(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_and_si128(LoadEight(p), _mm_set1_epi8(15))));
}
__m256 LoadHighNibbles(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_srli_epi32(_mm256_cvtepu8_epi32(LoadEight(p)), 4));
}

// Moves bits up by `by`, or down where it is negative, across byte borders.
[[gnu::always_inline]] inline Vector ShiftUp(Vector v, int by) {
  if (by > 0) return _mm256_slli_epi16(v, by);
  if (by < 0) return _mm256_srli_epi16(v, -by);
  return v;
}

// Codes() gives 8 rows x 4 columns as unsigned bytes of kBits bits; `q` is the quarter (8 rows). Codes of a table are looked
// up by one shuffle.
template <DType kType>
struct Format : PanelType<kType> {
  using PanelType<kType>::kCode;
  static constexpr bool kCentred = kCode.centred;
  static constexpr int kBits = kCode.value_bits();

  // Bits [0, width) of the code of `group` from a plane, at bit `to` of each byte.
  template <int kWidth, int kTo>
  [[gnu::always_inline]] static Vector Field(const uint8_t* plane, int group, int q) {
    constexpr int kGroups = 8 / kWidth;  // in a byte
    const Vector bytes = LoadCodes(plane + group / kGroups * 128 + q * 32);
    return _mm256_and_si256(ShiftUp(bytes, kTo - group % kGroups * kWidth),
                            _mm256_set1_epi8(static_cast<char>(((1 << kWidth) - 1) << kTo)));
  }

  [[gnu::always_inline]] static Vector Codes(const uint8_t* block, int group, int q) {
    if constexpr (kCode.low_bits == 8) {
      return LoadCodes(block + group * 128 + q * 32);
    } else {
      const Vector low = Field<kCode.low_bits, 0>(block, group, q);
      if constexpr (kCode.has_table()) {
        const auto* table = reinterpret_cast<const __m128i*>(kCentredTable<kCode.table>.codes);
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128(table)), low);
      } else if constexpr (kCode.high_bits == 0) {
        return low;
      } else {
        const uint8_t* high = block + kCode.low_bits * kBitPlane;
        return _mm256_or_si256(low, Field<kCode.high_bits, kCode.low_bits>(high, group, q));
      }
    }
  }

  // `part` is 1 for columns 16..31 of a format with kHalves.
  static __m256 Scale(const uint8_t* side, const uint8_t* super, int part, int q) {
    if constexpr (kCode.scales == QuantScales::kSuperScaleMin)
      return _mm256_mul_ps(LoadU8(side + 8 * q), LoadHalves(super + 16 * q));
    if constexpr (kCode.scales == QuantScales::kHalvesScale)
      return _mm256_mul_ps(LoadS8(side + 32 * part + 8 * q), LoadHalves(super + 16 * q));
    if constexpr (kCode.scales == QuantScales::kHalvesScaleMin)
      return _mm256_mul_ps(LoadLowNibbles(side + 32 * part + 8 * q), LoadHalves(super + 16 * q));
    if constexpr (kCode.scales == QuantScales::kScaleBf16)
      return LoadBf16Half(reinterpret_cast<const uint16_t*>(side + 16 * q));
    return LoadHalves(side + 16 * q);
  }

  // Of a format with a minimum per 32 columns.
  static __m256 Min(const uint8_t* side, const uint8_t* super, int q) {
    if constexpr (kCode.scales == QuantScales::kScaleMin) return LoadHalves(side + 64 + 16 * q);
    const __m256 minus = _mm256_sub_ps(_mm256_setzero_ps(), LoadHalves(super + 64 + 16 * q));
    return _mm256_mul_ps(LoadU8(side + 32 + 8 * q), minus);
  }
};

// init is -128 * sum(a); codes of fewer bits have their zero at 2^(kBits - 1).
template <int kBits>
Vector Init(const uint8_t* init) {
  return _mm256_srai_epi32(BroadcastInt(init), 8 - kBits);
}

// sum[r][t] = (codes - zero) * activations over groups [first, first + kCount), of quarters 2 * half + r and
// tokens kToken + t. `init` takes the zero off; signed bytes need none.
#if ROPEWAY_AVX_VNNI
template <class F, int kToken, int kCount, int kTokens>
[[gnu::always_inline]] inline void Multiply(const uint8_t* block, const uint8_t* x, const uint8_t* init,
                                            int first, int half, Vector (&sum)[2][kTokens]) {
  for (int t = 0; t < kTokens; ++t)
    sum[0][t] = sum[1][t] = F::kCentred ? Init<F::kBits>(init + 4 * (kToken + t)) : _mm256_setzero_si256();
#pragma GCC unroll 8
  for (int g = first; g < first + kCount; ++g) {
    const Vector w[2] = {F::Codes(block, g, 2 * half), F::Codes(block, g, 2 * half + 1)};
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const Vector a = BroadcastInt(x + (kToken + t) * kQuantBlock + g * 4);
      for (int r = 0; r < 2; ++r) sum[r][t] = _mm256_dpbusd_avx_epi32(sum[r][t], w[r], a);
    }
  }
}
#else
template <class F, int kToken, int kCount, int kTokens>
[[gnu::always_inline]] inline void Multiply(const uint8_t* block, const uint8_t* x, const uint8_t* init,
                                            int first, int half, Vector (&sum)[2][kTokens]) {
  // Groups whose 16-bit pair sums may be added before they are widened.
  constexpr int kRun = F::kBits == 8 ? 1 : F::kBits == 6 ? 2 : F::kBits == 5 ? 4 : kCount;
  Vector pairs[2][kTokens];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) {
    Vector w[2], u[2];
    for (int r = 0; r < 2; ++r) {
      u[r] = F::Codes(block, first + i, 2 * half + r);
      w[r] = _mm256_xor_si256(u[r], _mm256_set1_epi8(static_cast<char>(0x80)));
      if (F::kBits == 8) u[r] = _mm256_abs_epi8(w[r]);
    }
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const Vector a = BroadcastInt(x + (kToken + t) * kQuantBlock + (first + i) * 4);
#pragma GCC unroll 2
      for (int r = 0; r < 2; ++r) {
        const Vector product = _mm256_maddubs_epi16(u[r], F::kBits == 8 ? _mm256_sign_epi8(a, w[r]) : a);
        pairs[r][t] = i % kRun == 0 ? product : _mm256_add_epi16(pairs[r][t], product);
        if (i % kRun != kRun - 1) continue;
        const Vector wide = _mm256_madd_epi16(pairs[r][t], _mm256_set1_epi16(1));
        if (i >= kRun)
          sum[r][t] = _mm256_add_epi32(sum[r][t], wide);
        else
          sum[r][t] = F::kCentred && F::kBits < 8
                          ? _mm256_add_epi32(Init<F::kBits>(init + 4 * (kToken + t)), wide)
                          : wide;
      }
    }
  }
}
#endif

// The minima of 16 columns: total += (min0 init0 + min1 init1) * (dmin / 128 * scale). The sum in the first
// bracket is exact: integers below 2^23.
[[gnu::always_inline]] inline __m256 SubtractMins(const Block& b, int q, int token, __m256 x_scale,
                                                  __m256 total) {
  const __m256 min0 = LoadHighNibbles(b.side + 8 * q), min1 = LoadHighNibbles(b.side + 32 + 8 * q);
  const __m256 factor = _mm256_mul_ps(LoadHalves(b.super + 64 + 16 * q), _mm256_set1_ps(1.f / 128));
  const __m256 init0 = _mm256_cvtepi32_ps(BroadcastInt(b.halves[0] + 4 * token));
  const __m256 init1 = _mm256_cvtepi32_ps(BroadcastInt(b.halves[1] + 4 * token));
  const __m256 sum = _mm256_fmadd_ps(min1, init1, _mm256_mul_ps(min0, init0));
  return _mm256_fmadd_ps(sum, _mm256_mul_ps(factor, x_scale), total);
}

// One block of quarters 2 * half and 2 * half + 1 and tokens [kToken, kToken + kTokens), onto acc[4][T].
template <class F, int T, int kToken, int kTokens>
[[gnu::always_inline]] inline void Accumulate(const Block& b, int half, __m256 (&acc)[4][T]) {
  Vector sum[2][kTokens];
  __m256 value[2][kTokens];
  if constexpr (F::kHalves) {
    Multiply<F, kToken, 4>(b.codes, b.x, b.halves[0], 0, half, sum);
    for (int r = 0; r < 2; ++r)
      for (int t = 0; t < kTokens; ++t)
        value[r][t] =
            _mm256_mul_ps(_mm256_cvtepi32_ps(sum[r][t]), F::Scale(b.side, b.super, 0, 2 * half + r));
    Multiply<F, kToken, 4>(b.codes, b.x, b.halves[1], 4, half, sum);
  } else {
    Multiply<F, kToken, 8>(b.codes, b.x, b.init, 0, half, sum);
  }
  for (int r = 0; r < 2; ++r) {
    const int q = 2 * half + r;
    const __m256 scale = F::Scale(b.side, b.super, F::kHalves, q);
    for (int t = 0; t < kTokens; ++t) {
      __m256& total = acc[q][kToken + t];
      const __m256 x_scale = BroadcastFloat(b.scales + 4 * (kToken + t)), s = _mm256_cvtepi32_ps(sum[r][t]);
      if constexpr (F::kHalves)
        total = _mm256_fmadd_ps(_mm256_fmadd_ps(s, scale, value[r][t]), x_scale, total);
      else
        total = _mm256_fmadd_ps(s, _mm256_mul_ps(scale, x_scale), total);
      if constexpr (F::kMin)
        total = _mm256_fmadd_ps(F::Min(b.side, b.super, q), BroadcastFloat(b.sums + 4 * (kToken + t)), total);
      if constexpr (F::kCode.scales == QuantScales::kHalvesScaleMin)
        total = SubtractMins(b, q, kToken + t, x_scale, total);
    }
  }
}

template <int T>
[[gnu::always_inline]] inline void Finish(const TileArgs& args, const __m256 (&acc)[4][T]) {
  for (int t = 0; t < T; ++t) {
    float* y = args.y + t * args.y_stride;
    Lanes low = {acc[0][t], acc[1][t]}, high = {acc[2][t], acc[3][t]};
    if (args.bias != nullptr) low = Add(low, Load(args.bias)), high = Add(high, Load(args.bias + 16));
    if (args.epilogue == kTileGate) {
      Store(y, Gated(args.activation, args.numbers, low, high));
    } else {
      if (args.epilogue == kTileAdd) low = Add(Load(y), low), high = Add(Load(y + 16), high);
      if (args.epilogue == kTileActivate)
        low = Activate(args.activation, args.numbers, low),
        high = Activate(args.activation, args.numbers, high);
      Store(y, low);
      Store(y + 16, high);
    }
  }
}

template <class F, int T>
void IntegerTile(const TileArgs& args) {
  const int64_t blocks = args.columns / kQuantBlock;
  Fetching fetching(args);
  Block block = FirstBlock<F>(args);
  __m256 acc[4][T] = {};
  for (int64_t i = 0; i < blocks; ++i) {
    fetching.Step();
    for (int half = 0; half < 2; ++half) {
      Accumulate<F, T, 0, (T < 4 ? T : 4)>(block, half, acc);
      if constexpr (T > 4) Accumulate<F, T, 4, T - 4>(block, half, acc);
    }
    Advance<F>(args, i + 1, block);
  }
  Finish<T>(args, acc);
}

// Eight weights of a float panel, `index` elements from its beginning.
template <DType kType>
[[gnu::always_inline]] inline __m256 LoadWeights(const uint8_t* panel, int64_t index) {
  if constexpr (kType == DType::kF32) return _mm256_load_ps(reinterpret_cast<const float*>(panel) + index);
  if constexpr (kType == DType::kF16) return LoadHalves(panel + 2 * index);
  return LoadBf16Half(reinterpret_cast<const uint16_t*>(panel) + index);
}

// Quarters [kQuarter, kQuarter + kQuarters) and tokens [kToken, kToken + kTokens): at most eight sums in
// registers.
template <DType kType, int T, int kToken, int kTokens, int kQuarter, int kQuarters>
[[gnu::always_inline]] inline void MultiplyFloats(const TileArgs& args, __m256 (&acc)[4][T]) {
  const float* x = reinterpret_cast<const float*>(args.activations) + kToken;
  Fetching fetching(args);
  __m256 sum[kQuarters][kTokens] = {};
  for (int64_t k = 0; k < args.columns; ++k, x += T) {
    if (kToken == 0 && kQuarter == 0 && k % kQuantBlock == 0) fetching.Step();
    __m256 w[kQuarters];
#pragma GCC unroll 4
    for (int q = 0; q < kQuarters; ++q)
      w[q] = LoadWeights<kType>(args.panel, k * kPanelRows + (kQuarter + q) * 8);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const __m256 a = _mm256_broadcast_ss(x + t);
#pragma GCC unroll 4
      for (int q = 0; q < kQuarters; ++q) sum[q][t] = _mm256_fmadd_ps(w[q], a, sum[q][t]);
    }
  }
  for (int q = 0; q < kQuarters; ++q)
    for (int t = 0; t < kTokens; ++t) acc[kQuarter + q][kToken + t] = sum[q][t];
}

template <DType kType, int T>
void FloatTile(const TileArgs& args) {
  __m256 acc[4][T];
  if constexpr (T <= 2) {
    MultiplyFloats<kType, T, 0, T, 0, 4>(args, acc);
  } else {
    constexpr int kFirst = T < 4 ? T : 4;
    MultiplyFloats<kType, T, 0, kFirst, 0, 2>(args, acc);
    MultiplyFloats<kType, T, 0, kFirst, 2, 2>(args, acc);
    if constexpr (T > 4) {
      MultiplyFloats<kType, T, 4, T - 4, 0, 2>(args, acc);
      MultiplyFloats<kType, T, 4, T - 4, 2, 2>(args, acc);
    }
  }
  Finish<T>(args, acc);
}

#include "engine/kernels/cpu/tile_table_inl.h"

}  // namespace

extern const TileKernels kTiles;
constexpr TileKernels kTiles = MakeTiles(&QuantizeAvx2);

}  // namespace ropeway::kernels::ROPEWAY_NAMESPACE
