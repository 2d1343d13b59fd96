#include "engine/model/weight_reader.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/position/query_scale.h"
#include "engine/position/sinusoidal.h"
#include "engine/tensor/dequantize.h"
#include "engine/tensor/shape.h"

namespace ropeway {
namespace {

absl::Status Divides(const char* what, int64_t count, int size) {
  if (count % size == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor_parallel must divide the model's ", count, " ", what, ", is ", size));
}

WeightTensor SliceRows(WeightTensor tensor, Shard shard) {
  TensorView& view = tensor.view;
  const Range mine = PartOf(view.rows(), shard.rank, shard.size);
  const uint8_t* data = view.data;
  if (data != nullptr) data += mine.first * RowBytes(view.type, view.columns());
  view = {view.type, {mine.size(), view.columns()}, data};
  return tensor;
}

// Whole blocks stay as they are; a cut through a block makes the part float32.
WeightTensor SliceColumns(WeightTensor tensor, Shard shard, bool shape_only) {
  if (shard.size == 1) return tensor;
  const TensorView& view = tensor.view;
  const Range mine = PartOf(view.columns(), shard.rank, shard.size);
  const int block = InfoOf(view.type).block_columns;
  const bool whole_blocks = mine.first % block == 0 && mine.last % block == 0;
  TensorView slice{whole_blocks ? view.type : DType::kF32, {view.rows(), mine.size()}, nullptr};
  if (shape_only) return {slice, nullptr};
  const int64_t from_bytes = RowBytes(view.type, view.columns()),
                to_bytes = RowBytes(slice.type, mine.size());
  auto bytes = std::make_shared<std::vector<uint8_t>>(view.rows() * to_bytes);
  std::vector<float> row(view.columns());
  for (int64_t i = 0; i < view.rows(); ++i) {
    const uint8_t* from = view.data + i * from_bytes;
    uint8_t* to = bytes->data() + i * to_bytes;
    if (whole_blocks) {
      std::memcpy(to, from + RowBytes(view.type, mine.first), to_bytes);
    } else {
      DequantizeRow(view.type, from, view.columns(), row.data());
      std::memcpy(to, row.data() + mine.first, to_bytes);
    }
  }
  slice.data = bytes->data();
  return {slice, std::move(bytes)};
}

WeightTensor AsFloats(const WeightTensor& tensor, bool shape_only) {
  const TensorView& view = tensor.view;
  const TensorView floats{DType::kF32, view.shape, nullptr};
  if (shape_only) return {floats, nullptr};
  auto bytes = std::make_shared<std::vector<uint8_t>>(floats.bytes());
  const int64_t row_bytes = RowBytes(view.type, view.columns());
  for (int64_t i = 0; i < view.rows(); ++i)
    DequantizeRow(view.type, view.data + i * row_bytes, view.columns(),
                  reinterpret_cast<float*>(bytes->data()) + i * view.columns());
  return {{DType::kF32, view.shape, bytes->data()}, std::move(bytes)};
}

// Rows [from, from + rows) of each head of `stride` rows, which become rows [to, to + rows) of it.
struct RowMove {
  int64_t from, to, rows, stride;
};

// A matrix of heads of `height` rows; what no move fills is zero, in every type.
WeightTensor GatherRows(const WeightTensor& tensor, int64_t heads, absl::Span<const RowMove> moves,
                        int64_t height) {
  const TensorView& view = tensor.view;
  const int64_t row_bytes = RowBytes(view.type, view.columns());
  if (view.data == nullptr) return {{view.type, {heads * height, view.columns()}, nullptr}, nullptr};
  auto bytes = std::make_shared<std::vector<uint8_t>>(heads * height * row_bytes);
  for (int64_t head = 0; head < heads; ++head)
    for (const RowMove& move : moves)
      std::memcpy(bytes->data() + (head * height + move.to) * row_bytes,
                  view.data + (head * move.stride + move.from) * row_bytes, move.rows * row_bytes);
  const TensorView gathered{view.type, {heads * height, view.columns()}, bytes->data()};
  return {gathered, std::move(bytes)};
}

WeightTensor FloatTensor(const std::vector<float>& values, std::vector<int64_t> shape) {
  const auto* first = reinterpret_cast<const uint8_t*>(values.data());
  auto bytes = std::make_shared<const std::vector<uint8_t>>(first, first + values.size() * sizeof(float));
  const TensorView view{DType::kF32, std::move(shape), bytes->data()};
  return WeightTensor{view, std::move(bytes)};
}

// The part of one rank, of vectors whose heads or rows are divided among ranks.
std::vector<float> PartOfVector(const std::vector<float>& values, Shard shard) {
  const Range mine = PartOf(static_cast<int64_t>(values.size()), shard.rank, shard.size);
  return std::vector<float>(values.begin() + mine.first, values.begin() + mine.last);
}

// `heads` times the values of one head, where `values` are not those of all heads yet.
std::vector<float> ForEachHead(std::vector<float> values, int64_t heads, int64_t head_dim) {
  if (static_cast<int64_t>(values.size()) == heads * head_dim) return values;
  std::vector<float> all;
  for (int64_t head = 0; head < heads; ++head) all.insert(all.end(), values.begin(), values.end());
  return all;
}

}  // namespace

absl::Status CheckTensorParallel(const DecoderSpec& spec, int size) {
  if (size < 1)
    return absl::InvalidArgumentError(absl::StrCat("tensor_parallel must be at least 1, is ", size));
  if (size == 1) return absl::OkStatus();
  RETURN_IF_ERROR(Divides("heads", spec.num_heads, size));
  RETURN_IF_ERROR(Divides("KV heads", spec.num_kv_heads, size));
  for (const LayerSpec& layer : spec.layers) {
    RETURN_IF_ERROR(Divides("feed-forward columns", layer.ffn.size, size));
    RETURN_IF_ERROR(Divides("columns of the shared expert", layer.ffn.experts.shared_size, size));
    if (std::holds_alternative<DapeSpec>(layer.position.scheme))
      return absl::UnimplementedError(
          absl::StrCat("tensor_parallel must be 1 for a model whose positions mix heads, is ", size));
  }
  return absl::OkStatus();
}

DecoderSpec ShardOf(const DecoderSpec& spec, int size) {
  DecoderSpec shard = spec;
  shard.num_heads /= size;
  shard.num_kv_heads /= size;
  for (LayerSpec& layer : shard.layers) {
    layer.ffn.size /= size;
    layer.ffn.experts.shared_size /= size;
  }
  return shard;
}

absl::StatusOr<std::vector<float>> WeightReader::Values(const TensorId& id) const {
  ASSIGN_OR_RETURN(const WeightTensor tensor, tensors_.Find(id));
  const TensorView& view = tensor.view;
  std::vector<float> values(view.rows() * view.columns());
  const int64_t row_bytes = RowBytes(view.type, view.columns());
  for (int64_t i = 0; i < view.rows(); ++i)
    DequantizeRow(view.type, view.data + i * row_bytes, view.columns(), values.data() + i * view.columns());
  return values;
}

absl::StatusOr<NormVectors> WeightReader::Norm(WeightRole role, int layer, bool present, float scale) const {
  NormVectors norm;
  if (!present) return norm;
  norm.weight.assign(spec_.hidden_size, scale);
  if (spec_.norm.has_weight) {
    ASSIGN_OR_RETURN(norm.weight, Values({role, layer}));
    for (float& value : norm.weight) value = (value + spec_.norm.offset) * scale;
  }
  if (spec_.norm.has_bias) {
    ASSIGN_OR_RETURN(norm.bias, Values({role, layer, /*is_bias=*/true}));
    for (float& value : norm.bias) value *= scale;
  }
  return norm;
}

absl::StatusOr<NormVectors> WeightReader::HeadNorm(WeightRole role, int layer) const {
  const HeadNormSpec& spec = spec_.layers[layer].attention.head_norm;
  NormVectors norm;
  if (spec.kind == NormKind::kNone) return norm;
  const int64_t heads = role == WeightRole::kQueryNorm ? spec_.num_heads : spec_.num_kv_heads;
  norm.weight.assign(spec_.head_dim, 1);
  if (spec.has_weight) {
    ASSIGN_OR_RETURN(norm.weight, Values({role, layer}));
    for (float& value : norm.weight) value += spec.offset;
  }
  norm.weight = PartOfVector(ForEachHead(std::move(norm.weight), heads, spec_.head_dim), options_.shard);
  if (spec.has_bias) {
    ASSIGN_OR_RETURN(norm.bias, Values({role, layer, /*is_bias=*/true}));
    norm.bias = PartOfVector(ForEachHead(std::move(norm.bias), heads, spec_.head_dim), options_.shard);
  }
  return norm;
}

absl::StatusOr<std::vector<float>> WeightReader::QueryHeads(WeightRole role, int layer) const {
  if (!HasTensor({role, layer}, spec_)) return std::vector<float>();
  ASSIGN_OR_RETURN(const std::vector<float> values, Values({role, layer}));
  return PartOfVector(values, options_.shard);
}

std::vector<float> WeightReader::QueryFactors(int layer) const {
  const QueryScale& scale = spec_.layers[layer].attention.query_scale;
  if (std::holds_alternative<std::monostate>(scale)) return {};
  std::vector<float> factors;
  for (int32_t i = 0; i < options_.max_model_len; ++i)
    factors.push_back(static_cast<float>(QueryFactor(scale, i)));
  return factors;
}

absl::StatusOr<std::vector<float>> WeightReader::InputPositions() const {
  const int64_t size = int64_t{options_.max_model_len} * spec_.hidden_size;
  for (const LayerSpec& layer : spec_.layers) {
    if (const auto* learned = std::get_if<LearnedSpec>(&layer.position.scheme)) {
      ASSIGN_OR_RETURN(const std::vector<float> table, Values({WeightRole::kPositionEmbedding}));
      const float* first = table.data() + int64_t{learned->offset} * spec_.hidden_size;
      return std::vector<float>(first, first + size);
    }
    if (const auto* sinusoidal = std::get_if<SinusoidalSpec>(&layer.position.scheme)) {
      std::vector<float> table(size);
      const std::vector<double> frequencies = SinusoidalFrequencies(*sinusoidal, spec_.hidden_size);
      for (int32_t i = 0; i < options_.max_model_len && !options_.shapes_only; ++i)
        SinusoidalVector(*sinusoidal, frequencies, i, &table[int64_t{i} * spec_.hidden_size]);
      return table;
    }
  }
  return std::vector<float>();
}

// To count, what a tensor is stored as is enough: some sources make its bytes first.
absl::StatusOr<WeightTensor> WeightReader::FindMatrix(const TensorId& id) const {
  if (!options_.shapes_only) return tensors_.Find(id);
  ASSIGN_OR_RETURN(const DType type, tensors_.TypeOf(id));
  return WeightTensor{{type, ShapeOf(id, spec_), nullptr}, nullptr};
}

absl::StatusOr<WeightTensor> WeightReader::Matrix(WeightRole role, int layer, Cut cut, int expert) const {
  ASSIGN_OR_RETURN(WeightTensor tensor, FindMatrix({role, layer, /*is_bias=*/false, expert}));
  return PartOfRank(std::move(tensor), cut);
}

WeightTensor WeightReader::PartOfRank(WeightTensor tensor, Cut cut) const {
  switch (cut) {
    case Cut::kWhole:
      return tensor;
    case Cut::kRows:
      return SliceRows(std::move(tensor), options_.shard);
    case Cut::kColumns:
      return SliceColumns(std::move(tensor), options_.shard, options_.shapes_only);
  }
  ROPEWAY_CHECK(false);
}

absl::StatusOr<WeightTensor> WeightReader::FloatMatrix(WeightRole role, int layer, Cut cut,
                                                       int expert) const {
  ASSIGN_OR_RETURN(const WeightTensor tensor, FindMatrix({role, layer, /*is_bias=*/false, expert}));
  return PartOfRank(AsFloats(tensor, options_.shapes_only), cut);
}

absl::StatusOr<bool> WeightReader::ExpertsDiffer(WeightRole role, int layer) const {
  ASSIGN_OR_RETURN(const DType first, tensors_.TypeOf({role, layer, /*is_bias=*/false, /*expert=*/0}));
  for (int expert = 1; expert < spec_.layers[layer].ffn.experts.count; ++expert) {
    ASSIGN_OR_RETURN(const DType type, tensors_.TypeOf({role, layer, /*is_bias=*/false, expert}));
    if (type != first) return true;
  }
  return false;
}

absl::StatusOr<std::vector<float>> WeightReader::Biases(const std::vector<WeightRole>& roles, int layer,
                                                        Cut cut, int expert) const {
  std::vector<float> all;
  for (const WeightRole role : roles) {
    const TensorId id{role, layer, /*is_bias=*/true, expert};
    if (!HasTensor(id, spec_)) continue;
    ASSIGN_OR_RETURN(std::vector<float> values, Values(id));
    if (cut == Cut::kRows) values = PartOfVector(values, options_.shard);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

absl::StatusOr<WeightTensor> WeightReader::LatentQueries(int layer) const {
  const LatentSpec& latent = spec_.layers[layer].attention.latent;
  const bool is_narrow = latent.query_rank > 0;
  ASSIGN_OR_RETURN(const WeightTensor tensor,
                   Matrix(is_narrow ? WeightRole::kQueryFromLatent : WeightRole::kQuery, layer, Cut::kWhole));
  const int64_t rotated = latent.rotary_dim, still = spec_.head_dim - rotated, all = spec_.head_dim;
  return PartOfRank(GatherRows(tensor, spec_.num_heads,
                               {{.from = still, .to = 0, .rows = rotated, .stride = all},
                                {.from = 0, .to = rotated, .rows = still, .stride = all}},
                               all),
                    Cut::kRows);
}

absl::StatusOr<WeightTensor> WeightReader::LatentKeysApart(int layer) const {
  const LatentSpec& latent = spec_.layers[layer].attention.latent;
  const int64_t rotated = latent.rotary_dim, still = spec_.head_dim - rotated, rank = latent.kv_rank;
  std::vector<float> keys(static_cast<size_t>(int64_t{spec_.num_heads} * spec_.head_dim * rank));
  if (!options_.shapes_only) {
    ASSIGN_OR_RETURN(const std::vector<float> turned, Values({WeightRole::kKeyFromLatent, layer}));
    for (int64_t head = 0; head < spec_.num_heads; ++head)
      for (int64_t column = 0; column < rank; ++column)
        for (int64_t row = 0; row < still; ++row)
          keys[(head * spec_.head_dim + rotated + row) * rank + column] =
              turned[(head * rank + column) * still + row];
  }
  return PartOfRank(FloatTensor(keys, {int64_t{spec_.num_heads} * spec_.head_dim, rank}), Cut::kRows);
}

absl::StatusOr<WeightTensor> WeightReader::LatentKeys(int layer) const {
  const LatentSpec& latent = spec_.layers[layer].attention.latent;
  if (latent.apart) return LatentKeysApart(layer);
  ASSIGN_OR_RETURN(const WeightTensor tensor, Matrix(WeightRole::kKeyValueFromLatent, layer, Cut::kWhole));
  const int64_t still = spec_.head_dim - latent.rotary_dim;
  const RowMove move{.from = 0, .to = latent.rotary_dim, .rows = still, .stride = still + spec_.value_dim};
  return PartOfRank(GatherRows(tensor, spec_.num_heads, {move}, spec_.head_dim), Cut::kRows);
}

absl::StatusOr<WeightTensor> WeightReader::LatentValues(int layer) const {
  const LatentSpec& latent = spec_.layers[layer].attention.latent;
  if (latent.apart) {
    const int64_t rows = int64_t{spec_.num_heads} * spec_.value_dim;
    std::vector<float> values(static_cast<size_t>(rows * latent.kv_rank));
    if (!options_.shapes_only) {
      ASSIGN_OR_RETURN(values, Values({WeightRole::kValueFromLatent, layer}));
    }
    return PartOfRank(FloatTensor(values, {rows, latent.kv_rank}), Cut::kRows);
  }
  ASSIGN_OR_RETURN(const WeightTensor tensor, Matrix(WeightRole::kKeyValueFromLatent, layer, Cut::kWhole));
  const int64_t still = spec_.head_dim - latent.rotary_dim;
  const RowMove move{.from = still, .to = 0, .rows = spec_.value_dim, .stride = still + spec_.value_dim};
  return PartOfRank(GatherRows(tensor, spec_.num_heads, {move}, spec_.value_dim), Cut::kRows);
}

absl::StatusOr<ActivationNumbers> WeightReader::Numbers(int layer) const {
  const FfnSpec& ffn = spec_.layers[layer].ffn;
  if (!ffn.numbers_are_weights()) return ffn.numbers;
  ASSIGN_OR_RETURN(const std::vector<float> p, Values({WeightRole::kXieluP, layer}));
  ASSIGN_OR_RETURN(const std::vector<float> n, Values({WeightRole::kXieluN, layer}));
  ASSIGN_OR_RETURN(const std::vector<float> l, Values({WeightRole::kXieluL, layer}));
  ASSIGN_OR_RETURN(const std::vector<float> m, Values({WeightRole::kXieluM, layer}));
  return XieluNumbers({.p = p[0], .n = n[0], .l = l[0], .m = m[0]});
}

}  // namespace ropeway
