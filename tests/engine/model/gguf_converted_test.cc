// GGUF files as tests/tools/folder_to_gguf.py writes them from folders, beside what no tiny model of the golden answers has.
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/model/gguf_file.h"
#include "engine/model/gguf_model.h"
#include "engine/model/gguf_names.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

absl::StatusOr<GgufFile> Converted(const std::string& case_name, const std::string& flags = "") {
  const ropeway::testing::TempFolder folder;
  EXPECT_OK(ropeway::testing::WriteTinyModel(case_name, folder.path()));
  const std::string path = folder.File("model.gguf");
  const std::string command =
      absl::StrCat("python3 tests/tools/folder_to_gguf.py ", folder.path(), " ", path, " ", flags);
  if (std::system(command.c_str()) != 0) return absl::InternalError(command);
  return GgufFile::Open(path);
}

const RopeSpec& RopeOf(const DecoderSpec& spec) {
  return std::get<RopeSpec>(spec.layers.back().position.scheme);
}

// Files of these families tell it by keys of their own.
TEST(GgufConvertedTest, MagnitudesOfYarnAreThoseOfTheFolder) {
  for (const std::string name : {"ministral3", "olmo3", "deepseek_v3"}) {
    const ropeway::testing::TempFolder folder;
    EXPECT_OK(ropeway::testing::WriteTinyModel(name, folder.path()));
    ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.path()));
    ASSERT_OK_AND_ASSIGN(const GgufFile file, Converted(name));
    ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, SpecFromGguf(file.content));
    EXPECT_NEAR(RopeOf(spec).attention_factor, RopeOf(model.spec).attention_factor, 1e-6) << name;
    EXPECT_NEAR(spec.layers[0].attention.scale, model.spec.layers[0].attention.scale, 1e-6) << name;
  }
  ASSERT_OK_AND_ASSIGN(const GgufFile file, Converted("ministral3"));
  EXPECT_EQ(*file.content.metadata.GetDouble("mistral3.rope.scaling.yarn_log_multiplier"), 1);
}

TEST(GgufConvertedTest, LayersThatGuessAheadAreCountedAndNotRead) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, Converted("glm4_moe"));
  ASSERT_OK_AND_ASSIGN(const int64_t blocks, file.content.metadata.GetInt("glm4moe.block_count"));
  EXPECT_EQ(blocks, 5);
  ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, SpecFromGguf(file.content));
  EXPECT_EQ(spec.num_layers(), 4);
  const NamedTensors::Naming naming = GgufNaming(file.content, spec);
  EXPECT_TRUE(naming.ignorable("blk.4.nextn.eh_proj.weight"));
  EXPECT_TRUE(naming.ignorable("blk.4.attn_q.weight"));
  EXPECT_FALSE(naming.ignorable("blk.3.nextn.eh_proj.weight"));
  EXPECT_FALSE(naming.ignorable("blk.5.nextn.eh_proj.weight"));
}

TEST(GgufConvertedTest, LatentKeysAndValuesMayBeThereTwice) {
  ASSERT_OK_AND_ASSIGN(const GgufFile older, Converted("deepseek_v3", "--older"));
  ASSERT_OK_AND_ASSIGN(const DecoderSpec together, SpecFromGguf(older.content));
  EXPECT_FALSE(together.layers[0].attention.latent.apart);
  EXPECT_TRUE(GgufNaming(older.content, together).ignorable("blk.0.attn_k_b.weight"));
  ASSERT_OK_AND_ASSIGN(const GgufFile newer, Converted("deepseek_v3"));
  ASSERT_OK_AND_ASSIGN(DecoderSpec apart, SpecFromGguf(newer.content));
  EXPECT_TRUE(apart.layers[0].attention.latent.apart);
  EXPECT_FALSE(GgufNaming(newer.content, apart).ignorable("blk.0.attn_k_b.weight"));
  for (LayerSpec& layer : apart.layers) layer.attention.latent.apart = false;
  EXPECT_EQ(apart, together);
}

}  // namespace
}  // namespace ropeway
