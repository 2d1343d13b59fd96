// Factors of queries that depend on their position i, counted from 0; after the rotation, before the scores.
//
//   temperature  1 + attention_scale ln(floor((i + first) / floor_scale) + 1)
//                Llama 4, layers without rotation; Ministral 3, with first = 0
//   logn         ln(i + 1) / ln(train_length) where i + 1 > train_length, else 1      Qwen 1
//
// Pure; thread-safe. The same bytes on every processor.
#ifndef ROPEWAY_ENGINE_POSITION_QUERY_SCALE_H_
#define ROPEWAY_ENGINE_POSITION_QUERY_SCALE_H_

#include <cstdint>

#include "engine/position/position_spec.h"

namespace ropeway {

double QueryFactor(const QueryScale& scale, int32_t position);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_QUERY_SCALE_H_
