// The layout of packed panels and of quantised activations, shared by all instruction sets.
//
// Functions here have internal linkage: each instruction set compiles its own copy, and the linker cannot mix
// them up.
//
// An integer panel holds 32 rows over all K columns, [K/256]{ super, [8]{ codes, side } }, in the order in which a product
// reads it: as one stream, since processors fetch one ahead better than two (Q8_0 and one token on Zen 4: +27 %).
// Each part is a multiple of 64 bytes:
//   codes  { low plane, high plane }   unsigned codes in 8 groups of 4 columns. A plane of `bits` bits per code is
//          [bits][32 rows][4 columns] bytes, the codes of 8 / bits consecutive groups in each byte, the first
//          group in the lowest bits. A code's low_bits come from the low plane, high_bits above them.
//   side   what belongs to 32 columns
//   super  what belongs to 256 columns; where it is nothing, K need only be a multiple of 32
// by QuantScales:    side                                             super
//   kScale           d[32] fp16                                       -
//   kScaleBf16       d[32] bf16                                       -
//   kScaleMin        d[32], m[32] fp16                                -
//   kSuperScaleMin   scale[32], min[32] uint8                         d[32], dmin[32] fp16
//   kHalvesScale     scale[32] int8 of columns 0..15, of 16..31       d[32] fp16
//   kHalvesScaleMin  (scale | min << 4)[32] of 0..15, of 16..31       d[32], dmin[32] fp16
// A float panel is [K][32 rows] of float32, fp16 or bf16.
//
// Activations are int8 with one float scale per 32 columns of a token, in tiles of up to 16 tokens. A tile of
// T tokens (T = 16 but for the last) over K columns:
//   main   [K/32]{ codes [T][32] int8, scale [T] float, init [T] int32 }
//   sums   [K/32][T] float        scale * sum(codes): what a weight block's minimum is multiplied by
//   halves [K/32][2][T] int32     init of columns 0..15 and of 16..31, for scales per 16 columns
// where init is -128 * sum(codes). A kernel reads some tokens of a tile at constant offsets from few
// pointers. Float tiles are [K][T] float, T = 8 but for the last.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_PANEL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_PANEL_H_

#include <cstdint>

#include "engine/kernels/args.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/formulas.h"

namespace ropeway::kernels {

constexpr int kSuperBlock = 256;  // columns that share the super plane
constexpr int kSuperBlocks = kSuperBlock / kQuantBlock;
constexpr int kInt8TileTokens = 16;
constexpr int kFloatTileTokens = 8;
constexpr int kMaxTokens = 8;              // of a TileFunction's call
constexpr int kBitPlane = kPanelRows * 4;  // bytes of a plane of one bit per code, per 32 columns

// The planes of a panel of integers: what a type's codes and scales take.
struct PanelPlanes {
  int code_bytes, side_bytes, super_bytes;  // per 32, 32 and 256 columns

  constexpr int block_bytes() const { return code_bytes + side_bytes; }
  // Where what belongs to block `index` of 32 columns begins, in bytes from the panel's start.
  constexpr int64_t SuperAt(int64_t index) const {
    return index / kSuperBlocks * (super_bytes + kSuperBlocks * block_bytes());
  }
  constexpr int64_t CodesAt(int64_t index) const {
    return SuperAt(index) + super_bytes + index % kSuperBlocks * block_bytes();
  }
  constexpr int64_t SideAt(int64_t index) const { return CodesAt(index) + code_bytes; }
};

static constexpr PanelPlanes PlanesOf(const QuantCode& code) {
  const bool is_super = code.scales == QuantScales::kSuperScaleMin;
  const bool is_halves =
      code.scales == QuantScales::kHalvesScale || code.scales == QuantScales::kHalvesScaleMin;
  const bool has_min = code.scales != QuantScales::kScale && code.scales != QuantScales::kScaleBf16 &&
                       code.scales != QuantScales::kHalvesScale;
  const int half_row = kPanelRows * 2;  // an fp16 number for each row
  return {kBitPlane * code.bits(), code.scales == QuantScales::kScaleMin ? 2 * half_row : half_row,
          is_super || is_halves ? (has_min ? 2 : 1) * half_row : 0};
}

// Of tiles that compute a type of weights.
template <DType kType>
struct PanelType {
  static constexpr QuantCode kCode = kInfoOf<kType>.code;
  static constexpr PanelPlanes kPlanes = PlanesOf(kCode);
  static constexpr bool kHalves =
      kCode.scales == QuantScales::kHalvesScale || kCode.scales == QuantScales::kHalvesScaleMin;
  // A minimum per 32 columns.
  static constexpr bool kMin =
      kCode.scales == QuantScales::kScaleMin || kCode.scales == QuantScales::kSuperScaleMin;
};

// What codes of a table stand for, as codes of 8 bits.
template <QuantTable kTable>
struct CentredTable {
  alignas(16) uint8_t codes[16] = {};
  constexpr CentredTable() {
    for (int i = 0; i < 16; ++i)
      codes[i] = static_cast<uint8_t>(kQuantTables[static_cast<int>(kTable)][i] + 128);
  }
};
template <QuantTable kTable>
static constexpr CentredTable<kTable> kCentredTable{};

static constexpr int64_t MainBytes(int64_t tokens) { return 40 * tokens; }  // per 32 columns
static constexpr int64_t SumsOffset(int64_t blocks, int64_t tokens) { return blocks * MainBytes(tokens); }
static constexpr int64_t HalvesOffset(int64_t blocks, int64_t tokens) {
  return SumsOffset(blocks, tokens) + blocks * tokens * 4;
}
static constexpr int64_t TileBytes(int64_t blocks, int64_t tokens) {
  return HalvesOffset(blocks, tokens) + blocks * tokens * 8;
}

// What happens to a tile's outputs; the numbers are those of Epilogue in ops.h.
enum TileEpilogue : int { kTileStore, kTileAdd, kTileActivate, kTileGate };

// One panel times some tokens of a tile.
struct TileArgs {
  const uint8_t* panel;
  const uint8_t* activations;  // the tile
  int tile_tokens;             // T
  int first_token;             // of those that are computed
  int64_t columns;             // K
  float* y;                    // outputs of the first token; those of token t at y + t * y_stride
  int64_t y_stride;
  TileEpilogue epilogue;
  Activation activation;  // of kTileActivate and kTileGate
  ActivationNumbers numbers;
  const float* bias;        // [32] of the panel's rows in their order, or null
  const uint8_t* prefetch;  // lines to bring nearer meanwhile, `prefetch_lines` per 32 columns
  int64_t prefetch_lines;
  const uint8_t* later;  // and those that are read after them, into L2
  int64_t later_lines;
};

using TileFunction = void (*)(const TileArgs& args);

// One panel times `tiles` whole tiles of int8 activations, which follow one another, `stride` bytes apart.
using WideFunction = void (*)(const TileArgs& args, int64_t tiles, int64_t stride);

// Where a tile's tokens are written.
struct TilePlace {
  uint8_t* tile;
  int tile_tokens;  // T
  int first_token;
  int tokens;  // <= 8
};

// Quantises `to.tokens` rows of x, of `blocks` blocks each.
using QuantizeFunction = void (*)(const float* x, int64_t x_stride, int64_t blocks, const TilePlace& to);

// What an instruction set provides to the matrix product.
struct TileKernels {
  QuantizeFunction quantize;
  TileFunction tile[kNumDTypes][kMaxTokens];  // by type and tokens - 1
};

// What an instruction set may provide beside them, for whole tiles.
struct WideKernels {
  WideFunction panel[kNumDTypes];  // null: none
};

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_PANEL_H_
