// config.json of the ropeway architecture: all golden models are read, with their defaults and without; what
// the reference refuses is refused with the same path.
#include "engine/model/ropeway_config.h"

#include <map>
#include <string>
#include <vector>

#include "engine/model/ropeway_tensors.h"
#include "engine/model/strict_json.h"
#include "engine/model/tensor_source.h"
#include "engine/position/rope.h"
#include "gtest/gtest.h"
#include "tests/testing/ropeway_models.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::ordered_json;
using testing::StatusIs;

absl::StatusOr<RopewayConfig> Read(const Json& config) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseStrictJson(config.dump()));
  return ReadRopewayConfig(json);
}

class RopewayConfigTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(models_, testing::ReadRopewayModels());
    ASSERT_OK_AND_ASSIGN(invalid_, testing::ReadInvalidRopewayModels());
    ASSERT_EQ(models_.size(), 68);
  }

  // A valid config with some fields changed; null removes one.
  static Json Changed(const Json& patch) {
    Json config = {{"model_type", "ropeway"},
                   {"architectures", {"RopewayForCausalLM"}},
                   {"format_version", 1},
                   {"vocab_size", 320},
                   {"hidden_size", 96},
                   {"num_hidden_layers", 4},
                   {"num_attention_heads", 6},
                   {"intermediate_size", 160},
                   {"positions", {{"type", "rope"}}},
                   {"max_position_embeddings", 256}};
    config.merge_patch(patch);
    return config;
  }

  Json models_, invalid_;
};

TEST_F(RopewayConfigTest, DefaultsAreThoseOfTheReference) {
  for (const auto& [name, model] : models_.items()) {
    ASSERT_OK_AND_ASSIGN(const RopewayConfig config, Read(model["config"]));
    ASSERT_OK_AND_ASSIGN(const RopewayConfig full, Read(model["config_full"]));
    EXPECT_EQ(config.spec, full.spec) << name;
    EXPECT_EQ(config.eos_token_ids, full.eos_token_ids) << name;
  }
}

TEST_F(RopewayConfigTest, TensorsAreThoseOfTheReference) {
  for (const auto& [name, model] : models_.items()) {
    ASSERT_OK_AND_ASSIGN(const RopewayConfig config, Read(model["config"]));
    std::map<std::string, std::vector<int64_t>> shapes, expected;
    for (const TensorId& id : TensorsOf(config.spec))
      shapes[RopewayTensorName(id, config.spec)] = ShapeOf(id, config.spec);
    for (const auto& [tensor, fill] : model["fills"].items())
      expected[tensor] = fill[0].get<std::vector<int64_t>>();
    EXPECT_EQ(shapes, expected) << name;
  }
}

// The rotations that a request's lengths give, of every layer.
TEST_F(RopewayConfigTest, RotationsInForceAreThoseOfTheReference) {
  int compared = 0;
  for (const auto& [name, model] : models_.items()) {
    ASSERT_OK_AND_ASSIGN(const RopewayConfig config, Read(model["config"]));
    for (const Json& sequence : model["sequences"]) {
      const AdmittedLengths lengths{.prompt_length = sequence["admitted"]["prompt_length"],
                                    .max_new_tokens = sequence["admitted"]["max_new_tokens"]};
      for (const Json& expected : sequence["rope_in_force"]) {
        for (const int layer : expected["layers"].get<std::vector<int>>()) {
          const RopeSpec* rope = RopeOf(config.spec.layers[layer].position.scheme);
          ASSERT_NE(rope, nullptr) << name;
          const Rotation rotation = RotationOf(*rope, RopeChoice(*rope, lengths));
          EXPECT_EQ(rope->pairing == RopePairing::kHalves, expected["pairing"] == "half") << name;
          EXPECT_EQ(rope->rotary_dim, expected["rotary_dim"].get<int>()) << name;
          EXPECT_NEAR(rotation.attention_factor, expected["attention_factor"].get<double>(), 1e-14) << name;
          const auto frequencies = expected["inv_freq"].get<std::vector<double>>();
          const double divisor = expected["position_divisor"];
          ASSERT_EQ(rotation.frequencies.size(), frequencies.size()) << name;
          for (size_t i = 0; i < frequencies.size(); ++i, ++compared)
            EXPECT_NEAR(rotation.frequencies[i], frequencies[i] / divisor, 1e-13 * frequencies[i]) << name;
        }
      }
    }
  }
  EXPECT_GT(compared, 1000);
}

TEST_F(RopewayConfigTest, RefusesWhatTheReferenceRefuses) {
  ASSERT_EQ(invalid_["configs"].size(), 63);
  for (const Json& one : invalid_["configs"]) {
    ASSERT_OK_AND_ASSIGN(const nlohmann::json json, ParseStrictJson(one["config"].dump()));
    EXPECT_TRUE(IsRopewayConfig(json)) << one["name"];
    EXPECT_THAT(ReadRopewayConfig(json), StatusIs(absl::StatusCode::kInvalidArgument,
                                                  StartsWith(one["path"].get<std::string>() + ": ")))
        << one["name"];
  }
}

// Other values of the same kinds.
TEST_F(RopewayConfigTest, RefusesMoreOfEachKind) {
  const struct {
    const char* patch;
    const char* error;
  } cases[] = {
      {R"({"vocab_size": 16777217})", "vocab_size: 16777217 is above 16777216"},
      {R"({"vocab_size": 99999999999999999999})", "vocab_size: must be an integer"},
      {R"({"vocab_size": 18446744073709551615})", "vocab_size: 18446744073709551615 is above 16777216"},
      {R"({"hidden_size": -96})", "hidden_size: -96 is below 1"},
      {R"({"hidden_size": 65538})", "hidden_size: 65538 is above 65536"},
      {R"({"head_dim": 1025})", "head_dim: 1025 is above 1024"},
      {R"({"hidden_size": 6150})", "head_dim: missing"},
      {R"({"num_hidden_layers": true})", "num_hidden_layers: must be an integer"},
      {R"({"dtype": "float64"})", "dtype: \"float64\" is none of float32, bfloat16, float16"},
      {R"({"dtype": 32})", "dtype: must be a string"},
      {R"({"norm": {"eps": 1e-5}})", "norm.type: missing"},
      {R"({"norm": []})", "norm: must be an object"},
      {R"({"norm": {"type": "rms", "eps": 0}})", "norm.eps: 0 must be above 0"},
      {R"({"norm": {"type": "rms", "eps": "1"}})", "norm.eps: must be a finite number"},
      {R"({"ffn": {"type": "gelu", "bias": 1}})", "ffn.bias: must be true or false"},
      {R"({"block": {"type": "parallel", "pre_norm": true}})", "block.pre_norm: unknown field of type"},
      {R"({"attention": {"scale": 0}})", "attention.scale: 0 must be above 0"},
      {R"({"attention": {"slope": 0}})", "attention.slope: unknown field"},
      {R"({"attention": {"qk_norm": "rms"}})", "attention.qk_norm: must be an object"},
      {R"({"attention": {"qk_norm": {"type": "rms_full", "plus_one": true}}})",
       "attention.qk_norm.plus_one: "},
      {R"({"attention": {"query_scale": {"type": "logn"}}})", "attention.query_scale.train_length: missing"},
      {R"({"attention": [{}, {}, {}, {"softcap": -1}]})", "attention[3].softcap: -1 must be above 0"},
      {R"({"attention": [{"softcap": 1e-60}, {}, {}, {}]})",
       "attention_softcap must be 0 or in [2^-20, 2^40], is 1e-60"},
      {R"({"logit_softcap": 1e60})", "logit_softcap must be 0 or in [2^-20, 2^40], is 1e+60"},
      {R"({"attention": [{}, {}, {}, 4]})", "attention[3]: must be an object"},
      {R"({"positions": "rope"})", "positions: must be an object"},
      {R"({"positions": {"rotary_dim": 0}})", "positions.rotary_dim: 0 is below 2"},
      {R"({"positions": {"scaling": {}}})", "positions.scaling.type: missing"},
      {R"({"positions": {"scaling": {"type": "ratio", "ratio": 0.5, "of": "base"}}})",
       "positions.scaling.ratio: 0.5 is below 1"},
      {R"({"positions": {"scaling": {"type": "dynamic", "factor": 2}}})",
       "positions.scaling.original_length: missing"},
      {R"({"positions": {"scaling": {"type": "yarn", "factor": 2, "original_length": 8, "mscale_all_dim": 1}}})",
       "positions.scaling.mscale: missing beside mscale_all_dim"},
      {R"({"positions": {"scaling": {"type": "longrope", "original_length": 1}}})",
       "positions.scaling.short_factor: missing"},
      {R"({"positions": [{"type": "nope"}, {"type": "nope"}, {"type": "nope"}, {"type": "shaw"}]})",
       "positions[3].clip: missing"},
      {R"({"positions": [{"type": "nope"}, {"type": "fire", "shared": true}, {"type": "nope"},
                         {"type": "dape", "base": {"type": "fire", "shared": true, "width": 8}}]})",
       "positions[3].base.shared: differs from the shared fire of positions[1]"},
      {R"({"eos_token_id": []})", "eos_token_id: must be a token id or a list of them"},
      {R"({"eos_token_id": [1, 320]})", "eos_token_id: outside the vocabulary of 320"},
      {R"({"bos_token_id": [1]})", "bos_token_id: must be a token id"},
      {R"({"pad_token_id": -1})", "pad_token_id: outside the vocabulary of 320"},
      {R"({"new\nline": 1})", "new\\nline: unknown field"},
  };
  for (const auto& [patch, error] : cases) {
    const Json changes = Json::parse(patch);
    EXPECT_THAT(Read(Changed(changes)), StatusIs(absl::StatusCode::kInvalidArgument, StartsWith(error)))
        << patch;
  }
}

// A merge patch cannot say null.
TEST_F(RopewayConfigTest, NullIsAllowedOnlyWhereItIsTheDefault) {
  for (const char* field : {"vocab_size", "dtype", "norm", "block", "ffn", "attention", "positions",
                            "tie_word_embeddings", "embedding_scale", "architectures"}) {
    Json config = Changed(Json::object());
    config[field] = nullptr;
    EXPECT_THAT(Read(config),
                StatusIs(absl::StatusCode::kInvalidArgument, StartsWith(std::string(field) + ": ")))
        << field;
  }
  for (const char* field :
       {"num_key_value_heads", "head_dim", "logit_softcap", "bos_token_id", "eos_token_id"}) {
    Json config = Changed(Json::object());
    config[field] = nullptr;
    EXPECT_OK(Read(config)) << field;
  }
}

TEST_F(RopewayConfigTest, EveryOptionalFieldReachesTheSpec) {
  const Json config = Changed({{"logit_scale", 0.5},
                               {"logit_softcap", 30},
                               {"embedding_scale", 2},
                               {"embedding_norm", true},
                               {"lm_head_bias", true},
                               {"tie_word_embeddings", true},
                               {"dtype", "bfloat16"},
                               {"eos_token_id", {2, 5}},
                               {"bos_token_id", 1}});
  ASSERT_OK_AND_ASSIGN(const RopewayConfig read, Read(config));
  EXPECT_EQ(read.spec.logit_scale, 0.5f);
  EXPECT_EQ(read.spec.logit_softcap, 30);
  EXPECT_EQ(read.spec.embedding_scale, 2);
  EXPECT_TRUE(read.spec.embedding_norm && read.spec.output_bias && read.spec.tied_output);
  EXPECT_EQ(read.dtype, DType::kBF16);
  EXPECT_EQ(read.eos_token_ids, (std::vector<int32_t>{2, 5}));
  EXPECT_EQ(read.bos_token_id, 1);
  EXPECT_EQ(read.pad_token_id, std::nullopt);
}

// Drops, adds or shortens a tensor of a whole model.
TEST_F(RopewayConfigTest, FoldersHoldExactlyTheTensorsOfTheirConfig) {
  for (const Json& one : invalid_["tensors"]) {
    const Json& model = models_[one["case"].get<std::string>()];
    const std::string name = one["tensor"], change = one["change"];
    std::vector<testing::TinyTensor> tensors;
    for (testing::TinyTensor& tensor : testing::MakeRopewayTensors(model)) {
      if (tensor.name == name && change == "drop") continue;
      if (tensor.name == name && change == "shorten") {
        const size_t row = tensor.values.size() / static_cast<size_t>(tensor.shape[0]);
        tensor.values.resize(tensor.values.size() - row);
        --tensor.shape[0];
      }
      tensors.push_back(std::move(tensor));
    }
    if (change == "add") tensors.push_back({name, {6}, std::vector<float>(6)});
    const testing::TempFolder folder;
    ASSERT_OK(testing::WriteRopewayModel(model["config"], tensors, folder.path()));
    EXPECT_THAT(OpenModel(folder.path()).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(one["error"].get<std::string>())));
  }
}

TEST_F(RopewayConfigTest, ErrorsNameTheFile) {
  const testing::TempFolder folder;
  ASSERT_OK(testing::WriteRopewayModel(Changed({{"vocab_size", 0}}), {}, folder.path()));
  EXPECT_THAT(
      OpenModel(folder.path()).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/config.json: vocab_size: 0 is below 1")));
}

TEST_F(RopewayConfigTest, TensorsHaveTheTypeOfTheConfig) {
  const Json& model = models_["nope"];
  Json config = model["config"];
  config["dtype"] = "float16";
  const testing::TempFolder folder;
  ASSERT_OK(testing::WriteRopewayModel(config, testing::MakeRopewayTensors(model), folder.path()));
  EXPECT_THAT(OpenModel(folder.path()).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("type F32, needs F16")));
}

// Bytes that are no MXFP4 are there, and MXFP4 is no type of a config.
TEST_F(RopewayConfigTest, BytesAreNotMissing) {
  const Json& model = models_["nope"];
  const auto open = [&](const std::vector<testing::TinyTensor>& tensors) {
    const testing::TempFolder folder;
    EXPECT_OK(testing::WriteRopewayModel(model["config"], tensors, folder.path()));
    return OpenModel(folder.path()).status();
  };
  std::vector<testing::TinyTensor> tensors = testing::MakeRopewayTensors(model);
  for (testing::TinyTensor& tensor : tensors)
    if (tensor.name == "model.norm.weight") tensor = {tensor.name, {96}, {}, std::vector<uint8_t>(96)};
  EXPECT_THAT(open(tensors), StatusIs(absl::StatusCode::kUnimplemented,
                                      HasSubstr("tensor 'model.norm.weight' has the type U8")));
  for (testing::TinyTensor& tensor : tensors)
    if (tensor.name == "model.norm.weight")
      tensor = {tensor.name + "_blocks", {3, 16}, {}, std::vector<uint8_t>(48)};
  tensors.push_back({"model.norm.weight_scales", {3}, {}, std::vector<uint8_t>(3)});
  EXPECT_THAT(open(tensors), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("model.norm.weight: type MXFP4, needs F32")));
}

}  // namespace
}  // namespace ropeway
