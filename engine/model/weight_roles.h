// What the tensors of a model are for: one table, from which files are checked and weights are loaded.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_MODEL_WEIGHT_ROLES_H_
#define ROPEWAY_ENGINE_MODEL_WEIGHT_ROLES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/model/decoder_spec.h"

namespace ropeway {

// Each has a weight, and many may have a bias. Shapes, names and when a model has them: the table.
enum class WeightRole : uint8_t {
  // Of the model.
  kTokenEmbedding,
  kPositionEmbedding,
  kEmbeddingNorm,
  kEmbeddingIn,  // from and to an embedding that is narrower than the stream
  kEmbeddingOut,
  kOutputNorm,
  kOutput,
  // Of a layer.
  kAttentionNorm,
  kQuery,
  kKey,
  kValue,
  kQueryNorm,
  kKeyNorm,
  kSinks,
  // Of latent attention, as files have them: in heads the rotated columns come last.
  kLatentQuery,  // Qa
  kLatentQueryNorm,
  kQueryFromLatent,  // Qb
  kLatentKv,         // Ca: c, then r
  kLatentKvNorm,
  kKeyValueFromLatent,  // Cb: each head's key, without its rotated columns, then its value
  kKeyFromLatent,       // instead, where they are apart: [H, kv_rank, columns of a key]
  kValueFromLatent,     // [H, Ev, kv_rank]
  kAttentionOutput,
  kAttentionPostNorm,
  kFfnNorm,
  kGate,
  kUp,
  kDown,
  kFfnPostNorm,
  // Of a layer of experts, which then has no kGate, kUp, kDown. Those of the experts themselves have one
  // dimension more, outermost: the expert.
  kRouter,
  kRouterCorrection,
  kExpertGate,
  kExpertUp,
  kExpertDown,
  kSharedRouter,
  kSharedGate,
  kSharedUp,
  kSharedDown,
  // Of an activation that has weights (xIELU): before softplus, where that is applied.
  kXieluP,
  kXieluN,
  kXieluL,
  kXieluM,
  // Of a layer's position scheme. What layers share has one tensor, which is the role of each of them.
  kShawKeys,
  kShawValues,
  kT5Biases,
  kXlProjection,
  kXlContent,
  kXlPosition,
  kKerple1,
  kKerple2,
  kFireIn,
  kFireOut,
  kFireC,
  kFireLMultiplier,
  kDapeIn,
  kDapeOut,
};

// One tensor: the weight of a role, or its bias; whole, or the part of one expert.
struct TensorId {
  WeightRole role;
  int layer = 0;  // 0 for roles of the model
  bool is_bias = false;
  int expert = -1;  // -1: all of them, or a tensor of no expert

  bool operator==(const TensorId&) const = default;
};

enum class Presence : uint8_t { kAbsent, kWeight, kBias, kWeightAndBias };

struct RoleInfo {
  WeightRole role;
  bool of_layer;
  // Whether a model has it; if not, a file must not hold such a tensor.
  Presence (*presence)(const DecoderSpec& spec, const LayerSpec& layer);
  // Of the weight, outermost first; matrices are [outputs, inputs].
  std::vector<int64_t> (*shape)(const DecoderSpec& spec, const LayerSpec& layer);
  // The weight in a GGUF file, and in a folder that names tensors as Llama's does; '*' stands for the
  // layer. The bias has "bias" for "weight".
  const char* gguf_name;
  const char* hf_name;
};

absl::Span<const RoleInfo> AllRoles();
const RoleInfo& InfoOf(WeightRole role);

// All tensors that a model has, layer by layer.
std::vector<TensorId> TensorsOf(const DecoderSpec& spec);

bool HasTensor(const TensorId& id, const DecoderSpec& spec);
std::vector<int64_t> ShapeOf(const TensorId& id, const DecoderSpec& spec);

// Whether the outermost dimension of a role's tensors is the expert.
bool IsOfExperts(WeightRole role);

// `pattern` for one layer and for weight or bias: "blk.*.attn_q.weight" as "blk.7.attn_q.bias",
// "layers.*.down_proj" as "layers.7.down_proj_bias".
std::string ExpandName(const char* pattern, const TensorId& id);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_WEIGHT_ROLES_H_
