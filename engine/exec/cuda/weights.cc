#include "engine/exec/cuda/weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/base/ceil_div.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/position/rotary.h"
#include "engine/position/rpe3d.h"
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

  template <typename T>
  absl::StatusOr<const T* const*> PutPointers(const std::vector<const T*>& pointers) {
    const int64_t bytes = static_cast<int64_t>(pointers.size() * sizeof(pointers[0]));
    ASSIGN_OR_RETURN(const uint8_t* to,
                     Put(bytes, [&](uint8_t* out) { std::memcpy(out, pointers.data(), bytes); }));
    return reinterpret_cast<const T* const*>(to);
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

// How kernels find one matrix of each expert, which are alike.
absl::StatusOr<CudaExpertMatrices> PutExperts(const CudaLayer& layer,
                                              CudaProjection ExpertWeights<CudaProjection>::*projection,
                                              bool has_biases, Uploader& uploader) {
  const CudaProjection& first = layer.experts[0].*projection;
  CudaExpertMatrices all{.outputs = first.outputs};
  for (size_t part = 0; part < first.parts.size(); ++part) {
    std::vector<const void*> matrices;
    for (const ExpertWeights<CudaProjection>& expert : layer.experts) {
      const CudaProjection& own = expert.*projection;
      ROPEWAY_CHECK(own.parts.size() == first.parts.size());
      ROPEWAY_CHECK(own.parts[part].matrix.type == first.parts[part].matrix.type);
      matrices.push_back(own.parts[part].matrix.data);
    }
    auto& [shape, pointers, first_output] = all.parts.emplace_back();
    shape = first.parts[part].matrix;
    shape.data = nullptr;
    first_output = first.parts[part].first_output;
    ASSIGN_OR_RETURN(pointers, uploader.PutPointers(matrices));
  }
  if (has_biases) {
    std::vector<const float*> biases;
    for (const ExpertWeights<CudaProjection>& expert : layer.experts)
      biases.push_back((expert.*projection).bias);
    ASSIGN_OR_RETURN(all.biases, uploader.PutPointers(biases));
  }
  return all;
}

class RotaryLoader {
 public:
  RotaryLoader(const DecoderSpec& spec, int32_t positions, Uploader& uploader)
      : spec_(spec), positions_(positions), uploader_(uploader) {}

  absl::StatusOr<CudaRotary> Load(const RotarySpec& spec) {
    CudaRotary rotary{.rotary_dim = RotaryDimOf(spec, spec_.head_dim),
                      .interleaved = PairingOf(spec) == RopePairing::kInterleaved};
    if (DependsOnLengths(spec)) {
      rotary.request_floats = request_floats_;
      request_floats_ += rotary.rotary_dim;
      return rotary;
    }
    const Rotation rotation = RotationOf(spec, spec_.head_dim, 0);
    ASSIGN_OR_RETURN(rotary.angles, Put(rotary, [&](int32_t position, float* cosines, float* sines) {
                       RopeAngles(rotation, position, cosines, sines);
                     }));
    if (const auto* rpe3d = std::get_if<Rpe3dSpec>(&spec); rpe3d && rpe3d->form == Rpe3dForm::kChunked) {
      ASSIGN_OR_RETURN(rotary.previous, PutZone(rotary, *rpe3d, rotation, Rpe3dKeyZone::kBefore));
      ASSIGN_OR_RETURN(rotary.older, PutZone(rotary, *rpe3d, rotation, Rpe3dKeyZone::kOlder));
    }
    return rotary;
  }

 private:
  using AnglesAt = std::function<void(int32_t position, float* cosines, float* sines)>;

  absl::StatusOr<CudaAngles> PutZone(const CudaRotary& rotary, const Rpe3dSpec& spec,
                                     const Rotation& rotation, Rpe3dKeyZone zone) {
    return Put(rotary, [&](int32_t position, float* cosines, float* sines) {
      Rpe3dQueryAngles(spec, rotation, zone, position, cosines, sines);
    });
  }

  absl::StatusOr<CudaAngles> Put(const CudaRotary& rotary, const AnglesAt& angles_at) {
    // One image for both: sines begin where cosines end, aligned like them.
    constexpr int64_t kAlignedFloats = 64;
    const int64_t half = rotary.rotary_dim / 2;
    const int64_t sines_at = CeilDiv(positions_ * half, kAlignedFloats) * kAlignedFloats;
    const auto fill = [&](uint8_t* out) {
      float* const angles = reinterpret_cast<float*>(out);
      for (int32_t i = 0; i < positions_; ++i) angles_at(i, angles + i * half, angles + sines_at + i * half);
    };
    ASSIGN_OR_RETURN(const uint8_t* to,
                     uploader_.Put(2 * sines_at * static_cast<int64_t>(sizeof(float)), fill));
    if (uploader_.counting()) return CudaAngles{};
    const float* cosines = reinterpret_cast<const float*>(to);
    return CudaAngles{.cosines = cosines, .sines = cosines + sines_at};
  }

  const DecoderSpec& spec_;
  const int32_t positions_;
  Uploader& uploader_;
  int64_t request_floats_ = 0;  // that come with a step for each token, of the rotaries so far
};

absl::StatusOr<kernels::ScoreModifier> PutModifier(const kernels::ModifierTables& tables,
                                                   Uploader& uploader) {
  absl::Status error;
  kernels::ScoreModifier moved = tables.Moved([&](const float* floats, int64_t count) -> const float* {
    absl::StatusOr<const float*> to = uploader.PutFloats(absl::MakeConstSpan(floats, count));
    error.Update(to.status());
    return to.ok() ? *to : nullptr;
  });
  RETURN_IF_ERROR(error);
  return moved;
}

absl::StatusOr<CudaWeights> Load(const CudaWeightsRequest& request, Uploader& uploader) {
  const DecoderSpec& spec = request.spec;
  const WeightReader reader(spec, request.tensors,
                            {.shard = request.shard,
                             .max_model_len = request.max_model_len,
                             .shapes_only = uploader.counting(),
                             .alike_experts = true});
  CudaWing wing(request.element, uploader);
  ASSIGN_OR_RETURN(auto loaded, LoadDecoder(reader, wing, uploader.counting() ? nullptr : request.progress));
  CudaWeights weights{std::move(loaded)};
  for (int i = 0; i < spec.num_layers(); ++i) {
    CudaExperts& experts = weights.experts.emplace_back();
    const CudaLayer& layer = weights.layers[i];
    const bool bias = spec.layers[i].ffn.bias;
    if (layer.experts.empty()) continue;
    ASSIGN_OR_RETURN(experts.input, PutExperts(layer, &ExpertWeights<CudaProjection>::input, bias, uploader));
    ASSIGN_OR_RETURN(experts.down, PutExperts(layer, &ExpertWeights<CudaProjection>::down, bias, uploader));
  }
  for (const kernels::ModifierTables& tables : request.modifiers) {
    ASSIGN_OR_RETURN(const kernels::ScoreModifier modifier, PutModifier(tables, uploader));
    weights.modifiers.push_back(modifier);
  }
  const std::vector<RotarySpec> rotaries = spec.Rotaries();
  RotaryLoader rotary_loader(spec, request.max_model_len, uploader);
  for (const RotarySpec& rotary : rotaries) {
    ASSIGN_OR_RETURN(const CudaRotary loaded_rotary, rotary_loader.Load(rotary));
    weights.rotaries.push_back(loaded_rotary);
  }
  for (const LayerSpec& layer : spec.layers) weights.layer_rotaries.push_back(RotaryIndexOf(layer, rotaries));
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

int64_t LargestPackedMatrix(const OpenedModel& model) {
  int64_t largest = 0;
  for (const TensorId& id : TensorsOf(model.spec)) {
    const std::vector<int64_t> shape = ShapeOf(id, model.spec);
    const auto type = model.tensors->TypeOf(id);
    if (shape.size() != 2 || !type.ok() || !cuda::IsPacked(*type)) continue;
    largest = std::max(largest, shape[0] * shape[1]);
  }
  return largest;
}

}  // namespace ropeway
