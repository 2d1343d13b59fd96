// Arguments of kernels: plain structs without functions, so that the translation unit of any instruction set
// may include them (an inline function compiled there could end up in the whole program).
#ifndef ROPEWAY_ENGINE_KERNELS_ARGS_H_
#define ROPEWAY_ENGINE_KERNELS_ARGS_H_

#include <cstdint>

#include "engine/base/quad_pages.h"
#include "engine/kernels/score_modifier.h"
#include "engine/tensor/shape.h"

namespace ropeway::kernels {

// Rows of a panel of a packed matrix, the least that one thread computes: 32 rows, or 16 rows of gate and the
// same 16 of up.
inline constexpr int kPanelRows = 32;

// Rotates heads of one token in place.
struct RotateArgs {
  float* heads;  // [num_heads, head_stride]
  int num_heads;
  int64_t head_stride;  // in floats
  int rotary_dim;
  const float* cosines;  // [rotary_dim / 2] of the token's position
  const float* sines;    // [rotary_dim / 2]
  bool interleaved;      // pairs (2 i, 2 i + 1) instead of (i, i + rotary_dim / 2)
};

// How the KV cache of one layer lies in memory: in quads of pages. A quad holds, for each KV head, the keys of its four pages,
// transposed, so that a vector lane is a token, those of two pages in turn; then their values in blocks of B = value_columns
// columns, so that a vector lane is a column. In that order few queries read them: where the pages of a sequence follow each
// other, from one quad to the next, memory is read in one straight line, which processors do best.
//   quad:  [G]{ keys [2][E][2][kPageTokens], values [padded Ev / B][4][kPageTokens][B] }                 of float32
//   quad:  [G]{ keys [2][padded E / 2][2][kPageTokens][2], values [padded Ev / B][4][kPageTokens][B] }   of bf16
// Two columns of a bf16 key lie side by side, as instructions that multiply bf16 want them; columns beyond E
// are zero. VDPBF16PS wants other pairs, of a chain, the later of two first: of every four columns of a key (2, 0) and
// (3, 1), and of a value two slots. So the table that uses it, avx512 with "bf16", has pages of its own:
//   keys [2][padded E / 4][2][2][kPageTokens][2], values [padded Ev / B][4][kPageTokens / 2][B][2]   of bf16
// Whoever stores keys and values attends to them, too: nothing else reads a page, but CopyPage. Made by MakeKvLayout;
// kv_layout_inl.h knows where things lie.
struct KvLayout {
  bool bf16 = true;
  int num_kv_heads = 0;
  int head_dim = 0;
  int value_dim = 0;
  int64_t padded_head_dim = 0;   // a multiple of 4 where bf16
  int64_t padded_value_dim = 0;  // a multiple of 16
  int64_t value_columns = 0;     // B, 32 or 16
  int64_t value_offset = 0;      // of the values inside a head of a quad, in elements
  int64_t head_elements = 0;     // of one KV head in a quad
  int64_t page_bytes = 0;
  int64_t quad_bytes = 0;  // kQuadPages times as many
};

// Writes one token's keys and values, all heads, into a slot of a page. bf16 rounds to nearest even.
struct StoreKvArgs {
  KvLayout kv;
  uint8_t* cache;       // as AttentionArgs has it
  int64_t quad_stride;  // in bytes
  int32_t page;
  int slot;             // [0, kPageTokens)
  const float* keys;    // [G, E]
  const float* values;  // [G, Ev]
};

// Causal attention of consecutive tokens of one sequence over its pages, for the query heads of one KV head: of one token, for
// those of several in turn; with a mixer, for those of all at once. The keys and values of these tokens are already in the
// cache. What a query does not see has weight zero, so finite values never reach its result.
struct AttentionArgs {
  KvLayout kv;
  const uint8_t* cache;       // the layer's pages: quad q at cache + q * quad_stride
  int64_t quad_stride;        // in bytes
  const int32_t* page_table;  // [ceil((first_position + num_tokens) / kPageTokens)]
  int kv_head;                // 0 with a mixer
  // KV heads from kv_head on, whose queries, outputs and spans follow each other: more than one where num_tokens is 1 and
  // there is no mixer. They are read in the order in which they lie in a page.
  int kv_heads = 1;
  int queries_per_token;  // query heads that share a KV head: H / G
  int num_tokens;
  int32_t first_position;  // of the first token
  const float* queries;    // query head j of those computed, token t: queries + t * query_stride + j * E
  int64_t query_stride;
  // The same queries turned for keys of the zone before their own and of older ones, where the modifier has
  // zones; laid out as `queries`.
  const float* previous_queries = nullptr;
  const float* older_queries = nullptr;
  float* out;  // head j of token t at out + t * out_stride + j * Ev
  int64_t out_stride;
  float scale;
  ScoreModifier modifier;
  uint8_t* scratch;  // attention_scratch_bytes(), 64-byte aligned, of this thread alone
  // Where not negative, that span of kAttentionSpan positions alone is computed, and what it comes to for head j of
  // token t is written to spans + span * span_stride + (t * queries_per_token + j) * (padded Ev + kSpanHead), in the place of
  // `out`; nothing where the query does not see any of it. Not with a mixer.
  int32_t span = -1;
  float* spans = nullptr;
  int64_t span_stride = 0;  // in floats
};

// Positions whose results are merged as one: spans may be computed apart, by any thread.
inline constexpr int kAttentionSpan = 512;

// Of one query's results in a span: maximum and sum of weights, in the first two, and from the 17th on values.
inline constexpr int kSpanHead = 16;

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_ARGS_H_
