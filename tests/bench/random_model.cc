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

struct LlamaShape {
  const char* name = "";
  int hidden_size = 0, num_layers = 0, num_heads = 32, num_kv_heads = 8, head_dim = 0, ffn_size = 0;
  int vocab_size = 128256, context_length = 131072;
};

constexpr LlamaShape kShapes[] = {
    {.name = "1b", .hidden_size = 2048, .num_layers = 16, .head_dim = 64, .ffn_size = 8192},
    {.name = "8b", .hidden_size = 4096, .num_layers = 32, .head_dim = 128, .ffn_size = 14336},
    {.name = "smollm2",
     .hidden_size = 576,
     .num_layers = 30,
     .num_heads = 9,
     .num_kv_heads = 3,
     .head_dim = 64,
     .ffn_size = 1536,
     .vocab_size = 49152},
    // Proves that a program runs; its times say nothing.
    {.name = "tiny",
     .hidden_size = 256,
     .num_layers = 2,
     .num_heads = 4,
     .num_kv_heads = 2,
     .head_dim = 64,
     .ffn_size = 512,
     .vocab_size = 1024,
     .context_length = 1024},
};

DecoderSpec SpecOf(const LlamaShape& shape) {
  DecoderSpec spec{.architecture = absl::StrCat("random ", shape.name),
                   .vocab_size = shape.vocab_size,
                   .hidden_size = shape.hidden_size,
                   .num_heads = shape.num_heads,
                   .num_kv_heads = shape.num_kv_heads,
                   .head_dim = shape.head_dim,
                   .value_dim = shape.head_dim,
                   .context_length = shape.context_length};
  const LayerSpec layer{
      .attention = {.scale = static_cast<float>(1 / std::sqrt(shape.head_dim))},
      .position = {.scheme = RopeSpec{.base = 500000, .rotary_dim = shape.head_dim}},
      .ffn = {.size = shape.ffn_size},
  };
  spec.layers.assign(static_cast<size_t>(shape.num_layers), layer);
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
  std::string names;
  for (const LlamaShape& candidate : kShapes) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", candidate.name);
    if (shape != candidate.name) continue;
    const DecoderSpec spec = SpecOf(candidate);
    RETURN_IF_ERROR(spec.Validate());
    return OpenedModel{.spec = spec, .tensors = std::make_unique<RandomSource>(spec, type)};
  }
  return absl::InvalidArgumentError(absl::StrCat("--shape must be one of ", names, ", is \"", shape, "\""));
}

}  // namespace ropeway
