// A decoder as data: everything that differs between model families, and nothing else.
//
// Filled in by the weight readers from a file's metadata, validated once, then immutable. No kernel and no
// forward code asks for a model's name.
//
//   x = embedding_scale * E[id] (+ positions added to the input);  x = norm(x) where the embedding is normed
//   sequential          x += s * post(attention(pre(x)));  x += s * post(ffn(pre(x)))
//   parallel            x += s * (attention(n1(x)) + ffn(n1(x)))
//   parallel two norms  x += s * (attention(n1(x)) + ffn(n2(x)))
//   logits = softcap(logit_scale * (W norm(x) + bias))
//
// A feed-forward layer may be one of experts: ExpertsSpec.
//
// Attention does, in this order: projection, bias, clip; norm of query and key heads (these two the other way
// round where clip_after_norm says so); rotation (before the norm where that says so); query scale; scores as engine/position/position_spec.h says.
#ifndef ROPEWAY_ENGINE_MODEL_DECODER_SPEC_H_
#define ROPEWAY_ENGINE_MODEL_DECODER_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/admitted_lengths.h"
#include "engine/position/position_spec.h"
#include "engine/position/rotary.h"
#include "engine/tensor/formulas.h"

namespace ropeway {

// Limits of layers of experts.
inline constexpr int32_t kMaxExperts = 1024;
inline constexpr int32_t kMaxExpertsPerToken = 64;

// The norm of rows of the residual stream. Formulas: formulas.h.
struct NormSpec {
  NormKind kind = NormKind::kRms;
  float epsilon = 1e-5f;
  float offset = 0;        // 1 where files hold w and the model multiplies by 1 + w
  bool has_weight = true;  // OLMo has none: 1
  bool has_bias = false;

  bool operator==(const NormSpec&) const = default;
};

// The norm of query and key heads.
struct HeadNormSpec {
  NormKind kind = NormKind::kNone;
  float epsilon = 1e-6f;
  float offset = 0;
  bool has_weight = true;  // without: L2 norm
  bool has_bias = false;   // of layer norms
  bool per_head = false;   // a weight of its own for each head: [heads, E]; else
                           // one for all: [E]
  bool all_heads = false;  // RMS: one mean over all query heads, one over all
                           // key heads; weights [heads * E]
  bool after_rotation = false;

  bool operator==(const HeadNormSpec&) const = default;
};

// Latent attention (DeepSeek-V2, arXiv:2405.04434): queries, keys and values are made from narrow rows of
// which the cache could do with one a token. All norms are RMS norms.
//   q = Qb norm(Qa x), or Qb x;  c, r = Ca x;  k, v = Cb norm(c)
// The rotated columns of a key are r, the same for all heads. They come first in a head here, last in files.
struct LatentSpec {
  int32_t kv_rank = 0;     // columns of c; 0: there is no latent attention
  int32_t query_rank = 0;  // of Qa x; 0: queries are made from x
  int32_t rotary_dim = 0;  // of r
  float epsilon = 1e-6f;
  // Files have two tensors instead of Cb: those of the keys, each head's turned, and of the values.
  bool apart = false;

  bool operator==(const LatentSpec&) const = default;
};

struct AttentionSpec {
  float scale = 0;     // multiplies q . k
  double softcap = 0;  // cap * tanh(score / cap); 0: none. A double: one that float32 rounds to 0 is refused
  bool qkv_bias = false;
  bool output_bias = false;
  float clip = 0;                // queries, keys and values are clamped to [-clip, clip]; 0: not
  bool clip_after_norm = false;  // of query and key heads, instead of before
  bool sinks = false;            // a logit per query head that takes weight and has no value
  HeadNormSpec head_norm;
  QueryScale query_scale;
  LatentSpec latent;

  bool is_latent() const { return latent.kv_rank > 0; }

  bool operator==(const AttentionSpec&) const = default;
};

// What the scores of experts are made of: z = W x + b, a number for each.
enum class RouterScore : uint8_t {
  kSoftmax,        // e^z / sum over all experts
  kSoftmaxChosen,  // z to choose by, then e^z / sum over the chosen ones
  kSigmoid,        // 1 / (1 + e^-z)
};

// Experts: feed-forward layers of which each token goes through a few, whose sum is the layer's output.
// What is computed, and in which order: expert_routing.h.
struct ExpertsSpec {
  int32_t count = 0;      // X; 0: the layer has no experts
  int32_t per_token = 0;  // K, those that a token goes to
  RouterScore score = RouterScore::kSoftmax;
  bool router_bias = false;  // b
  bool correction = false;   // a number for each expert that is added to its score for the choice alone
  // Experts stand in groups of neighbours. Those of the best groups alone are chosen from; a group is as
  // good as the sum of its `group_best` best experts.
  int32_t groups = 1;
  int32_t chosen_groups = 1;
  int32_t group_best = 2;
  bool normalised = false;    // weights are the chosen scores over their sum
  float least_sum = 0;        // below which the sum counts as this
  float scale = 1;            // of weights
  bool scales_input = false;  // a weight multiplies what its expert is given instead of what it gives
  int32_t shared_size = 0;    // F of the expert that all tokens go to; 0: there is none
  bool shared_gate = false;   // which is multiplied by sigmoid(w x)

  bool operator==(const ExpertsSpec&) const = default;
};

struct FfnSpec {
  int32_t size = 0;   // F; of one expert in a layer of experts
  bool gated = true;  // down(activation(gate x) * up x); else down(activation(up x))
  Activation activation = Activation::kSilu;
  ActivationNumbers numbers;  // of the activation; where l is 0, xIELU's are tensors
  bool bias = false;          // of gate, up and down; not of the shared expert
  ExpertsSpec experts;

  bool has_experts() const { return experts.count > 0; }
  bool numbers_are_weights() const { return activation == Activation::kXielu && numbers.l == 0; }

  bool operator==(const FfnSpec&) const = default;
};

enum class BlockKind : uint8_t { kSequential, kParallel, kParallelTwoNorms };

struct BlockSpec {
  BlockKind kind = BlockKind::kSequential;
  bool pre_norm = true;
  bool post_norm = false;  // of what attention and feed-forward add, before it is added
  // Of the stream itself, in sequential blocks alone:
  bool norms_stream = false;  // x = norm(x) instead, before it is added to (BLOOM's residual after the norm)
  bool norms_sum = false;     // x = norm(x) after it was added to (OPT-350m); no pre_norm
  float residual_scale = 1;   // s

  bool operator==(const BlockSpec&) const = default;
};

struct LayerSpec {
  AttentionSpec attention;
  PositionSpec position;
  FfnSpec ffn;

  bool operator==(const LayerSpec&) const = default;
};

// What a layer of experts takes at most.
struct ExpertsSize {
  int32_t count = 0, per_token = 0, ffn_size = 0;
};

struct DecoderSpec {
  std::string architecture;  // for messages and reports only
  int32_t vocab_size = 0;
  int32_t hidden_size = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t value_dim = 0;
  int32_t context_length = 0;  // positions the model was made for

  NormSpec norm;
  BlockSpec block;
  int32_t embedding_size = 0;  // of E and W where they are narrower, projected from and to D; 0: D
  float embedding_scale = 1;
  bool embedding_norm = false;
  float logit_scale = 1;
  double logit_softcap = 0;  // cap * tanh(logit / cap); 0: none
  bool tied_output = false;  // the output layer is the embedding
  bool output_bias = false;  // of the output layer
  bool output_norm = true;
  // Rows of W have length 1 (NormHead). Whoever opens a folder brings them to it; GGUF files hold them so.
  bool unit_output = false;
  // What its branches make goes beyond 65504, where float16 ends: devices that compute in 16 bits take bfloat16, whatever
  // type the file has. Of families of which that was seen (family.h), as sums and the stream itself are float32 here.
  bool wide_range = false;
  std::vector<LayerSpec> layers;

  int32_t num_layers() const { return static_cast<int32_t>(layers.size()); }
  int32_t heads_per_kv_head() const { return num_heads / num_kv_heads; }
  // Outputs of the query, key and value projections together.
  int64_t qkv_size() const {
    return int64_t{num_heads + num_kv_heads} * head_dim + int64_t{num_kv_heads} * value_dim;
  }
  // F of the widest layer, experts that all tokens go to included and others not.
  int32_t max_ffn_size() const;
  // Sizes of the largest layer of experts by each field; 0 where no layer has any.
  ExpertsSize max_experts() const;
  // The rotary embeddings of the layers, each once, in the order in which they first occur.
  std::vector<RopeSpec> Ropes() const;
  // What queries and keys of the layers are turned by, in the same way.
  std::vector<RotarySpec> Rotaries() const;
  // Whether any layer turns queries by the zone of the key (chunked 3D-RPE), and the widest mixer of heads
  // (DAPE); 0: none.
  bool has_zones() const;
  int32_t max_mixer_width() const;
  // A layer has a norm of its own for the feed-forward layer, and one for the attention.
  bool has_ffn_norm() const { return has_attention_norm() && block.kind != BlockKind::kParallel; }
  bool has_attention_norm() const { return block.pre_norm || block.norms_sum; }
  int32_t embedding_width() const { return embedding_size > 0 ? embedding_size : hidden_size; }

  // INVALID_ARGUMENT naming the field, its bound and its value.
  absl::Status Validate() const;

  bool operator==(const DecoderSpec&) const = default;
};

// What xIELU takes, of what files hold: p and n stand there before softplus, and n without l.
ActivationNumbers XieluNumbers(const ActivationNumbers& stored);

// The index of a layer's rotary embedding in `ropes`; -1 where it has none.
int RopeIndexOf(const LayerSpec& layer, const std::vector<RopeSpec>& ropes);
int RotaryIndexOf(const LayerSpec& layer, const std::vector<RotarySpec>& rotaries);

// What a request's lengths choose of the rotations: see Executor::RotationChoices.
std::vector<double> RotationChoicesOf(const DecoderSpec& spec, const AdmittedLengths& lengths);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_DECODER_SPEC_H_
