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

namespace ropeway {
namespace {

using cuda::DeviceMatrix;

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

class CudaWing {
 public:
  using Projection = CudaProjection;
  using Vector = const float*;
  using Embedding = DeviceMatrix;

  CudaWing(cuda::Element element, Uploader& uploader) : element_(element), uploader_(uploader) {}

  absl::StatusOr<Vector> PutVector(std::vector<float> values) { return uploader_.PutFloats(values); }

  // Neighbours of one type become one matrix.
  absl::StatusOr<Projection> PutProjection(ProjectionParts parts) {
    Projection projection;
    const absl::Span<const WeightTensor> all = parts.matrices;
    for (size_t first = 0; first < all.size();) {
      size_t last = first + 1;
      while (last < all.size() && DeviceTypeOf(all[last].view) == DeviceTypeOf(all[first].view)) ++last;
      ASSIGN_OR_RETURN(const DeviceMatrix matrix, PutMatrix(all.subspan(first, last - first)));
      projection.parts.push_back({matrix, projection.outputs});
      projection.outputs += matrix.rows;
      first = last;
    }
    RETURN_IF_ERROR(PutBias(parts.bias, projection));
    return projection;
  }

  absl::StatusOr<Embedding> PutEmbedding(WeightTensor tensor) { return PutMatrix({&tensor, 1}); }

  absl::StatusOr<Projection> PutTiedOutput(const Embedding& embedding, ProjectionParts parts) {
    Projection projection{.parts = {{embedding, 0}}, .outputs = embedding.rows};
    RETURN_IF_ERROR(PutBias(parts.bias, projection));
    return projection;
  }

 private:
  DType DeviceTypeOf(const TensorView& view) const { return cuda::DeviceType(view.type, element_); }

  absl::Status PutBias(const std::vector<float>& bias, Projection& projection) {
    if (bias.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(projection.bias, uploader_.PutFloats(bias));
    return absl::OkStatus();
  }

  absl::StatusOr<DeviceMatrix> PutMatrix(absl::Span<const WeightTensor> tensors) {
    DeviceMatrix matrix{.type = DeviceTypeOf(tensors[0].view), .columns = tensors[0].view.columns()};
    for (const WeightTensor& tensor : tensors) matrix.rows += tensor.view.rows();
    const auto fill = [&](uint8_t* out) {
      int64_t row = 0;
      for (const WeightTensor& tensor : tensors) {
        cuda::PackRows(tensor.view, matrix.type, matrix.rows, row, out);
        row += tensor.view.rows();
      }
    };
    ASSIGN_OR_RETURN(matrix.data,
                     uploader_.Put(cuda::DeviceMatrixBytes(matrix.type, matrix.rows, matrix.columns), fill));
    return matrix;
  }

  const cuda::Element element_;
  Uploader& uploader_;
};

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
  const DecoderSpec& spec = request.spec;
  const WeightReader reader(
      spec, request.tensors,
      {.shard = request.shard, .max_model_len = request.max_model_len, .shapes_only = uploader.counting()});
  CudaWing wing(request.element, uploader);
  ASSIGN_OR_RETURN(auto loaded, LoadDecoder(reader, wing, uploader.counting() ? nullptr : request.progress));
  CudaWeights weights{std::move(loaded)};
  const std::vector<RopeSpec> ropes = spec.Ropes();
  for (const RopeSpec& rope : ropes) {
    ASSIGN_OR_RETURN(const CudaRopeTable table, LoadRope(rope, request.max_model_len, uploader));
    weights.ropes.push_back(table);
  }
  for (const LayerSpec& layer : spec.layers) weights.layer_ropes.push_back(RopeIndexOf(layer, ropes));
  return weights;
}

}  // namespace

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

cuda::Element AutomaticElement(const OpenedModel& model) {
  int64_t f16 = 0, others = 0;
  for (const TensorId& id : TensorsOf(model.spec)) {
    const std::vector<int64_t> shape = ShapeOf(id, model.spec);
    const auto type = model.tensors->TypeOf(id);
    const bool of_layer = InfoOf(id.role).of_layer;
    if (!of_layer || shape.size() < 2 || !type.ok() || cuda::IsPacked(*type)) continue;
    (*type == DType::kF16 ? f16 : others) += shape[0] * shape[1];
  }
  return f16 > others ? cuda::Element::kF16 : cuda::Element::kBF16;
}

}  // namespace ropeway
