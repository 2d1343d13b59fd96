#include "engine/exec/cpu/weights.h"

#include <utility>

#include "engine/tensor/dequantize.h"

namespace ropeway {
namespace {

// Interleaving needs one type; where a file mixes them, floats lose nothing.
TensorView AsFloats(const TensorView& view, std::vector<float>& values) {
  values.resize(view.rows() * view.columns());
  const int64_t row_bytes = RowBytes(view.type, view.columns());
  for (int64_t i = 0; i < view.rows(); ++i)
    DequantizeRow(view.type, view.data + i * row_bytes, view.columns(), values.data() + i * view.columns());
  return {DType::kF32, view.shape, reinterpret_cast<const uint8_t*>(values.data())};
}

class CpuWing {
 public:
  using Projection = CpuProjection;
  using Vector = std::vector<float>;
  using Embedding = WeightTensor;

  CpuWing(const kernels::KernelTable& table, ThreadPool& pool) : table_(table), pool_(pool) {}

  absl::StatusOr<Vector> PutVector(std::vector<float> values) { return values; }

  // Neighbours of one type become one matrix.
  absl::StatusOr<Projection> PutProjection(ProjectionParts parts) {
    std::vector<TensorView> views;
    for (const WeightTensor& matrix : parts.matrices) views.push_back(matrix.view);
    Projection projection{.bias = std::move(parts.bias)};
    if (parts.gate_and_up) {
      PackGate(std::move(views), projection);
      return projection;
    }
    for (size_t first = 0; first < views.size();) {
      size_t last = first + 1;
      while (last < views.size() && views[last].type == views[first].type) ++last;
      AddPart({.parts = absl::MakeConstSpan(views).subspan(first, last - first)}, projection);
      first = last;
    }
    return projection;
  }

  // A copy where it lies in the file, so that nothing of the file is needed once all is packed.
  absl::StatusOr<Embedding> PutEmbedding(WeightTensor tensor) {
    if (tensor.bytes != nullptr) return tensor;
    const TensorView& view = tensor.view;
    tensor.bytes = std::make_shared<const std::vector<uint8_t>>(view.data, view.data + view.bytes());
    tensor.view.data = tensor.bytes->data();
    return tensor;
  }
  absl::StatusOr<Projection> PutTiedOutput(const Embedding&, ProjectionParts parts) {
    return PutProjection(std::move(parts));
  }

 private:
  void PackGate(std::vector<TensorView> views, Projection& projection) {
    std::vector<std::vector<float>> converted;
    const int64_t outputs = views[0].rows();
    if (views[0].type != views[1].type)
      for (TensorView& view : views) view = AsFloats(view, converted.emplace_back());
    AddPart({.parts = views, .interleave = true}, projection);
    projection.outputs = outputs;
  }

  // Packed by all threads.
  void AddPart(kernels::PackRequest request, Projection& projection) {
    const auto on_all = [this](int64_t count, absl::FunctionRef<void(int64_t)> body) {
      pool_.RunPhases([&](Team& team) { team.ForEach(count, body); });
    };
    const kernels::PackRequest::ForPieces for_pieces = on_all;
    request.for_pieces = &for_pieces;
    Projection::Part part{table_.pack(request), projection.outputs};
    projection.outputs += part.matrix.rows;
    projection.parts.push_back(std::move(part));
  }

  const kernels::KernelTable& table_;
  ThreadPool& pool_;
};

}  // namespace

absl::StatusOr<CpuWeights> LoadCpuWeights(const DecoderSpec& spec,
                                          std::shared_ptr<const TensorSource> tensors,
                                          const kernels::KernelTable& table, ThreadPool& pool,
                                          int32_t max_model_len, const LoadProgress& progress) {
  const WeightReader reader(spec, *tensors, {.max_model_len = max_model_len});
  CpuWing wing(table, pool);
  ASSIGN_OR_RETURN(auto loaded, LoadDecoder(reader, wing, progress));
  ASSIGN_OR_RETURN(std::vector<kernels::ModifierTables> modifiers, MakeModifiers(reader));
  return CpuWeights{std::move(loaded), std::move(modifiers)};
}

void CpuWeights::Embed(int32_t token, float* out) const {
  const TensorView& table = embedding.view;
  const int64_t columns = table.columns();
  DequantizeRow(table.type, table.data + token * RowBytes(table.type, columns), columns, out);
}

}  // namespace ropeway
