// What every weight role must look like under a spec; shared by all readers.
#ifndef ROPEWAY_ENGINE_MODEL_WEIGHT_SHAPES_H_
#define ROPEWAY_ENGINE_MODEL_WEIGHT_SHAPES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

// All roles, those of the model first; `of_layer` tells them apart.
struct RoleInfo {
  WeightRole role;
  bool of_layer;
  const char* gguf_name;  // "attn_q.weight" stands for "blk.7.attn_q.weight"
  const char* hf_name;    // "self_attn.q_proj.weight" stands for "model.layers.7.self_attn.q_proj.weight"
};
const std::vector<RoleInfo>& AllRoles();
const RoleInfo& InfoOf(WeightRole role);

// Whether a model has the role; if not, a file must not hold such a tensor.
bool HasRole(WeightRole role, const DecoderSpec& spec);

// The shape, outermost first.
std::vector<int64_t> ShapeOf(WeightRole role, const DecoderSpec& spec);

// INVALID_ARGUMENT naming the tensor, when `view` has another shape.
absl::Status CheckShape(const std::string& name, WeightRole role, const DecoderSpec& spec,
                        const TensorView& view);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_WEIGHT_SHAPES_H_
