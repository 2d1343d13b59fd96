#include "engine/model/packed_tensors.h"

#include <utility>
#include <vector>

#include "engine/base/status_macros.h"
#include "engine/tensor/dequantize.h"
#include "engine/tensor/quantize.h"

namespace ropeway {
namespace {

// What is multiplied by activations, the embedding included, which often is the output layer, too; not what routes
// tokens to experts.
bool IsMatrix(WeightRole role) {
  switch (role) {
    case WeightRole::kTokenEmbedding:
    case WeightRole::kEmbeddingIn:
    case WeightRole::kEmbeddingOut:
    case WeightRole::kOutput:
    case WeightRole::kQuery:
    case WeightRole::kKey:
    case WeightRole::kValue:
    case WeightRole::kLatentQuery:
    case WeightRole::kQueryFromLatent:
    case WeightRole::kLatentKv:
    case WeightRole::kKeyValueFromLatent:
    case WeightRole::kAttentionOutput:
    case WeightRole::kGate:
    case WeightRole::kUp:
    case WeightRole::kDown:
    case WeightRole::kExpertGate:
    case WeightRole::kExpertUp:
    case WeightRole::kExpertDown:
    case WeightRole::kSharedGate:
    case WeightRole::kSharedUp:
    case WeightRole::kSharedDown:
      return true;
    default:
      return false;
  }
}

bool IsDense(DType type) { return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16; }

class PackedTensors final : public TensorSource {
 public:
  PackedTensors(std::unique_ptr<TensorSource> source, const DecoderSpec& spec)
      : source_(std::move(source)), spec_(spec) {}

  absl::StatusOr<WeightTensor> Find(const TensorId& id) const override {
    ASSIGN_OR_RETURN(WeightTensor tensor, source_->Find(id));
    if (!Packs(id, tensor.view.type)) return tensor;
    const TensorView& view = tensor.view;
    const int64_t columns = view.columns(), row_bytes = RowBytes(view.type, columns);
    const int64_t packed_row_bytes = RowBytes(DType::kQ8_0, columns);
    auto bytes = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(view.rows() * packed_row_bytes));
    std::vector<float> row(static_cast<size_t>(columns));
    for (int64_t i = 0; i < view.rows(); ++i) {
      DequantizeRow(view.type, view.data + i * row_bytes, columns, row.data());
      QuantizeRowQ8_0(row.data(), columns, bytes->data() + i * packed_row_bytes);
    }
    const uint8_t* data = bytes->data();
    return WeightTensor{{DType::kQ8_0, view.shape, data}, std::move(bytes)};
  }

  absl::StatusOr<DType> TypeOf(const TensorId& id) const override {
    ASSIGN_OR_RETURN(const DType type, source_->TypeOf(id));
    return Packs(id, type) ? DType::kQ8_0 : type;
  }

  std::string NameOf(const TensorId& id) const override { return source_->NameOf(id); }
  std::vector<StoredTensor> Stored() const override { return source_->Stored(); }

 private:
  bool Packs(const TensorId& id, DType type) const {
    return !id.is_bias && IsMatrix(id.role) && IsDense(type) &&
           ShapeOf(id, spec_).back() % InfoOf(DType::kQ8_0).block_columns == 0;
  }

  const std::unique_ptr<TensorSource> source_;
  const DecoderSpec spec_;
};

}  // namespace

std::unique_ptr<TensorSource> PackTo8Bits(std::unique_ptr<TensorSource> source, const DecoderSpec& spec) {
  return std::make_unique<PackedTensors>(std::move(source), spec);
}

}  // namespace ropeway
