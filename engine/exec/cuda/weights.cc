#include "engine/exec/cuda/weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/position/rope.h"
#include "engine/tensor/dequantize.h"
#include "engine/tensor/shape.h"

namespace ropeway {
namespace {

using cuda::DeviceMatrix;
using Role = WeightRole;

constexpr int64_t kBounceBytes = int64_t{16} << 20;

// Puts images into device memory one after the other, through pinned memory piece by piece; without a
// destination it counts.
class Uploader {
 public:
  Uploader(cuda::Runtime* runtime, cuda::Stream stream, const CudaMemory* memory, const CudaMemory* bounce)
      : runtime_(runtime),
        stream_(stream),
        bounce_(bounce),
        carver_(memory == nullptr ? nullptr : memory->data()) {}

  bool counting() const { return runtime_ == nullptr; }
  int64_t bytes() const { return carver_.used(); }

  // `fill` writes the host image of as many bytes.
  absl::StatusOr<const uint8_t*> Put(int64_t bytes, const std::function<void(uint8_t*)>& fill) {
    uint8_t* to = carver_.TakeBytes(bytes);
    if (counting()) return to;
    image_.resize(bytes);
    fill(image_.data());
    for (int64_t first = 0; first < bytes; first += bounce_->bytes()) {
      const int64_t piece = std::min(bounce_->bytes(), bytes - first);
      std::memcpy(bounce_->data(), image_.data() + first, piece);
      RETURN_IF_ERROR(CudaStatus(
          *runtime_,
          runtime_->Copy(to + first, bounce_->data(), piece, cuda::CopyKind::kHostToDevice, stream_),
          "copying weights to the device"));
      RETURN_IF_ERROR(CudaStatus(*runtime_, runtime_->Synchronize(stream_), "copying weights to the device"));
    }
    return to;
  }

  absl::StatusOr<const float*> PutFloats(absl::Span<const float> values) {
    const int64_t bytes = static_cast<int64_t>(values.size() * sizeof(float));
    ASSIGN_OR_RETURN(const uint8_t* to,
                     Put(bytes, [&](uint8_t* out) { std::memcpy(out, values.data(), bytes); }));
    return reinterpret_cast<const float*>(to);
  }

 private:
  cuda::Runtime* const runtime_;
  const cuda::Stream stream_;
  const CudaMemory* const bounce_;
  Carver carver_;
  std::vector<uint8_t> image_;
};

// A part of a tensor, with the bytes where they had to be gathered.
struct Slice {
  TensorView view;
  std::vector<uint8_t> bytes;
};

TensorView SliceRows(const TensorView& view, Shard shard) {
  const Range mine = PartOf(view.rows(), shard.rank, shard.size);
  return {
      view.type, {mine.size(), view.columns()}, view.data + mine.first * RowBytes(view.type, view.columns())};
}

// Whole blocks stay as they are; a cut through a block makes the part float32.
Slice SliceColumns(const TensorView& view, Shard shard, bool shape_only) {
  if (shard.size == 1) return {view, {}};
  const Range mine = PartOf(view.columns(), shard.rank, shard.size);
  const int block = InfoOf(view.type).block_columns;
  const bool whole_blocks = mine.first % block == 0 && mine.last % block == 0;
  Slice slice{{whole_blocks ? view.type : DType::kF32, {view.rows(), mine.size()}, nullptr}, {}};
  if (shape_only) return slice;
  const int64_t from_bytes = RowBytes(view.type, view.columns()),
                to_bytes = RowBytes(slice.view.type, mine.size());
  slice.bytes.resize(view.rows() * to_bytes);
  std::vector<float> row(view.columns());
  for (int64_t i = 0; i < view.rows(); ++i) {
    const uint8_t* from = view.data + i * from_bytes;
    uint8_t* to = slice.bytes.data() + i * to_bytes;
    if (whole_blocks) {
      std::memcpy(to, from + RowBytes(view.type, mine.first), to_bytes);
    } else {
      DequantizeRow(view.type, from, view.columns(), row.data());
      std::memcpy(to, row.data() + mine.first, to_bytes);
    }
  }
  slice.view.data = slice.bytes.data();
  return slice;
}

// Reads the tensors of one layer, or of the model.
class Loader {
 public:
  Loader(const CudaWeightsRequest& request, Uploader& uploader, int layer)
      : request_(request), uploader_(uploader), layer_(layer) {}

  absl::StatusOr<std::vector<float>> Values(Role role) const {
    ASSIGN_OR_RETURN(const TensorView view, request_.tensors.Find(role, layer_));
    std::vector<float> values(view.columns());
    DequantizeRow(view.type, view.data, view.columns(), values.data());
    return values;
  }

  absl::StatusOr<const float*> Norm(Role role) const {
    ASSIGN_OR_RETURN(std::vector<float> values, Values(role));
    for (float& value : values) value += request_.spec.norm_offset;
    return uploader_.PutFloats(values);
  }

  // Biases side by side, `sharded` the part of this rank.
  absl::StatusOr<const float*> Bias(std::initializer_list<Role> roles, bool sharded) const {
    std::vector<float> all;
    for (Role role : roles) {
      ASSIGN_OR_RETURN(const std::vector<float> values, Values(role));
      const Range mine = sharded ? PartOf(values.size(), request_.shard.rank, request_.shard.size)
                                 : Range{0, static_cast<int64_t>(values.size())};
      all.insert(all.end(), values.begin() + mine.first, values.begin() + mine.last);
    }
    return uploader_.PutFloats(all);
  }

  // This rank's rows of the matrices of `roles`, stacked. Neighbours of one type become one matrix.
  absl::StatusOr<CudaProjection> Rows(std::initializer_list<Role> roles) const {
    std::vector<TensorView> views;
    for (Role role : roles) {
      ASSIGN_OR_RETURN(const TensorView view, request_.tensors.Find(role, layer_));
      views.push_back(SliceRows(view, request_.shard));
    }
    return Stack(views);
  }

  // This rank's columns of one matrix.
  absl::StatusOr<CudaProjection> Columns(Role role) const {
    ASSIGN_OR_RETURN(const TensorView view, request_.tensors.Find(role, layer_));
    const Slice slice = SliceColumns(view, request_.shard, uploader_.counting());
    return Stack({slice.view});
  }

  absl::StatusOr<DeviceMatrix> Whole(Role role) const {
    ASSIGN_OR_RETURN(const TensorView view, request_.tensors.Find(role, layer_));
    return Matrix({view});
  }

 private:
  DType DeviceTypeOf(const TensorView& view) const { return cuda::DeviceType(view.type, request_.element); }

  absl::StatusOr<CudaProjection> Stack(const std::vector<TensorView>& views) const {
    CudaProjection projection;
    for (size_t first = 0; first < views.size();) {
      size_t last = first + 1;
      while (last < views.size() && DeviceTypeOf(views[last]) == DeviceTypeOf(views[first])) ++last;
      ASSIGN_OR_RETURN(const DeviceMatrix matrix,
                       Matrix(absl::MakeConstSpan(views).subspan(first, last - first)));
      projection.parts.push_back({matrix, projection.outputs});
      projection.outputs += matrix.rows;
      first = last;
    }
    return projection;
  }

  absl::StatusOr<DeviceMatrix> Matrix(absl::Span<const TensorView> views) const {
    DeviceMatrix matrix{.type = DeviceTypeOf(views[0]), .columns = views[0].columns()};
    for (const TensorView& view : views) matrix.rows += view.rows();
    const auto fill = [&](uint8_t* out) {
      int64_t row = 0;
      for (const TensorView& view : views) {
        cuda::PackRows(view, matrix.type, matrix.rows, row, out);
        row += view.rows();
      }
    };
    ASSIGN_OR_RETURN(matrix.data,
                     uploader_.Put(cuda::DeviceMatrixBytes(matrix.type, matrix.rows, matrix.columns), fill));
    return matrix;
  }

  const CudaWeightsRequest& request_;
  Uploader& uploader_;
  const int layer_;
};

absl::StatusOr<CudaLayer> LoadLayer(const DecoderSpec& spec, const Loader& loader) {
  CudaLayer layer;
  ASSIGN_OR_RETURN(layer.attention_norm, loader.Norm(Role::kAttentionNorm));
  ASSIGN_OR_RETURN(layer.qkv, loader.Rows({Role::kQuery, Role::kKey, Role::kValue}));
  if (spec.qkv_bias) {
    ASSIGN_OR_RETURN(layer.qkv_bias,
                     loader.Bias({Role::kQueryBias, Role::kKeyBias, Role::kValueBias}, /*sharded=*/true));
  }
  if (spec.qk_norm) {
    ASSIGN_OR_RETURN(layer.query_norm, loader.Norm(Role::kQueryNorm));
    ASSIGN_OR_RETURN(layer.key_norm, loader.Norm(Role::kKeyNorm));
  }
  ASSIGN_OR_RETURN(layer.attention_output, loader.Columns(Role::kAttentionOutput));
  if (spec.attention_output_bias) {
    ASSIGN_OR_RETURN(layer.attention_output_bias,
                     loader.Bias({Role::kAttentionOutputBias}, /*sharded=*/false));
  }
  ASSIGN_OR_RETURN(layer.ffn_norm, loader.Norm(Role::kFfnNorm));
  if (spec.sandwich_norms) {
    ASSIGN_OR_RETURN(layer.attention_post_norm, loader.Norm(Role::kAttentionPostNorm));
    ASSIGN_OR_RETURN(layer.ffn_post_norm, loader.Norm(Role::kFfnPostNorm));
  }
  ASSIGN_OR_RETURN(layer.gate_up, loader.Rows({Role::kGate, Role::kUp}));
  ASSIGN_OR_RETURN(layer.down, loader.Columns(Role::kDown));
  if (spec.ffn_bias) {
    ASSIGN_OR_RETURN(layer.gate_up_bias, loader.Bias({Role::kGateBias, Role::kUpBias}, /*sharded=*/true));
    ASSIGN_OR_RETURN(layer.down_bias, loader.Bias({Role::kDownBias}, /*sharded=*/false));
  }
  return layer;
}

absl::StatusOr<CudaRopeTable> LoadRope(const RopeSpec& rope, int32_t positions, Uploader& uploader) {
  const int64_t half = rope.rotary_dim / 2;
  std::vector<float> cosines(positions * half), sines(positions * half);
  if (!uploader.counting()) {
    const std::vector<double> frequencies = RopeFrequencies(rope);
    for (int32_t i = 0; i < positions; ++i)
      RopeAngles(rope, frequencies, i, &cosines[i * half], &sines[i * half]);
  }
  CudaRopeTable table;
  ASSIGN_OR_RETURN(table.cosines, uploader.PutFloats(cosines));
  ASSIGN_OR_RETURN(table.sines, uploader.PutFloats(sines));
  return table;
}

absl::StatusOr<CudaWeights> Load(const CudaWeightsRequest& request, Uploader& uploader) {
  CudaWeights weights;
  const DecoderSpec& spec = request.spec;
  const Loader model(request, uploader, 0);
  ASSIGN_OR_RETURN(weights.embedding, model.Whole(Role::kTokenEmbedding));
  for (int i = 0; i < spec.num_layers(); ++i) {
    ASSIGN_OR_RETURN(CudaLayer layer, LoadLayer(spec, Loader(request, uploader, i)));
    weights.layers.push_back(std::move(layer));
    if (request.progress && !uploader.counting()) request.progress(i + 1);
  }
  ASSIGN_OR_RETURN(weights.output_norm, model.Norm(Role::kOutputNorm));
  DeviceMatrix output = weights.embedding;
  // Only rank 0 computes logits.
  if (!spec.tied_output && request.shard.rank == 0) {
    ASSIGN_OR_RETURN(output, model.Whole(Role::kOutput));
  }
  weights.output = {.parts = {{output, 0}}, .outputs = output.rows};
  for (const RopeSpec& rope : spec.ropes) {
    ASSIGN_OR_RETURN(const CudaRopeTable table, LoadRope(rope, request.max_model_len, uploader));
    weights.ropes.push_back(table);
  }
  return weights;
}

absl::Status Divides(const char* what, int64_t count, int size) {
  if (count % size == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor_parallel must divide the model's ", count, " ", what, ", is ", size));
}

}  // namespace

absl::Status CheckTensorParallel(const DecoderSpec& spec, int size) {
  if (size < 1)
    return absl::InvalidArgumentError(absl::StrCat("tensor_parallel must be at least 1, is ", size));
  RETURN_IF_ERROR(Divides("heads", spec.num_heads, size));
  RETURN_IF_ERROR(Divides("KV heads", spec.num_kv_heads, size));
  return Divides("feed-forward columns", spec.ffn_size, size);
}

DecoderSpec ShardOf(const DecoderSpec& spec, int size) {
  DecoderSpec shard = spec;
  shard.num_heads /= size;
  shard.num_kv_heads /= size;
  shard.ffn_size /= size;
  return shard;
}

absl::StatusOr<int64_t> CountCudaWeights(const CudaWeightsRequest& request) {
  Uploader uploader(nullptr, {}, nullptr, nullptr);
  RETURN_IF_ERROR(Load(request, uploader).status());
  return uploader.bytes();
}

absl::StatusOr<CudaWeights> LoadCudaWeights(const CudaWeightsRequest& request, cuda::Runtime& runtime,
                                            cuda::Stream stream, const CudaMemory& memory) {
  ASSIGN_OR_RETURN(const CudaMemory bounce, CudaMemory::Make(runtime, MemoryKind::kPinned, kBounceBytes,
                                                             "weights on their way to the device"));
  Uploader uploader(&runtime, stream, &memory, &bounce);
  ASSIGN_OR_RETURN(CudaWeights weights, Load(request, uploader));
  ROPEWAY_CHECK(uploader.bytes() <= memory.bytes());
  return weights;
}

cuda::Element AutomaticElement(const TensorSource& tensors, int num_layers) {
  int64_t f16 = 0, others = 0;
  for (int layer = 0; layer < num_layers; ++layer) {
    for (Role role : {Role::kQuery, Role::kAttentionOutput, Role::kGate, Role::kDown}) {
      const auto view = tensors.Find(role, layer);
      if (!view.ok() || cuda::IsPacked(view->type)) continue;
      (view->type == DType::kF16 ? f16 : others) += view->rows() * view->columns();
    }
  }
  return f16 > others ? cuda::Element::kF16 : cuda::Element::kBF16;
}

}  // namespace ropeway
