#include "engine/kernels/cpu/gemm.h"

#include <algorithm>
#include <cstring>

#include "engine/kernels/cpu/pack.h"

namespace ropeway::kernels {
namespace {

int64_t TileTokens(ActivationKind kind) {
  return kind == ActivationKind::kInt8 ? kInt8TileTokens : kFloatTileTokens;
}

int64_t NumTiles(ActivationKind kind, int64_t num_tokens) {
  return (num_tokens + TileTokens(kind) - 1) / TileTokens(kind);
}

// Bytes from the beginning of one full tile to the next.
int64_t TileStride(ActivationKind kind, int64_t columns) {
  const int64_t bytes = kind == ActivationKind::kInt8
                            ? TileBytes(columns / kQuantBlock, kInt8TileTokens)
                            : columns * kFloatTileTokens * static_cast<int64_t>(sizeof(float));
  return (bytes + 63) / 64 * 64;
}

// Tiles per pass over a thread's panels, so that their activations stay in half of L2 beside a panel.
// Processors with wide products have 2 MB of it, and the more tiles, the less each pays for unpacking.
int64_t TilesPerPass(ActivationKind kind, int64_t columns, bool wide) {
  const int64_t share = (wide ? 1024 : 512) << 10;
  return std::max<int64_t>(1, share / TileStride(kind, columns));
}

// Of whole tiles: fewer do not earn the unpacking of a panel.
constexpr int64_t kFewestWideTiles = 2;

// Memory needed after a panel, or later on, brought nearer in equal shares by all steps of a product (a block
// of columns of a group of tokens), so that DRAM and the multipliers work at the same time. A panel (20 to
// 280 KB) waits in L2.
class Ahead {
 public:
  Ahead() = default;
  Ahead(const uint8_t* data, int64_t bytes, int64_t steps)
      : data_(data), lines_(bytes / 64), lines_per_step_((lines_ + steps - 1) / steps) {}

  // Gives each of the next `steps` steps its share: lines from `data` on.
  void Take(int64_t steps, const uint8_t*& data, int64_t& lines) {
    lines = 0;
    if (lines_ <= 0) return;
    data = data_;
    lines = lines_per_step_;
    data_ += steps * lines_per_step_ * 64;
    lines_ -= steps * lines_per_step_;
  }

 private:
  const uint8_t* data_ = nullptr;
  int64_t lines_ = 0, lines_per_step_ = 0;
};

// A panel that only one group of tokens meets is one stream of memory, which the processor's own prefetchers, left
// alone, bring faster than prefetches among the products do: of one token on Zen 4, 21 to 31 GB/s of float32, 23 to 28 of
// Q4_1, 19 to 24 of SmolLM2's Q8_0. Of eight, 13 to 23 of float32 and 16.7 to 19.2 of Q8_0; but codes of fewer bits take
// so long by then that the prefetchers fall behind, 11.8 to 10.3 of Q4_1.
bool HardwareFetchesBest(const PackedMatrix& matrix, int64_t num_tokens) {
  const int bits = InfoOf(matrix.type).code.bits();
  const bool is_packed = bits != 0 && bits < 8;
  return num_tokens <= (is_packed ? 1 : kMaxTokens);
}

// A product whose shapes are resolved: what its tiles have in common.
struct Product {
  const TileFunction* some;  // by tokens - 1
  WideFunction wide;         // for whole tiles; may be null
  const MatMulArgs& args;
  int64_t outputs;       // per panel
  int64_t columns_of_y;  // outputs in all
  int64_t blocks;        // of columns
  int64_t tile_tokens;
  int64_t tile_stride;

  // Steps of tiles [range.first, range.last): see Ahead.
  int64_t StepsOf(Range range) const {
    const int64_t first = range.first * tile_tokens,
                  last = std::min(range.last * tile_tokens, args.num_tokens);
    return (last - first + kMaxTokens - 1) / kMaxTokens * blocks;
  }

  // The bias of a panel in the order of its rows; null where there is none.
  const float* BiasOf(int64_t panel, float* scratch) const {
    if (args.bias == nullptr) return nullptr;
    std::fill(scratch, scratch + kPanelRows, 0.f);
    const int64_t first = panel * outputs, count = std::min(outputs, columns_of_y - first);
    std::copy_n(args.bias + first, count, scratch);
    if (args.epilogue == Epilogue::kGate)
      std::copy_n(args.bias + columns_of_y + first, count, scratch + kPanelRows / 2);
    return scratch;
  }

  // The panel at the end of a matrix whose height is no multiple of the panel's: computed aside, what exists
  // copied out.
  void RunPartial(TileArgs tile_args, int tokens, int64_t count) const {
    float aside[kMaxTokens * kPanelRows] = {};
    float* y = tile_args.y;
    if (tile_args.epilogue == kTileAdd)
      for (int t = 0; t < tokens; ++t) std::copy_n(y + t * tile_args.y_stride, count, aside + t * kPanelRows);
    const int64_t y_stride = tile_args.y_stride;
    tile_args.y = aside;
    tile_args.y_stride = kPanelRows;
    some[tokens - 1](tile_args);
    for (int t = 0; t < tokens; ++t) std::copy_n(aside + t * kPanelRows, count, y + t * y_stride);
  }

  // One tile, some tokens at a time. The arguments are changed in place: a copy of what was just written field
  // by field has to wait for all stores before it, outputs on their way to memory among them (3 % of a prompt).
  void RunTile(TileArgs& tile_args, int64_t panel, Ahead& ahead, Ahead& later) const {
    const int64_t rest = columns_of_y - panel * outputs;
    float* const y = tile_args.y;
    for (int first = 0; first < tile_args.tile_tokens; first += kMaxTokens) {
      const int tokens = std::min(kMaxTokens, tile_args.tile_tokens - first);
      tile_args.first_token = first;
      tile_args.y = y + first * args.y_stride;
      ahead.Take(blocks, tile_args.prefetch, tile_args.prefetch_lines);
      later.Take(blocks, tile_args.later, tile_args.later_lines);
      if (rest < outputs)
        RunPartial(tile_args, tokens, rest);
      else
        some[tokens - 1](tile_args);
    }
    tile_args.y = y;
  }

  void RunTiles(int64_t panel, Range range, Ahead ahead, Ahead& later) const {
    float bias[kPanelRows];
    TileArgs tile_args{.panel = args.matrix->panel(panel),
                       .activations = args.activations + range.first * tile_stride,
                       .tile_tokens = static_cast<int>(tile_tokens),
                       .first_token = 0,
                       .columns = args.matrix->columns,
                       .y = args.y + range.first * tile_tokens * args.y_stride + panel * outputs,
                       .y_stride = args.y_stride,
                       .epilogue = static_cast<TileEpilogue>(args.epilogue),
                       .activation = args.activation,
                       .numbers = args.numbers,
                       .bias = BiasOf(panel, bias),
                       .prefetch = nullptr,
                       .prefetch_lines = 0,
                       .later = nullptr,
                       .later_lines = 0};
    const auto advance = [&](int64_t tiles) {
      range.first += tiles;
      tile_args.activations += tiles * tile_stride;
      tile_args.y += tiles * tile_tokens * args.y_stride;
    };
    const int64_t whole = std::min(range.last, args.num_tokens / tile_tokens) - range.first;
    if (wide != nullptr && whole >= kFewestWideTiles && columns_of_y - panel * outputs >= outputs) {
      ahead.Take(StepsOf({range.first, range.first + whole}), tile_args.prefetch, tile_args.prefetch_lines);
      wide(tile_args, whole, tile_stride);
      advance(whole);
    }
    for (; range.first < range.last; advance(1)) {
      tile_args.tile_tokens =
          static_cast<int>(std::min(tile_tokens, args.num_tokens - range.first * tile_tokens));
      RunTile(tile_args, panel, ahead, later);
    }
  }
};

static_assert(static_cast<int>(Epilogue::kStore) == kTileStore &&
              static_cast<int>(Epilogue::kAdd) == kTileAdd &&
              static_cast<int>(Epilogue::kActivate) == kTileActivate &&
              static_cast<int>(Epilogue::kGate) == kTileGate);
static_assert(kPrepareTokens == kMaxTokens && kPrepareTokens == kFloatTileTokens);

// [K][T] floats.
void TransposeFloats(const float* x, int64_t x_stride, int64_t columns, int64_t tokens, float* out) {
  for (int64_t k = 0; k < columns; ++k)
    for (int64_t t = 0; t < tokens; ++t) out[k * tokens + t] = x[t * x_stride + k];
}

}  // namespace

int64_t TiledActivationBytes(ActivationKind kind, int64_t num_tokens, int64_t columns) {
  return NumTiles(kind, num_tokens) * TileStride(kind, columns);
}

void TiledPrepare(const TileKernels& kernels, const PrepareArgs& args) {
  const int64_t tile_tokens = TileTokens(args.kind), stride = TileStride(args.kind, args.columns);
  const float* x = args.x;
  for (int64_t group = args.groups.first; group < args.groups.last; ++group) {
    const int64_t token = group * kPrepareTokens, tile = token / tile_tokens;
    const auto count = [&](int64_t from, int64_t most) {
      return static_cast<int>(std::min(most, args.num_tokens - from));
    };
    const TilePlace to{.tile = args.out + tile * stride,
                       .tile_tokens = count(tile * tile_tokens, tile_tokens),
                       .first_token = static_cast<int>(token % tile_tokens),
                       .tokens = count(token, kPrepareTokens)};
    if (args.kind == ActivationKind::kInt8)
      kernels.quantize(x, args.x_stride, args.columns / kQuantBlock, to);
    else
      TransposeFloats(x, args.x_stride, args.columns, to.tokens, reinterpret_cast<float*>(to.tile));
    x += kPrepareTokens * args.x_stride;
  }
}

// In each pass over some tiles, whose activations stay in L2, every panel of the range meets all of them.
void TiledMatMul(const TileKernels& kernels, const WideKernels* wide, const MatMulArgs& args) {
  const PackedMatrix& matrix = *args.matrix;
  const bool gate = args.epilogue == Epilogue::kGate;
  const auto type = static_cast<int>(matrix.type);
  const Product product{.some = kernels.tile[type],
                        .wide = wide == nullptr ? nullptr : wide->panel[type],
                        .args = args,
                        .outputs = gate ? kPanelRows / 2 : kPanelRows,
                        .columns_of_y = gate ? matrix.rows / 2 : matrix.rows,
                        .blocks = (matrix.columns + kQuantBlock - 1) / kQuantBlock,
                        .tile_tokens = TileTokens(matrix.activation),
                        .tile_stride = TileStride(matrix.activation, matrix.columns)};
  const int64_t tiles = NumTiles(matrix.activation, args.num_tokens);
  const int64_t per_pass = TilesPerPass(matrix.activation, matrix.columns, product.wide != nullptr);
  const int passes = static_cast<int>((tiles + per_pass - 1) / per_pass);
  Ahead later(args.later, args.later_bytes,
              std::max<int64_t>(1, product.StepsOf({0, tiles}) * (args.panels.last - args.panels.first)));
  for (int pass = 0; pass < passes; ++pass) {
    const Range range = PartOf(tiles, pass, passes);
    const int64_t steps = product.StepsOf(range);
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
      product.RunTiles(panel, range, ahead, later);
    }
  }
}

}  // namespace ropeway::kernels
