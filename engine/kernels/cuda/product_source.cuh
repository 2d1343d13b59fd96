// Which products a kernel makes: those of one matrix with all tokens, or of each expert's matrix with its slots.
//
// A job is a tile of rows of a matrix and a tile of rows of y. Jobs of the same rows follow each other, and are
// made at about the same time: what several of them read of a matrix comes from memory once.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_PRODUCT_SOURCE_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_PRODUCT_SOURCE_CUH_

#include "engine/kernels/cuda/elements.cuh"
#include "engine/kernels/cuda/experts.h"
#include "engine/kernels/cuda/product_end.cuh"

namespace ropeway::cuda {

// Rows [first, first + count) of y, and the matrix whose products they are.
struct TokenTile {
  const uint8_t* weights;
  int first, count;
};

// ---- One matrix.

struct OneMatrix {
  // Whether the jobs are known before the kernel in front has ended.
  static constexpr bool kKnownAhead = true;
  // Whether neighbours may follow where x is float32.
  static constexpr bool kEndsFloats = false;
  using End = ProductEnd;
  using Store = TokenEnd;

  const void* weights = nullptr;
  int num_tokens = 0;   // T
  int tile_tokens = 0;  // of a job, at most

  constexpr int NumTiles() const { return (num_tokens + tile_tokens - 1) / tile_tokens; }
  int64_t MostTiles() const { return NumTiles(); }
  ROPEWAY_DEVICE TokenTile Tile(int i) const {
    const int first = i * tile_tokens;
    return {static_cast<const uint8_t*>(weights), first, min(num_tokens - first, tile_tokens)};
  }
  ROPEWAY_DEVICE int64_t RowOfX(int token) const { return token; }
};

// ---- Experts.

struct ExpertMatrices {
  static constexpr bool kKnownAhead = false;
  static constexpr bool kEndsFloats = true;
  using End = SlotEnd;
  using Store = SlotEnd;

  const void* const* matrices = nullptr;  // [X]
  const ExpertTile* tiles = nullptr;
  const int32_t* num_tiles = nullptr;
  const int32_t* slot_choices = nullptr;
  int per_token = 0;  // > 0: x has a row for each token; 0: for each slot
  int64_t most_tiles = 0;

  int64_t MostTiles() const { return most_tiles; }
  ROPEWAY_DEVICE int NumTiles() const { return *num_tiles; }
  ROPEWAY_DEVICE TokenTile Tile(int i) const {
    const ExpertTile tile = tiles[i];
    return {static_cast<const uint8_t*>(matrices[tile.expert]), tile.first_slot, tile.num_slots};
  }
  ROPEWAY_DEVICE int64_t RowOfX(int slot) const {
    return per_token > 0 ? slot_choices[slot] / per_token : slot;
  }
};

// ---- Both.

struct Job {
  TokenTile tokens;
  int row_tile;
};

template <class Source>
struct Product {
  Source source;
  PackedLayout layout = {};  // of packed weights
  const void* x = nullptr;
  int rows = 0, columns = 0;  // M, K
  bool fresh_weights = false;
  NormArgs norm = {};  // where tokens are normed here
  typename Source::End end;

  ROPEWAY_DEVICE int Jobs() const { return TilesOf(end) * source.NumTiles(); }
  // Past the last job, too, where there is one.
  ROPEWAY_DEVICE Job At(int i) const {
    const int tiles = source.NumTiles();
    return {source.Tile(i % tiles), i / tiles};
  }
  int64_t MostJobs() const { return TilesOf(end) * source.MostTiles(); }
};

inline Product<ExpertMatrices> ProductOf(const ExpertMatMulArgs& args) {
  const ExpertSlots& slots = args.slots;
  const DeviceMatrix& weights = args.weights;
  return {.source = {.matrices = args.matrices,
                     .tiles = slots.tiles,
                     .num_tiles = slots.num_tiles,
                     .slot_choices = slots.slot_choices,
                     .per_token = args.per_token,
                     .most_tiles = MaxExpertTiles(args.num_slots, args.num_experts, slots.tile_slots)},
          .layout =
              IsPacked(weights.type) ? LayoutOf(weights.type, weights.rows, weights.columns) : PackedLayout(),
          .x = args.x,
          .rows = static_cast<int>(weights.rows),
          .columns = static_cast<int>(weights.columns),
          .end = WithGate(SlotEnd{.rows = static_cast<int>(weights.rows),
                                  .y = args.y,
                                  .y_stride = args.y_stride,
                                  .weights = args.scales ? slots.weights : nullptr,
                                  .slot_choices = slots.slot_choices},
                          args.gate)};
}

// Where a warp or a block is in its jobs, some columns at a time.
struct Place {
  int job, column;

  // Whether that is the next job's beginning.
  ROPEWAY_DEVICE bool Advance(int columns, int columns_at_a_time, int jobs_apart) {
    column += columns_at_a_time;
    if (column < columns) return false;
    column = 0;
    job += jobs_apart;
    return true;
  }
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_PRODUCT_SOURCE_CUH_
