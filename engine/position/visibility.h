// Which keys a query sees: causal, and within its window or its chunk.
//
//   key j of query i is visible iff j <= i, and i - j < window where there is one, and i / chunk == j / chunk
//   (whole quotients) where there are chunks
// A window of W is W keys, the query's own included (Mistral, Gemma, gpt-oss); chunks are Llama 4's.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_POSITION_VISIBILITY_H_
#define ROPEWAY_ENGINE_POSITION_VISIBILITY_H_

#include <cstdint>

#include "engine/position/position_spec.h"

namespace ropeway {

// The first key that the query at `position` sees; it sees all from there to itself.
int32_t FirstVisible(const PositionSpec& spec, int32_t position);

// The last query that sees the key at `position`; INT32_MAX where all queries to come do.
int32_t LastToSee(const PositionSpec& spec, int32_t position);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_VISIBILITY_H_
