#include "engine/model/packed_tensors.h"

#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/tensor/quantize.h"
#include "gtest/gtest.h"
#include "tests/engine/model/tiny_config.h"
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

// Every tensor there may be, in float32.
class AnyTensors final : public TensorSource {
 public:
  absl::StatusOr<WeightTensor> Find(const TensorId&) const override {
    return absl::UnimplementedError("none");
  }
  absl::StatusOr<DType> TypeOf(const TensorId&) const override { return DType::kF32; }
  std::string NameOf(const TensorId&) const override { return "any"; }
  std::vector<StoredTensor> Stored() const override { return {}; }
};

// The sizes of the models above leave some matrices without rows of whole blocks.
TEST(PackedTensorsTest, PacksAllThatActivationsAreMultipliedBy) {
  const std::pair<const char*, nlohmann::ordered_json> configs[] = {
      {"qwen2_moe", {{"moe_intermediate_size", 64}, {"shared_expert_intermediate_size", 64}}},
      {"minicpm3", {{"q_lora_rank", 64}, {"kv_lora_rank", 32}, {"v_head_dim", 16}}},
      {"opt_post_norm", {{"word_embed_proj_dim", 64}}}};
  std::set<WeightRole> packed, kept;
  for (const auto& [name, sizes] : configs) {
    ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, testing::With(name, sizes));
    const auto tensors = PackTo8Bits(std::make_unique<AnyTensors>(), spec);
    for (const TensorId& id : TensorsOf(spec)) {
      ASSERT_OK_AND_ASSIGN(const DType type, tensors->TypeOf(id));
      EXPECT_TRUE(type == DType::kF32 || !id.is_bias);
      if (!id.is_bias) (type == DType::kQ8_0 ? packed : kept).insert(id.role);
    }
  }
  using Role = WeightRole;
  EXPECT_EQ(packed, (std::set<Role>{Role::kTokenEmbedding,
                                    Role::kEmbeddingIn,
                                    Role::kEmbeddingOut,
                                    Role::kOutput,
                                    Role::kQuery,
                                    Role::kKey,
                                    Role::kValue,
                                    Role::kLatentQuery,
                                    Role::kQueryFromLatent,
                                    Role::kLatentKv,
                                    Role::kKeyValueFromLatent,
                                    Role::kAttentionOutput,
                                    Role::kGate,
                                    Role::kUp,
                                    Role::kDown,
                                    Role::kExpertGate,
                                    Role::kExpertUp,
                                    Role::kExpertDown,
                                    Role::kSharedGate,
                                    Role::kSharedUp,
                                    Role::kSharedDown}));
  for (const Role role : packed) EXPECT_FALSE(kept.contains(role)) << static_cast<int>(role);
}

// The second has latent attention, the third embeddings narrower than the stream.
INSTANTIATE_TEST_SUITE_P(Models, PackedTensorsTest, ::testing::Values("qwen2", "minicpm3", "opt_post_norm"),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace ropeway
