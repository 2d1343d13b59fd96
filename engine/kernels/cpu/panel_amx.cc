// Panels times whole tiles of 16 tokens with AMX int8: the integer sums of 16 tokens x 16 rows x 32 columns
// are one instruction. What is done with the sums is the sequence of float operations of tile_avx512.cc, so
// every output byte is the same.
//
// Weights are unpacked once for many tiles, to signed bytes in the order that AMX wants of its second
// operand, which is the panel's own: 8 groups of 4 columns, each [16 rows][4]. A tile's codes [16][32] are
// the first.
//
// Per 16 tokens x 16 rows x 32 columns, on Sapphire Rapids:
//   AMX    16 cycles tdpbssd, 16 tilestored, 20 of loads (40 rows of tiles)
//   floats 16 vsubps, 16 vmulps, 16 vfmadd, and 16 more for minima
// The two overlap, but as long as AMX is in use, 512-bit multiplications and conversions go to one pipe
// instead of two (measured); additions do not. So the sums come as floats already: they start from the bits
// of 1.5 * 2^23, onto which integers below 2^22 add exactly, and a subtraction makes them numbers. 48 cycles
// of that pipe are left; about 80 are measured, against 150 with vpdpbusd. Starting from tilezero instead
// costs 40 more (measured), and storing half a tile costs as much as storing all of it, which is why tiles
// have 16 tokens.
#include <immintrin.h>

#include <utility>

#include "engine/kernels/args.h"
#include "engine/kernels/cpu/lanes.h"
#include "engine/kernels/cpu/panel.h"

namespace ropeway::kernels::amx {
namespace {

// The order matters.
// clang-format off
#include "engine/kernels/cpu/lanes_avx512.h"
#include "engine/kernels/cpu/math_inl.h"
#include "engine/kernels/cpu/tile_inl.h"
#include "engine/kernels/cpu/panel_avx512_inl.h"
// clang-format on

constexpr int kTokens = kInt8TileTokens;
constexpr int kHalfRows = kPanelRows / 2;
constexpr int kChunkBlocks = 24;  // unpacked at a time: 34 KB
constexpr int kTilesAtOnce = 16;  // whose sums of a chunk wait for the next: 32 KB

constexpr int32_t kOriginBits = 0x4B400000;
constexpr float kOrigin = 12582912;  // 1.5 * 2^23, the float of these bits

template <class F>
constexpr int kPartsOf = F::kHalves ? 2 : 1;

// What the sums of 16 tokens x 16 rows start from.
struct Origin {
  alignas(64) int32_t bits[kTokens][kHalfRows];
  constexpr Origin() : bits() {
    for (auto& row : bits)
      for (int32_t& x : row) x = kOriginBits;
  }
};
constexpr Origin kOrigins;

// Tiles 0..3 are sums, 4 and 5 activations, 6 and 7 weights, of `columns` columns.
struct TileConfig {
  alignas(64) uint8_t palette = 1;
  uint8_t start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
  constexpr explicit TileConfig(int columns) {
    for (int i = 0; i < 8; ++i) {
      row_bytes[i] = static_cast<uint16_t>(i == 4 || i == 5 ? columns : 64);
      rows[i] = static_cast<uint8_t>(i < 6 ? kTokens : columns / 4);
    }
  }
};
static_assert(sizeof(TileConfig) == 64);
constexpr TileConfig kWholeBlocks{kQuantBlock}, kHalfBlocks{kQuantBlock / 2};

// Sums of one block, of 16 or all 32 columns each.
template <int kParts>
struct Sums {
  alignas(64) float of[kParts][kTokens][kHalfRows];
};

// Half of the rows of a block, unpacked.
struct HalfBlock {
  alignas(64) uint8_t codes[8][kHalfRows][4];  // signed
  float scale[2][kHalfRows];                   // of the block, or of either half of its columns
  float min[kHalfRows];                        // of formats with one per 32 columns
};

// [blocks][2 halves]
template <class F>
void Unpack(const TileArgs& args, Range blocks, HalfBlock* out) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(F::kCode.centred ? 0x80 : 0));
  for (int64_t b = blocks.first; b < blocks.last; ++b)
    for (int half = 0; half < 2; ++half, ++out) {
      const uint8_t* block = args.panel + F::kPlanes.CodesAt(b);
      const uint8_t* side = args.panel + F::kPlanes.SideAt(b);
      const uint8_t* super = args.panel + F::kPlanes.SuperAt(b);
#pragma GCC unroll 8
      for (int g = 0; g < 8; ++g)
        _mm512_store_si512(out->codes[g], _mm512_xor_si512(F::Codes(block, g, half), flip));
      for (int part = 0; part < kPartsOf<F>; ++part)
        _mm512_store_ps(out->scale[part], F::Scale(side, super, part, half));
      if constexpr (F::kMin) _mm512_store_ps(out->min, F::Min(side, super, half));
    }
  // Compilers do not know that tile loads read memory.
  asm volatile("" ::: "memory");
}

// g++ wants digits for tiles: tiles 0 and 2 hold the sums of even blocks, 1 and 3 those of odd ones.
#define ROPEWAY_MULTIPLY(SUMS, X, CODES, A, B) \
  _tile_loadd(SUMS, kOrigins.bits, 64);        \
  _tile_loadd(A, X, kQuantBlock);              \
  _tile_loadd(B, CODES, 64);                   \
  _tile_dpbssd(SUMS, A, B)

template <int kParts, bool kOdd>
[[gnu::always_inline]] inline void Multiply(const uint8_t* x, const HalfBlock& w) {
  if constexpr (kOdd) {
    ROPEWAY_MULTIPLY(1, x, w.codes[0], 4, 6);
  } else {
    ROPEWAY_MULTIPLY(0, x, w.codes[0], 4, 6);
  }
  if constexpr (kParts == 2 && kOdd) {
    ROPEWAY_MULTIPLY(3, x + kQuantBlock / 2, w.codes[4], 5, 7);
  } else if constexpr (kParts == 2) {
    ROPEWAY_MULTIPLY(2, x + kQuantBlock / 2, w.codes[4], 5, 7);
  }
}

template <int kParts, bool kOdd>
[[gnu::always_inline]] inline void StoreSums(Sums<kParts>& sums) {
  if constexpr (kOdd) {
    _tile_stored(1, sums.of[0], 64);
    if constexpr (kParts == 2) _tile_stored(3, sums.of[1], 64);
  } else {
    _tile_stored(0, sums.of[0], 64);
    if constexpr (kParts == 2) _tile_stored(2, sums.of[1], 64);
  }
}

[[gnu::always_inline]] inline __m512 Number(const float (&sums)[kHalfRows]) {
  return _mm512_sub_ps(_mm512_load_ps(sums), _mm512_set1_ps(kOrigin));
}

// One block of half of the rows, onto acc. `scales` and `sums` are those of its tokens.
template <class F>
[[gnu::always_inline]] inline void Accumulate(const Sums<kPartsOf<F>>& block_sums, const HalfBlock& w,
                                              const uint8_t* scales, const uint8_t* sums,
                                              __m512 (&acc)[kTokens]) {
  const __m512 scale = _mm512_load_ps(w.scale[0]);
  if constexpr (F::kHalves) {
    const __m512 last_scale = _mm512_load_ps(w.scale[1]);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const __m512 first = _mm512_mul_ps(Number(block_sums.of[0][t]), scale);
      const __m512 value = _mm512_fmadd_ps(Number(block_sums.of[1][t]), last_scale, first);
      acc[t] = _mm512_fmadd_ps(value, BroadcastFloat(scales + 4 * t), acc[t]);
    }
  } else {
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const __m512 both = _mm512_mul_ps(scale, BroadcastFloat(scales + 4 * t));
      acc[t] = _mm512_fmadd_ps(Number(block_sums.of[0][t]), both, acc[t]);
    }
  }
  if constexpr (F::kMin) {
    const __m512 min = _mm512_load_ps(w.min);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_fmadd_ps(min, BroadcastFloat(sums + 4 * t), acc[t]);
  }
}

// Blocks of one tile and half of the rows, onto acc; `w` are the unpacked ones of that half. While one
// block's sums are used, those of the next are stored and those after it computed.
template <class F>
[[gnu::always_inline]] inline void AddBlocks(const TileArgs& args, const uint8_t* tile, Range blocks,
                                             const HalfBlock* w, const uint8_t* prefetch,
                                             __m512 (&acc)[kTokens]) {
  constexpr int kParts = kPartsOf<F>;
  constexpr int64_t kMain = MainBytes(kTokens);
  const int64_t lines = args.prefetch_lines;
  const uint8_t *next_x = tile + blocks.first * kMain, *last_x = tile + (blocks.last - 1) * kMain;
  const HalfBlock* next_w = w;
  const uint8_t* scales = next_x + kQuantBlock * kTokens;
  const uint8_t* sums = tile + SumsOffset(args.columns / kQuantBlock, kTokens) + blocks.first * 4 * kTokens;
  // The last block is computed again where there is no next one, and its sums never used.
  const auto advance = [&]() __attribute__((always_inline)) {
    const bool more = next_x != last_x;
    next_x += more ? kMain : 0;
    next_w += more ? 2 : 0;
  };
  const auto use = [&](const Sums<kParts>& block_sums) __attribute__((always_inline)) {
    Prefetch(prefetch, lines);
    Accumulate<F>(block_sums, *w, scales, sums, acc);
    w += 2;
    scales += kMain;
    sums += 4 * kTokens;
  };
  Sums<kParts> even, odd;
  Multiply<kParts, false>(next_x, *next_w);
  advance();
  Multiply<kParts, true>(next_x, *next_w);
  advance();
  StoreSums<kParts, false>(even);
  for (int64_t b = blocks.first; b < blocks.last; b += 2) {
    Multiply<kParts, false>(next_x, *next_w);
    advance();
    StoreSums<kParts, true>(odd);
    use(even);
    if (b + 1 == blocks.last) break;
    Multiply<kParts, true>(next_x, *next_w);
    advance();
    StoreSums<kParts, false>(even);
    use(odd);
  }
}

// Of a tile: what its outputs have summed up to.
struct Totals {
  alignas(64) float of[2][kTokens][kHalfRows];
};

template <class F>
void AddChunk(const TileArgs& args, const uint8_t* tile, Range blocks, const HalfBlock* w,
              const uint8_t*& prefetch, Totals& totals) {
  for (int half = 0; half < 2; ++half) {
    __m512 acc[kTokens] = {};
    if (blocks.first > 0) {
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_load_ps(totals.of[half][t]);
    }
    AddBlocks<F>(args, tile, blocks, w + half, prefetch, acc);
    prefetch += (blocks.last - blocks.first) * args.prefetch_lines * 64;
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) _mm512_store_ps(totals.of[half][t], acc[t]);
  }
}

template <class F>
void FinishTile(const TileArgs& args, const Totals& totals, float* y) {
  for (int t = 0; t < kTokens; ++t)
    Finish(args, y + t * args.y_stride, _mm512_load_ps(totals.of[0][t]), _mm512_load_ps(totals.of[1][t]),
           F::kOutput);
}

// Outputs are written far apart: their lines are fetched while their sums are computed.
void FetchOutputs(const TileArgs& args, const float* y) {
  for (int t = 0; t < kTokens; ++t)
    for (int i = 0; i < kPanelRows; i += kHalfRows) __builtin_prefetch(y + t * args.y_stride + i, /*rw=*/1);
}

// At most kTilesAtOnce tiles.
template <class F>
void MultiplyTiles(const TileArgs& args, const uint8_t* first_tile, int64_t tiles, int64_t stride, float* y,
                   const uint8_t*& prefetch) {
  HalfBlock w[2 * kChunkBlocks];
  Totals totals[kTilesAtOnce];
  const int64_t blocks = args.columns / kQuantBlock, chunks = (blocks + kChunkBlocks - 1) / kChunkBlocks;
  for (int64_t i = 0; i < chunks; ++i) {
    const Range chunk{blocks * i / chunks, blocks * (i + 1) / chunks};
    const bool last = i == chunks - 1;
    Unpack<F>(args, chunk, w);
    for (int64_t t = 0; t < tiles; ++t) {
      float* tile_y = y + t * kTokens * args.y_stride;
      if (last) FetchOutputs(args, tile_y);
      AddChunk<F>(args, first_tile + t * stride, chunk, w, prefetch, totals[t]);
      if (last) FinishTile<F>(args, totals[t], tile_y);
    }
  }
}

template <DType kType>
void Panel(const TileArgs& args, int64_t tiles, int64_t stride) {
  using F = Format<kType>;
  const uint8_t* prefetch = args.prefetch;
  _tile_loadconfig(F::kHalves ? &kHalfBlocks : &kWholeBlocks);
  for (int64_t first = 0; first < tiles; first += kTilesAtOnce)
    MultiplyTiles<F>(args, args.activations + first * stride,
                     tiles - first < kTilesAtOnce ? tiles - first : kTilesAtOnce, stride,
                     args.y + first * kTokens * args.y_stride, prefetch);
  _tile_release();
}

// Q2_K would have more to do with minima than with products, and gains nothing.
template <DType kType>
constexpr WideFunction PanelOf() {
  if constexpr (kIsQuantised<kType> && kType != DType::kQ2_K)
    return &Panel<kType>;
  else
    return nullptr;
}

template <int... kTypes>
constexpr WideKernels MakePanels(std::integer_sequence<int, kTypes...>) {
  return {{PanelOf<static_cast<DType>(kTypes)>()...}};
}

}  // namespace

extern const WideKernels kPanels;
constexpr WideKernels kPanels = MakePanels(std::make_integer_sequence<int, kNumDTypes>());

}  // namespace ropeway::kernels::amx
