#include "engine/exec/cpu/weights.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "engine/base/ceil_div.h"
#include "engine/exec/cpu/weight_placement.h"
#include "engine/kernels/cpu/pack.h"
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
  using Embedding = CpuEmbedding;

  // The cache may be null.
  CpuWing(const kernels::KernelTable& table, ThreadPool& pool, PackCache* cache)
      : table_(table), pool_(pool), cache_(cache) {}

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

  // A copy where it lies in the file, so that nothing of the file is needed once all is packed. Made by all threads.
  absl::StatusOr<Embedding> PutEmbedding(WeightTensor tensor) {
    if (tensor.bytes != nullptr) return Embedding{std::move(tensor.view), std::move(tensor.bytes)};
    const TensorView& view = tensor.view;
    const auto copy = std::make_shared<AlignedBuffer>(view.bytes());
    OnAll(CeilDiv(view.bytes(), kCopyBytes), [&](int64_t i) {
      const int64_t first = i * kCopyBytes, count = std::min(kCopyBytes, view.bytes() - first);
      std::memcpy(copy->data() + first, view.data + first, static_cast<size_t>(count));
    });
    return Embedding{{view.type, view.shape, copy->data()}, copy};
  }
  absl::StatusOr<Projection> PutTiedOutput(const Embedding&, ProjectionParts parts) {
    return PutProjection(std::move(parts));
  }

 private:
  // Copied at a time by one thread.
  static constexpr int64_t kCopyBytes = 1 << 20;

  void OnAll(int64_t count, absl::FunctionRef<void(int64_t)> body) {
    pool_.RunPhases([&](Team& team) { team.ForEach(count, body); });
  }

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
    const auto on_all = [this](int64_t count, absl::FunctionRef<void(int64_t)> body) { OnAll(count, body); };
    const kernels::PackRequest::ForPieces for_pieces = on_all;
    request.for_pieces = &for_pieces;
    request.memory = &memory_;
    Projection::Part part{cache_ == nullptr ? table_.pack(request) : cache_->Pack(request),
                          projection.outputs};
    projection.outputs += part.matrix.rows;
    projection.parts.push_back(std::move(part));
  }

  const kernels::KernelTable& table_;
  ThreadPool& pool_;
  PackCache* const cache_;
  BufferArena memory_;
};

}  // namespace

absl::StatusOr<CpuWeights> LoadCpuWeights(const DecoderSpec& spec,
                                          std::shared_ptr<const TensorSource> tensors,
                                          const kernels::KernelTable& table, ThreadPool& pool,
                                          const LoadOptions& options) {
  const WeightPlacement placement(options.machine, pool);
  const WeightReader reader(spec, *tensors, {.max_model_len = options.max_model_len});
  // The reference's matrices have a layout of their own, and are for tests.
  const bool is_kept = !options.pack_cache.empty() && table.pack == &kernels::PackPanels;
  std::optional<PackCache> cache;
  if (is_kept) cache.emplace(options.pack_cache, *tensors);
  CpuWing wing(table, pool, cache ? &*cache : nullptr);
  ASSIGN_OR_RETURN(auto loaded, LoadDecoder(reader, wing, options.progress));
  ASSIGN_OR_RETURN(std::vector<kernels::ModifierTables> modifiers, MakeModifiers(reader));
  PackCacheOutcome outcome;
  if (cache) {
    outcome = cache->Finish([&](int64_t count, absl::FunctionRef<void(int64_t)> body) {
      pool.RunPhases([&](Team& team) { team.ForEach(count, body); });
    });
  }
  return CpuWeights{std::move(loaded), std::move(modifiers), std::move(outcome), placement.description()};
}

void CpuWeights::Embed(int32_t token, float* out) const {
  const TensorView& table = embedding.view;
  const int64_t columns = table.columns();
  DequantizeRow(table.type, table.data + token * RowBytes(table.type, columns), columns, out);
}

}  // namespace ropeway
