// Quantises eight tokens x 32 columns at a time: lanes are tokens for the maxima and, after an 8 x 8
// transposition, for the sums; columns for the rounding. About 25 instructions per token and block for 8
// tokens; a tile with fewer repeats its first token in the idle lanes and stores what is there alone, so a
// token's bytes do not depend on its neighbours. One token alone has eight of its blocks in the lanes instead.
// No stores under a mask: on AMD's processors up to Zen 4 each takes dozens of steps, and three quarters of the
// time went there.
#include "engine/kernels/cpu/quantize_avx2.h"

#include <immintrin.h>

#include "engine/kernels/cpu/panel.h"

namespace ropeway::kernels {
namespace {

// A block whose largest magnitude is below this becomes zeros: its scale would leave the range in which
// products of scales are exact enough for all instruction sets to agree.
constexpr float kSmallest = 0x1p-80f;

// Magnitudes are compared as integers: the order is that of the floats, with infinity and then NaN on top, so
// that a value that is no number gives a scale, and so outputs, that are none.
__m256i Magnitudes(const float* x) {
  return _mm256_castps_si256(_mm256_andnot_ps(_mm256_set1_ps(-0.f), _mm256_loadu_ps(x)));
}

// Largest magnitude of 32 columns, still spread over 8 lanes.
__m256i LargestOf(const float* x) {
  const __m256i a = _mm256_max_epi32(Magnitudes(x), Magnitudes(x + 8));
  const __m256i b = _mm256_max_epi32(Magnitudes(x + 16), Magnitudes(x + 24));
  return _mm256_max_epi32(a, b);
}

// Lane t of the result is the largest lane of m[t].
__m256 MaximumOfEach(const __m256i (&m)[8]) {
  __m256i four[4], two[2];
  for (int i = 0; i < 4; ++i)
    four[i] = _mm256_max_epi32(_mm256_permute2x128_si256(m[i], m[i + 4], 0x20),
                               _mm256_permute2x128_si256(m[i], m[i + 4], 0x31));
  for (int i = 0; i < 2; ++i)
    two[i] = _mm256_max_epi32(_mm256_unpacklo_epi32(four[i], four[i + 2]),
                              _mm256_unpackhi_epi32(four[i], four[i + 2]));
  return _mm256_castsi256_ps(
      _mm256_max_epi32(_mm256_unpacklo_epi32(two[0], two[1]), _mm256_unpackhi_epi32(two[0], two[1])));
}

// 32 columns times `inverse`, rounded to nearest even, as 32 int8 in order.
__m256i Round(const float* x, __m256 inverse) {
  __m256i q[4];
  for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse));
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// Rows of eight dwords become columns.
void Transpose(__m256i (&r)[8]) {
  __m256i a[8], b[8];
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    a[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      b[4 * i + 2 * j] = _mm256_unpacklo_epi64(a[4 * i + j], a[4 * i + 2 + j]);
      b[4 * i + 2 * j + 1] = _mm256_unpackhi_epi64(a[4 * i + j], a[4 * i + 2 + j]);
    }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
    r[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
  }
}

// Sum over four groups of the four int8 in each lane.
__m256i SumOfGroups(const __m256i* groups) {
  const __m256i ones = _mm256_set1_epi8(1);
  __m256i sum = _mm256_maddubs_epi16(ones, groups[0]);
  for (int i = 1; i < 4; ++i) sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(ones, groups[i]));
  return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

struct Rows {
  const float* row[8];
};

__m256i InitOf(__m256i sum) { return _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(sum, 7)); }

struct Scales {
  __m256 scale, inverse;  // per row
};

Scales ScalesOf(const Rows& x, int64_t column) {
  __m256i m[8];
  for (int t = 0; t < 8; ++t) m[t] = LargestOf(x.row[t] + column);
  const __m256 largest = MaximumOfEach(m);
  return {_mm256_mul_ps(largest, _mm256_set1_ps(1.f / 127)),
          _mm256_and_ps(_mm256_div_ps(_mm256_set1_ps(127), largest),
                        _mm256_cmp_ps(largest, _mm256_set1_ps(kSmallest), _CMP_NLT_UQ))};
}

// Eight blocks of one token: the lanes are blocks.
void QuantizeEightBlocks(const float* x, uint8_t* main, uint8_t* sums, uint8_t* halves) {
  Rows rows;
  for (int b = 0; b < 8; ++b) rows.row[b] = x + b * kQuantBlock;
  const Scales s = ScalesOf(rows, 0);
  alignas(32) float inverses[8];
  alignas(32) int32_t scales[8], inits[8], low_inits[8], high_inits[8];
  _mm256_store_ps(inverses, s.inverse);
  __m256i q[8];
  for (int b = 0; b < 8; ++b) {
    q[b] = Round(rows.row[b], _mm256_set1_ps(inverses[b]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(main + b * MainBytes(1)), q[b]);
  }
  Transpose(q);
  const __m256i low = SumOfGroups(q), high = SumOfGroups(q + 4), sum = _mm256_add_epi32(low, high);
  const auto store = [](int32_t* p, __m256i v) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), v); };
  store(scales, _mm256_castps_si256(s.scale));
  store(inits, InitOf(sum));
  store(low_inits, InitOf(low));
  store(high_inits, InitOf(high));
  _mm256_storeu_ps(reinterpret_cast<float*>(sums), _mm256_mul_ps(s.scale, _mm256_cvtepi32_ps(sum)));
  for (int b = 0; b < 8; ++b) {
    __builtin_memcpy(main + b * MainBytes(1) + 32, &scales[b], 4);
    __builtin_memcpy(main + b * MainBytes(1) + 36, &inits[b], 4);
    __builtin_memcpy(halves + b * 8, &low_inits[b], 4);
    __builtin_memcpy(halves + b * 8 + 4, &high_inits[b], 4);
  }
}

// One block of up to eight tokens: the lanes are tokens, all or some of them.
template <bool kAllLanes>
void QuantizeBlock(const Rows& x, int64_t column, const TilePlace& to, uint8_t* main, uint8_t* sums,
                   uint8_t* halves) {
  const Scales s = ScalesOf(x, column);
  alignas(32) float inverses[8];
  _mm256_store_ps(inverses, s.inverse);
  __m256i q[8];
  for (int t = 0; t < 8; ++t) q[t] = Round(x.row[t] + column, _mm256_set1_ps(inverses[t]));
  const int tokens = kAllLanes ? 8 : to.tokens;
  for (int t = 0; t < tokens; ++t)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(main + (to.first_token + t) * kQuantBlock), q[t]);
  Transpose(q);
  const auto store = [&](uint8_t* p, __m256i v) {
    p += 4 * to.first_token;
    if (kAllLanes) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
    alignas(32) int32_t lanes[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), v);
    for (int t = 0; t < tokens; ++t) __builtin_memcpy(p + 4 * t, &lanes[t], 4);
  };
  const __m256i low = SumOfGroups(q), high = SumOfGroups(q + 4), sum = _mm256_add_epi32(low, high);
  store(main + 32 * to.tile_tokens, _mm256_castps_si256(s.scale));
  store(main + 36 * to.tile_tokens, InitOf(sum));
  store(sums, _mm256_castps_si256(_mm256_mul_ps(s.scale, _mm256_cvtepi32_ps(sum))));
  store(halves, InitOf(low));
  store(halves + 4 * to.tile_tokens, InitOf(high));
}

}  // namespace

void QuantizeAvx2(const float* x, int64_t x_stride, int64_t blocks, const TilePlace& to) {
  const int64_t all = to.tile_tokens;
  uint8_t *main = to.tile, *sums = to.tile + SumsOffset(blocks, all),
          *halves = to.tile + HalvesOffset(blocks, all);
  int64_t b = 0;
  for (; all == 1 && b + 8 <= blocks; b += 8)
    QuantizeEightBlocks(x + b * kQuantBlock, main + b * MainBytes(1), sums + b * 4, halves + b * 8);
  Rows rows;
  for (int t = 0; t < 8; ++t) rows.row[t] = x + (t < to.tokens ? t : 0) * x_stride;
  const auto quantize = to.tokens == 8 ? &QuantizeBlock<true> : &QuantizeBlock<false>;
  for (; b < blocks; ++b)
    quantize(rows, b * kQuantBlock, to, main + b * MainBytes(all), sums + b * all * 4, halves + b * all * 8);
}

}  // namespace ropeway::kernels
