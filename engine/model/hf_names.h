// How Hugging Face folders call and lay out the tensors of each role.
#ifndef ROPEWAY_ENGINE_MODEL_HF_NAMES_H_
#define ROPEWAY_ENGINE_MODEL_HF_NAMES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/named_tensors.h"
#include "engine/model/weight_roles.h"

namespace ropeway {

// Where the rows of a role lie in a stored tensor.
enum class HfLayout : uint8_t {
  kWhole,
  kOneRow,      // a vector as a matrix of one row
  kTransposed,  // [inputs, outputs]
  kQkv,         // all queries, all keys, all values
  kQkvTransposed,
  kQkvByGroup,  // for each KV head its queries, its key, its value
  kQvkInFour,   // four parts, each with its queries, values and keys (CodeGen)
  kGateUp,      // gate, then up
  kHeads,       // one tensor a head; '#' in the name stands for the head
  // Of experts. X: their number.
  kExperts,                   // one tensor an expert; '#' in the name stands for the expert
  kExpertsStacked,            // [X, outputs, inputs]
  kExpertsTransposed,         // [X, inputs, outputs]
  kExpertsGateUp,             // [X, 2 F, D], gate, then up
  kExpertsGateUpTransposed,   // [X, D, 2 F], the same
  kExpertsGateUpAlternating,  // [X, D, 2 F], gate and up in turn
  kExpertsGateUpInTurn,       // [X, 2 F, D], likewise
};

struct HfName {
  WeightRole role;   // the first of those that share the tensor: queries, or gate
  const char* name;  // of the weight; '*' stands for the layer
  HfLayout layout = HfLayout::kWhole;
};

// The row of a role, or of the first of the roles that it shares a tensor with; null where there is none.
const HfName* FindName(WeightRole role, absl::Span<const HfName> names);

// Where a folder of a family holds a tensor. `names` are those that differ from Llama's (weight_roles.cc).
std::vector<StoredPart> HfPartsOf(const TensorId& id, const DecoderSpec& spec,
                                  absl::Span<const HfName> names);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_HF_NAMES_H_
