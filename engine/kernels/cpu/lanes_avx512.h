// Sixteen floats in one register: the vocabulary of *_inl.h, for AVX-512. Included inside the namespace of
// the instruction set, after <immintrin.h>. lanes_avx2.h has the same functions with the same results, bit by
// bit.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_LANES_AVX512_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_LANES_AVX512_H_

struct Lanes {
  __m512 v;
};

inline Lanes Zero() { return {_mm512_setzero_ps()}; }
inline Lanes Splat(float x) { return {_mm512_set1_ps(x)}; }
inline Lanes Load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void Store(float* p, Lanes a) { _mm512_storeu_ps(p, a.v); }
inline __mmask16 FirstLanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
// Lanes beyond the first n (0 < n < 16) are zero, and their memory is not touched.
inline Lanes LoadFirst(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(FirstLanes(n), p)}; }
inline void StoreFirst(float* p, int64_t n, Lanes a) { _mm512_mask_storeu_ps(p, FirstLanes(n), a.v); }
inline Lanes LoadBf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
// Rounds to nearest even; NaN stays NaN.
inline void StoreBf16(uint16_t* p, Lanes a) {
  const __m512i bits = _mm512_castps_si512(a.v), high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const __m512i result = _mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(result));
}
// The first and the second of sixteen pairs of bf16.
inline Lanes LoadFirstBf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))};
}
inline Lanes LoadSecondBf16(const uint16_t* p) {
  const __m512i high = _mm512_set1_epi32(static_cast<int>(0xFFFF0000));
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), high))};
}
// Sixteen pairs of bf16 from sixteen firsts and as many seconds.
inline void StorePairs(void* p, const uint16_t* firsts, const uint16_t* seconds) {
  const __m512i first = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(firsts)));
  const __m512i second = _mm512_castps_si512(LoadBf16(seconds).v);
  _mm512_storeu_si512(p, _mm512_or_si512(first, second));
}
// The same of floats that are bf16.
inline void StorePairs(void* p, Lanes firsts, Lanes seconds) {
  const __m512i first = _mm512_srli_epi32(_mm512_castps_si512(firsts.v), 16);
  _mm512_storeu_si512(p, _mm512_or_si512(first, _mm512_castps_si512(seconds.v)));
}
// To a float that is bf16: to the nearest, halves away from zero.
inline Lanes RoundToBf16(Lanes a) {
  const __m512i sum = _mm512_add_epi32(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x8000));
  return {_mm512_castsi512_ps(_mm512_and_si512(sum, _mm512_set1_epi32(static_cast<int>(0xFFFF0000))))};
}
inline Lanes Add(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Lanes Sub(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Lanes Mul(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Lanes Div(Lanes a, Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
// Max and Min give b where either is NaN.
inline Lanes Max(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Lanes Min(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Lanes Abs(Lanes a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.f), a.v)}; }
// A magnitude with the sign of `sign`.
inline Lanes CopySign(Lanes magnitude, Lanes sign) {
  return {_mm512_or_ps(magnitude.v, _mm512_and_ps(_mm512_set1_ps(-0.f), sign.v))};
}
inline Lanes Fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }      // a b + c
inline Lanes NegFma(Lanes a, Lanes b, Lanes c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a b
inline Lanes RoundToInt(Lanes a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a * 2^n for integral n.
inline Lanes ScaleByPower(Lanes a, Lanes n) {
  const __m512i shift = _mm512_slli_epi32(_mm512_cvtps_epi32(n.v), 23);
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a.v), shift))};
}
// a * 2^n for what kRoundingOrigin + n was rounded to.
inline Lanes ScaleByRounded(Lanes a, Lanes rounded) {
  const __m512i shift = _mm512_slli_epi32(_mm512_castps_si512(rounded.v), 23);
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a.v), shift))};
}
// `value` in lanes [first, last), `other` elsewhere.
inline Lanes Within(int first, int last, Lanes value, Lanes other) {
  const uint32_t mask = ((1u << last) - 1) & ~((1u << first) - 1);
  return {_mm512_mask_blend_ps(static_cast<__mmask16>(mask), other.v, value.v)};
}
inline Lanes Iota() { return {_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}; }
// Whether a < b in all lanes.
inline bool AllLess(Lanes a, Lanes b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ) == 0xFFFF; }
// `value` in the lanes where a < b, `other` elsewhere.
inline Lanes IfLess(Lanes a, Lanes b, Lanes value, Lanes other) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), other.v, value.v)};
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
inline float SumOfLanes(Lanes a) {
  return SumOfEight(_mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1)));
}
inline float MaxOfLanes(Lanes a) {
  return MaxOfEight(_mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1)));
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_LANES_AVX512_H_
