#include "engine/exec/cpu/weights.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/tensor/dequantize.h"

namespace ropeway {
namespace {

// Reads the tensors of one layer, or of the model.
class Loader {
 public:
  Loader(const TensorSource& tensors, const kernels::KernelTable& table, int layer, int64_t& packed_bytes)
      : tensors_(tensors), table_(table), layer_(layer), packed_bytes_(packed_bytes) {}

  // As floats, `offset` added to each.
  absl::StatusOr<std::vector<float>> Vector(WeightRole role, float offset = 0) const {
    ASSIGN_OR_RETURN(const TensorView view, tensors_.Find(role, layer_));
    std::vector<float> values(view.columns());
    DequantizeRow(view.type, view.data, view.columns(), values.data());
    if (offset != 0)
      for (float& value : values) value += offset;
    return values;
  }

  // A projection of the matrices of `roles` stacked. Neighbours of one type become one matrix.
  absl::StatusOr<Projection> Stack(std::initializer_list<WeightRole> roles,
                                   std::initializer_list<WeightRole> bias_roles) const {
    std::vector<TensorView> views;
    for (WeightRole role : roles) {
      ASSIGN_OR_RETURN(TensorView view, tensors_.Find(role, layer_));
      views.push_back(std::move(view));
    }
    Projection projection;
    for (size_t first = 0; first < views.size();) {
      size_t last = first + 1;
      while (last < views.size() && views[last].type == views[first].type) ++last;
      AddPart({.parts = absl::MakeConstSpan(views).subspan(first, last - first)}, projection);
      first = last;
    }
    RETURN_IF_ERROR(AddBias(bias_roles, projection));
    return projection;
  }

  // Gate and up, interleaved.
  absl::StatusOr<Projection> GateUp() const {
    ASSIGN_OR_RETURN(TensorView gate, tensors_.Find(WeightRole::kGate, layer_));
    ASSIGN_OR_RETURN(TensorView up, tensors_.Find(WeightRole::kUp, layer_));
    std::vector<std::vector<float>> converted;
    if (gate.type != up.type)
      for (TensorView* view : {&gate, &up}) *view = AsFloats(*view, converted.emplace_back());
    Projection projection;
    const TensorView views[] = {gate, up};
    AddPart({.parts = views, .interleave = true}, projection);
    projection.outputs = gate.rows();
    RETURN_IF_ERROR(AddBias({WeightRole::kGateBias, WeightRole::kUpBias}, projection));
    return projection;
  }

 private:
  // Interleaving needs one type; where a file mixes them, floats lose nothing.
  static TensorView AsFloats(const TensorView& view, std::vector<float>& values) {
    values.resize(view.rows() * view.columns());
    const int64_t row_bytes = RowBytes(view.type, view.columns());
    for (int64_t i = 0; i < view.rows(); ++i)
      DequantizeRow(view.type, view.data + i * row_bytes, view.columns(), values.data() + i * view.columns());
    return {DType::kF32, view.shape, reinterpret_cast<const uint8_t*>(values.data())};
  }

  void AddPart(const kernels::PackRequest& request, Projection& projection) const {
    Projection::Part part{table_.pack(request), projection.outputs};
    projection.outputs += part.matrix.rows;
    packed_bytes_ += part.matrix.data.bytes();
    projection.parts.push_back(std::move(part));
  }

  // All biases or none.
  absl::Status AddBias(std::initializer_list<WeightRole> roles, Projection& projection) const {
    size_t missing = 0;
    for (WeightRole role : roles) {
      const absl::StatusOr<std::vector<float>> values = Vector(role);
      if (absl::IsNotFound(values.status())) {
        ++missing;
        continue;
      }
      RETURN_IF_ERROR(values.status());
      projection.bias.insert(projection.bias.end(), values->begin(), values->end());
    }
    if (missing != 0 && missing != roles.size())
      return absl::InvalidArgumentError(absl::StrCat(
          "some biases beside tensor '", tensors_.NameOf(*roles.begin(), layer_), "' are missing"));
    return absl::OkStatus();
  }

  const TensorSource& tensors_;
  const kernels::KernelTable& table_;
  const int layer_;
  int64_t& packed_bytes_;
};

absl::StatusOr<LayerWeights> LoadLayer(const DecoderSpec& spec, const Loader& loader) {
  using Role = WeightRole;
  LayerWeights layer;
  const float offset = spec.norm_offset;
  ASSIGN_OR_RETURN(layer.attention_norm, loader.Vector(Role::kAttentionNorm, offset));
  ASSIGN_OR_RETURN(layer.qkv, loader.Stack({Role::kQuery, Role::kKey, Role::kValue},
                                           {Role::kQueryBias, Role::kKeyBias, Role::kValueBias}));
  if (spec.qk_norm) {
    ASSIGN_OR_RETURN(layer.query_norm, loader.Vector(Role::kQueryNorm, offset));
    ASSIGN_OR_RETURN(layer.key_norm, loader.Vector(Role::kKeyNorm, offset));
  }
  ASSIGN_OR_RETURN(layer.attention_output,
                   loader.Stack({Role::kAttentionOutput}, {Role::kAttentionOutputBias}));
  ASSIGN_OR_RETURN(layer.ffn_norm, loader.Vector(Role::kFfnNorm, offset));
  if (spec.sandwich_norms) {
    ASSIGN_OR_RETURN(layer.attention_post_norm, loader.Vector(Role::kAttentionPostNorm, offset));
    ASSIGN_OR_RETURN(layer.ffn_post_norm, loader.Vector(Role::kFfnPostNorm, offset));
  }
  ASSIGN_OR_RETURN(layer.gate_up, loader.GateUp());
  ASSIGN_OR_RETURN(layer.down, loader.Stack({Role::kDown}, {Role::kDownBias}));
  return layer;
}

}  // namespace

absl::StatusOr<DecoderWeights> DecoderWeights::Load(const DecoderSpec& spec,
                                                    std::shared_ptr<const TensorSource> tensors,
                                                    const kernels::KernelTable& table,
                                                    const Progress& progress) {
  DecoderWeights weights;
  const Loader model(*tensors, table, 0, weights.packed_bytes_);
  ASSIGN_OR_RETURN(weights.embedding_, tensors->Find(WeightRole::kTokenEmbedding, 0));
  for (int i = 0; i < spec.num_layers(); ++i) {
    ASSIGN_OR_RETURN(LayerWeights layer, LoadLayer(spec, Loader(*tensors, table, i, weights.packed_bytes_)));
    weights.layers_.push_back(std::move(layer));
    if (progress) progress(i + 1);
  }
  ASSIGN_OR_RETURN(weights.output_norm_, model.Vector(WeightRole::kOutputNorm, spec.norm_offset));
  const WeightRole output = spec.tied_output ? WeightRole::kTokenEmbedding : WeightRole::kOutput;
  ASSIGN_OR_RETURN(weights.output_, model.Stack({output}, {}));
  weights.tensors_ = std::move(tensors);
  return weights;
}

void DecoderWeights::Embed(int32_t token, float* out) const {
  const int64_t columns = embedding_.columns();
  DequantizeRow(embedding_.type, embedding_.data + token * RowBytes(embedding_.type, columns), columns, out);
}

}  // namespace ropeway
