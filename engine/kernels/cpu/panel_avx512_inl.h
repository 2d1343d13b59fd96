// What the AVX-512 tiles and the AMX ones share: panels' formats and what happens to outputs. Included inside
// the namespace of the instruction set after math_inl.h and tile_inl.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_PANEL_AVX512_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_PANEL_AVX512_INL_H_

inline __m512i LoadCodes(const uint8_t* p) { return _mm512_load_si512(p); }
inline __m512 LoadHalves(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}
inline __m512 LoadU8(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
}
inline __m512 LoadS8(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
}
inline __m512i BroadcastInt(const uint8_t* p) {
  return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(p));
}
inline __m512 BroadcastFloat(const uint8_t* p) { return _mm512_set1_ps(*reinterpret_cast<const float*>(p)); }

// The low and the high nibbles of 16 bytes.
inline __m512 LoadLowNibbles(const uint8_t* p) {
  const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(bytes, _mm_set1_epi8(15))));
}
inline __m512 LoadHighNibbles(const uint8_t* p) {
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
// Codes of a table are looked up by one shuffle, and have their zero there.
template <DType kType>
struct Format : PanelType<kType> {
  using PanelType<kType>::kCode;
  static constexpr int kUp = kCode.centred ? 8 - kCode.value_bits() : 0;
  static constexpr float kOutput = 1.f / (1 << kUp);

  // Bits [0, width) of the code of `group` from a plane, at bit `to` of each byte; the rest is to be masked
  // off.
  template <int kWidth, int kTo>
  [[gnu::always_inline]] static __m512i Field(const uint8_t* plane, int group, int half) {
    constexpr int kGroups = 8 / kWidth;  // in a byte
    return ShiftUp(LoadCodes(plane + (group / kGroups * 2 + half) * 64), kTo - group % kGroups * kWidth);
  }

  [[gnu::always_inline]] static __m512i Codes(const uint8_t* block, int group, int half) {
    if constexpr (kCode.low_bits == 8) {
      return LoadCodes(block + (group * 2 + half) * 64);
    } else {
      constexpr int kLow = ((1 << kCode.low_bits) - 1) << kUp;
      const __m512i low = _mm512_and_si512(Field<kCode.low_bits, kUp>(block, group, half),
                                           _mm512_set1_epi8(static_cast<char>(kLow)));
      if constexpr (kCode.has_table()) {
        const auto* table = reinterpret_cast<const __m128i*>(kCentredTable<kCode.table>.codes);
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_load_si128(table)), low);
      } else if constexpr (kCode.high_bits == 0) {
        return low;
      } else {
        constexpr int kTo = kUp + kCode.low_bits, kHigh = ((1 << kCode.high_bits) - 1) << kTo;
        const __m512i high = Field<kCode.high_bits, kTo>(block + kCode.low_bits * kBitPlane, group, half);
        // low | (high & mask)
        return _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi8(static_cast<char>(kHigh)), 0xF8);
      }
    }
  }

  // Products of 11 bits and at most 8 bits: exact. `part` is 1 for columns 16..31 of a format with kHalves.
  static __m512 Scale(const uint8_t* side, const uint8_t* super, int part, int half) {
    if constexpr (kCode.scales == QuantScales::kSuperScaleMin)
      return _mm512_mul_ps(LoadU8(side + 16 * half), LoadHalves(super + 32 * half));
    if constexpr (kCode.scales == QuantScales::kHalvesScale)
      return _mm512_mul_ps(LoadS8(side + 32 * part + 16 * half), LoadHalves(super + 32 * half));
    if constexpr (kCode.scales == QuantScales::kHalvesScaleMin)
      return _mm512_mul_ps(LoadLowNibbles(side + 32 * part + 16 * half), LoadHalves(super + 32 * half));
    if constexpr (kCode.scales == QuantScales::kScaleBf16)
      return LoadBf16(reinterpret_cast<const uint16_t*>(side + 32 * half)).v;
    return LoadHalves(side + 32 * half);
  }

  // Of a format with a minimum per 32 columns.
  static __m512 Min(const uint8_t* side, const uint8_t* super, int half) {
    if constexpr (kCode.scales == QuantScales::kScaleMin) return LoadHalves(side + 64 + 32 * half);
    const __m512 minus = _mm512_sub_ps(_mm512_setzero_ps(), LoadHalves(super + 64 + 32 * half));
    return _mm512_mul_ps(LoadU8(side + 32 + 16 * half), minus);
  }
};

// The minima of 16 columns of kTokens tokens: acc += (min0 init0 + min1 init1) * (dmin / 128 * scale). The
// sum in the first bracket is exact: integers below 2^23.
template <int kTokens>
[[gnu::always_inline]] inline void SubtractMins(const uint8_t* side, const uint8_t* super,
                                                const uint8_t* scales, const uint8_t* const (&halves)[2],
                                                int half, __m512 (&acc)[kTokens]) {
  const __m512 min0 = LoadHighNibbles(side + 16 * half), min1 = LoadHighNibbles(side + 32 + 16 * half);
  const __m512 factor = _mm512_mul_ps(LoadHalves(super + 64 + 32 * half), _mm512_set1_ps(1.f / 128));
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
    const __m512 init0 = _mm512_cvtepi32_ps(BroadcastInt(halves[0] + 4 * t));
    const __m512 init1 = _mm512_cvtepi32_ps(BroadcastInt(halves[1] + 4 * t));
    const __m512 sum = _mm512_fmadd_ps(min1, init1, _mm512_mul_ps(min0, init0));
    const __m512 scale = _mm512_mul_ps(factor, BroadcastFloat(scales + 4 * t));
    acc[t] = _mm512_fmadd_ps(sum, scale, acc[t]);
  }
}

// Outputs of one token, of the panel's first and last 16 rows, times `factor`.
[[gnu::always_inline]] inline void Finish(const TileArgs& args, float* y, __m512 first, __m512 last,
                                          float factor) {
  Lanes low = {_mm512_mul_ps(first, _mm512_set1_ps(factor))},
        high = {_mm512_mul_ps(last, _mm512_set1_ps(factor))};
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

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_PANEL_AVX512_INL_H_
