#include "engine/model/mxfp4_pairs.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "engine/model/hf_config.h"
#include "engine/model/hf_model.h"
#include "engine/tensor/dequantize.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TinyTensor;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;
using Tensors = absl::flat_hash_map<std::string, TensorView>;

constexpr char kCase[] = "gpt_oss_mxfp4";

// As the format has it: a sign, two bits of exponent, one of mantissa; no infinities.
double ValueOf(int code) {
  constexpr double kMagnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  return code < 8 ? kMagnitudes[code] : -kMagnitudes[code - 8];
}

TEST(Mxfp4PairsTest, JoinsRowsOfNeighbourlyCodes) {
  std::vector<uint8_t> blocks(2 * 2 * 16), scales = {127, 0, 255, 130};
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<uint8_t>(i * 37 + 11);
  const Mxfp4Pair pair{blocks.data(), scales.data()};
  for (int row = 0; row < 2; ++row) {
    std::vector<uint8_t> bytes(2 * 17);
    JoinMxfp4Row(pair, row, 64, bytes.data());
    std::vector<float> values(64);
    DequantizeRow(DType::kMXFP4, bytes.data(), 64, values.data());
    for (int c = 0; c < 64; ++c) {
      const int code = blocks[row * 32 + c / 2] >> (c % 2 * 4) & 15;
      const double scale = std::ldexp(1.0, scales[row * 2 + c / 32] - 127);
      EXPECT_EQ(values[c], static_cast<float>(ValueOf(code) * scale)) << row << " " << c;
    }
  }
}

TEST(Mxfp4PairsTest, RefusesPartsThatDoNotFit) {
  const uint8_t data[1] = {};
  const auto join = [&](const ByteTensors& bytes, Tensors tensors = {}) {
    Mxfp4Pairs pairs;
    return JoinMxfp4(bytes, tensors, pairs);
  };
  EXPECT_OK(join({}));
  EXPECT_OK(join({{"a_blocks", {{2, 3, 16}, data}}, {"a_scales", {{2, 3}, data}}}));
  EXPECT_THAT(join({{"a", {{2}, data}}}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("tensor 'a' has the type U8")));
  EXPECT_THAT(join({{"a_blocks", {{2, 16}, data}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'a_scales' is missing")));
  EXPECT_THAT(join({{"a_scales", {{2}, data}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'a_blocks' is missing")));
  const std::vector<int64_t> odd[] = {{2, 15}, {3, 16}, {2, 2, 16}, {2}, {}};
  for (const std::vector<int64_t>& shape : odd)
    EXPECT_THAT(join({{"a_blocks", {shape, data}}, {"a_scales", {{2}, data}}}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'a_blocks' must have the shape")));
  EXPECT_THAT(join({{"a_blocks", {{16}, data}}, {"a_scales", {{}, data}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'a_blocks' must have the shape")));
  EXPECT_THAT(join({{"a_blocks", {{2, 16}, data}}, {"a_scales", {{2}, data}}}, {{"a", TensorView{}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'a' is there beside")));
}

// Opens the case with other tensors and, where `config` is not null, another config.
absl::StatusOr<OpenedModel> Open(const std::vector<TinyTensor>& tensors, const Json& config) {
  const ropeway::testing::TempFolder folder;
  folder.Write("config.json", config.dump());
  folder.Write("model.safetensors", ropeway::testing::SafetensorsBytes(tensors));
  return OpenModel(folder.path());
}

const TinyTensor& Named(const std::vector<TinyTensor>& tensors, const std::string& name) {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const auto& tensor) { return tensor.name == name; });
  EXPECT_NE(found, tensors.end()) << name;
  return *found;
}

TEST(Mxfp4FolderTest, ExpertsAreThoseOfTheFolder) {
  ASSERT_OK_AND_ASSIGN(const Json golden, ropeway::testing::ReadTinyGolden(kCase));
  const std::vector<TinyTensor> tensors = ropeway::testing::MakeTinyTensors(golden);
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, Open(tensors, golden["config"]));
  const struct {
    WeightRole role;
    const char* name;
    int first, step;  // rows of the folder's tensor
  } kRoles[] = {{WeightRole::kExpertGate, "gate_up_proj", 0, 2},
                {WeightRole::kExpertUp, "gate_up_proj", 1, 2},
                {WeightRole::kExpertDown, "down_proj", 0, 1}};
  for (const auto& test : kRoles) {
    const std::string stem = std::string("model.layers.2.mlp.experts.") + test.name;
    const TinyTensor &blocks = Named(tensors, stem + "_blocks"), &scales = Named(tensors, stem + "_scales");
    const int expert = 3;
    ASSERT_OK_AND_ASSIGN(const WeightTensor found, model.tensors->Find({test.role, 2, false, expert}));
    ASSERT_EQ(found.view.type, DType::kMXFP4);
    const int64_t columns = found.view.columns(), rows_of_expert = blocks.shape[1];
    ASSERT_EQ(found.view.rows() * test.step, rows_of_expert);
    std::vector<float> row(static_cast<size_t>(columns));
    for (int64_t i = 0; i < found.view.rows(); ++i) {
      DequantizeRow(DType::kMXFP4, found.view.data + i * RowBytes(DType::kMXFP4, columns), columns,
                    row.data());
      const int64_t at = (expert * rows_of_expert + test.first + i * test.step) * columns / 32;
      for (int64_t c = 0; c < columns; ++c) {
        const int code = blocks.bytes[at * 16 + c / 2] >> (c % 2 * 4) & 15;
        const double scale = std::ldexp(1.0, scales.bytes[at + c / 32] - 127);
        ASSERT_EQ(row[c], static_cast<float>(ValueOf(code) * scale)) << test.name << " " << i << " " << c;
      }
    }
  }
}

TEST(Mxfp4FolderTest, RefusesOtherPackings) {
  ASSERT_OK_AND_ASSIGN(const Json golden, ropeway::testing::ReadTinyGolden(kCase));
  const auto with = [&](const Json& packing) {
    Json config = golden["config"];
    config["quantization_config"] = packing;
    return SpecFromHfConfig(config.dump()).status();
  };
  EXPECT_OK(with({{"quant_method", "mxfp4"}}));
  EXPECT_THAT(
      with({{"quant_method", "gptq"}}),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("'quant_method' is 'gptq'; supported is mxfp4")));
  EXPECT_THAT(with(Json::object()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'quant_method' is missing")));
  EXPECT_THAT(with(4), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must be an object")));
  EXPECT_THAT(with({{"quant_method", "mxfp4"}, {"bits", 4}}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("bits")));
}

TEST(Mxfp4FolderTest, RefusesTensorsOfAnotherForm) {
  ASSERT_OK_AND_ASSIGN(const Json golden, ropeway::testing::ReadTinyGolden(kCase));
  const std::vector<TinyTensor> tensors = ropeway::testing::MakeTinyTensors(golden);
  Json config = golden["config"];
  config.erase("quantization_config");
  EXPECT_THAT(Open(tensors, config).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must have the shape")));
  ASSERT_OK_AND_ASSIGN(const Json dense, ropeway::testing::ReadTinyGolden("gpt_oss"));
  config = dense["config"];
  config["quantization_config"] = golden["config"]["quantization_config"];
  EXPECT_THAT(Open(ropeway::testing::MakeTinyTensors(dense), config).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must have the shape")));
  // Biases of gate and up in turn cannot be taken out of blocks.
  std::vector<TinyTensor> biases = tensors;
  for (TinyTensor& tensor : biases) {
    if (tensor.name != "model.layers.0.mlp.experts.gate_up_proj_bias") continue;
    tensor = {tensor.name + "_blocks", {5, 4, 16}, {}, std::vector<uint8_t>(5 * 4 * 16)};
    biases.push_back(
        {"model.layers.0.mlp.experts.gate_up_proj_bias_scales", {5, 4}, {}, std::vector<uint8_t>(5 * 4)});
    break;
  }
  EXPECT_THAT(Open(biases, golden["config"]).status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("only f32, f16 and bf16 can be divided")));
}

// Rows of two types make no tensor of either.
TEST(NamedTensorsTest, RefusesPartsOfSeveralTypes) {
  ASSERT_OK_AND_ASSIGN(const Json golden, ropeway::testing::ReadTinyGolden("stablelm_parallel"));
  std::vector<TinyTensor> tensors = ropeway::testing::MakeTinyTensors(golden);
  for (TinyTensor& tensor : tensors) {
    if (!absl::EndsWith(tensor.name, "layers.1.self_attn.q_layernorm.norms.2.weight")) continue;
    tensor.bytes.assign(tensor.values.size() * 2, 0);
    tensor.bytes_type = "BF16";
    tensor.values.clear();
  }
  EXPECT_THAT(
      Open(tensors, golden["config"]).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("norms.2.weight' must have the type of")));
}

}  // namespace
}  // namespace ropeway
