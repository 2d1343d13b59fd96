// Attention of one token in plain float32: what each field of ScoreModifier means. Keys and values come from
// wherever the caller has them.
#ifndef ROPEWAY_ENGINE_KERNELS_REF_ATTEND_TOKEN_H_
#define ROPEWAY_ENGINE_KERNELS_REF_ATTEND_TOKEN_H_

#include <cstdint>
#include <functional>

#include "engine/kernels/score_modifier.h"

namespace ropeway::kernels {

// Query heads [first_head, first_head + num_heads) of the token at `position`; all of them with a mixer.
struct TokenAttention {
  int first_head = 0, num_heads = 0;
  int queries_per_kv_head = 1;  // H / G
  int head_dim = 0, value_dim = 0;
  int32_t position = 0;
  float scale = 1;
  const ScoreModifier& modifier;
  // [num_heads, E] each: for keys of the token's own zone, of the one before, of older ones.
  const float *queries, *previous_queries = nullptr, *older_queries = nullptr;
  // Write the key [E] or value [Ev] of a KV head at a position.
  std::function<void(int kv_head, int32_t position, float*key)> load_key, load_value;
  float* out;  // [num_heads, Ev]
};

void AttendToken(const TokenAttention& token);

// The first position that a query at `position` sees.
int32_t FirstVisible(const ScoreModifier& modifier, int32_t position);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_REF_ATTEND_TOKEN_H_
