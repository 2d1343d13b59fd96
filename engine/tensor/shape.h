// The dimension glossary. These letters and words mean the same thing everywhere in the engine.
//
//   T   num_tokens      tokens of a step, of all rows together
//   R   num_rows        rows of a step: slices of sequences
//   D   hidden_size     width of the residual stream
//   H   num_heads       query heads
//   G   num_kv_heads    key-value heads; H / G query heads share one
//   E   head_dim        width of a query or key head
//   Ev  value_dim       width of a value head
//   F   ffn_size        width of the feed-forward layer
//   V   vocab_size      rows of the embedding and of the output layer
//   L   num_layers      decoder layers
//   P   num_pages       pages of the KV cache; a page holds kPageTokens tokens of every layer
//   M, K                rows (outputs) and columns (inputs) of a weight matrix
//
// Matrices are row-major; a shape is written outermost first: [T, D].
#ifndef ROPEWAY_ENGINE_TENSOR_SHAPE_H_
#define ROPEWAY_ENGINE_TENSOR_SHAPE_H_

#include <cstdint>

#include "engine/base/page_tokens.h"

namespace ropeway {

// Columns that share one scale when activations are rounded to 8 bits.
inline constexpr int kQuantBlock = 32;

// A half-open range of equal things.
struct Range {
  int64_t first = 0, last = 0;
  int64_t size() const { return last - first; }
};

// The part of `count` things that worker `index` of `workers` takes.
constexpr Range PartOf(int64_t count, int index, int workers) {
  return {count * index / workers, count * (index + 1) / workers};
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_SHAPE_H_
