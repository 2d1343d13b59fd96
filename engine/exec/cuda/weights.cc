#include "engine/exec/cuda/weights.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/base/ceil_div.h"
#include "engine/base/check.h"
#include "engine/base/exhaustion.h"
#include "engine/base/status_macros.h"
#include "engine/base/thread_pool.h"
#include "engine/exec/cuda/upload_ring.h"
#include "engine/kernels/cuda/fp8.h"
#include "engine/position/rotary.h"
#include "engine/position/rpe3d.h"
#include "engine/tensor/dequantize.h"

namespace ropeway {
namespace {

using cuda::DeviceMatrix;

// Helpers of an upload: with as many, reading and converting keep up with the link to a device.
constexpr int kMaxHelpers = 8;

// Rows that lie in one or several planes: row r of a plane begins `offset` + r * `row_bytes` from the start.
struct Plane {
  int64_t offset = 0, row_bytes = 0;
};
struct RowImage {
  int64_t bytes = 0, rows = 0;
  std::vector<Plane> planes;
};

// What planes of one image may take beyond their rows.
constexpr int64_t kMostSlack = 4 * 256;

// As Carver aligns, and planes of packed matrices.
constexpr int64_t Aligned(int64_t bytes) { return CeilDiv(bytes, 256) * 256; }

// Puts images into device memory one after the other, by a ring; without one it counts.
class Uploader {
 public:
  // Writes rows [first, last) to `out`, plane behind plane, each from a multiple of 256 bytes on. Called later, by
  // another thread: what it refers to it must hold, or live as long as the ring.
  using FillRows = std::function<void(int64_t first, int64_t last, uint8_t* out)>;

  Uploader(const CudaMemory* memory, UploadRing* ring)
      : ring_(ring), carver_(memory == nullptr ? nullptr : memory->data()) {}

  bool counting() const { return ring_ == nullptr; }
  int64_t bytes() const { return carver_.used(); }

  absl::StatusOr<const uint8_t*> PutRows(const RowImage& image, const FillRows& fill) {
    uint8_t* const to = carver_.TakeBytes(image.bytes);
    if (counting()) return to;
    int64_t row_bytes = 0;
    for (const Plane& plane : image.planes) row_bytes += plane.row_bytes;
    const int64_t room = ring_->buffer_bytes() - kMostSlack;
    const int64_t most = row_bytes == 0 ? image.rows : room / row_bytes;
    if (most == 0) {
      return absl::UnimplementedError(
          absl::StrCat("a row of weights takes ", row_bytes, " bytes on a CUDA device, may take ", room));
    }
    for (int64_t first = 0; first < image.rows; first += most) {
      const int64_t last = std::min(first + most, image.rows);
      RETURN_IF_ERROR(ring_->Put({.fill = [fill, first, last](uint8_t* out) { fill(first, last, out); },
                                  .runs = RunsOf(image, first, last, to)}));
    }
    return to;
  }

  template <typename T>
  absl::StatusOr<const T*> PutValues(std::vector<T> values) {
    const auto count = static_cast<int64_t>(values.size());
    constexpr auto kBytes = static_cast<int64_t>(sizeof(T));
    const auto held = std::make_shared<const std::vector<T>>(std::move(values));
    ASSIGN_OR_RETURN(const uint8_t* to,
                     PutRows({.bytes = count * kBytes, .rows = count, .planes = {{.row_bytes = kBytes}}},
                             [held](int64_t first, int64_t last, uint8_t* out) {
                               std::memcpy(out, held->data() + first, (last - first) * kBytes);
                             }));
    return reinterpret_cast<const T*>(to);
  }

 private:
  static std::vector<UploadRing::Run> RunsOf(const RowImage& image, int64_t first, int64_t last,
                                             uint8_t* to) {
    std::vector<UploadRing::Run> runs;
    int64_t offset = 0;
    for (const Plane& plane : image.planes) {
      const int64_t bytes = (last - first) * plane.row_bytes;
      if (bytes > 0)
        runs.push_back({.offset = offset, .bytes = bytes, .to = to + plane.offset + first * plane.row_bytes});
      offset += Aligned(bytes);
    }
    return runs;
  }

  UploadRing* const ring_;
  Carver carver_;
};

RowImage ImageOf(const DeviceMatrix& matrix) {
  RowImage image{.bytes = cuda::DeviceMatrixBytes(matrix.type, matrix.rows, matrix.columns),
                 .rows = matrix.rows};
  if (!cuda::IsPacked(matrix.type)) {
    image.planes = {{.row_bytes = RowBytes(matrix.type, matrix.columns)}};
    return image;
  }
  const cuda::PackedLayout layout = cuda::LayoutOf(matrix.type, matrix.rows, matrix.columns);
  const cuda::UnitBytes unit = cuda::UnitBytesOf(matrix.type);
  const int64_t units = cuda::RowUnits(matrix.columns);
  image.planes = {{.offset = layout.codes, .row_bytes = units * unit.codes},
                  {.offset = layout.high, .row_bytes = units * unit.high},
                  {.offset = layout.scales, .row_bytes = units * unit.scales},
                  {.offset = layout.blocks, .row_bytes = units / cuda::kBlockUnits * unit.block}};
  return image;
}

RowImage Fp8ImageOf(const DeviceMatrix& matrix) {
  const cuda::Fp8Layout layout = cuda::Fp8LayoutOf(matrix.rows, matrix.columns);
  return {.bytes = layout.bytes,
          .rows = matrix.rows,
          .planes = {{.offset = layout.codes, .row_bytes = cuda::Fp8RowBytes(matrix.columns)},
                     {.offset = layout.scales, .row_bytes = static_cast<int64_t>(sizeof(float))}}};
}

// How a tensor is stored.
struct Form {
  DType type;
  bool is_fp8 = false;

  bool operator==(const Form&) const = default;
};

// Rows [first, last) of matrices one below the other, as a matrix of their own.
void PackPart(absl::Span<const WeightTensor> tensors, const Form& form, int64_t first, int64_t last,
              uint8_t* out) {
  int64_t begin = 0;  // of the tensor, in rows
  for (const WeightTensor& tensor : tensors) {
    const TensorView& view = tensor.view;
    const int64_t from = std::max(first, begin), to = std::min(last, begin + view.rows());
    if (from < to) {
      const TensorView part{view.type,
                            {to - from, view.columns()},
                            view.data + (from - begin) * RowBytes(view.type, view.columns())};
      if (form.is_fp8)
        cuda::PackFp8Rows(part, last - first, from - first, out);
      else
        cuda::PackRows(part, form.type, last - first, from - first, out);
    }
    begin += view.rows();
  }
}

class CudaWing {
 public:
  using Projection = CudaProjection;
  using Vector = const float*;
  using Embedding = DeviceMatrix;

  CudaWing(const CudaWeightsRequest& request, Uploader& uploader)
      : element_(request.element), fp8_(request.fp8), uploader_(uploader) {}

  // Of what was put.
  int64_t widest_fp8() const { return widest_fp8_; }
  int64_t fp8_numbers() const { return fp8_numbers_; }

  absl::StatusOr<Vector> PutVector(std::vector<float> values) {
    return uploader_.PutValues(std::move(values));
  }

  // Neighbours of one type become one matrix.
  absl::StatusOr<Projection> PutProjection(ProjectionParts parts) {
    Projection projection;
    const absl::Span<const WeightTensor> all = parts.matrices;
    for (size_t first = 0; first < all.size();) {
      size_t last = first + 1;
      const Form form = FormOf(all[first].view, parts.of_layer);
      while (last < all.size() && FormOf(all[last].view, parts.of_layer) == form) ++last;
      ASSIGN_OR_RETURN(const DeviceMatrix matrix, PutMatrix(all.subspan(first, last - first), form));
      projection.parts.push_back({matrix, projection.outputs, form.is_fp8});
      projection.outputs += matrix.rows;
      first = last;
    }
    RETURN_IF_ERROR(PutBias(parts.bias, projection));
    return projection;
  }

  absl::StatusOr<Embedding> PutEmbedding(WeightTensor tensor) {
    return PutMatrix({&tensor, 1}, FormOf(tensor.view, /*of_layer=*/false));
  }

  absl::StatusOr<Projection> PutTiedOutput(const Embedding& embedding, ProjectionParts parts) {
    Projection projection{.parts = {{embedding, 0}}, .outputs = embedding.rows};
    RETURN_IF_ERROR(PutBias(parts.bias, projection));
    return projection;
  }

 private:
  Form FormOf(const TensorView& view, bool of_layer) const {
    return {.type = cuda::DeviceType(view.type, element_),
            .is_fp8 = fp8_ && of_layer && !cuda::IsPacked(view.type)};
  }

  absl::Status PutBias(const std::vector<float>& bias, Projection& projection) {
    if (bias.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(projection.bias, uploader_.PutValues(bias));
    return absl::OkStatus();
  }

  absl::StatusOr<DeviceMatrix> PutMatrix(absl::Span<const WeightTensor> tensors, const Form& form) {
    DeviceMatrix matrix{.type = form.type, .columns = tensors[0].view.columns()};
    for (const WeightTensor& tensor : tensors) matrix.rows += tensor.view.rows();
    if (form.is_fp8) {
      widest_fp8_ = std::max(widest_fp8_, matrix.columns);
      fp8_numbers_ += matrix.rows * matrix.columns;
    }
    const auto held = std::make_shared<const std::vector<WeightTensor>>(tensors.begin(), tensors.end());
    const auto fill = [held, form](int64_t first, int64_t last, uint8_t* out) {
      PackPart(*held, form, first, last, out);
    };
    ASSIGN_OR_RETURN(matrix.data,
                     uploader_.PutRows(form.is_fp8 ? Fp8ImageOf(matrix) : ImageOf(matrix), fill));
    return matrix;
  }

  const cuda::Element element_;
  const bool fp8_;
  Uploader& uploader_;
  int64_t widest_fp8_ = 0, fp8_numbers_ = 0;
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
      ROPEWAY_CHECK(own.parts[part].is_fp8 == first.parts[part].is_fp8);
      matrices.push_back(own.parts[part].matrix.data);
    }
    auto& [shape, pointers, first_output, is_fp8] = all.parts.emplace_back();
    shape = first.parts[part].matrix;
    shape.data = nullptr;
    first_output = first.parts[part].first_output;
    is_fp8 = first.parts[part].is_fp8;
    ASSIGN_OR_RETURN(pointers, uploader.PutValues(std::move(matrices)));
  }
  if (has_biases) {
    std::vector<const float*> biases;
    for (const ExpertWeights<CudaProjection>& expert : layer.experts)
      biases.push_back((expert.*projection).bias);
    ASSIGN_OR_RETURN(all.biases, uploader.PutValues(std::move(biases)));
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
    ASSIGN_OR_RETURN(rotary.angles, Put(rotary, [rotation](int32_t position, float* cosines, float* sines) {
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
    return Put(rotary, [spec, rotation, zone](int32_t position, float* cosines, float* sines) {
      Rpe3dQueryAngles(spec, rotation, zone, position, cosines, sines);
    });
  }

  absl::StatusOr<CudaAngles> Put(const CudaRotary& rotary, const AnglesAt& angles_at) {
    const int64_t half = rotary.rotary_dim / 2, row_bytes = half * static_cast<int64_t>(sizeof(float));
    const int64_t sines_at = Aligned(positions_ * row_bytes);
    const RowImage image{.bytes = 2 * sines_at,
                         .rows = positions_,
                         .planes = {{.row_bytes = row_bytes}, {.offset = sines_at, .row_bytes = row_bytes}}};
    const auto fill = [angles_at, half, row_bytes](int64_t first, int64_t last, uint8_t* out) {
      float* const cosines = reinterpret_cast<float*>(out);
      float* const sines = reinterpret_cast<float*>(out + Aligned((last - first) * row_bytes));
      for (int64_t i = first; i < last; ++i)
        angles_at(static_cast<int32_t>(i), cosines + (i - first) * half, sines + (i - first) * half);
    };
    ASSIGN_OR_RETURN(const uint8_t* to, uploader_.PutRows(image, fill));
    if (uploader_.counting()) return CudaAngles{};
    return CudaAngles{.cosines = reinterpret_cast<const float*>(to),
                      .sines = reinterpret_cast<const float*>(to + sines_at)};
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
    absl::StatusOr<const float*> to = uploader.PutValues(std::vector<float>(floats, floats + count));
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
  CudaWing wing(request, uploader);
  ASSIGN_OR_RETURN(auto loaded, LoadDecoder(reader, wing, uploader.counting() ? nullptr : request.progress));
  CudaWeights weights{std::move(loaded)};
  weights.widest_fp8.of_all = wing.widest_fp8();
  weights.fp8_numbers = wing.fp8_numbers();
  for (int i = 0; i < spec.num_layers(); ++i) {
    CudaExperts& experts = weights.experts.emplace_back();
    const CudaLayer& layer = weights.layers[i];
    const bool bias = spec.layers[i].ffn.bias;
    if (layer.experts.empty()) continue;
    ASSIGN_OR_RETURN(experts.input, PutExperts(layer, &ExpertWeights<CudaProjection>::input, bias, uploader));
    if (experts.input.parts.size() > 1)
      weights.widest_split_input = std::max(weights.widest_split_input, experts.input.outputs);
    // Sums over ranks take the biases of one.
    ASSIGN_OR_RETURN(experts.down, PutExperts(layer, &ExpertWeights<CudaProjection>::down,
                                              bias && request.shard.rank == 0, uploader));
    for (const CudaExpertMatrices::Part& part : experts.down.parts) {
      if (!part.is_fp8) continue;
      weights.widest_fp8.of_choices = std::max(weights.widest_fp8.of_choices, part.shape.columns);
    }
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

absl::StatusOr<CudaWeightsCount> CountCudaWeights(const CudaWeightsRequest& request) {
  Uploader uploader(nullptr, nullptr);
  ASSIGN_OR_RETURN(const CudaWeights weights, Load(request, uploader));
  return CudaWeightsCount{.bytes = uploader.bytes(),
                          .widest_fp8 = weights.widest_fp8,
                          .fp8_numbers = weights.fp8_numbers,
                          .widest_split_input = weights.widest_split_input};
}

absl::StatusOr<CudaWeights> LoadCudaWeights(const CudaWeightsRequest& request, cuda::Runtime& runtime,
                                            const CudaMemory& memory) {
  const int helpers = std::clamp(NumUsableProcessors(), 1, kMaxHelpers);
  const int64_t needed = memory.bytes() + kMostSlack;
  ASSIGN_OR_RETURN(const std::unique_ptr<UploadRing> ring,
                   UploadRing::Make(runtime, {.buffer_bytes = std::min(request.buffer_bytes, needed)}));
  ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool, ThreadPool::Make({.threads = 1 + helpers}));
  Uploader uploader(&memory, ring.get());
  absl::StatusOr<CudaWeights> weights;
  pool->Run([&](Team& team) {
    if (team.index() > 0) return ring->Work();
    weights = CatchExhaustion([&]() -> absl::StatusOr<CudaWeights> {
      ASSIGN_OR_RETURN(CudaWeights loaded, Load(request, uploader));
      RETURN_IF_ERROR(ring->Finish());
      return loaded;
    });
    ring->Close();
  });
  ROPEWAY_CHECK(!weights.ok() || uploader.bytes() <= memory.bytes());
  return weights;
}

namespace {

// visit(type, numbers) for each matrix that stays packed.
template <class Visit>
void ForPackedMatrices(const OpenedModel& model, const Visit& visit) {
  for (const TensorId& id : TensorsOf(model.spec)) {
    const std::vector<int64_t> shape = ShapeOf(id, model.spec);
    const auto type = model.tensors->TypeOf(id);
    if (shape.size() == 2 && type.ok() && cuda::IsPacked(*type)) visit(*type, shape[0] * shape[1]);
  }
}

}  // namespace

int64_t LargestPackedMatrix(const OpenedModel& model) {
  int64_t largest = 0;
  ForPackedMatrices(model, [&](DType, int64_t numbers) { largest = std::max(largest, numbers); });
  return largest;
}

std::vector<DType> PackedTypes(const OpenedModel& model) {
  std::vector<DType> types;
  ForPackedMatrices(model, [&](DType type, int64_t) {
    if (std::find(types.begin(), types.end(), type) == types.end()) types.push_back(type);
  });
  return types;
}

}  // namespace ropeway
