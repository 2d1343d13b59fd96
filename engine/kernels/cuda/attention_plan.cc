#include <algorithm>
#include <cstdint>
#include <span>

#include "engine/base/ceil_div.h"
#include "engine/kernels/cuda/attention.h"

namespace ropeway::cuda {
namespace {

// What partial results may take where one tile does not need more.
constexpr int64_t kWorkspaceBytes = int64_t{64} << 20;

int GroupOf(const AttentionShape& shape) { return shape.num_heads / shape.num_kv_heads; }

// (tile, KV head) pairs below which processors would idle.
int64_t WantedParts(const AttentionShape& shape) { return int64_t{kOtherBlocks} * shape.processors; }

// Calls tile(item, is_narrow) for every tile of the step as one item, the longest of a row first.
template <typename Tile>
void ForEachTile(const AttentionShape& shape, std::span<const int32_t> row_starts,
                 std::span<const int32_t> positions, int32_t window, Tile tile) {
  const int group = GroupOf(shape);
  for (size_t row = 0; row + 1 < row_starts.size(); ++row) {
    const int32_t begin = row_starts[row], num_pairs = (row_starts[row + 1] - begin) * group;
    if (num_pairs == 0) continue;
    const bool padding = positions[begin] < 0;
    const bool narrow = padding || num_pairs <= kNarrowPairs;
    const int32_t width = narrow ? kNarrowPairs : WidePairs(shape);
    for (int32_t first = (num_pairs - 1) / width * width; first >= 0; first -= width) {
      AttentionItem item{.row = static_cast<int32_t>(row),
                         .first_pair = begin * group + first,
                         .num_pairs = std::min(width, num_pairs - first)};
      if (!padding) {
        item.first_position = positions[begin] + first / group;
        item.num_keys = positions[begin] + (first + item.num_pairs - 1) / group + 1;
        if (window > 0) item.first_chunk = std::max(0, item.first_position + 1 - window) / kChunkTokens;
        item.last_chunk = static_cast<int32_t>(CeilDiv(item.num_keys, kChunkTokens));
      }
      tile(item, narrow);
    }
  }
}

// Puts the tile's chunks into `parts` items whose partial results will be merged.
void Split(const AttentionItem& tile, int64_t parts, std::vector<AttentionItem>& items, AttentionPlan& plan) {
  const int32_t chunks = tile.last_chunk - tile.first_chunk;
  for (int64_t part = 0; part < parts; ++part) {
    AttentionItem item = tile;
    item.first_chunk = tile.first_chunk + static_cast<int32_t>(chunks * part / parts);
    item.last_chunk = tile.first_chunk + static_cast<int32_t>(chunks * (part + 1) / parts);
    item.partial = plan.num_partials + (item.first_chunk - tile.first_chunk) * tile.num_pairs;
    item.merge = static_cast<int32_t>(plan.merges.size());
    items.push_back(item);
  }
  plan.merges.push_back({.first_pair = tile.first_pair,
                         .num_pairs = tile.num_pairs,
                         .first_partial = plan.num_partials,
                         .num_chunks = chunks,
                         .num_items = static_cast<int32_t>(parts)});
  plan.num_partials += chunks * tile.num_pairs;
}

}  // namespace

void PlanAttention(const AttentionShape& shape, std::span<const int32_t> row_starts,
                   std::span<const int32_t> positions, int32_t window, AttentionPlan& plan) {
  plan.narrow.clear();
  plan.wide.clear();
  plan.merges.clear();
  plan.num_partials = 0;
  int64_t chunks = 0;
  ForEachTile(shape, row_starts, positions, window, [&](const AttentionItem& tile, bool narrow) {
    // Kernels that copy in bulk find room for two blocks of a processor, or for one of warpgroups, whose parts take more to
    // merge than they gain where there are tiles for all processors.
    const int64_t weight = !shape.warpgroups ? 1 : narrow ? 2 : 4;
    chunks += weight * (tile.last_chunk - tile.first_chunk);
  });
  // As many chunks as each part has when all parts are equally long.
  const int64_t longest = std::max<int64_t>(1, CeilDiv(chunks * shape.num_kv_heads, WantedParts(shape)));
  ForEachTile(shape, row_starts, positions, window, [&](const AttentionItem& tile, bool narrow) {
    std::vector<AttentionItem>& items = narrow ? plan.narrow : plan.wide;
    const int64_t tile_chunks = tile.last_chunk - tile.first_chunk;
    // No part is longer than that; where this leaves processors idle, there are as many more parts as there is room for: of
    // 128 chunks of 8 KV heads 33 instead of 32, for all 264 blocks of an H100.
    const int64_t room = chunks == 0 ? 0 : tile_chunks * WantedParts(shape) / (chunks * shape.num_kv_heads);
    const int64_t parts = std::max(CeilDiv(tile_chunks, longest), std::min(tile_chunks, room));
    if (parts > 1 && plan.num_partials + tile_chunks * tile.num_pairs <= shape.max_partials)
      Split(tile, parts, items, plan);
    else
      items.push_back(tile);
  });
}

// A row of n pairs has at most n / kNarrowPairs + 1 tiles. A tile of c chunks has fewer than c / longest
// parts beyond its first, and these sum to at most WantedParts / G.
AttentionBounds BoundAttention(const AttentionShape& shape, int32_t max_tokens, int32_t max_rows,
                               int32_t max_model_len) {
  const int64_t pairs = int64_t{max_tokens} * GroupOf(shape), chunks = CeilDiv(max_model_len, kChunkTokens);
  const int64_t tiles = pairs / kNarrowPairs + max_rows;
  const int64_t more_parts = WantedParts(shape) / shape.num_kv_heads + 1;
  AttentionBounds bounds{.items = static_cast<int32_t>(tiles + more_parts)};
  if (chunks == 1) return bounds;  // nothing to split
  const int64_t one_tile = std::min<int64_t>(pairs, WidePairs(shape)) * chunks;
  const int64_t of_use = kWorkspaceBytes / static_cast<int64_t>(sizeof(float)) /
                         (shape.num_kv_heads * PartialFloats(shape.head_dim, shape.value_dim));
  bounds.merges = static_cast<int32_t>(std::min(tiles, more_parts));
  bounds.partials = static_cast<int32_t>(std::min(pairs * chunks, std::max(one_tile, of_use)));
  return bounds;
}

const char* AttentionUnsupported(const AttentionShape& shape, Element element, KvElement kv) {
  if (shape.mixer_width > 0 &&
      MixedSharedBytes(shape.num_heads, shape.value_dim, shape.mixer_width) > kMaxMixedSharedBytes)
    return "a mixer of heads takes 4 (H (Ev + 290) + 32 width) bytes of shared memory, at most 98304";
  if (element == Element::kF32) return nullptr;
  const bool own_type = kv == (element == Element::kF16 ? KvElement::kF16 : KvElement::kBF16);
  if (own_type || HasScales(kv)) return nullptr;
  return "f16 and bf16 take keys and values of their own type, of fp8 or of int8; f32 takes all";
}

}  // namespace ropeway::cuda
