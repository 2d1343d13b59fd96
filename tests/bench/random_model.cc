#include "tests/bench/random_model.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/weight_roles.h"
#include "tests/kernels/kernel_inputs.h"

namespace ropeway {
namespace {

constexpr int64_t kDistinctRows = 256;

DecoderSpec LlamaSpec(const std::string& name, int hidden_size, int num_layers, int head_dim, int ffn_size) {
  DecoderSpec spec{.architecture = name,
                   .vocab_size = 128256,
                   .hidden_size = hidden_size,
                   .num_heads = 32,
                   .num_kv_heads = 8,
                   .head_dim = head_dim,
                   .value_dim = head_dim,
                   .context_length = 131072};
  const LayerSpec layer{
      .attention = {.scale = static_cast<float>(1 / std::sqrt(head_dim))},
      .position = {.scheme = RopeSpec{.base = 500000, .rotary_dim = head_dim}},
      .ffn = {.size = ffn_size},
  };
  spec.layers.assign(static_cast<size_t>(num_layers), layer);
  return spec;
}

// Vectors are ones; matrices repeat some random rows.
class RandomSource final : public TensorSource {
 public:
  RandomSource(DecoderSpec spec, DType type) : spec_(std::move(spec)), type_(type) {
    std::map<int64_t, int64_t> rows;  // the most, by columns
    for (const TensorId& id : TensorsOf(spec_)) {
      const std::vector<int64_t> shape = ShapeOf(id, spec_);
      if (shape.size() == 1)
        ones_.resize(std::max(ones_.size(), static_cast<size_t>(shape[0])), 1.0f);
      else
        rows[shape[1]] = std::max(rows[shape[1]], shape[0]);
    }
    for (const auto& [columns, most] : rows) matrices_[columns] = MakeRows(most, columns);
  }

  absl::StatusOr<WeightTensor> Find(const TensorId& id) const override {
    if (!HasTensor(id, spec_)) return absl::NotFoundError(absl::StrCat("there is no ", NameOf(id)));
    const std::vector<int64_t> shape = ShapeOf(id, spec_);
    const bool is_vector = shape.size() == 1;
    return WeightTensor{.view = {.type = is_vector ? DType::kF32 : type_,
                                 .shape = shape,
                                 .data = is_vector ? reinterpret_cast<const uint8_t*>(ones_.data())
                                                   : matrices_.at(shape[1]).data()}};
  }

  absl::StatusOr<DType> TypeOf(const TensorId& id) const override {
    ASSIGN_OR_RETURN(const WeightTensor tensor, Find(id));
    return tensor.view.type;
  }

  std::string NameOf(const TensorId& id) const override { return ExpandName(InfoOf(id.role).gguf_name, id); }
  std::vector<StoredTensor> Stored() const override { return {}; }

 private:
  std::vector<uint8_t> MakeRows(int64_t rows, int64_t columns) const {
    const std::vector<uint8_t> some = kernels::RandomWeights(type_, kDistinctRows, columns, 1);
    const auto row_bytes = static_cast<size_t>(RowBytes(type_, columns));
    std::vector<uint8_t> all;
    all.reserve(static_cast<size_t>(rows) * row_bytes);
    for (int64_t row = 0; row < rows; row += kDistinctRows) {
      const auto count = static_cast<size_t>(std::min(kDistinctRows, rows - row));
      all.insert(all.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(count * row_bytes));
    }
    return all;
  }

  const DecoderSpec spec_;
  const DType type_;
  std::vector<float> ones_;
  std::map<int64_t, std::vector<uint8_t>> matrices_;  // by columns
};

}  // namespace

absl::StatusOr<OpenedModel> MakeRandomModel(const std::string& shape, DType type) {
  DecoderSpec spec;
  if (shape == "1b")
    spec = LlamaSpec("random Llama-1B", 2048, 16, 64, 8192);
  else if (shape == "8b")
    spec = LlamaSpec("random Llama-8B", 4096, 32, 128, 14336);
  else
    return absl::InvalidArgumentError(absl::StrCat("--shape must be 1b or 8b, is \"", shape, "\""));
  RETURN_IF_ERROR(spec.Validate());
  OpenedModel model{.spec = spec};
  model.tensors = std::make_unique<RandomSource>(std::move(spec), type);
  return model;
}

}  // namespace ropeway
