// Families whose folders bring the code of their models along: what their config.json says, and what is refused.
#include <cmath>
#include <string>
#include <vector>

#include "engine/model/hf_config.h"
#include "engine/model/hf_model.h"
#include "engine/tensor/dequantize.h"
#include "engine/tensor/half.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

// The config of a case with some fields set; null removes one.
absl::StatusOr<DecoderSpec> With(const std::string& case_name, const Json& changes) {
  const absl::StatusOr<Json> golden = ropeway::testing::ReadTinyGolden(case_name);
  EXPECT_OK(golden);
  Json config = (*golden)["config"];
  for (const auto& item : changes.items()) {
    if (item.value().is_null())
      config.erase(item.key());
    else
      config[item.key()] = item.value();
  }
  return SpecFromHfConfig(config.dump());
}

RopeSpec RopeOf(const DecoderSpec& spec) { return spec.Ropes().at(0); }

TEST(BaichuanTest, IsToldApartByContextAndVocabulary) {
  ASSERT_OK_AND_ASSIGN(const DecoderSpec second, With("baichuan2", Json::object()));
  EXPECT_TRUE(second.unit_output);
  EXPECT_EQ(RopeOf(second), (RopeSpec{.base = 10000, .rotary_dim = 16}));
  EXPECT_EQ(second.context_length, 256);
  ASSERT_OK_AND_ASSIGN(const DecoderSpec first, With("baichuan2", {{"z_loss_weight", nullptr}}));
  EXPECT_FALSE(first.unit_output);
  ASSERT_OK_AND_ASSIGN(const DecoderSpec large,
                       With("baichuan2", {{"z_loss_weight", nullptr}, {"vocab_size", 125696}}));
  EXPECT_TRUE(large.unit_output);
  ASSERT_OK_AND_ASSIGN(const DecoderSpec alibi, With("baichuan_alibi", {{"model_max_length", 100}}));
  EXPECT_EQ(alibi.layers[0].position, (PositionSpec{.scheme = AlibiSpec{}}));
  EXPECT_EQ(alibi.context_length, 100);
}

// The names of its fields are all that transformers changed.
TEST(StableLmEpochTest, ComputesWhatStableLmDoes) {
  const absl::StatusOr<Json> golden = ropeway::testing::ReadTinyGolden("stablelm");
  ASSERT_OK(golden);
  const Json& config = (*golden)["config_v4"];
  ASSERT_OK_AND_ASSIGN(DecoderSpec expected, SpecFromHfConfig(config.dump()));
  expected.architecture = "stablelm_epoch";
  Json older = {{"model_type", "stablelm_epoch"},
                {"norm_eps", config["layer_norm_eps"]},
                {"rope_pct", config["partial_rotary_factor"]},
                {"num_heads", config["num_attention_heads"]},
                {"rotary_scaling_factor", 1.0},
                {"auto_map", {{"AutoConfig", "configuration_stablelm_epoch.StableLMEpochConfig"}}}};
  for (const char* same : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                           "num_attention_heads", "num_key_value_heads", "max_position_embeddings",
                           "use_qkv_bias", "rope_theta", "tie_word_embeddings", "hidden_act"})
    older[same] = config[same];
  ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, SpecFromHfConfig(older.dump()));
  EXPECT_EQ(spec, expected);
  older["num_heads"] = 7;
  EXPECT_THAT(SpecFromHfConfig(older.dump()),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("'num_heads' is 7; only what 'num_attention_heads' says")));
}

TEST(ChatGlmTest, RatioIsOfTheBaseOrOfPositions) {
  ASSERT_OK_AND_ASSIGN(const DecoderSpec plain, With("chatglm", {{"rope_ratio", nullptr}}));
  const RopeSpec rope{.base = 10000, .rotary_dim = 12, .pairing = RopePairing::kInterleaved};
  EXPECT_EQ(RopeOf(plain), rope);
  RopeSpec expected = rope;
  expected.base = 5e6;
  ASSERT_OK_AND_ASSIGN(const DecoderSpec third, With("chatglm", {{"rope_ratio", 500}}));
  EXPECT_EQ(RopeOf(third), expected);
  expected = rope;
  expected.scaling = RopeScalingKind::kLinear;
  expected.factor = 16;
  ASSERT_OK_AND_ASSIGN(const DecoderSpec second,
                       With("chatglm", {{"rope_ratio", 16}, {"_name_or_path", "/models/chatglm2-6b-32k"}}));
  EXPECT_EQ(RopeOf(second), expected);
  for (const double ratio : {0.0, -1.0})
    EXPECT_THAT(With("chatglm", {{"rope_ratio", ratio}}).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'rope_ratio' must be positive")));
}

// Biases of all products are those of queries, keys and values, too.
TEST(ChatGlmTest, EitherFlagGivesQueriesBiases) {
  for (const bool all : {false, true})
    for (const bool of_queries : {false, true}) {
      ASSERT_OK_AND_ASSIGN(const DecoderSpec spec,
                           With("chatglm", {{"add_bias_linear", all}, {"add_qkv_bias", of_queries}}));
      EXPECT_EQ(spec.layers[0].attention.qkv_bias, all || of_queries) << all << of_queries;
      EXPECT_EQ(spec.layers[0].attention.output_bias, all) << all << of_queries;
      EXPECT_EQ(spec.layers[0].ffn.bias, all) << all << of_queries;
    }
}

// As newer folders of GLM-4 do.
TEST(ChatGlmTest, LayersMayBeSaidTwice) {
  EXPECT_OK(With("chatglm", {{"num_hidden_layers", 4}}).status());
  EXPECT_THAT(With("chatglm", {{"num_hidden_layers", 5}}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'num_hidden_layers' must be 'num_layers' 4, is 5")));
}

TEST(InternLm2Test, HasBiasesWhereNothingIsSaid) {
  for (const bool said : {false, true}) {
    ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, With("internlm2", {{"bias", said}}));
    EXPECT_EQ(spec.layers[0].attention.qkv_bias, said);
    EXPECT_EQ(spec.layers[0].attention.output_bias, said);
  }
  ASSERT_OK_AND_ASSIGN(const DecoderSpec spec, With("internlm2", {{"bias", nullptr}}));
  EXPECT_TRUE(spec.layers[0].attention.qkv_bias);
  EXPECT_TRUE(spec.layers[0].attention.output_bias);
  EXPECT_FALSE(spec.layers[0].ffn.bias);
}

TEST(QwenTest, StretchesWhatItsFlagsSay) {
  ASSERT_OK_AND_ASSIGN(const DecoderSpec both, With("qwen", Json::object()));
  EXPECT_EQ(
      RopeOf(both),
      (RopeSpec{
          .base = 10000, .rotary_dim = 8, .scaling = RopeScalingKind::kQwen1Ntk, .original_context = 64}));
  EXPECT_EQ(both.layers[3].attention.query_scale, QueryScale(LognScale{.train_length = 64}));
  EXPECT_EQ(both.layers[0].ffn.size, 160);
  ASSERT_OK_AND_ASSIGN(const DecoderSpec neither,
                       With("qwen", {{"use_dynamic_ntk", false}, {"use_logn_attn", false}}));
  EXPECT_EQ(RopeOf(neither), (RopeSpec{.base = 10000, .rotary_dim = 8}));
  EXPECT_EQ(neither.layers[3].attention.query_scale, QueryScale());
}

TEST(FolderCodeTest, RefusesByName) {
  const struct {
    const char* case_name;
    Json changes;
    absl::StatusCode code;
    const char* says;
  } kCases[] = {
      {"baichuan2",
       {{"model_max_length", 0}},
       absl::StatusCode::kInvalidArgument,
       "'model_max_length' must be positive"},
      {"baichuan2",
       {{"tie_word_embeddings", true}},
       absl::StatusCode::kUnimplemented,
       "'tie_word_embeddings' is true beside an output layer whose rows have length 1"},
      {"baichuan2", {{"num_key_value_heads", 2}}, absl::StatusCode::kUnimplemented, "num_key_value_heads"},
      {"baichuan_alibi",
       {{"model_max_length", 1 << 30}},
       absl::StatusCode::kInvalidArgument,
       "context_length"},
      {"chatglm",
       {{"multi_query_attention", false}},
       absl::StatusCode::kUnimplemented,
       "'multi_query_attention' is false"},
      {"chatglm",
       {{"multi_query_attention", nullptr}},
       absl::StatusCode::kUnimplemented,
       "'multi_query_attention' is missing"},
      {"chatglm", {{"interleaved_qkv", true}}, absl::StatusCode::kUnimplemented, "interleaved_qkv"},
      {"chatglm", {{"quantization_bit", 4}}, absl::StatusCode::kUnimplemented, "'quantization_bit' is 4"},
      {"chatglm", {{"pre_seq_len", 128}}, absl::StatusCode::kUnimplemented, "'pre_seq_len' is 128"},
      {"chatglm", {{"prefix_projection", true}}, absl::StatusCode::kUnimplemented, "prefix_projection"},
      {"chatglm", {{"vocab_size", 321}}, absl::StatusCode::kInvalidArgument, "'vocab_size' must be at most"},
      {"chatglm", {{"padded_vocab_size", nullptr}}, absl::StatusCode::kInvalidArgument, "padded_vocab_size"},
      {"chatglm",
       {{"multi_query_group_num", 4}},
       absl::StatusCode::kInvalidArgument,
       "num_heads must be a multiple"},
      {"chatglm", {{"vision_config", Json::object()}}, absl::StatusCode::kUnimplemented, "vision_config"},
      {"chatglm",
       {{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}},
       absl::StatusCode::kUnimplemented,
       "'rope_ratio' beside another scaling"},
      {"qwen",
       {{"intermediate_size", 321}},
       absl::StatusCode::kInvalidArgument,
       "'intermediate_size' must be even"},
      {"qwen", {{"kv_channels", 32}}, absl::StatusCode::kInvalidArgument, "'kv_channels' times 6"},
      {"qwen",
       {{"use_cache_quantization", true}},
       absl::StatusCode::kUnimplemented,
       "use_cache_quantization"},
      {"qwen", {{"scale_attn_weights", false}}, absl::StatusCode::kUnimplemented, "scale_attn_weights"},
      {"qwen", {{"seq_length", 0}}, absl::StatusCode::kInvalidArgument, "'seq_length' must be positive"},
      {"qwen", {{"seq_length", 1}}, absl::StatusCode::kInvalidArgument, "'seq_length' must be at least 2"},
      {"qwen", {{"use_flash_attn", 3}}, absl::StatusCode::kInvalidArgument, "use_flash_attn"},
      {"qwen",
       {{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}},
       absl::StatusCode::kUnimplemented,
       "'use_dynamic_ntk' beside another scaling"},
  };
  for (const auto& test : kCases)
    EXPECT_THAT(With(test.case_name, test.changes).status(), StatusIs(test.code, HasSubstr(test.says)))
        << test.case_name << " " << test.changes;
}

// Makes a tensor one of 16 bits, and its values what those are.
void Narrow(bool is_half, ropeway::testing::TinyTensor& tensor) {
  tensor.bytes_type = is_half ? "F16" : "BF16";
  for (float& value : tensor.values) {
    const uint16_t bits = is_half ? FloatToHalf(value) : FloatToBFloat16(value);
    value = is_half ? HalfToFloat(bits) : BFloat16ToFloat(bits);
    tensor.bytes.push_back(static_cast<uint8_t>(bits));
    tensor.bytes.push_back(static_cast<uint8_t>(bits >> 8));
  }
}

// The rows as the model multiplies them, beside those of the file.
void ExpectUnitRows(const WeightTensor& found, const std::vector<float>& stored, double tolerance) {
  const int64_t columns = found.view.columns(), row_bytes = RowBytes(found.view.type, columns);
  std::vector<float> row(static_cast<size_t>(columns));
  for (int64_t i = 0; i < found.view.rows(); ++i) {
    double length = 0;
    for (int64_t j = 0; j < columns; ++j) length += std::pow(double{stored[i * columns + j]}, 2);
    length = std::sqrt(length);
    DequantizeRow(found.view.type, found.view.data + i * row_bytes, columns, row.data());
    for (int64_t j = 0; j < columns; ++j)
      ASSERT_NEAR(row[j], length == 0 ? 0 : stored[i * columns + j] / length, tolerance) << i << " " << j;
  }
}

TEST(UnitOutputTest, RowsHaveLengthOneInEveryType) {
  ASSERT_OK_AND_ASSIGN(const Json golden, ropeway::testing::ReadTinyGolden("baichuan2"));
  const struct {
    DType type;
    double tolerance;
  } kTypes[] = {{DType::kF32, 1e-7}, {DType::kF16, 0x1p-11}, {DType::kBF16, 0x1p-8}};
  for (const auto& test : kTypes) {
    std::vector<ropeway::testing::TinyTensor> tensors = ropeway::testing::MakeTinyTensors(golden);
    std::vector<float> output;
    for (ropeway::testing::TinyTensor& tensor : tensors) {
      if (tensor.name != "lm_head.weight") continue;
      std::fill_n(tensor.values.begin() + 96, 96, 0.f);  // a row that has no direction
      if (test.type != DType::kF32) Narrow(test.type == DType::kF16, tensor);
      output = tensor.values;
      if (!tensor.bytes.empty()) tensor.values.clear();
    }
    const ropeway::testing::TempFolder folder;
    folder.Write("config.json", golden["config"].dump());
    folder.Write("model.safetensors", ropeway::testing::SafetensorsBytes(tensors));
    ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.path()));
    ASSERT_OK_AND_ASSIGN(const WeightTensor found, model.tensors->Find({WeightRole::kOutput}));
    EXPECT_EQ(found.view.type, test.type);
    ExpectUnitRows(found, output, test.tolerance);
    ASSERT_OK_AND_ASSIGN(const DType type, model.tensors->TypeOf({WeightRole::kOutput}));
    EXPECT_EQ(type, test.type);
  }
}

// Bytes may be a matrix of MXFP4, but rows of length 1 are none of that type.
TEST(UnitOutputTest, RefusesPackedRows) {
  ASSERT_OK_AND_ASSIGN(const Json golden, ropeway::testing::ReadTinyGolden("baichuan2"));
  std::vector<ropeway::testing::TinyTensor> tensors = ropeway::testing::MakeTinyTensors(golden);
  for (ropeway::testing::TinyTensor& tensor : tensors)
    if (tensor.name == "lm_head.weight")
      tensor = {"lm_head.weight_blocks", {320, 3, 16}, {}, std::vector<uint8_t>(320 * 3 * 16)};
  tensors.push_back({"lm_head.weight_scales", {320, 3}, {}, std::vector<uint8_t>(320 * 3, 127)});
  const ropeway::testing::TempFolder folder;
  folder.Write("config.json", golden["config"].dump());
  folder.Write("model.safetensors", ropeway::testing::SafetensorsBytes(tensors));
  const absl::StatusOr<OpenedModel> model = OpenModel(folder.path());
  EXPECT_THAT(model.status(),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("tensor 'lm_head.weight' has the type MXFP4; only F32, F16, BF16")));
  if (model.ok()) {
    EXPECT_OK(model->tensors->Find({WeightRole::kOutput}).status());
  }
}

}  // namespace
}  // namespace ropeway
