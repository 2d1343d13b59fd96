#include "engine/model/hf_config.h"

#include <cmath>
#include <string>
#include <variant>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/engine/model/tiny_config.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/tiny_models.h"

namespace ropeway {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;
using ::ropeway::testing::ConfigOf;
using ::ropeway::testing::SpecOf;
using ::ropeway::testing::With;

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

TEST(HfConfigTest, ReadsOptWithoutBiasesAndWeightsOfNorms) {
  ASSERT_OK_AND_ASSIGN(
      const DecoderSpec spec,
      With("opt_post_norm", {{"enable_bias", false}, {"layer_norm_elementwise_affine", false}}));
  EXPECT_FALSE(spec.layers[0].attention.qkv_bias || spec.layers[0].attention.output_bias ||
               spec.layers[0].ffn.bias);
  EXPECT_FALSE(spec.norm.has_weight || spec.norm.has_bias);
  ASSERT_OK_AND_ASSIGN(const DecoderSpec both, With("opt_post_norm", Json::object()));
  EXPECT_TRUE(both.layers[0].attention.qkv_bias && both.layers[0].ffn.bias && both.norm.has_weight);
}

// transformers has BioGPT's layer norms without it.
TEST(HfConfigTest, BioGptsEpsilonIsNotThatOfItsConfig) {
  for (const double epsilon : {1e-12, 1e-3}) {
    ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, With("biogpt", {{"layer_norm_eps", epsilon}}));
    EXPECT_FLOAT_EQ(spec.norm.epsilon, 1e-5f);
  }
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

// EXAONE 4 rotates all layers where there are no windows; Cohere 2 rotates layers with windows, and no others.
TEST(HfConfigTest, LayersWithoutWindowsMayStandStill) {
  const struct {
    const char* case_name;
    Json window;
    bool is_rotated;
  } cases[] = {{"exaone4", nullptr, true},
               {"exaone4", 32, false},
               {"cohere2", nullptr, false},
               {"cohere2", 32, false}};
  for (const auto& test : cases) {
    Json config = ConfigOf(test.case_name);
    config["sliding_window"] = test.window;
    config["layer_types"] = Json(4, "full_attention");
    ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, SpecFromHfConfig(config.dump()));
    for (const LayerSpec& layer : spec.layers)
      EXPECT_EQ(std::holds_alternative<RopeSpec>(layer.position.scheme), test.is_rotated)
          << test.case_name << test.window;
  }
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
  // transformers passes it by.
  ASSERT_OK_AND_ASSIGN(const DecoderSpec capped, With("gemma3_text", {{"attn_logit_softcapping", 2.0}}));
  EXPECT_EQ(capped.layers[0].attention.softcap, 0);
  ASSERT_OK_AND_ASSIGN(const DecoderSpec pattern,
                       With("gemma3_text", {{"layer_types", nullptr}, {"sliding_window_pattern", 2}}));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(pattern.layers[i].position.window, i % 2 == 1 ? 0 : 32) << i;
}

TEST(HfConfigTest, RefusesCapsThatFloatsCannotDivideBy) {
  for (const char* name : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    for (const double cap : {1e-60, 1e-30, 3e38, 1e39, -1.0})
      EXPECT_THAT(With("gemma2", {{name, cap}}),
                  StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("softcap must be 0 or in")))
          << name << " " << cap;
    for (const double cap : {0.0, 0.001, 1e12})
      EXPECT_OK(With("gemma2", {{name, cap}})) << name << " " << cap;
  }
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
      {"llama_base", {{"layer_types", Json::array()}}, "only full_attention for every layer is supported"},
      {"mistral", {{"attention_bias", true}}, "'attention_bias' is true; only false is supported"},
      {"qwen3", {{"mlp_bias", true}}, "'mlp_bias' is true; only false is supported"},
      {"llama_base", {{"hidden_act", "mish"}}, "'hidden_act' is 'mish'"},
      {"gemma3_text", {{"hidden_activation", "quick_gelu"}}, "'hidden_activation' is 'quick_gelu'"},
      {"gemma3_text", {{"use_bidirectional_attention", true}}, "only false is supported"},
      {"llama_base", {{"is_encoder_decoder", true}}, "only false is supported"},
      {"llama_base",
       {{"rope_parameters", {{"rope_type", "su"}}}},
       "supported are default, linear, dynamic, llama3, yarn, longrope"},
      {"llama_rope_longrope", {{"rope_parameters", {{"short_mscale", 1.0}}}}, "is not supported"},
      {"gpt_oss", {{"hidden_act", "gelu"}}, "only silu is supported"},
      {"deepseek_v3", {{"scoring_func", "softmax"}}, "only sigmoid is supported"},
      {"deepseek_v3", {{"topk_method", "greedy"}}, "only noaux_tc is supported"},
      {"deepseek_v2", {{"norm_topk_prob", true}}, "only false is supported"},
      {"deepseek_v2", {{"topk_method", "noaux_tc"}}, "supported are greedy, group_limited_greedy"},
      {"mixtral", {{"quantization_config", Json::object()}}, "'quantization_config' is not supported"},
      {"llama4_text",
       {{"layer_types", {"full_attention", "sliding_attention", "full_attention", "full_attention"}}},
       "'layer_types' of layer 1"},
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
}

// Some fields of "rope_parameters" set; null removes one.
absl::StatusOr<DecoderSpec> WithRope(const std::string& case_name, const Json& changes) {
  Json rope = ConfigOf(case_name)["rope_parameters"];
  for (const auto& item : changes.items())
    if (item.value().is_null())
      rope.erase(item.key());
    else
      rope[item.key()] = item.value();
  return With(case_name, {{"rope_parameters", rope}});
}

TEST(HfConfigTest, RefusesRopesThatContradictThemselves) {
  const struct {
    const char* case_name;
    Json changes;
    const char* says;
  } cases[] = {
      {"llama_rope_dynamic", {{"factor", nullptr}}, "'factor' is missing"},
      {"llama_rope_dynamic",
       {{"original_max_position_embeddings", 32}},
       "must be 64 as the context is, is 32"},
      {"llama_rope_longrope",
       {{"short_factor", {1.0, 2.0}}},
       "'short_factor' must be an array of 8 positive"},
      {"llama_rope_longrope", {{"long_factor", nullptr}}, "'long_factor' must be an array of 8 positive"},
      {"llama_rope_longrope",
       {{"long_factor", {1.0, 2.0, 3.0, 0.0, 5.0, 6.0, 7.0, 8.0}}},
       "'long_factor' must be an array of 8 positive"},
      {"llama_rope_longrope", {{"original_max_position_embeddings", 1}}, "must be at least 2, is 1"},
      {"phi3_longrope",
       {{"original_max_position_embeddings", 32}},
       "must be 64 as the config says elsewhere"},
      {"ministral3", {{"llama_4_scaling_beta", nullptr}}, "'llama_4_scaling_beta' is missing"},
      {"ministral3", {{"original_max_position_embeddings", 0}}, "must be positive, is 0"},
  };
  for (const auto& test : cases)
    EXPECT_THAT(WithRope(test.case_name, test.changes),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.says)))
        << test.changes;
}

TEST(HfConfigTest, DynamicNtkStretchesTheContext) {
  EXPECT_EQ(SpecOf("llama_rope_dynamic").context_length, 256);
  EXPECT_EQ(SpecOf("llama_rope_longrope").context_length, 256);
}

TEST(HfConfigTest, OlderNamesOfLongRope) {
  const DecoderSpec named = SpecOf("phi3_longrope");
  for (const char* older : {"su", "yarn"}) {
    ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, WithRope("phi3_longrope", {{"rope_type", older}}));
    EXPECT_EQ(spec, named);
  }
  // The factor is the quotient of both contexts where it is not said.
  ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, WithRope("phi3_longrope", {{"factor", nullptr}}));
  EXPECT_EQ(spec, named);
}

TEST(HfConfigTest, ExpertsOfEachFamily) {
  const auto experts = [](const char* name, int layer) { return SpecOf(name).layers[layer].ffn.experts; };
  EXPECT_EQ(experts("mixtral", 0), (ExpertsSpec{.count = 5, .per_token = 2, .normalised = true}));
  EXPECT_EQ(experts("qwen2_moe", 0),
            (ExpertsSpec{.count = 5, .per_token = 2, .shared_size = 72, .shared_gate = true}));
  EXPECT_EQ(experts("qwen2_moe", 1), ExpertsSpec());
  EXPECT_EQ(experts("deepseek_v3", 1), (ExpertsSpec{.count = 6,
                                                    .per_token = 3,
                                                    .score = RouterScore::kSigmoid,
                                                    .correction = true,
                                                    .groups = 3,
                                                    .chosen_groups = 2,
                                                    .normalised = true,
                                                    .least_sum = 1e-20f,
                                                    .scale = 1.5f,
                                                    .shared_size = 56}));
  EXPECT_EQ(experts("llama4_text", 1), (ExpertsSpec{.count = 3,
                                                    .per_token = 1,
                                                    .score = RouterScore::kSigmoid,
                                                    .scales_input = true,
                                                    .shared_size = 56}));
}

TEST(HfConfigTest, PairsOfLatentAttention) {
  const auto pairing = [](const DecoderSpec& spec) {
    return std::get<RopeSpec>(spec.layers[2].position.scheme).pairing;
  };
  EXPECT_EQ(pairing(SpecOf("deepseek_v3")), RopePairing::kInterleaved);
  EXPECT_EQ(pairing(SpecOf("minicpm3")), RopePairing::kHalves);
  ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, With("deepseek_v3", {{"rope_interleave", false}}));
  EXPECT_EQ(pairing(spec), RopePairing::kHalves);
}

// Every second layer of the first ones, where windows are switched on.
TEST(HfConfigTest, WindowsOfQwen2Moe) {
  ASSERT_OK_AND_ASSIGN(
      const DecoderSpec spec,
      With("qwen2_moe", {{"use_sliding_window", true}, {"sliding_window", 9}, {"max_window_layers", 3}},
           "config_v4"));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(spec.layers[i].position.window, i % 2 == 0 && i < 3 ? 9 : 0) << i;
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
      {"mixtral", {{"num_local_experts", nullptr}}, "'num_local_experts' is missing"},
      {"mixtral", {{"num_local_experts", 0}}, "'num_local_experts' must be positive, is 0"},
      {"mixtral", {{"num_local_experts", 1025}}, "number of experts must be in [0, 1024], is 1025"},
      {"mixtral", {{"num_experts_per_tok", 0}}, "experts per token must be in [1, 64], is 0"},
      {"mixtral", {{"num_experts_per_tok", 6}}, "experts per token must be in [1, 5], is 6"},
      {"qwen2_moe", {{"mlp_only_layers", {4}}}, "must be an array of indices of layers below 4"},
      {"qwen2_moe", {{"mlp_only_layers", 1}}, "must be an array of indices of layers below 4"},
      {"qwen2_moe", {{"decoder_sparse_step", 0}}, "'decoder_sparse_step' must be positive, is 0"},
      {"qwen2_moe", {{"shared_expert_intermediate_size", 0}}, "must be positive, is 0"},
      {"qwen3_moe", {{"num_experts", 6}}, "'num_local_experts' must be 6 as 'num_experts' says, is 5"},
      {"qwen3_moe", {{"moe_intermediate_size", nullptr}}, "'moe_intermediate_size' is missing"},
      {"granitemoe", {{"residual_multiplier", 0}}, "residual_scale must be positive"},
      {"gpt_oss", {{"rope_parameters", nullptr}}, "'rope_parameters' is missing"},
      {"gpt_oss", {{"swiglu_limit", 0}}, "limit of the clamped SwiGLU must be positive"},
      {"gpt_oss", {{"experts_per_token", 3}}, "'experts_per_token' must be 2"},
      {"llama4_text", {{"attention_chunk_size", 0}}, "must be positive where layers have chunks"},
      {"llama4_text", {{"moe_layers", "all"}}, "must be an array of indices of layers below 4"},
      {"llama4_text", {{"no_rope_layers", {1}}}, "must be an array of 4 numbers"},
      {"llama4_text", {{"floor_scale", 0}}, "'floor_scale' must be positive, is 0"},
      {"deepseek_v3", {{"n_group", 4}}, "groups of experts must divide the number of experts 6, are 4"},
      {"deepseek_v3", {{"topk_group", 4}}, "chosen groups of experts must be in [1, 3], is 4"},
      {"deepseek_v3", {{"num_experts_per_tok", 5}}, "experts per token must be in [1, 4], is 5"},
      {"deepseek_v3", {{"qk_head_dim", 21}}, "'qk_head_dim' must be 20 in this config, is 21"},
      {"deepseek_v3", {{"num_key_value_heads", 2}}, "'num_key_value_heads' must be 6 in this config, is 2"},
      {"deepseek_v3", {{"kv_lora_rank", 0}}, "'kv_lora_rank' and 'qk_nope_head_dim' must be positive"},
      {"deepseek_v3", {{"qk_rope_head_dim", 7}}, "'qk_head_dim' must be 19"},
      {"deepseek_v3", {{"moe_layer_freq", 2}}, "'moe_layer_freq' must be 1"},
      {"hunyuan_v1_moe", {{"moe_topk", nullptr}}, "'moe_topk' is missing"},
      {"glm4_moe", {{"n_shared_experts", 0}}, "'n_shared_experts' must be positive"},
      {"deepseek_v2", {{"topk_group", 4}}, "chosen groups of experts must be in [1, 3], is 4"},
      {"minicpm3", {{"scale_emb", 0}}, "embedding_scale must be positive"},
      {"minicpm3", {{"dim_model_base", 0}}, "logit_scale must be positive"},
      {"opt_post_norm", {{"word_embed_proj_dim", 0}}, "must be positive, is 0"},
      {"qwen2_window", {{"use_sliding_window", false}}, "'sliding_window' must be positive"},
      {"gemma3_text", {{"query_pre_attn_scalar", 0}}, "attention_scale must be positive and finite"},
      {"gemma3_text", {{"layer_types", nullptr}, {"sliding_window_pattern", 0}}, "must be positive, is 0"},
  };
  for (const auto& test : cases)
    EXPECT_THAT(With(test.case_name, test.changes),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.says)))
        << test.changes;
}

TEST(HfConfigTest, NumbersOfAllLayersMustAgree) {
  const Json wrong[] = {{2, 2, 3, 2}, Json::array(), {-1, -1}, {1ull << 32}, {"2"}};
  for (const Json& list : wrong)
    EXPECT_THAT(With("hunyuan_v1_moe", {{"moe_topk", list}}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("'moe_topk' must be an integer, or a list with the same integer for each "
                                   "layer")))
        << list;
}

TEST(HfConfigTest, BoundsTheContextBeforeAnOffsetIsAdded) {
  const struct {
    const char* case_name;
    const char* field;
    int64_t value;
  } cases[] = {{"opt", "max_position_embeddings", INT32_MAX},
               {"biogpt", "max_position_embeddings", (1 << 26) + 1},
               {"gpt2", "n_positions", INT32_MAX},
               {"llama_base", "max_position_embeddings", INT32_MAX}};
  for (const auto& test : cases)
    EXPECT_THAT(
        With(test.case_name, {{test.field, test.value}}),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 HasSubstr(absl::StrCat("'", test.field, "' may be at most 67108864, is ", test.value))))
        << test.case_name;
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
