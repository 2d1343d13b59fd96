#include "engine/model/hf_model.h"

#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::MakeTinyTensors;
using ::ropeway::testing::ReadTinyGolden;
using ::ropeway::testing::SafetensorsBytes;
using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TempFolder;
using ::ropeway::testing::TinyTensor;
using ::ropeway::testing::WriteTinyModel;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

constexpr char kIndexFile[] = "model.safetensors.index.json";

// Whether the tensor of a role has the values that the case's stream gives.
void ExpectTensor(const OpenedModel& model, const std::vector<TinyTensor>& expected, WeightRole role,
                  int layer) {
  ASSERT_OK_AND_ASSIGN(const WeightTensor found, model.tensors->Find({role, layer}));
  const TensorView& view = found.view;
  const std::string name = model.tensors->NameOf({role, layer});
  for (const TinyTensor& tensor : expected) {
    if (tensor.name != name) continue;
    EXPECT_EQ(view.type, DType::kF32);
    EXPECT_EQ(view.shape, tensor.shape);
    EXPECT_EQ(std::memcmp(view.data, tensor.values.data(), tensor.values.size() * sizeof(float)), 0) << name;
    return;
  }
  ADD_FAILURE() << name;
}

TEST(HfModelTest, OpensEveryCaseWholeAndInShards) {
  for (const char* name : {"llama_base", "llama_tied_bias", "mistral", "qwen2", "qwen3", "gemma3_text"}) {
    ASSERT_OK_AND_ASSIGN(const Json golden, ReadTinyGolden(name));
    const std::vector<TinyTensor> expected = MakeTinyTensors(golden);
    for (const int shards : {1, 3}) {
      const TempFolder folder;
      ASSERT_OK(WriteTinyModel(name, folder.path(), {.num_shards = shards}));
      ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.path()));
      EXPECT_EQ(model.spec.num_layers(), 4);
      ExpectTensor(model, expected, WeightRole::kTokenEmbedding, 0);
      ExpectTensor(model, expected, WeightRole::kQuery, 0);
      ExpectTensor(model, expected, WeightRole::kFfnNorm, 2);
      ExpectTensor(model, expected, WeightRole::kDown, 3);
    }
  }
}

// Opens a case whose config says `tied`, with an output layer beside the embedding that has `moved` added.
absl::StatusOr<OpenedModel> OpenWithOutput(const std::string& case_name, const std::string& embedding,
                                           const std::string& output, bool tied, float moved) {
  ASSIGN_OR_RETURN(Json golden, ReadTinyGolden(case_name));
  std::vector<TinyTensor> tensors = MakeTinyTensors(golden);
  for (const TinyTensor& tensor : tensors)
    if (tensor.name == embedding) {
      TinyTensor copy = tensor;
      copy.name = output;
      copy.values.back() += moved;
      tensors.push_back(std::move(copy));
      break;
    }
  golden["config"]["tie_word_embeddings"] = tied;
  const TempFolder folder;
  folder.Write("config.json", golden["config"].dump());
  folder.Write("model.safetensors", SafetensorsBytes(tensors));
  return OpenModel(folder.path());
}

TEST(HfModelTest, ATiedOutputMayBeStoredOnceMore) {
  const struct {
    const char *case_name, *embedding, *output;
  } cases[] = {{"llama_tied_bias", "model.embed_tokens.weight", "lm_head.weight"},
               {"gpt2", "transformer.wte.weight", "lm_head.weight"},
               {"biogpt", "biogpt.embed_tokens.weight", "output_projection.weight"}};
  for (const auto& [name, embedding, output] : cases) {
    SCOPED_TRACE(name);
    ASSERT_OK_AND_ASSIGN(const OpenedModel again, OpenWithOutput(name, embedding, output, true, 0));
    EXPECT_TRUE(again.spec.tied_output);
    EXPECT_THAT(again.tensors->Find({WeightRole::kOutput}).status(),
                StatusIs(absl::StatusCode::kNotFound, HasSubstr(output)));
    EXPECT_THAT(OpenWithOutput(name, embedding, output, true, 1),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("tensor '", output, "' differs from '", embedding,
                                                "', although the config ties them"))));
    ASSERT_OK_AND_ASSIGN(const OpenedModel other, OpenWithOutput(name, embedding, output, false, 1));
    EXPECT_OK(other.tensors->Find({WeightRole::kOutput}).status());
  }
}

// A Llama under InternLM 2's names: for each KV head its queries, its key and its value in one tensor.
std::vector<TinyTensor> AsInternLm2(const std::vector<TinyTensor>& tensors, int64_t kv_heads) {
  const auto find = [&](const std::string& name) {
    for (const TinyTensor& tensor : tensors)
      if (tensor.name == name) return tensor;
    return TinyTensor();
  };
  const std::pair<const char*, const char*> names[] = {
      {"embed_tokens", "tok_embeddings"},    {"lm_head", "output"},
      {"input_layernorm", "attention_norm"}, {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.o_proj", "attention.wo"},  {"mlp.gate_proj", "feed_forward.w1"},
      {"mlp.down_proj", "feed_forward.w2"},  {"mlp.up_proj", "feed_forward.w3"}};
  std::vector<TinyTensor> renamed;
  for (TinyTensor tensor : tensors) {
    if (absl::StrContains(tensor.name, "k_proj") || absl::StrContains(tensor.name, "v_proj")) continue;
    if (absl::StrContains(tensor.name, "q_proj")) {
      const TinyTensor queries = tensor;
      const TinyTensor keys = find(absl::StrReplaceAll(tensor.name, {{"q_proj", "k_proj"}}));
      const TinyTensor values = find(absl::StrReplaceAll(tensor.name, {{"q_proj", "v_proj"}}));
      tensor.name = absl::StrReplaceAll(tensor.name, {{"self_attn.q_proj", "attention.wqkv"}});
      tensor.shape[0] += 2 * keys.shape[0];
      tensor.values.clear();
      for (int64_t head = 0; head < kv_heads; ++head) {
        const auto part = [&](const TinyTensor& from) {
          const auto size = static_cast<int64_t>(from.values.size()) / kv_heads;
          tensor.values.insert(tensor.values.end(), from.values.begin() + head * size,
                               from.values.begin() + (head + 1) * size);
        };
        part(queries);
        part(keys);
        part(values);
      }
    }
    for (const auto& [from, to] : names) tensor.name = absl::StrReplaceAll(tensor.name, {{from, to}});
    renamed.push_back(std::move(tensor));
  }
  return renamed;
}

TEST(HfModelTest, InternLm2IsALlamaUnderOtherNames) {
  const TempFolder llama_folder, folder;
  ASSERT_OK(WriteTinyModel("llama_base", llama_folder.path()));
  ASSERT_OK_AND_ASSIGN(const OpenedModel llama, OpenModel(llama_folder.path()));
  ASSERT_OK_AND_ASSIGN(const Json golden, ReadTinyGolden("llama_base"));
  Json config = golden["config_v4"];
  config["model_type"] = "internlm2";
  config["bias"] = false;
  config["auto_map"] = {{"AutoConfig", "configuration_internlm2.InternLM2Config"}};
  for (const char* name : {"attention_bias", "mlp_bias"}) config.erase(name);
  folder.Write("config.json", config.dump());
  folder.Write("model.safetensors",
               SafetensorsBytes(AsInternLm2(MakeTinyTensors(golden), llama.spec.num_kv_heads)));
  ASSERT_OK_AND_ASSIGN(OpenedModel model, OpenModel(folder.path()));
  EXPECT_EQ(model.spec.architecture, "internlm2");
  for (const TensorId& id : TensorsOf(llama.spec)) {
    ASSERT_OK_AND_ASSIGN(const WeightTensor found, model.tensors->Find(id));
    ASSERT_OK_AND_ASSIGN(const WeightTensor expected, llama.tensors->Find(id));
    EXPECT_EQ(found.view.shape, expected.view.shape);
    EXPECT_EQ(std::memcmp(found.view.data, expected.view.data, static_cast<size_t>(expected.view.bytes())), 0)
        << llama.tensors->NameOf(id);
  }
  model.spec.architecture = "llama";
  EXPECT_EQ(model.spec, llama.spec);
}

TEST(HfModelTest, NamesTheNormsOfGemma) {
  const TempFolder folder;
  ASSERT_OK(WriteTinyModel("gemma3_text", folder.path()));
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenHfModel(folder.path()));
  EXPECT_EQ(model.tensors->NameOf({WeightRole::kAttentionPostNorm, 1}),
            "model.layers.1.post_attention_layernorm.weight");
  EXPECT_EQ(model.tensors->NameOf({WeightRole::kFfnNorm, 1}),
            "model.layers.1.pre_feedforward_layernorm.weight");
  EXPECT_THAT(model.tensors->Find({WeightRole::kOutput}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("'lm_head.weight'")));
  EXPECT_THAT(model.tensors->Find({WeightRole::kQuery, 0, /*is_bias=*/true}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("q_proj.bias")));
}

// Opens `case_name` with its tensors changed.
absl::Status OpenChanged(const std::string& case_name,
                         const std::function<void(std::vector<TinyTensor>&)>& change) {
  const TempFolder folder;
  EXPECT_OK(WriteTinyModel(case_name, folder.path()));
  std::vector<TinyTensor> tensors = MakeTinyTensors(*ReadTinyGolden(case_name));
  change(tensors);
  folder.Write("model.safetensors", SafetensorsBytes(tensors));
  return OpenHfModel(folder.path()).status();
}

TEST(HfModelTest, RefusesTensorsThatDoNotFitTheConfig) {
  EXPECT_THAT(
      OpenChanged("llama_base", [](auto& tensors) { tensors.pop_back(); }),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensor 'model.norm.weight' is missing")));
  EXPECT_THAT(
      OpenChanged("llama_base",
                  [](auto& tensors) {
                    tensors.back().shape = {1, 96};
                  }),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensor 'model.norm.weight' must have the "
                                                             "shape [96], has [1, 96]")));
  for (const char* name : {"model.layers.1.self_attn.q_proj.bias", "model.layers.4.input_layernorm.weight",
                           "model.layers.0.self_attn.q_norm.weight", "score.weight"})
    EXPECT_THAT(
        OpenChanged("llama_base",
                    [&](auto& tensors) {
                      tensors.push_back({name, {96}, std::vector<float>(96)});
                    }),
        StatusIs(absl::StatusCode::kUnimplemented, AllOf(HasSubstr(name), HasSubstr("has no place"))));
  EXPECT_OK(OpenChanged("llama_base", [](auto& tensors) {
    tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", {8}, std::vector<float>(8)});
  }));
}

TEST(HfModelTest, ATiedOutputHasABiasOfItsOwn) {
  const TempFolder folder;
  ASSERT_OK(WriteTinyModel("phi", folder.path()));
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.path()));
  DecoderSpec spec = model.spec;
  ASSERT_TRUE(spec.output_bias && !spec.tied_output);
  const TensorId weight{WeightRole::kOutput}, bias{WeightRole::kOutput, 0, /*is_bias=*/true};
  const size_t count = TensorsOf(spec).size();
  EXPECT_TRUE(HasTensor(weight, spec) && HasTensor(bias, spec));
  spec.tied_output = true;
  EXPECT_TRUE(!HasTensor(weight, spec) && HasTensor(bias, spec));
  EXPECT_EQ(TensorsOf(spec).size(), count - 1);
  spec.output_bias = false;
  EXPECT_FALSE(HasTensor(weight, spec) || HasTensor(bias, spec));
}

TEST(HfModelTest, NamesTheFileThatIsMissingOrBad) {
  EXPECT_THAT(OpenModel("tests/no such folder"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such folder")));
  const TempFolder folder;
  EXPECT_THAT(OpenModel(folder.path()), StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
  folder.Write("config.json", "{}");
  EXPECT_THAT(OpenModel(folder.path()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("config.json"), HasSubstr("'model_type' is missing"))));
  folder.Write("config.json", std::string((1 << 20) + 1, ' '));
  EXPECT_THAT(OpenModel(folder.path()), StatusIs(absl::StatusCode::kInvalidArgument,
                                                 HasSubstr("config.json' has more than 1048576 bytes")));
  ASSERT_OK(WriteTinyModel("llama_base", folder.path()));
  folder.Write("model.safetensors", "short");
  EXPECT_THAT(OpenModel(folder.path()), StatusIs(absl::StatusCode::kInvalidArgument,
                                                 HasSubstr("model.safetensors': not a safetensors file")));
  std::filesystem::remove(folder.File("model.safetensors"));
  EXPECT_THAT(OpenModel(folder.path()), StatusIs(absl::StatusCode::kNotFound, HasSubstr("has neither")));
}

// Opens a model in two shards whose index was changed.
absl::Status OpenWithIndex(const std::function<void(Json& index)>& change) {
  const TempFolder folder;
  EXPECT_OK(WriteTinyModel("llama_base", folder.path(), {.num_shards = 2}));
  std::string text;
  {
    std::ifstream file(folder.File(kIndexFile));
    text.assign(std::istreambuf_iterator<char>(file), {});
  }
  Json index = Json::parse(text);
  change(index);
  folder.Write(kIndexFile, index.dump());
  return OpenHfModel(folder.path()).status();
}

TEST(HfModelTest, RefusesABadIndex) {
  EXPECT_OK(OpenWithIndex([](Json&) {}));
  for (const char* name : {"../model.safetensors", "/etc/passwd", "sub/model.safetensors", "..", "",
                           ".safetensors", "model.bin", "a\\b.safetensors"})
    EXPECT_THAT(
        OpenWithIndex([&](Json& index) { index["weight_map"]["lm_head.weight"] = name; }),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensor 'lm_head.weight' must lie in a "
                                                               ".safetensors file of the same folder")))
        << name;
  EXPECT_THAT(OpenWithIndex([](Json& index) {
                index["weight_map"]["lm_head.weight"] = std::string("a\0.safetensors", 14);
              }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must lie in")));
  EXPECT_THAT(OpenWithIndex([](Json& index) { index["weight_map"]["lm_head.weight"] = 1; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must lie in")));
  EXPECT_THAT(OpenWithIndex([](Json& index) {
                for (auto& file : index["weight_map"]) file = "other.safetensors";
              }),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("other.safetensors")));
  EXPECT_THAT(
      OpenWithIndex(
          [](Json& index) { index["weight_map"]["lm_head.weight"] = "model-00002-of-00002.safetensors"; }),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'lm_head.weight' is not placed in this file")));
  EXPECT_THAT(
      OpenWithIndex([](Json& index) { index["weight_map"].erase("lm_head.weight"); }),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'lm_head.weight' is not placed in this file")));
  EXPECT_THAT(
      OpenWithIndex([](Json& index) { index["weight_map"]["new"] = "model-00001-of-00002.safetensors"; }),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensor 'new' is missing")));
  EXPECT_THAT(OpenWithIndex([](Json& index) { index.erase("weight_map"); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'weight_map' must be an object")));
}

}  // namespace
}  // namespace ropeway
