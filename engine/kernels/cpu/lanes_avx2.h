// Sixteen floats in two registers: the vocabulary of *_inl.h, for AVX2. Included inside the namespace of the
// instruction set, after <immintrin.h>. lanes_avx512.h has the same functions with the same results, bit by
// bit.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_LANES_AVX2_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_LANES_AVX2_H_

struct Lanes {
  __m256 low, high;
};

inline Lanes Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline Lanes Splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Lanes Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void Store(float* p, Lanes a) {
  _mm256_storeu_ps(p, a.low);
  _mm256_storeu_ps(p + 8, a.high);
}
// All ones in the lanes first + i < n.
inline __m256i FirstLanes(int64_t n, int first) {
  const __m256i lanes = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes);
}
// Lanes beyond the first n (0 < n < 16) are zero, and their memory is not touched.
inline Lanes LoadFirst(const float* p, int64_t n) {
  return {_mm256_maskload_ps(p, FirstLanes(n, 0)), _mm256_maskload_ps(p + 8, FirstLanes(n, 8))};
}
inline void StoreFirst(float* p, int64_t n, Lanes a) {
  _mm256_maskstore_ps(p, FirstLanes(n, 0), a.low);
  _mm256_maskstore_ps(p + 8, FirstLanes(n, 8), a.high);
}
inline __m256 LoadBf16Half(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline Lanes LoadBf16(const uint16_t* p) { return {LoadBf16Half(p), LoadBf16Half(p + 8)}; }
inline __m256i RoundBf16(__m256 a) {
  const __m256i bits = _mm256_castps_si256(a), high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
}
// Rounds to nearest even; NaN stays NaN.
inline void StoreBf16(uint16_t* p, Lanes a) {
  const __m256i packed = _mm256_packus_epi32(RoundBf16(a.low), RoundBf16(a.high));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xD8));
}
inline __m256i LoadHalfOfPairs(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m256 FirstOfPairs(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
inline __m256 SecondOfPairs(__m256i pairs) {
  return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xFFFF0000))));
}
// The first and the second of sixteen pairs of bf16.
inline Lanes LoadFirstBf16(const uint16_t* p) {
  return {FirstOfPairs(LoadHalfOfPairs(p)), FirstOfPairs(LoadHalfOfPairs(p + 16))};
}
inline Lanes LoadSecondBf16(const uint16_t* p) {
  return {SecondOfPairs(LoadHalfOfPairs(p)), SecondOfPairs(LoadHalfOfPairs(p + 16))};
}
inline __m256i HalfOfPairs(__m256 firsts, __m256 seconds) {
  return _mm256_or_si256(_mm256_srli_epi32(_mm256_castps_si256(firsts), 16), _mm256_castps_si256(seconds));
}
// Sixteen pairs of bf16 from floats that are bf16.
inline void StorePairs(void* p, Lanes firsts, Lanes seconds) {
  __m256i* out = static_cast<__m256i*>(p);
  _mm256_storeu_si256(out, HalfOfPairs(firsts.low, seconds.low));
  _mm256_storeu_si256(out + 1, HalfOfPairs(firsts.high, seconds.high));
}
// The same from sixteen firsts and as many seconds.
inline void StorePairs(void* p, const uint16_t* firsts, const uint16_t* seconds) {
  StorePairs(p, LoadBf16(firsts), LoadBf16(seconds));
}
inline __m256 RoundHalfToBf16(__m256 a) {
  const __m256i sum = _mm256_add_epi32(_mm256_castps_si256(a), _mm256_set1_epi32(0x8000));
  return SecondOfPairs(sum);
}
// To a float that is bf16: to the nearest, halves away from zero.
inline Lanes RoundToBf16(Lanes a) { return {RoundHalfToBf16(a.low), RoundHalfToBf16(a.high)}; }
inline Lanes Add(Lanes a, Lanes b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Lanes Sub(Lanes a, Lanes b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Lanes Mul(Lanes a, Lanes b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Lanes Div(Lanes a, Lanes b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
// Max and Min give b where either is NaN.
inline Lanes Max(Lanes a, Lanes b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Lanes Min(Lanes a, Lanes b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline __m256 SignBits() { return _mm256_set1_ps(-0.f); }
inline Lanes Abs(Lanes a) {
  return {_mm256_andnot_ps(SignBits(), a.low), _mm256_andnot_ps(SignBits(), a.high)};
}
// A magnitude with the sign of `sign`.
inline Lanes CopySign(Lanes magnitude, Lanes sign) {
  return {_mm256_or_ps(magnitude.low, _mm256_and_ps(SignBits(), sign.low)),
          _mm256_or_ps(magnitude.high, _mm256_and_ps(SignBits(), sign.high))};
}
inline Lanes Fma(Lanes a, Lanes b, Lanes c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Lanes NegFma(Lanes a, Lanes b, Lanes c) {
  return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
inline Lanes RoundToInt(Lanes a) {
  return {_mm256_round_ps(a.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
          _mm256_round_ps(a.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline __m256 ScaleHalfByPower(__m256 a, __m256 n) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}
// a * 2^n for integral n.
inline Lanes ScaleByPower(Lanes a, Lanes n) {
  return {ScaleHalfByPower(a.low, n.low), ScaleHalfByPower(a.high, n.high)};
}
inline __m256 ScaleHalfByRounded(__m256 a, __m256 rounded) {
  const __m256i shift = _mm256_slli_epi32(_mm256_castps_si256(rounded), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), shift));
}
// a * 2^n for what kRoundingOrigin + n was rounded to.
inline Lanes ScaleByRounded(Lanes a, Lanes rounded) {
  return {ScaleHalfByRounded(a.low, rounded.low), ScaleHalfByRounded(a.high, rounded.high)};
}
// `value` in lanes [first, last), `other` elsewhere.
inline Lanes Within(int first, int last, Lanes value, Lanes other) {
  const auto half = [&](int offset, __m256 v, __m256 o) {
    const __m256i mask = _mm256_andnot_si256(FirstLanes(first, offset), FirstLanes(last, offset));
    return _mm256_blendv_ps(o, v, _mm256_castsi256_ps(mask));
  };
  return {half(0, value.low, other.low), half(8, value.high, other.high)};
}
inline Lanes Iota() {
  return {_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_ps(8, 9, 10, 11, 12, 13, 14, 15)};
}
// Whether a < b in all lanes.
inline bool AllLess(Lanes a, Lanes b) {
  const __m256 less =
      _mm256_and_ps(_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ));
  return _mm256_movemask_ps(less) == 0xFF;
}
// `value` in the lanes where a < b, `other` elsewhere.
inline Lanes IfLess(Lanes a, Lanes b, Lanes value, Lanes other) {
  return {_mm256_blendv_ps(other.low, value.low, _mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ)),
          _mm256_blendv_ps(other.high, value.high, _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ))};
}

// Lanes 4 and then 2 and 1 apart.
inline float SumOfEight(__m256 a) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float MaxOfEight(__m256 a) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
// Lanes 8 apart are added first, then 4, 2 and 1 apart.
inline float SumOfLanes(Lanes a) { return SumOfEight(_mm256_add_ps(a.low, a.high)); }
inline float MaxOfLanes(Lanes a) { return MaxOfEight(_mm256_max_ps(a.low, a.high)); }

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_LANES_AVX2_H_
