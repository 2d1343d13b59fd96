#include "engine/model/hf_config.h"

#include <cmath>
#include <string>

#include "nlohmann/json.hpp"
#include "tests/testing/status_matchers.h"
#include "tests/testing/tiny_models.h"

namespace ropeway {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

Json ConfigOf(const std::string& case_name, const char* key = "config") {
  const absl::StatusOr<Json> golden = ropeway::testing::ReadTinyGolden(case_name);
  EXPECT_OK(golden);
  return (*golden)[key];
}

DecoderSpec SpecOf(const std::string& case_name) {
  const absl::StatusOr<DecoderSpec> spec = SpecFromHfConfig(ConfigOf(case_name).dump());
  EXPECT_OK(spec);
  return *spec;
}

// The config of a case with some fields set; null removes one.
absl::StatusOr<DecoderSpec> With(const std::string& case_name, const Json& changes,
                                 const char* key = "config") {
  Json config = ConfigOf(case_name, key);
  for (const auto& item : changes.items())
    if (item.value().is_null())
      config.erase(item.key());
    else
      config[item.key()] = item.value();
  return SpecFromHfConfig(config.dump());
}

TEST(HfConfigTest, BothSpellingsSayTheSame) {
  for (const std::string& name : ropeway::testing::SupportedTinyCases()) {
    if (ConfigOf(name, "config_v4").is_null()) continue;  // there is but one
    ASSERT_OK_AND_ASSIGN(const DecoderSpec newer, SpecFromHfConfig(ConfigOf(name, "config").dump()));
    ASSERT_OK_AND_ASSIGN(const DecoderSpec older, SpecFromHfConfig(ConfigOf(name, "config_v4").dump()));
    EXPECT_EQ(newer, older) << name;
  }
}

RopeSpec RopeOf(const DecoderSpec& spec) { return spec.Ropes().at(0); }

std::vector<int32_t> WindowsOf(const DecoderSpec& spec) {
  std::vector<int32_t> windows;
  for (const LayerSpec& layer : spec.layers) windows.push_back(layer.position.window);
  return windows;
}

TEST(HfConfigTest, ReadsLlama) {
  const DecoderSpec spec = SpecOf("llama_base");
  const RopeSpec rope{.base = 10000, .rotary_dim = 16};
  LayerSpec layer{.attention = {.scale = 0.25f}, .position = {.scheme = rope}, .ffn = {.size = 160}};
  DecoderSpec expected{.architecture = "llama",
                       .vocab_size = 320,
                       .hidden_size = 96,
                       .num_heads = 6,
                       .num_kv_heads = 2,
                       .head_dim = 16,
                       .value_dim = 16,
                       .context_length = 256,
                       .norm = {.epsilon = 1e-5f},
                       .layers = std::vector<LayerSpec>(4, layer)};
  EXPECT_EQ(spec, expected);

  expected.tied_output = layer.attention.qkv_bias = layer.attention.output_bias = layer.ffn.bias = true;
  layer.position.scheme = RopeSpec{.base = 500000, .rotary_dim = 16};
  expected.layers.assign(4, layer);
  EXPECT_EQ(SpecOf("llama_tied_bias"), expected);
}

TEST(HfConfigTest, ReadsRopeScalings) {
  EXPECT_EQ(RopeOf(SpecOf("llama_rope_linear")),
            (RopeSpec{.rotary_dim = 16, .scaling = RopeScalingKind::kLinear, .factor = 4}));
  EXPECT_EQ(RopeOf(SpecOf("llama_rope_llama3")), (RopeSpec{.rotary_dim = 16,
                                                           .scaling = RopeScalingKind::kLlama3,
                                                           .factor = 8,
                                                           .low_freq_factor = 1,
                                                           .high_freq_factor = 4,
                                                           .original_context = 64}));
  EXPECT_EQ(RopeOf(SpecOf("llama_rope_yarn")), (RopeSpec{.rotary_dim = 16,
                                                         .scaling = RopeScalingKind::kYarn,
                                                         .factor = 4,
                                                         .original_context = 64,
                                                         .attention_factor = 0.1 * std::log(4.0) + 1}));
  const RopeSpec mscale = RopeOf(SpecOf("llama_rope_yarn_mscale"));
  EXPECT_EQ(mscale.beta_fast, 8);
  EXPECT_EQ(mscale.beta_slow, 0.5);
  EXPECT_DOUBLE_EQ(mscale.attention_factor, (0.12 * std::log(4.0) + 1) / (0.07 * std::log(4.0) + 1));
}

TEST(HfConfigTest, ReadsYarnDetails) {
  Json yarn = {{"rope_type", "yarn"}, {"factor", 2.0}, {"attention_factor", 1.5}, {"truncate", false}};
  ASSERT_OK_AND_ASSIGN(DecoderSpec spec, With("llama_base", {{"rope_parameters", yarn}}));
  EXPECT_EQ(RopeOf(spec).attention_factor, 1.5);
  EXPECT_FALSE(RopeOf(spec).truncate);
  // The original context is that of the model, and the base the family's, where the scaling says nothing.
  EXPECT_EQ(RopeOf(spec).original_context, 256);
  EXPECT_EQ(RopeOf(spec).base, 10000);
  // One mscale without the other counts for nothing; a factor up to one has the magnitude one.
  yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"mscale", 0.5}};
  ASSERT_OK_AND_ASSIGN(spec, With("llama_base", {{"rope_parameters", yarn}}));
  EXPECT_DOUBLE_EQ(RopeOf(spec).attention_factor, 0.1 * std::log(4.0) + 1);
  yarn = {{"rope_type", "yarn"}, {"factor", 0.5}};
  ASSERT_OK_AND_ASSIGN(spec, With("llama_base", {{"rope_parameters", yarn}}));
  EXPECT_EQ(RopeOf(spec).attention_factor, 1);
}

TEST(HfConfigTest, ReadsWindows) {
  const std::vector<int32_t> all(4, 32), none(4, 0), last_two = {0, 0, 32, 32};
  EXPECT_EQ(WindowsOf(SpecOf("mistral")), all);
  EXPECT_EQ(WindowsOf(SpecOf("qwen2")), none);
  EXPECT_EQ(WindowsOf(SpecOf("qwen2_window")), last_two);

  // Absent and null differ where the family has a default.
  ASSERT_OK_AND_ASSIGN(DecoderSpec spec, With("mistral", {{"sliding_window", nullptr}}));
  EXPECT_EQ(spec.layers[0].position.window, 4096);
  Json config = ConfigOf("mistral");
  config["sliding_window"] = nullptr;
  ASSERT_OK_AND_ASSIGN(spec, SpecFromHfConfig(config.dump()));
  EXPECT_EQ(WindowsOf(spec), none);
}

TEST(HfConfigTest, ReadsQwen) {
  const DecoderSpec qwen2 = SpecOf("qwen2"), qwen3 = SpecOf("qwen3");
  const AttentionSpec &attention2 = qwen2.layers[0].attention, &attention3 = qwen3.layers[0].attention;
  EXPECT_TRUE(attention2.qkv_bias && !attention2.output_bias && !qwen2.layers[0].ffn.bias);
  EXPECT_EQ(attention2.head_norm.kind, NormKind::kNone);
  EXPECT_EQ(attention3.head_norm.kind, NormKind::kRms);
  EXPECT_FALSE(attention3.qkv_bias);
  EXPECT_EQ(qwen3.head_dim, 24);
  EXPECT_EQ(qwen2.head_dim, 16);
  ASSERT_OK_AND_ASSIGN(const DecoderSpec implied, With("qwen3", {{"head_dim", nullptr}}));
  EXPECT_EQ(implied.head_dim, 128);
}

TEST(HfConfigTest, ReadsGemma3) {
  const DecoderSpec spec = SpecOf("gemma3_text");
  const AttentionSpec& attention = spec.layers[0].attention;
  EXPECT_TRUE(spec.block.pre_norm && spec.block.post_norm && spec.tied_output);
  EXPECT_EQ(spec.norm.offset, 1);
  EXPECT_EQ(attention.head_norm, (HeadNormSpec{.kind = NormKind::kRms, .epsilon = 1e-6f, .offset = 1}));
  EXPECT_EQ(spec.layers[0].ffn.activation, Activation::kGeluTanh);
  EXPECT_FLOAT_EQ(attention.scale, 1 / std::sqrt(20.0f));
  EXPECT_FLOAT_EQ(spec.embedding_scale, std::sqrt(96.0f));
  EXPECT_EQ(attention.softcap, 0);
  const RopeSpec full{.base = 1000000, .rotary_dim = 24, .scaling = RopeScalingKind::kLinear, .factor = 8};
  const RopeSpec local{.base = 10000, .rotary_dim = 24};
  EXPECT_EQ(spec.Ropes(), (std::vector<RopeSpec>{local, full}));
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(spec.layers[i].position,
              i == 2 ? PositionSpec{.scheme = full} : (PositionSpec{.scheme = local, .window = 32}));

  ASSERT_OK_AND_ASSIGN(const DecoderSpec implied, With("gemma3_text", {{"layer_types", nullptr},
                                                                       {"num_hidden_layers", 7},
                                                                       {"final_logit_softcapping", 30.0}}));
  for (int i = 0; i < 7; ++i) EXPECT_EQ(implied.layers[i].position.window, i == 5 ? 0 : 32) << i;
  EXPECT_EQ(implied.logit_softcap, 30);
  ASSERT_OK_AND_ASSIGN(const DecoderSpec pattern,
                       With("gemma3_text", {{"layer_types", nullptr}, {"sliding_window_pattern", 2}}));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(pattern.layers[i].position.window, i % 2 == 1 ? 0 : 32) << i;
}

TEST(HfConfigTest, TakesBothSpellingsTogetherWhereTheyAgree) {
  const Json scaling = {{"type", "linear"}, {"factor", 4.0}};
  EXPECT_OK(With("llama_rope_linear", {{"rope_theta", 10000.0}, {"rope_scaling", scaling}}));
  EXPECT_THAT(With("llama_rope_linear", {{"rope_theta", 20000.0}, {"rope_scaling", scaling}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'rope_parameters' contradicts")));
  EXPECT_THAT(
      With("llama_base", {{"rope_scaling", {{"type", "linear"}, {"rope_type", "yarn"}, {"factor", 4.0}}}},
           "config_v4"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'type' is 'linear', but")));
}

TEST(HfConfigTest, RefusesWhatItDoesNotKnow) {
  const struct {
    const char* case_name;
    Json changes;
    const char* says;
  } cases[] = {
      {"llama_base", {{"model_type", "mamba"}}, "supported are llama, mistral, "},
      {"llama_base", {{"logit_scale", 0.5}}, "config.json field 'logit_scale' is not supported"},
      {"llama_base", {{"quantization_config", {{"bits", 4}}}}, "'quantization_config' is not supported"},
      {"llama_base", {{"layer_types", Json::array()}}, "'layer_types' is not supported"},
      {"mistral", {{"attention_bias", true}}, "'attention_bias' is not supported"},
      {"qwen3", {{"mlp_bias", true}}, "'mlp_bias' is not supported"},
      {"llama_base", {{"hidden_act", "mish"}}, "'hidden_act' is 'mish'"},
      {"gemma3_text", {{"hidden_activation", "quick_gelu"}}, "'hidden_activation' is 'quick_gelu'"},
      {"gemma3_text", {{"use_bidirectional_attention", true}}, "only false is supported"},
      {"llama_base", {{"is_encoder_decoder", true}}, "only false is supported"},
      {"llama_base",
       {{"rope_parameters", {{"rope_type", "longrope"}}}},
       "supported are default, linear, llama3, yarn"},
      {"llama_base", {{"rope_parameters", {{"factor", 2.0}}}}, "field 'factor' is not supported"},
      {"llama_base", {{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}, "only 1 is supported"},
      {"qwen2",
       {{"layer_types", {"full_attention", "chunked_attention", "full_attention", "full_attention"}}},
       "'layer_types' of layer 1"},
  };
  for (const auto& test : cases)
    EXPECT_THAT(With(test.case_name, test.changes),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(test.says)))
        << test.changes;
  for (const char* name : {"llama_rope_dynamic", "llama_rope_longrope"})
    for (const char* key : {"config", "config_v4"})
      EXPECT_THAT(SpecFromHfConfig(ConfigOf(name, key).dump()),
                  StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("is not supported")));
}

TEST(HfConfigTest, RefusesWhatContradictsItself) {
  const struct {
    const char* case_name;
    Json changes;
    const char* says;
  } cases[] = {
      {"llama_base", {{"model_type", nullptr}}, "'model_type' is missing"},
      {"llama_base", {{"hidden_size", nullptr}}, "'hidden_size' is missing"},
      {"llama_base", {{"hidden_size", -1}}, "must be an integer in [0, 2^31), is -1"},
      {"llama_base", {{"hidden_size", 96.5}}, "must be an integer in [0, 2^31), is 96.5"},
      {"llama_base", {{"hidden_size", 4294967392}}, "must be an integer in [0, 2^31)"},
      {"llama_base", {{"hidden_size", "96"}}, "must be an integer in [0, 2^31), is \"96\""},
      {"llama_base", {{"num_attention_heads", 0}}, "must be a multiple of num_attention_heads 0"},
      {"llama_base", {{"num_key_value_heads", 4}}, "multiple of num_kv_heads 4, is 6"},
      {"llama_base", {{"num_key_value_heads", 0}}, "num_kv_heads must be in [1, 6], is 0"},
      {"llama_base", {{"head_dim", 15}}, "rotary_dim must be even, is 15"},
      {"llama_base", {{"head_dim", 100000}}, "head_dim must be in [1, 1024], is 100000"},
      {"llama_base", {{"num_hidden_layers", 0}}, "'num_hidden_layers' must be in [1, 1024], is 0"},
      {"llama_base", {{"num_hidden_layers", 2000000000}}, "'num_hidden_layers' must be in [1, 1024]"},
      {"llama_base", {{"rms_norm_eps", 0}}, "norm_epsilon must be positive"},
      {"llama_base", {{"tie_word_embeddings", 1}}, "must be true or false, is 1"},
      {"llama_base", {{"rope_parameters", {{"rope_theta", 0.0}}}}, "rope base must be positive"},
      {"llama_base", {{"rope_parameters", {{"rope_type", "yarn"}}}}, "field 'factor' is missing"},
      {"llama_base", {{"rope_parameters", 1}}, "'rope_parameters' must be an object"},
      {"llama_base", {{"vocab_size", 0}}, "vocab_size must be in"},
      {"qwen2", {{"layer_types", {"full_attention"}}}, "must be an array of 4 strings"},
      {"qwen2_window", {{"use_sliding_window", false}}, "'sliding_window' must be positive"},
      {"gemma3_text", {{"query_pre_attn_scalar", 0}}, "attention_scale must be positive and finite"},
      {"gemma3_text", {{"sliding_window_pattern", 0}}, "must be positive, is 0"},
  };
  for (const auto& test : cases)
    EXPECT_THAT(With(test.case_name, test.changes),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.says)))
        << test.changes;
}

TEST(HfConfigTest, RefusesTextThatIsNoConfig) {
  const struct {
    std::string text;
    const char* says;
  } cases[] = {
      {"", "not valid JSON"},
      {"[]", "must hold an object"},
      {R"({"a": 1, "a": 2})", "key 'a' appears twice"},
      {R"({"model_type": "llama")", "not valid JSON at byte"},
      {std::string(100000, '['), "nested 32 deep"},
      {std::string(40, '[') + std::string(40, ']'), "nested 32 deep"},
      {"{\"" + std::string(2000, 'a') + "\": 1}", "a key may have 1024 bytes, has 2000"},
      {R"({"model_type": 1})", "'model_type' must be a string, is 1"},
      {"{\"model_type\": \"\xff\"}", "not valid JSON"},
  };
  for (const auto& test : cases)
    EXPECT_THAT(SpecFromHfConfig(test.text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.says)));
}

TEST(HfConfigTest, IgnoresFieldsOfTrainingAndGeneration) {
  EXPECT_OK(With("llama_base", {{"attention_dropout", 0.1},
                                {"_name_or_path", "x"},
                                {"is_llama_config", true},
                                {"rope_interleaved", false},
                                {"transformers.js_config", {{"dtype", "q4"}}},
                                {"temperature", 0.7}}));
}

}  // namespace
}  // namespace ropeway
