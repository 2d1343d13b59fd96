#include "engine/inspect/info_command.h"

#include <string>

#include "gtest/gtest.h"
#include "tests/testing/gguf_writer.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway {
namespace {

using ::ropeway::testing::GgufBytes;
using ::ropeway::testing::GgufModel;
using ::ropeway::testing::MakeTinyGguf;
using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TempFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(InfoCommandTest, ShowsAFile) {
  const TempFolder folder;
  ASSERT_OK_AND_ASSIGN(GgufModel model, MakeTinyGguf("gemma3_text"));
  model["general.name"] = std::string("a \"tiny\"\nmodel \xFF");
  model["tokenizer.ggml.tokens"] = std::vector<std::string>(100, "x");
  ASSERT_OK_AND_ASSIGN(const std::string text, InfoText(folder.Write("m.gguf", GgufBytes(model))));
  EXPECT_THAT(
      text, AllOf(HasSubstr("general.architecture = \"gemma3\"\n"),
                  HasSubstr(R"(general.name = "a \"tiny\"\nmodel �")"),
                  HasSubstr("tokens = [100] \"x\", \"x\", \"x\", \"x\", \"x\", \"x\", \"x\", \"x\", ...\n")));
  EXPECT_THAT(text, AllOf(HasSubstr("  architecture gemma3\n"), HasSubstr("RMS norms before and after"),
                          HasSubstr("3 layers with a window of 32, rope 0\n"),
                          HasSubstr("1 layers with full attention, rope 1\n")));
  // 2 KV heads of 24 + 32 (padded) numbers of two bytes in 4 layers.
  EXPECT_THAT(text, HasSubstr("keys and values 896 bytes a token in bf16, 0.2 MB for the whole context\n"));
  EXPECT_THAT(text, HasSubstr("  blk.3.ffn_down.weight F32 [96, 160]\n"));
}

TEST(InfoCommandTest, ShowsAFolder) {
  const TempFolder folder;
  ASSERT_OK(ropeway::testing::WriteTinyModel("llama_rope_yarn", folder.path()));
  ASSERT_OK_AND_ASSIGN(const std::string text, InfoText(folder.path()));
  EXPECT_THAT(
      text, AllOf(HasSubstr("scaling yarn by 4 beyond 64"), HasSubstr("types:\n  F32: 39 tensors, 1.4 MB\n"),
                  HasSubstr("  model.layers.2.self_attn.q_proj.weight F32 [96, 96]\n")));
}

TEST(InfoCommandTest, NamesEveryActivation) {
  const struct {
    const char* case_name;
    const char* says;
  } cases[] = {{"llama_rope_yarn", "  feed-forward size 160, SwiGLU\n"},
               {"arcee", "  feed-forward size 160, ReLU squared\n"},
               {"apertus", "  feed-forward size 160, xIELU\n"},
               {"gpt_oss", "  feed-forward size 56, clamped SwiGLU, 5 experts, of which a token goes to 2\n"},
               {"deepseek_v3", "160, SwiGLU\n  feed-forward size 56, SwiGLU, 6 experts, of which"}};
  for (const auto& test : cases) {
    const TempFolder folder;
    ASSERT_OK(ropeway::testing::WriteTinyModel(test.case_name, folder.path()));
    ASSERT_OK_AND_ASSIGN(const std::string text, InfoText(folder.path()));
    EXPECT_THAT(text, HasSubstr(test.says)) << test.case_name;
  }
}

TEST(InfoCommandTest, ShowsWhatItCanOfAModelThatIsNotSupported) {
  const TempFolder folder;
  ASSERT_OK_AND_ASSIGN(GgufModel model, MakeTinyGguf("llama_base"));
  model["general.architecture"] = std::string("rwkv");
  ASSERT_OK_AND_ASSIGN(const std::string text, InfoText(folder.Write("m.gguf", GgufBytes(model))));
  EXPECT_THAT(
      text, AllOf(HasSubstr("not a model that can be run: "), HasSubstr("supported are llama, mistral"),
                  HasSubstr("  F32: 39 tensors, 1.4 MB\n"), HasSubstr("token_embd.weight F32 [320, 96]\n")));
}

TEST(InfoCommandTest, RefusesWhatIsNoModel) {
  const TempFolder folder;
  EXPECT_THAT(InfoText(folder.File("none")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
  EXPECT_THAT(InfoText(folder.path()), StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
  EXPECT_THAT(InfoText(folder.Write("m.gguf", "GGUF")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("m.gguf")));
}

}  // namespace
}  // namespace ropeway
