// The weights of a decoder, and the one walk that fills them on every device.
//
// A wing is an executor's side of it: how it keeps a vector, a projection and the embedding. See CpuWing in
// engine/exec/cpu/weights.cc and CudaWing in engine/exec/cuda/weights.cc.
#ifndef ROPEWAY_ENGINE_MODEL_LOAD_DECODER_H_
#define ROPEWAY_ENGINE_MODEL_LOAD_DECODER_H_

#include <concepts>
#include <functional>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/base/status_macros.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/tensor_source.h"
#include "engine/model/weight_reader.h"

namespace ropeway {

// Vectors that the model does not have are empty.
template <typename Vector>
struct NormWeights {
  Vector weight{};
  Vector bias{};
};

// A feed-forward layer that some tokens go through.
template <typename Projection>
struct ExpertWeights {
  Projection input;  // gate and up [2 F, D], or up [F, D]
  Projection down;   // [D, F]
};

template <typename Projection, typename Vector>
struct LayerWeights {
  NormWeights<Vector> attention_norm;  // [D], as all norms with offset and scale in it
  // [H E + G E + G Ev, D]; of latent attention the queries alone, [H E, query_rank or D].
  Projection qkv;
  // Of latent attention. Heads have their rotated columns first, and the keys made from c have zeros there.
  Projection latent;                         // [query_rank + kv_rank + rotary_dim, D]
  Vector latent_query_norm{};                // [query_rank]
  Vector latent_kv_norm{};                   // [kv_rank]
  Projection latent_kv;                      // [H E + H Ev, kv_rank]
  NormWeights<Vector> query_norm, key_norm;  // [H, E], [G, E]
  Vector query_factors{};                    // [max_model_len], by position
  Projection attention_output;               // [D, H Ev]
  NormWeights<Vector> attention_post_norm;   // [D]
  NormWeights<Vector> ffn_norm;              // [D]; that of the attention in a parallel block
  // Of the whole layer, or of the expert that all tokens go to.
  Projection ffn_input;                            // gate and up [2 F, D], or up [F, D]
  Projection down;                                 // [D, F]
  ActivationNumbers numbers{};                     // of the activation
  Projection router;                               // [X, D] in float32, [1, D] of the shared expert behind it
  Vector router_correction{};                      // [X]
  std::vector<ExpertWeights<Projection>> experts;  // [X]
  NormWeights<Vector> ffn_post_norm;               // [D]
};

template <typename Projection, typename Vector, typename Embedding>
struct DecoderWeights {
  Embedding embedding;                 // [V, D]
  Vector input_positions{};            // [max_model_len, D], added to embeddings
  NormWeights<Vector> embedding_norm;  // [D]
  Projection embedding_in;             // [D, embedding_size], where that is narrower
  Projection embedding_out;            // [embedding_size, D]
  std::vector<LayerWeights<Projection, Vector>> layers;
  NormWeights<Vector> output_norm;  // [D], the logit scale in it
  Projection output;                // [V, D]
};

// Matrices with the same inputs, to be multiplied as one, and their biases side by side.
struct ProjectionParts {
  std::vector<WeightTensor> matrices;
  std::vector<float> bias;   // empty where there is none
  bool gate_and_up = false;  // the matrices are gate and up, whose outputs are multiplied
  bool of_layer = false;     // of a layer, and no router
};

template <typename W>
concept DecoderWing = requires(W wing, ProjectionParts parts, std::vector<float> values, WeightTensor tensor,
                               typename W::Embedding embedding) {
  { wing.PutVector(std::move(values)) } -> std::same_as<absl::StatusOr<typename W::Vector>>;
  { wing.PutProjection(std::move(parts)) } -> std::same_as<absl::StatusOr<typename W::Projection>>;
  { wing.PutEmbedding(std::move(tensor)) } -> std::same_as<absl::StatusOr<typename W::Embedding>>;
  // The output layer of a model that has none of its own.
  { wing.PutTiedOutput(embedding, std::move(parts)) } -> std::same_as<absl::StatusOr<typename W::Projection>>;
};

// Called with (layers read, all layers) after each layer; an error ends the load with it. May be null.
using LoadProgress = std::function<absl::Status(int, int)>;

template <DecoderWing Wing>
class DecoderLoader {
 public:
  using Projection = typename Wing::Projection;
  using Vector = typename Wing::Vector;
  using Weights = DecoderWeights<Projection, Vector, typename Wing::Embedding>;
  using Layer = LayerWeights<Projection, Vector>;

  DecoderLoader(const WeightReader& reader, Wing& wing)
      : reader_(reader), spec_(reader.spec()), wing_(wing) {}

  absl::StatusOr<Weights> Load(const LoadProgress& progress) {
    Weights weights;
    ASSIGN_OR_RETURN(WeightTensor embedding, reader_.Matrix(Role::kTokenEmbedding, 0, Cut::kWhole));
    ASSIGN_OR_RETURN(weights.embedding, wing_.PutEmbedding(std::move(embedding)));
    ASSIGN_OR_RETURN(std::vector<float> positions, reader_.InputPositions());
    RETURN_IF_ERROR(Put(std::move(positions), weights.input_positions));
    RETURN_IF_ERROR(Norm(Role::kEmbeddingNorm, 0, spec_.embedding_norm, 1, weights.embedding_norm));
    for (int i = 0; i < spec_.num_layers(); ++i) {
      RETURN_IF_ERROR(LoadLayer(i, weights.layers.emplace_back()));
      if (progress) RETURN_IF_ERROR(progress(i + 1, spec_.num_layers()));
    }
    if (spec_.embedding_size > 0) {
      RETURN_IF_ERROR(Project({Role::kEmbeddingIn}, 0, Cut::kWhole, weights.embedding_in));
      RETURN_IF_ERROR(Project({Role::kEmbeddingOut}, 0, Cut::kWhole, weights.embedding_out));
    }
    RETURN_IF_ERROR(Norm(Role::kOutputNorm, 0, spec_.output_norm, spec_.logit_scale, weights.output_norm));
    RETURN_IF_ERROR(LoadOutput(weights));
    return weights;
  }

 private:
  using Role = WeightRole;
  using Cut = WeightReader::Cut;

  absl::Status LoadLayer(int i, Layer& layer) {
    const BlockSpec& block = spec_.block;
    RETURN_IF_ERROR(Norm(Role::kAttentionNorm, i, spec_.has_attention_norm(), 1, layer.attention_norm));
    if (spec_.layers[i].attention.is_latent())
      RETURN_IF_ERROR(LoadLatent(i, layer));
    else
      RETURN_IF_ERROR(Project({Role::kQuery, Role::kKey, Role::kValue}, i, Cut::kRows, layer.qkv));
    RETURN_IF_ERROR(HeadNorm(Role::kQueryNorm, i, layer.query_norm));
    RETURN_IF_ERROR(HeadNorm(Role::kKeyNorm, i, layer.key_norm));
    RETURN_IF_ERROR(Put(reader_.QueryFactors(i), layer.query_factors));
    RETURN_IF_ERROR(Project({Role::kAttentionOutput}, i, Cut::kColumns, layer.attention_output));
    RETURN_IF_ERROR(Norm(Role::kAttentionPostNorm, i, block.post_norm, 1, layer.attention_post_norm));
    RETURN_IF_ERROR(Norm(Role::kFfnNorm, i, spec_.has_ffn_norm(), 1, layer.ffn_norm));
    if (block.kind == BlockKind::kParallel) layer.ffn_norm = layer.attention_norm;
    RETURN_IF_ERROR(spec_.layers[i].ffn.has_experts() ? LoadExperts(i, layer) : LoadFeedForward(i, layer));
    ASSIGN_OR_RETURN(layer.numbers, reader_.Numbers(i));
    return Norm(Role::kFfnPostNorm, i, block.post_norm, 1, layer.ffn_post_norm);
  }

  absl::Status LoadLatent(int i, Layer& layer) {
    const bool is_narrow = spec_.layers[i].attention.latent.query_rank > 0;
    std::vector<Role> roles = {Role::kLatentKv};
    if (is_narrow) roles.insert(roles.begin(), Role::kLatentQuery);
    RETURN_IF_ERROR(Project(roles, i, Cut::kWhole, layer.latent));
    if (is_narrow) {
      ASSIGN_OR_RETURN(std::vector<float> norm, reader_.Values({Role::kLatentQueryNorm, i}));
      RETURN_IF_ERROR(Put(std::move(norm), layer.latent_query_norm));
    }
    ASSIGN_OR_RETURN(std::vector<float> norm, reader_.Values({Role::kLatentKvNorm, i}));
    RETURN_IF_ERROR(Put(std::move(norm), layer.latent_kv_norm));
    ASSIGN_OR_RETURN(WeightTensor queries, reader_.LatentQueries(i));
    ASSIGN_OR_RETURN(layer.qkv, wing_.PutProjection({.matrices = {std::move(queries)}, .of_layer = true}));
    ASSIGN_OR_RETURN(WeightTensor keys, reader_.LatentKeys(i));
    ASSIGN_OR_RETURN(WeightTensor values, reader_.LatentValues(i));
    ASSIGN_OR_RETURN(layer.latent_kv, wing_.PutProjection({.matrices = {std::move(keys), std::move(values)},
                                                           .of_layer = true}));
    return absl::OkStatus();
  }

  absl::Status LoadFeedForward(int i, Layer& layer) {
    RETURN_IF_ERROR(ProjectIn({Role::kGate, Role::kUp}, {.layer = i, .cut = Cut::kRows}, layer.ffn_input));
    return Project({Role::kDown}, i, Cut::kColumns, layer.down);
  }

  absl::Status LoadExperts(int i, Layer& layer) {
    const ExpertsSpec& experts = spec_.layers[i].ffn.experts;
    RETURN_IF_ERROR(LoadRouter(i, layer));
    ASSIGN_OR_RETURN(const std::vector<Role> as_floats, ExpertsAsFloats(i));
    layer.experts.resize(static_cast<size_t>(experts.count));
    for (int e = 0; e < experts.count; ++e) {
      const Place in{.layer = i, .cut = Cut::kRows, .expert = e, .as_floats = as_floats};
      const Place out{.layer = i, .cut = Cut::kColumns, .expert = e, .as_floats = as_floats};
      RETURN_IF_ERROR(ProjectIn({Role::kExpertGate, Role::kExpertUp}, in, layer.experts[e].input));
      RETURN_IF_ERROR(Project({Role::kExpertDown}, out, layer.experts[e].down));
    }
    if (experts.shared_size == 0) return absl::OkStatus();
    RETURN_IF_ERROR(
        ProjectIn({Role::kSharedGate, Role::kSharedUp}, {.layer = i, .cut = Cut::kRows}, layer.ffn_input));
    return Project({Role::kSharedDown}, i, Cut::kColumns, layer.down);
  }

  // Of a layer's experts, where the wing wants them alike and the file has them otherwise.
  absl::StatusOr<std::vector<Role>> ExpertsAsFloats(int i) const {
    std::vector<Role> as_floats;
    if (!reader_.options().alike_experts) return as_floats;
    for (const Role role : {Role::kExpertGate, Role::kExpertUp, Role::kExpertDown}) {
      if (!HasTensor({role, i}, spec_)) continue;
      ASSIGN_OR_RETURN(const bool differ, reader_.ExpertsDiffer(role, i));
      if (differ) as_floats.push_back(role);
    }
    return as_floats;
  }

  // In float32 whatever the file's type: who is chosen hangs on little.
  absl::Status LoadRouter(int i, Layer& layer) {
    ProjectionParts parts;
    for (const Role role : {Role::kRouter, Role::kSharedRouter}) {
      if (!HasTensor({role, i}, spec_)) continue;
      ASSIGN_OR_RETURN(WeightTensor matrix, reader_.FloatMatrix(role, i, Cut::kWhole));
      parts.matrices.push_back(std::move(matrix));
    }
    ASSIGN_OR_RETURN(parts.bias, reader_.Biases({Role::kRouter}, i, Cut::kWhole));
    ASSIGN_OR_RETURN(layer.router, wing_.PutProjection(std::move(parts)));
    if (!HasTensor({Role::kRouterCorrection, i}, spec_)) return absl::OkStatus();
    ASSIGN_OR_RETURN(std::vector<float> correction, reader_.Values({Role::kRouterCorrection, i}));
    return Put(std::move(correction), layer.router_correction);
  }

  absl::Status LoadOutput(Weights& weights) {
    const Role role = spec_.tied_output ? Role::kTokenEmbedding : Role::kOutput;
    ProjectionParts parts;
    ASSIGN_OR_RETURN(WeightTensor matrix, reader_.Matrix(role, 0, Cut::kWhole));
    parts.matrices.push_back(std::move(matrix));
    ASSIGN_OR_RETURN(parts.bias, reader_.Biases({Role::kOutput}, 0, Cut::kWhole));
    for (float& value : parts.bias) value *= spec_.logit_scale;
    if (spec_.tied_output) {
      ASSIGN_OR_RETURN(weights.output, wing_.PutTiedOutput(weights.embedding, std::move(parts)));
    } else if (reader_.options().shard.rank == 0) {  // which computes the logits
      ASSIGN_OR_RETURN(weights.output, wing_.PutProjection(std::move(parts)));
    }
    return absl::OkStatus();
  }

  // Which part of a role's tensors.
  struct Place {
    int layer = 0;
    Cut cut = Cut::kWhole;
    int expert = -1;
    absl::Span<const Role> as_floats = {};  // roles that are read as float32
  };

  absl::Status Project(const std::vector<Role>& roles, int layer, Cut cut, Projection& to) {
    return Project(roles, Place{.layer = layer, .cut = cut}, to);
  }
  absl::Status Project(const std::vector<Role>& roles, const Place& place, Projection& to,
                       bool gate_and_up = false) {
    ProjectionParts parts{.gate_and_up = gate_and_up, .of_layer = true};
    for (const Role role : roles) {
      parts.of_layer = parts.of_layer && InfoOf(role).of_layer;
      ASSIGN_OR_RETURN(WeightTensor matrix,
                       absl::c_linear_search(place.as_floats, role)
                           ? reader_.FloatMatrix(role, place.layer, place.cut, place.expert)
                           : reader_.Matrix(role, place.layer, place.cut, place.expert));
      parts.matrices.push_back(std::move(matrix));
    }
    ASSIGN_OR_RETURN(parts.bias, reader_.Biases(roles, place.layer, place.cut, place.expert));
    ASSIGN_OR_RETURN(to, wing_.PutProjection(std::move(parts)));
    return absl::OkStatus();
  }

  struct GateAndUp {
    Role gate, up;
  };
  // The first half of a feed-forward layer.
  absl::Status ProjectIn(const GateAndUp& roles, const Place& place, Projection& to) {
    if (!spec_.layers[place.layer].ffn.gated) return Project({roles.up}, place, to);
    return Project({roles.gate, roles.up}, place, to, /*gate_and_up=*/true);
  }

  absl::Status Norm(Role role, int layer, bool present, float scale, NormWeights<Vector>& to) {
    ASSIGN_OR_RETURN(NormVectors norm, reader_.Norm(role, layer, present, scale));
    return PutNorm(std::move(norm), to);
  }
  absl::Status HeadNorm(Role role, int layer, NormWeights<Vector>& to) {
    ASSIGN_OR_RETURN(NormVectors norm, reader_.HeadNorm(role, layer));
    return PutNorm(std::move(norm), to);
  }
  absl::Status PutNorm(NormVectors norm, NormWeights<Vector>& to) {
    RETURN_IF_ERROR(Put(std::move(norm.weight), to.weight));
    return Put(std::move(norm.bias), to.bias);
  }
  absl::Status Put(std::vector<float> values, Vector& to) {
    if (values.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(to, wing_.PutVector(std::move(values)));
    return absl::OkStatus();
  }

  const WeightReader& reader_;
  const DecoderSpec& spec_;
  Wing& wing_;
};

// Fills the weights of a decoder on the wing's device.
template <DecoderWing Wing>
absl::StatusOr<typename DecoderLoader<Wing>::Weights> LoadDecoder(const WeightReader& reader, Wing& wing,
                                                                  const LoadProgress& progress) {
  return DecoderLoader<Wing>(reader, wing).Load(progress);
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_LOAD_DECODER_H_
