// Paged causal attention on a device: what it computes and how its work is divided.
//
// Plain C++. The keys of a sequence are walked in chunks of kChunkTokens from position 0. Each chunk gives a
// partial result (maximum, sum, weighted values) of its own, and partial results are merged in order by one
// formula. Within a chunk a query's operations do not depend on the other queries of its tile. So a query's
// bytes are the same whether one block walks all chunks (prefill) or many share them (decode), and however
// the prompt was cut: dividing the work is a matter of speed.
//
// Query heads that share a KV head go together. A query is named by a pair:
//   pair = token * (H / G) + (head within its group), of each KV head
// An item is up to kNarrowPairs or WidePairs() pairs of one row, and need not begin at a token. A kernel whose tiles
// are smaller takes several.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kernels/cuda/element.h"
#include "engine/kernels/cuda/kv_maps.h"
#include "engine/kernels/cuda/kv_pages.h"
#include "engine/kernels/cuda/runtime.h"
#include "engine/kernels/score_modifier.h"

namespace ropeway::cuda {

inline constexpr int kChunkTokens = 256;  // keys of one partial result
inline constexpr int kStepKeys = 64;      // of which tensor cores' kernels take the maximum at once
inline constexpr int kNarrowPairs = 16;   // of a narrow tile: the rows of one mma

// One block's work, for one KV head after the other: a tile over chunks [first_chunk, last_chunk).
struct AttentionItem {
  int32_t row = 0;
  int32_t first_pair = 0, num_pairs = 0;
  int32_t first_position = 0;  // of the first pair's token; tokens of a tile are consecutive
  int32_t num_keys = 0;        // position of the last pair's token + 1; 0 for padding, which gives zeros
  int32_t first_chunk = 0, last_chunk = 0;
  int32_t partial = -1;  // where pair 0 of first_chunk leaves its partial result; each further chunk
                         // num_pairs later. -1: the item has all chunks and writes the output itself
  int32_t merge = -1;    // then the merge that it is a part of
};

// The partial results of one tile. Of the blocks that computed them the one that is done last merges them, in
// the order of the chunks.
struct AttentionMerge {
  int32_t first_pair = 0, num_pairs = 0;
  int32_t first_partial = 0;
  int32_t num_chunks = 0;
  int32_t num_items = 0;
};

struct AttentionShape {
  int num_heads = 0, num_kv_heads = 0, head_dim = 0, value_dim = 0;
  int mixer_width = 0;       // the widest of all layers; 0: no mixers
  int processors = 1;        // of the device: work is split until they are busy
  bool warpgroups = false;   // items are made for the kernels of compute capability 9.0
  int32_t max_partials = 0;  // that the workspace holds; tiles whose parts do not fit stay whole
};

struct AttentionPlan {
  std::vector<AttentionItem> narrow;  // tiles of at most kNarrowPairs: decode, padding, short chunks
  std::vector<AttentionItem> wide;    // tiles of at most WidePairs
  std::vector<AttentionMerge> merges;
  int32_t num_partials = 0;
};

// Columns that kernels work with, at least E and Ev; those beyond are zeros.
constexpr int TileWidth(int head_dim, int value_dim) {
  const int width = head_dim > value_dim ? head_dim : value_dim;
  return width <= 64 ? 64 : width <= 96 ? 96 : width <= 128 ? 128 : (width + 255) / 256 * 256;
}

inline constexpr int kWarpgroupPairs = 128;  // of the kernel of warpgroups: two of them
// Blocks of a processor that are launched: of decoded tokens in bulk as many as find room; of others enough to hide the
// latency of memory, or that one takes the place of another that has ended.
inline constexpr int kDecodeBlocks = 2, kOtherBlocks = 4;

// Pairs of a wide tile.
constexpr int WidePairs(const AttentionShape& shape) {
  if (shape.warpgroups) return kWarpgroupPairs;
  return TileWidth(shape.head_dim, shape.value_dim) > 128 ? 32 : 64;
}

// Shared memory of a block of the kernel for mixers, in bytes, and the most of it that every device has.
constexpr int64_t MixedSharedBytes(int num_heads, int value_dim, int mixer_width) {
  return (int64_t{num_heads} * (kChunkTokens + value_dim + 2 + 32) + int64_t{mixer_width} * 32) * 4;
}
inline constexpr int64_t kMaxMixedSharedBytes = int64_t{96} << 10;

// Divides a step's attention; `plan` keeps its memory from step to step. `row_starts` and `positions` are
// those of StepPlan: the positions of a row are consecutive, or all -1 for padding. `window` is the largest
// window or chunk of all layers, 0 where one has neither.
//
// A row of at most kNarrowPairs pairs, and padding, becomes narrow tiles, any other row wide ones. Decode
// steps thus have narrow items alone where H / G <= kNarrowPairs.
void PlanAttention(const AttentionShape& shape, std::span<const int32_t> row_starts,
                   std::span<const int32_t> positions, int32_t window, AttentionPlan& plan);

// The most that a plan holds for steps within these bounds, and what goes into AttentionShape::max_partials:
// enough to split the longest sequence's tile, and up to 64 MiB of workspace where that is of use.
struct AttentionBounds {
  int32_t items = 0;  // narrow and wide together
  int32_t merges = 0;
  int32_t partials = 0;
};
AttentionBounds BoundAttention(const AttentionShape& shape, int32_t max_tokens, int32_t max_rows,
                               int32_t max_model_len);

// Floats of one partial result: the weighted values, then maximum and sum, padded to 128 bits.
constexpr int64_t PartialFloats(int head_dim, int value_dim) { return TileWidth(head_dim, value_dim) + 4; }

// Floats of workspace for `num_partials` partial results of each KV head; layers share it.
constexpr int64_t AttentionWorkspaceFloats(const AttentionShape& shape, int32_t num_partials) {
  return int64_t{num_partials} * shape.num_kv_heads * PartialFloats(shape.head_dim, shape.value_dim);
}

// Items in device memory, and how many blocks take them in turn. The count lies in device memory
// too, so that a captured graph replays other plans. The number of blocks changes no byte; a few per
// processor are enough. 0: nothing is launched.
template <typename T>
struct WorkList {
  const T* data = nullptr;         // [*count]
  const int32_t* count = nullptr;  // in device memory
  int blocks = 0;
};

// Of up to two launches: narrow items, wide items. REQUIRES: AttentionUnsupported is null; queries,
// out, the data of kv and its scales are 16-byte aligned. The kernel in front writes queries, and keys and values of the
// step's tokens: work lists, merges, page tables and what is older are there before it begins, since with maps they are read
// then.
struct AttentionArgs {
  Element element = Element::kBF16;
  KvPages kv;
  int num_heads = 0;
  float scale = 0;
  kernels::ScoreModifier modifier;  // with pointers into device memory
  const void* queries = nullptr;    // [T, H, E] of element
  // The same, turned for keys of the zone before the token's own and of older ones, where the modifier has
  // zones.
  const void* previous_queries = nullptr;
  const void* older_queries = nullptr;
  void* out = nullptr;                   // [T, H, Ev] of element
  const int32_t* page_tables = nullptr;  // [R, max_pages]
  int max_pages = 0;
  WorkList<AttentionItem> narrow, wide;
  // Of kv, on the host: items may go to the kernels that copy in bulk, wide ones to that of warpgroups. Null: they do not.
  // REQUIRES: WarpgroupsFit, and a device that has them.
  const KvMaps* maps = nullptr;
  const AttentionMerge* merges = nullptr;
  // [merges, G] how many items of each are done: zeros, before and after.
  int32_t* arrivals = nullptr;
  float* workspace = nullptr;  // 16-byte aligned
};

// Whether scores are more than scaled.
constexpr bool ChangesScores(const AttentionArgs& args) {
  return args.modifier.softcap != 0 || args.modifier.bias.kind != kernels::BiasKind::kNone ||
         !(args.scale > 0);
}

// Whether the kernels that copy in bulk have it.
constexpr bool CopiesInBulk(const AttentionArgs& args) {
  return args.maps != nullptr && !ChangesScores(args);
}

// Whether tensor cores take these keys and values. Others, of 16-bit activations, too, are plain arithmetic's.
constexpr bool FitsTensorCores(KvElement kv, int head_dim, int value_dim) {
  const int multiple = HasScales(kv) ? 16 : 8;
  return head_dim % multiple == 0 && value_dim % multiple == 0 && head_dim <= 256 && value_dim <= 256;
}

// Whether the device can run the kernels that copy in bulk: their code is for compute capability 9.0 and no other.
inline bool HasWarpgroups(const DeviceInfo& device) { return device.major == 9 && device.minor == 0; }

// Whether the kernels that copy in bulk take these keys and values. They have windows, chunks and sinks; layers with other
// modifiers go to the kernel that older devices have, with the same bytes.
constexpr bool WarpgroupsFit(Element element, KvElement kv, int head_dim, int value_dim) {
  const int width = TileWidth(head_dim, value_dim);
  const bool own_type =
      element == Element::kF16 ? kv == KvElement::kF16 : element == Element::kBF16 && kv == KvElement::kBF16;
  return own_type && FitsTensorCores(kv, head_dim, value_dim) && (width == 64 || width == 128) &&
         KvMapsFit(head_dim, value_dim);
}

// Null where there are kernels for the shape; otherwise what there are kernels for.
const char* AttentionUnsupported(const AttentionShape& shape, Element element, KvElement kv);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_H_
