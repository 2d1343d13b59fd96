#include "engine/kernels/cpu/gemm.h"

#include <algorithm>
#include <cstring>

#include "engine/kernels/cpu/pack.h"

namespace ropeway::kernels {
namespace {

int64_t NumTiles(int64_t num_tokens) { return (num_tokens + kTileTokens - 1) / kTileTokens; }

int TokensOf(int64_t num_tokens, int64_t tile) {
  return static_cast<int>(std::min<int64_t>(kTileTokens, num_tokens - tile * kTileTokens));
}

// Bytes from the beginning of one full tile to the next.
int64_t TileStride(ActivationKind kind, int64_t columns) {
  const int64_t bytes = kind == ActivationKind::kInt8
                            ? TileBytes(columns / kBlock, kTileTokens)
                            : columns * kTileTokens * static_cast<int64_t>(sizeof(float));
  return (bytes + 63) / 64 * 64;
}

int64_t UnitsPerTile(ActivationKind kind, int64_t columns) {
  return kind == ActivationKind::kInt8 ? columns / kBlock : (columns + kBlock - 1) / kBlock;
}

// Tiles per pass over a thread's panels, so that their activations stay in half of L2 beside a panel.
int64_t TilesPerPass(ActivationKind kind, int64_t columns) {
  constexpr int64_t kL2Share = 512 << 10;
  return std::max<int64_t>(1, kL2Share / TileStride(kind, columns));
}

// The memory needed after a panel, brought nearer in equal shares by all blocks of all its tiles, so that
// DRAM and the multipliers work at the same time. A panel (20 to 280 KB) waits in L2.
class Ahead {
 public:
  Ahead() = default;
  Ahead(const uint8_t* data, int64_t bytes, int64_t steps)
      : data_(data), lines_(bytes / 64), lines_per_step_((lines_ + steps - 1) / steps) {}

  // Gives the next tile's blocks their share.
  void Take(int64_t blocks, TileArgs& args) {
    if (lines_ <= 0) return;
    args.prefetch = data_;
    args.prefetch_lines = lines_per_step_;
    data_ += blocks * lines_per_step_ * 64;
    lines_ -= blocks * lines_per_step_;
  }

 private:
  const uint8_t* data_ = nullptr;
  int64_t lines_ = 0, lines_per_step_ = 0;
};

// One token against bytes whose panels exceed L1 is the one case where the hardware's own prefetchers, left
// alone, read faster (95 % of DRAM against 87 % on one Zen 5 core); with 4-bit codes or more tokens they fall
// behind by up to a half.
bool HardwareFetchesBest(const PackedMatrix& matrix, int64_t num_tokens) {
  constexpr int64_t kL1 = 48 << 10;
  return num_tokens == 1 && matrix.format == kPanelQ8_0 && matrix.panel_bytes > kL1;
}

bool IsGate(Epilogue epilogue) { return epilogue == Epilogue::kSiluGate || epilogue == Epilogue::kGeluGate; }

// A product whose shapes are resolved: what its tiles have in common.
struct Product {
  const TileFunction* tiles;  // by tokens - 1
  const MatMulArgs& args;
  PanelLayout layout;
  int64_t outputs;       // per panel
  int64_t columns_of_y;  // outputs in all
  int64_t blocks;        // steps of a tile
  int64_t tile_stride;

  // The bias of a panel in the order of its rows; null where there is none.
  const float* BiasOf(int64_t panel, float* scratch) const {
    if (args.bias == nullptr) return nullptr;
    std::fill(scratch, scratch + kRows, 0.f);
    const int64_t first = panel * outputs, count = std::min(outputs, columns_of_y - first);
    std::copy_n(args.bias + first, count, scratch);
    if (IsGate(args.epilogue)) std::copy_n(args.bias + columns_of_y + first, count, scratch + kRows / 2);
    return scratch;
  }

  // The panel at the end of a matrix whose height is no multiple of the panel's: computed aside, what exists
  // copied out.
  void RunPartial(TileFunction tile, TileArgs tile_args, int tokens, int64_t count) const {
    float aside[kTileTokens * kRows] = {};
    float* y = tile_args.y;
    if (tile_args.epilogue == kTileAdd)
      for (int t = 0; t < tokens; ++t) std::copy_n(y + t * tile_args.y_stride, count, aside + t * kRows);
    const int64_t y_stride = tile_args.y_stride;
    tile_args.y = aside;
    tile_args.y_stride = kRows;
    tile(tile_args);
    for (int t = 0; t < tokens; ++t) std::copy_n(aside + t * kRows, count, y + t * y_stride);
  }

  void RunTiles(int64_t panel, Range range, Ahead ahead) const {
    float bias[kRows];
    const uint8_t* codes = args.matrix->panel(panel);
    TileArgs tile_args{.codes = codes,
                       .side = codes + layout.side,
                       .super = codes + layout.super,
                       .activations = nullptr,
                       .columns = args.matrix->columns,
                       .y = nullptr,
                       .y_stride = args.y_stride,
                       .epilogue = static_cast<TileEpilogue>(args.epilogue),
                       .bias = BiasOf(panel, bias),
                       .prefetch = nullptr,
                       .prefetch_lines = 0};
    for (int64_t i = range.first; i < range.last; ++i) {
      const int tokens = TokensOf(args.num_tokens, i);
      tile_args.activations = args.activations + i * tile_stride;
      tile_args.y = args.y + i * kTileTokens * args.y_stride + panel * outputs;
      tile_args.prefetch_lines = 0;
      ahead.Take(blocks, tile_args);
      const int64_t rest = columns_of_y - panel * outputs;
      if (rest < outputs)
        RunPartial(tiles[tokens - 1], tile_args, tokens, rest);
      else
        tiles[tokens - 1](tile_args);
    }
  }
};

static_assert(static_cast<int>(Epilogue::kStore) == kTileStore &&
              static_cast<int>(Epilogue::kAdd) == kTileAdd &&
              static_cast<int>(Epilogue::kSiluGate) == kTileSiluGate &&
              static_cast<int>(Epilogue::kGeluGate) == kTileGeluGate);
static_assert(kRows == kPanelRows && kBlock == kQuantBlock);

// [K][T] floats of blocks [first, last).
void TransposeFloats(const PrepareArgs& args, int64_t tile, int64_t first, int64_t last, float* out) {
  const int tokens = TokensOf(args.num_tokens, tile);
  const float* x = args.x + tile * kTileTokens * args.x_stride;
  const int64_t end = std::min(last * kBlock, args.columns);
  for (int64_t k = first * kBlock; k < end; ++k)
    for (int t = 0; t < tokens; ++t) out[k * tokens + t] = x[t * args.x_stride + k];
}

}  // namespace

int64_t TiledActivationBytes(ActivationKind kind, int64_t num_tokens, int64_t columns) {
  return NumTiles(num_tokens) * TileStride(kind, columns);
}

int64_t TiledPrepareUnits(ActivationKind kind, int64_t num_tokens, int64_t columns) {
  return NumTiles(num_tokens) * UnitsPerTile(kind, columns);
}

void TiledPrepare(const TileKernels& kernels, const PrepareArgs& args) {
  const int64_t per_tile = UnitsPerTile(args.kind, args.columns),
                stride = TileStride(args.kind, args.columns);
  for (int64_t unit = args.units.first; unit < args.units.last;) {
    const int64_t tile = unit / per_tile, first = unit % per_tile;
    const int64_t last = std::min(per_tile, first + args.units.last - unit);
    uint8_t* out = args.out + tile * stride;
    if (args.kind == ActivationKind::kInt8)
      kernels.quantize(args.x + tile * kTileTokens * args.x_stride, args.x_stride,
                       TokensOf(args.num_tokens, tile), per_tile, first, last, out);
    else
      TransposeFloats(args, tile, first, last, reinterpret_cast<float*>(out));
    unit += last - first;
  }
}

// In each pass over some tiles, whose activations stay in L2, every panel of the range meets all of them.
void TiledMatMul(const TileKernels& kernels, const MatMulArgs& args) {
  const PackedMatrix& matrix = *args.matrix;
  const bool gate = IsGate(args.epilogue);
  const Product product{.tiles = kernels.tile[matrix.format],
                        .args = args,
                        .layout = PanelLayoutOf(static_cast<PanelFormat>(matrix.format), matrix.columns),
                        .outputs = gate ? kRows / 2 : kRows,
                        .columns_of_y = gate ? matrix.rows / 2 : matrix.rows,
                        .blocks = (matrix.columns + kBlock - 1) / kBlock,
                        .tile_stride = TileStride(matrix.activation, matrix.columns)};
  const int64_t tiles = NumTiles(args.num_tokens), per_pass = TilesPerPass(matrix.activation, matrix.columns);
  const int passes = static_cast<int>((tiles + per_pass - 1) / per_pass);
  for (int pass = 0; pass < passes; ++pass) {
    const Range range = PartOf(tiles, pass, passes);
    const int64_t steps = range.size() * product.blocks;
    for (int64_t panel = args.panels.first; panel < args.panels.last; ++panel) {
      Ahead ahead;
      if (panel + 1 < args.panels.last) {
        if (!HardwareFetchesBest(matrix, args.num_tokens))
          ahead = Ahead(matrix.panel(panel + 1), matrix.panel_bytes, steps);
      } else if (pass + 1 < passes) {
        ahead = Ahead(matrix.panel(args.panels.first), matrix.panel_bytes, steps);
      } else if (args.next != nullptr) {
        ahead = Ahead(args.next, args.next_bytes, steps);
      }
      product.RunTiles(panel, range, ahead);
    }
  }
}

}  // namespace ropeway::kernels
