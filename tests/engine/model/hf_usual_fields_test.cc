#include "engine/model/hf_usual_fields.h"

#include <string>
#include <utility>
#include <vector>

#include "engine/model/hf_config.h"
#include "nlohmann/json.hpp"
#include "tests/engine/model/tiny_config.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::ConfigOf;
using ::ropeway::testing::IsOk;
using ::ropeway::testing::SpecOf;
using ::ropeway::testing::StatusIs;
using ::ropeway::testing::With;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

// As folders were published with them, which transformers does not read.
TEST(HfUsualFieldsTest, TakesWhatPublishedFoldersSayBeside) {
  const struct {
    const char* case_name;
    Json beside;
  } cases[] = {
      {"apertus", {{"mlp_bias", false}, {"post_norm", false}, {"qk_norm", true}}},
      {"bloom",
       {{"bias_dropout_fusion", true},
        {"masked_softmax_fusion", true},
        {"offset_alibi", 100},
        {"skip_bias_add", true},
        {"skip_bias_add_qkv", false},
        {"unk_token_id", 0}}},
      {"codegen", {{"scale_attn_weights", true}}},
      {"cohere", {{"model_max_length", 131072}}},
      {"cohere2",
       {{"layer_switch", 4},
        {"order_of_interleaved_layers", "local_attn_first"},
        {"position_embedding_type", "rope_gptj"},
        {"rotary_pct", 1.0},
        {"use_embedding_sharing", true},
        {"use_gated_activation", true},
        {"use_parallel_block", true},
        {"use_parallel_embedding", false},
        {"use_qk_norm", false}}},
      {"ernie4_5", {{"use_flash_attention", false}, {"use_rmsnorm", true}}},
      {"falcon_11b", {{"ff_factor", 4}}},
      {"falcon_7b", {{"apply_residual_connection_post_layernorm", false}}},
      {"gemma", {{"hidden_activation", "gelu_pytorch_tanh"}}},
      {"gemma2", {{"hidden_act", "gelu_pytorch_tanh"}, {"sliding_window_size", 32}}},
      {"gpt2",
       {{"_num_labels", 1}, {"n_ctx", 128}, {"n_positions", 128}, {"n_special", 0}, {"output_past", true}}},
      {"gpt_bigcode", {{"inference_runner", 0}, {"pad_key_length", true}, {"validate_runner_input", true}}},
      {"gpt_neox", {{"custom_pipelines", Json::object()}}},
      {"gptj", {{"rotary", true}, {"scale_attn_weights", true}}},
      {"granite", {{"init_method", "mup"}}},
      {"hunyuan_v1_dense",
       {{"add_classification_head", false},
        {"attention_head_dim", 24},
        {"cla_share_factor", 2},
        {"mlp_bias", false},
        {"norm_type", "rms"},
        {"pool_type", "last"},
        {"use_cla", false},
        {"use_qk_norm", true},
        {"use_rotary_pos_emb", true}}},
      {"hunyuan_v1_moe", {{"norm_type", "rms"}, {"use_qk_norm", true}}},
      {"llama_base", {{"bias", false}, {"rope_type", "default"}, {"neftune_noise_alpha", 5}}},
      {"llama_base", {{"layer_types", Json(4, "full_attention")}}},
      {"mpt", {{"init_config", {{"name", "kaiming_normal_"}}}, {"tokenizer_name", "x"}, {"verbose", 0}}},
      {"phi3",
       {{"attention_bias", false}, {"full_attn_mod", 1}, {"interpolate_factor", 1}, {"lm_head_bias", false}}},
      {"smollm3", {{"max_window_layers", 28}}},
      {"starcoder2", {{"mlp_type", "default"}, {"norm_type", "layer_norm"}}},
  };
  for (const auto& test : cases) {
    Json bare = Json::object();
    if (std::string(test.case_name) == "gpt2") bare = {{"n_positions", 128}};
    ASSERT_OK_AND_ASSIGN(const DecoderSpec expected, With(test.case_name, bare));
    const absl::StatusOr<DecoderSpec> spec = With(test.case_name, test.beside);
    ASSERT_OK(spec) << test.case_name;
    EXPECT_EQ(*spec, expected) << test.case_name;
  }
}

// Some of it is said of each layer, and some of the eyes that other models of the name have.
TEST(HfUsualFieldsTest, TakesWhatHunyuansExpertsSayBeside) {
  const DecoderSpec expected = SpecOf("hunyuan_v1_moe");
  const Json size = ConfigOf("hunyuan_v1_moe")["intermediate_size"];
  const Json all = {{"moe_topk", Json(4, 2)},
                    {"num_shared_expert", Json(4, 1)},
                    {"moe_intermediate_size", Json(4, size)},
                    {"moe_drop_tokens", false},
                    {"moe_layer_num_skipped", 0},
                    {"moe_random_routing_dropped_token", false},
                    {"group_limited_greedy", false},
                    {"n_group", false},
                    {"topk_group", false},
                    {"norm_topk_prob", true},
                    {"routed_scaling_factor", false},
                    {"position_embedding_xdrope", false},
                    {"use_mixed_mlp_moe", true},
                    {"use_mla", false},
                    {"vit_patch", 1},
                    {"num_media_embeds", 257}};
  const Json other = {{"num_experts", Json(4, 5)}, {"routed_scaling_factor", 1.0}};
  for (const Json& beside : {all, other}) {
    ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, With("hunyuan_v1_moe", beside));
    EXPECT_EQ(spec, expected);
  }
}

// Null is what an absent field is.
TEST(HfUsualFieldsTest, TakesNullsUnderAnyName) {
  Json config = ConfigOf("llama_base");
  config["quantization_config"] = config["whatever"] = nullptr;
  config["rope_parameters"]["whatever"] = nullptr;
  EXPECT_OK(SpecFromHfConfig(config.dump()));
}

TEST(HfUsualFieldsTest, RefusesWhatFoldersSayBesideWhereItIsUnusual) {
  const struct {
    const char* case_name;
    Json beside;
    const char* says;
  } cases[] = {
      {"apertus", {{"post_norm", true}}, "'post_norm' is true; only false is supported"},
      {"cohere2", {{"rotary_pct", 0.5}}, "'rotary_pct' is 0.5; only 1.0 is supported"},
      {"cohere2", {{"position_embedding_type", "alibi"}}, "only \"rope_gptj\" is supported"},
      {"gpt2", {{"n_ctx", 7}}, "'n_ctx' is 7; only what 'n_positions' says"},
      {"hunyuan_v1_dense", {{"use_cla", true}}, "'use_cla' is true"},
      {"hunyuan_v1_dense",
       {{"attention_head_dim", 7}},
       "'attention_head_dim' is 7; only what 'head_dim' says, "},
      {"bloom", {{"attention_head_dim", 16}}, "'attention_head_dim' is 16; only what 'head_dim' says"},
      {"llama_base", {{"layer_types", {"full_attention", "sliding_attention"}}}, "'layer_types' is ["},
      {"hunyuan_v1_moe",
       {{"num_shared_expert", {1, 1, 2, 1}}},
       "'num_shared_expert' is [1,1,2,1]; only 1 is"},
      {"hunyuan_v1_moe", {{"num_shared_expert", Json::array()}}, "'num_shared_expert' is []; only 1 is"},
      {"hunyuan_v1_moe", {{"moe_intermediate_size", 8}}, "only what 'intermediate_size' says, "},
      {"hunyuan_v1_moe",
       {{"routed_scaling_factor", 2}},
       "'routed_scaling_factor' is 2; only 1 and false are"},
      {"hunyuan_v1_moe", {{"norm_topk_prob", false}}, "'norm_topk_prob' is false; only true is supported"},
      {"llama_base", {{"rope_type", "yarn"}}, "'rope_type' is \"yarn\""},
      {"falcon_7b", {{"apply_residual_connection_post_layernorm", true}}, "is true; only false is supported"},
      {"llama_base", {{"bias", true}}, "'bias' is true"},
      {"llama_base", {{"use_parallel_residual", true}}, "'use_parallel_residual' is true"},
      {"phi3", {{"use_sliding_window", true}}, "'use_sliding_window' is true"},
      {"phi3", {{"full_attn_mod", 2}}, "'full_attn_mod' is 2; only 1 is supported"},
      {"starcoder2", {{"norm_type", "rms"}}, "'norm_type' is \"rms\""},
      {"gemma", {{"hidden_activation", "relu"}}, "'hidden_activation' is 'relu'"},
  };
  for (const auto& test : cases)
    EXPECT_THAT(With(test.case_name, test.beside),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(test.says)))
        << test.case_name << test.beside;
}

TEST(HfUsualFieldsTest, SizesMayHaveTheNamesThatAllFamiliesShare) {
  const struct {
    const char* case_name;
    std::vector<std::pair<const char*, const char*>> names;
  } cases[] = {
      {"bloom",
       {{"hidden_size", "n_embed"}, {"n_head", "num_attention_heads"}, {"n_layer", "num_hidden_layers"}}},
      {"gpt2", {{"n_embd", "hidden_size"}, {"n_positions", "max_position_embeddings"}}},
      {"mpt", {{"d_model", "hidden_size"}, {"n_heads", "num_attention_heads"}}},
  };
  for (const auto& test : cases) {
    Json config = ConfigOf(test.case_name);
    for (const auto& [own, shared] : test.names) {
      config[shared] = config[own];
      // Both may be there.
      EXPECT_OK(SpecFromHfConfig(config.dump())) << shared;
      Json contradicting = config;
      contradicting[shared] = config[own].get<int>() + 1;
      EXPECT_THAT(SpecFromHfConfig(contradicting.dump()),
                  StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(shared)));
      Json with_null = config;
      with_null[shared] = nullptr;
      EXPECT_OK(SpecFromHfConfig(with_null.dump())) << shared;
      config[own] = nullptr;
      EXPECT_OK(SpecFromHfConfig(config.dump())) << own;
      config.erase(own);
    }
    ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, SpecFromHfConfig(config.dump()));
    EXPECT_EQ(spec, SpecOf(test.case_name)) << test.case_name;
  }
}

// As it was published: by "gelu" its makers meant the approximation.
TEST(HfUsualFieldsTest, GeluOfTheFirstGemma) {
  ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, With("gemma", {{"hidden_act", "gelu"}}));
  EXPECT_EQ(spec, SpecOf("gemma"));
  EXPECT_EQ(spec.layers[0].ffn.activation, Activation::kGeluTanh);
}

// EXAONE 4's larger model says its pattern as a text, the smaller one has no windows.
TEST(HfUsualFieldsTest, PatternsOfWindowsBesideKindsOfLayers) {
  ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, With("exaone4", {{"sliding_window_pattern", "LLLG"}}));
  EXPECT_EQ(spec, SpecOf("exaone4"));
  Json config = ConfigOf("exaone4");
  config["layer_types"] = Json(4, "full_attention");
  config["sliding_window"] = nullptr;
  for (const Json& pattern : {Json(nullptr), Json(0)}) {
    config["sliding_window_pattern"] = pattern;
    ASSERT_OK_AND_ASSIGN(const DecoderSpec full, SpecFromHfConfig(config.dump()));
    for (const LayerSpec& layer : full.layers) EXPECT_EQ(layer.position.window, 0);
  }
  config.erase("layer_types");
  EXPECT_OK(SpecFromHfConfig(config.dump()));
}

TEST(HfUsualFieldsTest, NotesAndFactorsBesideScalings) {
  Json config = ConfigOf("llama_rope_yarn");
  config["rope_parameters"]["finetuned"] = true;
  ASSERT_OK_AND_ASSIGN(const DecoderSpec yarn, SpecFromHfConfig(config.dump()));
  EXPECT_EQ(yarn, SpecOf("llama_rope_yarn"));
  config = ConfigOf("hunyuan_v1_dense");
  config["rope_parameters"].update(
      {{"beta_fast", 32}, {"beta_slow", 1}, {"mscale", 1.0}, {"mscale_all_dim", 1.0}});
  ASSERT_OK_AND_ASSIGN(const DecoderSpec alpha, SpecFromHfConfig(config.dump()));
  EXPECT_EQ(alpha, SpecOf("hunyuan_v1_dense"));
}

}  // namespace
}  // namespace ropeway
