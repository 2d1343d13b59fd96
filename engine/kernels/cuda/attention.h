// Paged causal attention on a device: what it computes and how its work is divided.
//
// Plain C++. The keys of a sequence are walked in chunks of kChunkTokens from position 0; each chunk gives a
// partial result (maximum, sum, weighted values), and partial results are merged in order. A query's bytes
// are therefore the same whether one block walks all chunks (prefill) or many share them (decode): dividing
// the work is a matter of speed.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kernels/cuda/element.h"
#include "engine/kernels/cuda/kv_pages.h"
#include "engine/kernels/cuda/runtime.h"

namespace ropeway::cuda {

inline constexpr int kChunkTokens = 256;  // keys of one partial result

// How scores are changed; all of it fits in registers.
struct ScoreModifier {
  float softcap = 0;                    // cap * tanh(score / cap); 0: none
  int32_t window = 0;                   // a token sees the last `window` positions, itself included; 0: all
  const float* alibi_slopes = nullptr;  // [H]: + slope * (j - i); null: none
  const float* sinks = nullptr;         // [H]: a logit that takes weight and has no value; null: none
};

// One block's work: a tile of queries of one row, over chunks [first_chunk, last_chunk) of its keys.
struct AttentionItem {
  int32_t row = 0;
  int32_t first_token = 0;  // of the step
  int32_t num_tokens = 0;
  int32_t first_chunk = 0, last_chunk = 0;
  int32_t partial = -1;  // where its partial results go; -1: it has all chunks and writes the output itself
};

// Partial results of one tile, to be merged in order.
struct AttentionMerge {
  int32_t first_token = 0;
  int32_t num_tokens = 0;
  int32_t first_partial = 0;
  int32_t num_partials = 0;
};

struct AttentionPlan {
  std::vector<AttentionItem> items;
  std::vector<AttentionMerge> merges;
  int32_t num_partials = 0;
};

struct AttentionShape {
  int num_heads = 0, num_kv_heads = 0, head_dim = 0, value_dim = 0;
  int processors = 1;  // of the device: work is split until they are busy
};

// Divides a step's attention. `row_starts` and `positions` are those of StepPlan. `window` is the largest of
// all layers, 0 where one has none.
AttentionPlan PlanAttention(const AttentionShape& shape, std::span<const int32_t> row_starts,
                            std::span<const int32_t> positions, int32_t window);

// Floats of workspace that `num_partials` partial results of a layer take.
int64_t AttentionWorkspaceFloats(const AttentionShape& shape, int32_t num_partials);

// The most partial results that PlanAttention makes for steps within these bounds; sizes the workspace before
// the first step.
int32_t MaxAttentionPartials(const AttentionShape& shape, int32_t max_tokens, int32_t max_rows,
                             int32_t max_model_len);

struct AttentionArgs {
  Element element = Element::kBF16;
  KvPages kv;
  int num_heads = 0;
  float scale = 0;
  ScoreModifier modifier;
  const void* queries = nullptr;         // [T, H, E] of element
  void* out = nullptr;                   // [T, H, Ev] of element
  const int32_t* positions = nullptr;    // [T]
  const int32_t* page_tables = nullptr;  // [R, max_pages]
  int max_pages = 0;
  const AttentionItem* items = nullptr;    // [*num_items]
  const AttentionMerge* merges = nullptr;  // [*num_merges]
  const int32_t* counts =
      nullptr;     // {num_items, num_merges}, in device memory, so that graphs replay other plans
  int blocks = 0;  // of the launch; blocks take items in turn
  float* workspace = nullptr;
};

// Null where there are kernels for the shape; otherwise what is supported ("head_dim must be one of 64, 80,
// 96, 128, 256").
const char* AttentionUnsupported(const AttentionShape& shape, Element element, KvElement kv);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_H_
