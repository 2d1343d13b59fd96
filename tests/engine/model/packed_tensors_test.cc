#include "engine/model/packed_tensors.h"

#include <cstring>
#include <string>
#include <vector>

#include "engine/tensor/quantize.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway {
namespace {

class PackedTensorsTest : public ::testing::TestWithParam<const char*> {};

TEST_P(PackedTensorsTest, PacksMatricesOfWholeBlocksAndNothingElse) {
  const testing::TempFolder folder;
  ASSERT_OK(testing::WriteTinyModel(GetParam(), folder.path()));
  ASSERT_OK_AND_ASSIGN(const OpenedModel plain, OpenModel(folder.path()));
  ASSERT_OK_AND_ASSIGN(OpenedModel model, OpenModel(folder.path()));
  model.tensors = PackTo8Bits(std::move(model.tensors), model.spec);
  int packed = 0, kept = 0;
  for (const TensorId& id : TensorsOf(model.spec)) {
    ASSERT_OK_AND_ASSIGN(const WeightTensor before, plain.tensors->Find(id));
    ASSERT_OK_AND_ASSIGN(const WeightTensor after, model.tensors->Find(id));
    ASSERT_OK_AND_ASSIGN(const DType type, model.tensors->TypeOf(id));
    EXPECT_EQ(after.view.type, type);
    EXPECT_EQ(after.view.shape, before.view.shape);
    const bool is_matrix = before.view.shape.size() == 2 && id.role != WeightRole::kPositionEmbedding;
    EXPECT_EQ(type, is_matrix && before.view.columns() % 32 == 0 ? DType::kQ8_0 : DType::kF32)
        << model.tensors->NameOf(id);
    if (type == DType::kF32) {
      ++kept;
      EXPECT_EQ(std::memcmp(after.view.data, before.view.data, before.view.bytes()), 0);
      continue;
    }
    ++packed;
    std::vector<uint8_t> row(static_cast<size_t>(RowBytes(DType::kQ8_0, before.view.columns())));
    QuantizeRowQ8_0(reinterpret_cast<const float*>(before.view.data), before.view.columns(), row.data());
    EXPECT_EQ(std::memcmp(after.view.data, row.data(), row.size()), 0) << model.tensors->NameOf(id);
  }
  EXPECT_GT(packed, 0);
  EXPECT_GT(kept, 0);
  EXPECT_EQ(CountWeights(model).commonest, DType::kQ8_0);
  EXPECT_EQ(CountWeights(plain).commonest, DType::kF32);
}

// The second has latent attention, the third embeddings narrower than the stream.
INSTANTIATE_TEST_SUITE_P(Models, PackedTensorsTest, ::testing::Values("qwen2", "minicpm3", "opt_post_norm"),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace ropeway
