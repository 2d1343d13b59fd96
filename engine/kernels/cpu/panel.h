// The layout of packed panels and of quantised activations, shared by all instruction sets.
//
// Functions here have internal linkage: each instruction set compiles its own copy, and the linker cannot mix
// them up.
//
// An integer panel holds 32 rows over all K columns; its planes are contiguous and 64-byte aligned:
//   codes  [K/32]{ low plane, high plane }   unsigned codes in 8 groups of 4 columns. A plane of `bits` bits
//          per code is [bits][32 rows][4 columns] bytes, the codes of 8 / bits consecutive groups in each
//          byte, the first group in the lowest bits. A code's low_bits come from the low plane, high_bits
//          above them.
//   side   [K/32][side bytes]    what belongs to 32 columns: see PanelScales
//   super  [K/256][super bytes]  what belongs to 256 columns
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

namespace ropeway::kernels {

// How the values of a panel are stored: one format for each DType.
enum PanelFormat : int {
  kPanelQ4_0,
  kPanelQ4_1,
  kPanelQ5_0,
  kPanelQ5_1,
  kPanelQ8_0,
  kPanelQ2_K,
  kPanelQ3_K,
  kPanelQ4_K,
  kPanelQ5_K,
  kPanelQ6_K,
  kPanelF32,
  kPanelF16,
  kPanelBF16,
};
constexpr int kNumIntegerFormats = 10;
constexpr int kNumPanelFormats = 13;

// What a code is multiplied by, and the minimum that is added.
enum PanelScales : int {
  kScale,           // side: d[32] fp16
  kScaleMin,        // side: d[32], m[32] fp16
  kSuperScaleMin,   // side: scale[32], min[32] uint8; super: d[32], dmin[32] fp16
  kHalvesScale,     // side: scale[32] int8 of columns 0..15, scale[32] of 16..31; super: d[32] fp16
  kHalvesScaleMin,  // side: (scale | min << 4)[32] of columns 0..15, [32] of 16..31; super: d[32], dmin[32]
                    // fp16
};

struct IntegerFormat {
  int low_bits, high_bits;  // of a code
  bool centred;             // its zero is half its range instead of 0
  PanelScales scales;
  int code_bytes, side_bytes, super_bytes;  // per 32, 32 and 256 columns
};

constexpr IntegerFormat kIntegerFormats[kNumIntegerFormats] = {
    {4, 0, true, kScale, 512, 64, 0},              // Q4_0
    {4, 0, false, kScaleMin, 512, 128, 0},         // Q4_1
    {4, 1, true, kScale, 640, 64, 0},              // Q5_0
    {4, 1, false, kScaleMin, 640, 128, 0},         // Q5_1
    {8, 0, true, kScale, 1024, 64, 0},             // Q8_0
    {2, 0, false, kHalvesScaleMin, 256, 64, 128},  // Q2_K
    {2, 1, true, kHalvesScale, 384, 64, 64},       // Q3_K
    {4, 0, false, kSuperScaleMin, 512, 64, 128},   // Q4_K
    {4, 1, false, kSuperScaleMin, 640, 64, 128},   // Q5_K
    {4, 2, true, kHalvesScale, 768, 64, 64},       // Q6_K
};

constexpr int kBlock = 32;        // columns that share one activation scale
constexpr int kSuperBlock = 256;  // columns that share the super plane
constexpr int kInt8TileTokens = 16;
constexpr int kFloatTileTokens = 8;
constexpr int kMaxTokens = 8;         // of a TileFunction's call
constexpr int kRows = 32;             // of a panel
constexpr int kBitPlane = kRows * 4;  // bytes of a plane of one bit per code, per 32 columns

static constexpr int64_t MainBytes(int64_t tokens) { return 40 * tokens; }  // per 32 columns
static constexpr int64_t SumsOffset(int64_t blocks, int64_t tokens) { return blocks * MainBytes(tokens); }
static constexpr int64_t HalvesOffset(int64_t blocks, int64_t tokens) {
  return SumsOffset(blocks, tokens) + blocks * tokens * 4;
}
static constexpr int64_t TileBytes(int64_t blocks, int64_t tokens) {
  return HalvesOffset(blocks, tokens) + blocks * tokens * 8;
}

// What happens to a tile's outputs; the numbers are those of Epilogue in ops.h.
enum TileEpilogue : int { kTileStore, kTileAdd, kTileSiluGate, kTileGeluGate };

// One panel times some tokens of a tile.
struct TileArgs {
  const uint8_t* codes;
  const uint8_t* side;
  const uint8_t* super;
  const uint8_t* activations;  // the tile
  int tile_tokens;             // T
  int first_token;             // of those that are computed
  int64_t columns;             // K
  float* y;                    // outputs of the first token; those of token t at y + t * y_stride
  int64_t y_stride;
  TileEpilogue epilogue;
  const float* bias;        // [32] of the panel's rows in their order, or null
  const uint8_t* prefetch;  // lines to bring into L2 meanwhile, `prefetch_lines` per 32 columns
  int64_t prefetch_lines;
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
  TileFunction tile[kNumPanelFormats][kMaxTokens];  // by format and tokens - 1
};

// What an instruction set may provide beside them, for whole tiles.
struct WideKernels {
  WideFunction panel[kNumIntegerFormats];
};

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_PANEL_H_
