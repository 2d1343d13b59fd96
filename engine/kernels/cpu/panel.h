// The layout of packed panels and of quantised activations, shared by all instruction sets.
//
// Functions here have internal linkage: each instruction set compiles its own copy, and the linker cannot mix
// them up.
//
// A panel holds 32 rows over all K columns; its planes are contiguous and 64-byte aligned:
//   codes  [K/32][code_bytes]   8 groups of 4 columns; per group 32 rows x 4 columns, row-major
//            byte formats    [8 groups][32 rows][4] bytes
//            nibble formats  [4 group pairs][32 rows][4] bytes, even group in the low nibble, odd group in
//            the high one six bits        as nibbles, then [2 group quads][32 rows][4] bytes with the two
//            high bits of 4 groups each
//   side   [K/32][side_bytes]   what belongs to 32 columns: see PanelFormat
//   super  [K/256][super_bytes] what belongs to 256 columns
// A float panel is [K][32 rows] float.
//
// Activations are int8 with one float scale per 32 columns of a token, in tiles of up to 8 tokens. A tile of
// T tokens (T = 8 but for the last) over K columns:
//   main   [K/32]{ codes [8 groups of 4 columns][T][4] int8, scale [T] float, init [T] int32 }; init is -128
//   * sum(codes) sums   [K/32][T] float      scale * sum(codes): what a weight block's minimum is multiplied
//   by halves [K/32][2][T] int32   init of columns 0..15 and of 16..31, for formats with a scale per 16
//   columns
// so that a kernel for T tokens reads its broadcasts at constant offsets from one pointer. Float tiles are
// [K][T] float.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_PANEL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_PANEL_H_

#include <cstdint>

namespace ropeway::kernels {

// How the values of a panel are stored.
enum PanelFormat : int {
  kPanelQ8_0,  // bytes, zero at 128; side: d[32] fp16
  kPanelQ8_1,  // bytes from 0; side: d[32], m[32] fp16
  kPanelQ8_K,  // bytes from 0; side: scale[32], min[32] uint8; super: d[32], dmin[32] fp16
  kPanelQ4_0,  // nibbles, zero at 8; side: d[32] fp16
  kPanelQ4_1,  // nibbles from 0; side: d[32], m[32] fp16
  kPanelQ4_K,  // nibbles from 0; side: scale[32], min[32] uint8; super: d[32], dmin[32] fp16
  kPanelQ6_K,  // six bits, zero at 32; side: scale[32] int8 of columns 0..15, scale[32] of 16..31; super:
               // d[32] fp16
  kPanelF32,   // floats
};
constexpr int kNumIntegerFormats = 7;
constexpr int kNumPanelFormats = 8;

constexpr int kBlock = 32;        // columns that share one activation scale
constexpr int kSuperBlock = 256;  // columns that share the super plane
constexpr int kTileTokens = 8;
constexpr int kRows = 32;  // of a panel

struct PlaneBytes {
  int code, side, super;  // per 32, 32 and 256 columns
};

constexpr PlaneBytes kPlaneBytes[kNumIntegerFormats] = {
    {1024, 64, 0}, {1024, 128, 0}, {1024, 64, 128}, {512, 64, 0},
    {512, 128, 0}, {512, 64, 128}, {768, 64, 64},
};

static constexpr int64_t MainBytes(int tokens) { return 40 * tokens; }  // per 32 columns
static constexpr int64_t SumsOffset(int64_t blocks, int tokens) { return blocks * MainBytes(tokens); }
static constexpr int64_t HalvesOffset(int64_t blocks, int tokens) {
  return SumsOffset(blocks, tokens) + blocks * tokens * 4;
}
static constexpr int64_t TileBytes(int64_t blocks, int tokens) {
  return HalvesOffset(blocks, tokens) + blocks * tokens * 8;
}

// What happens to a tile's outputs; the numbers are those of Epilogue in ops.h.
enum TileEpilogue : int { kTileStore, kTileAdd, kTileSiluGate, kTileGeluGate };

// One panel times one tile of tokens.
struct TileArgs {
  const uint8_t* codes;
  const uint8_t* side;
  const uint8_t* super;
  const uint8_t* activations;
  int64_t columns;  // K
  float* y;         // outputs of the first token; those of token t at y + t * y_stride
  int64_t y_stride;
  TileEpilogue epilogue;
  const float* bias;        // [32] of the panel's rows in their order, or null
  const uint8_t* prefetch;  // lines to bring into L2 meanwhile, `prefetch_lines` per 32 columns
  int64_t prefetch_lines;
};

using TileFunction = void (*)(const TileArgs& args);

// Quantises blocks [first, last) of `tokens` <= 8 rows of x into one tile that has `blocks` blocks in all.
using QuantizeFunction = void (*)(const float* x, int64_t x_stride, int tokens, int64_t blocks, int64_t first,
                                  int64_t last, uint8_t* tile);

// What an instruction set provides to the matrix product.
struct TileKernels {
  QuantizeFunction quantize;
  TileFunction tile[kNumPanelFormats][kTileTokens];  // by format and tokens - 1
};

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_PANEL_H_
