// Models that have some tensors packed, as files may have those of layers of experts.
#ifndef ROPEWAY_TESTS_ENGINE_EXEC_CUDA_PARTLY_PACKED_H_
#define ROPEWAY_TESTS_ENGINE_EXEC_CUDA_PARTLY_PACKED_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/model/packed_tensors.h"
#include "engine/model/tensor_source.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {

using IsPackedTensor = std::function<bool(const TensorId& id)>;

// A model some of whose tensors are packed to 8 bits.
class SomePackedTensors final : public TensorSource {
 public:
  SomePackedTensors(std::unique_ptr<TensorSource> plain, std::unique_ptr<TensorSource> packed,
                    IsPackedTensor is_packed)
      : plain_(std::move(plain)), packed_(std::move(packed)), is_packed_(std::move(is_packed)) {}

  absl::StatusOr<WeightTensor> Find(const TensorId& id) const override { return Of(id).Find(id); }
  absl::StatusOr<DType> TypeOf(const TensorId& id) const override { return Of(id).TypeOf(id); }
  std::string NameOf(const TensorId& id) const override { return plain_->NameOf(id); }
  std::vector<StoredTensor> Stored() const override { return plain_->Stored(); }

 private:
  const TensorSource& Of(const TensorId& id) const { return is_packed_(id) ? *packed_ : *plain_; }

  const std::unique_ptr<TensorSource> plain_, packed_;
  const IsPackedTensor is_packed_;
};

inline OpenedModel OpenPartlyPacked(const std::string& path, const IsPackedTensor& is_packed) {
  absl::StatusOr<OpenedModel> plain = OpenModel(path), packed = OpenModel(path);
  EXPECT_THAT(plain.status(), IsOk());
  auto packed_tensors = PackTo8Bits(std::move(packed->tensors), packed->spec);
  plain->tensors =
      std::make_unique<SomePackedTensors>(std::move(plain->tensors), std::move(packed_tensors), is_packed);
  return *std::move(plain);
}

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_ENGINE_EXEC_CUDA_PARTLY_PACKED_H_
