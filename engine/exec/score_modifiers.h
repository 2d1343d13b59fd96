// What the position schemes of the layers ask of attention: their tensors read, and lowered to the modifiers
// that kernels take (score_modifier.h). For load time, on every device.
#ifndef ROPEWAY_ENGINE_EXEC_SCORE_MODIFIERS_H_
#define ROPEWAY_ENGINE_EXEC_SCORE_MODIFIERS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/kernels/modifier_tables.h"
#include "engine/model/weight_reader.h"

namespace ropeway {

// All that the tables of a model may take.
inline constexpr int64_t kMaxModifierBytes = int64_t{4} << 30;

// Of every layer, for positions below max_model_len of the reader and the query heads of its shard; soft-caps
// and sinks included. RESOURCE_EXHAUSTED where tables would be larger than kMaxModifierBytes.
absl::StatusOr<std::vector<kernels::ModifierTables>> MakeModifiers(const WeightReader& reader);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_SCORE_MODIFIERS_H_
