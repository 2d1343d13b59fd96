#include "engine/model/unit_output.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/tensor/dequantize.h"
#include "engine/tensor/half.h"

namespace ropeway {
namespace {

// As torch.nn.functional.normalize: no row is divided by less.
constexpr double kLeastLength = 1e-12;

void ScaleToUnit(std::vector<float>& row) {
  double sum = 0;
  for (const float value : row) sum += double{value} * value;
  const double length = std::max(std::sqrt(sum), kLeastLength);
  for (float& value : row) value = static_cast<float>(value / length);
}

void WriteRow(DType type, const std::vector<float>& row, uint8_t* out) {
  if (type == DType::kF32) {
    std::memcpy(out, row.data(), row.size() * sizeof(float));
    return;
  }
  ROPEWAY_CHECK(type == DType::kF16 || type == DType::kBF16);
  for (size_t i = 0; i < row.size(); ++i) {
    const uint16_t value = type == DType::kF16 ? FloatToHalf(row[i]) : FloatToBFloat16(row[i]);
    std::memcpy(out + 2 * i, &value, sizeof value);
  }
}

class UnitOutput final : public TensorSource {
 public:
  explicit UnitOutput(std::unique_ptr<TensorSource> source) : source_(std::move(source)) {}

  absl::StatusOr<WeightTensor> Find(const TensorId& id) const override {
    ASSIGN_OR_RETURN(WeightTensor tensor, source_->Find(id));
    if (id.role != WeightRole::kOutput || id.is_bias) return tensor;
    const TensorView& view = tensor.view;
    const int64_t row_bytes = RowBytes(view.type, view.columns());
    auto bytes = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(view.bytes()));
    std::vector<float> row(static_cast<size_t>(view.columns()));
    for (int64_t i = 0; i < view.rows(); ++i) {
      DequantizeRow(view.type, view.data + i * row_bytes, view.columns(), row.data());
      ScaleToUnit(row);
      WriteRow(view.type, row, bytes->data() + i * row_bytes);
    }
    const TensorView scaled{view.type, view.shape, bytes->data()};
    return WeightTensor{scaled, std::move(bytes)};
  }

  absl::StatusOr<DType> TypeOf(const TensorId& id) const override { return source_->TypeOf(id); }
  std::string NameOf(const TensorId& id) const override { return source_->NameOf(id); }
  std::vector<StoredTensor> Stored() const override { return source_->Stored(); }

 private:
  const std::unique_ptr<TensorSource> source_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TensorSource>> WithUnitOutput(std::unique_ptr<TensorSource> source) {
  const TensorId output{WeightRole::kOutput};
  ASSIGN_OR_RETURN(const DType type, source->TypeOf(output));
  if (InfoOf(type).block_columns != 1)
    return absl::UnimplementedError(absl::StrCat("tensor '", source->NameOf(output), "' has the type ",
                                                 NameOf(type),
                                                 "; only F32, F16, BF16 rows can be brought to length 1"));
  return std::make_unique<UnitOutput>(std::move(source));
}

}  // namespace ropeway
