#include "engine/model/gguf_model.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "engine/model/hf_model.h"
#include "tests/testing/gguf_writer.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway {
namespace {

using ::ropeway::testing::GgufBytes;
using ::ropeway::testing::GgufModel;
using ::ropeway::testing::GgufTensor;
using ::ropeway::testing::IsOk;
using ::ropeway::testing::MakeTinyGguf;
using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TempFolder;
using ::testing::HasSubstr;

RopeSpec& RopeIn(LayerSpec& layer) { return std::get<RopeSpec>(layer.position.scheme); }

// The spec of a case, read from a folder, as its GGUF file ought to say it.
DecoderSpec ExpectedSpec(const std::string& case_name) {
  const TempFolder folder;
  EXPECT_OK(ropeway::testing::WriteTinyModel(case_name, folder.path()));
  const absl::StatusOr<OpenedModel> model = OpenHfModel(folder.path());
  EXPECT_OK(model);
  DecoderSpec spec = model->spec;
  const bool llama = spec.architecture == "llama" || spec.architecture == "mistral";
  spec.architecture = llama ? "llama" : spec.architecture == "gemma3_text" ? "gemma3" : spec.architecture;
  spec.norm.offset = 0;
  for (LayerSpec& layer : spec.layers) {
    layer.attention.head_norm.offset = 0;
    if (llama) RopeIn(layer).pairing = RopePairing::kInterleaved;
  }
  return spec;
}

TEST(GgufModelTest, SaysWhatTheFolderOfTheSameModelSays) {
  for (const std::string& name : ropeway::testing::TinyGgufCases()) {
    const TempFolder folder;
    ASSERT_OK_AND_ASSIGN(const GgufModel file, MakeTinyGguf(name));
    ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.Write("m.gguf", GgufBytes(file))));
    DecoderSpec spec = model.spec, expected = ExpectedSpec(name);
    if (name == "llama_rope_llama3") {  // stored as divisors
      const RopeSpec& rope = RopeIn(spec.layers[0]);
      EXPECT_EQ(rope.frequency_factors.size(), 8u);
      EXPECT_EQ(rope.frequency_factors.front(), 1);
      EXPECT_EQ(rope.frequency_factors.back(), 8);
      for (size_t i = 0; i < spec.layers.size(); ++i) RopeIn(spec.layers[i]) = RopeIn(expected.layers[i]);
    }
    if (name == "llama_rope_yarn_mscale") {  // stored as a float
      for (size_t i = 0; i < spec.layers.size(); ++i) {
        double& factor = RopeIn(spec.layers[i]).attention_factor;
        EXPECT_NEAR(factor, RopeIn(expected.layers[i]).attention_factor, 1e-7);
        factor = RopeIn(expected.layers[i]).attention_factor;
      }
    }
    EXPECT_EQ(spec, expected) << name;
  }
}

TEST(GgufModelTest, FindsTensorsByRole) {
  const TempFolder folder;
  ASSERT_OK_AND_ASSIGN(const GgufModel file, MakeTinyGguf("gemma3_text"));
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.Write("m.gguf", GgufBytes(file))));
  const std::vector<TensorId> ids = TensorsOf(model.spec);
  for (const TensorId& id : ids) {
    ASSERT_OK_AND_ASSIGN(const WeightTensor tensor, model.tensors->Find(id));
    EXPECT_EQ(tensor.view.shape, ShapeOf(id, model.spec));
  }
  EXPECT_EQ(ids.size(), file.tensors.size());
  for (const RoleInfo& info : AllRoles())
    for (const bool is_bias : {false, true}) {
      const TensorId id{info.role, 0, is_bias};
      if (HasTensor(id, model.spec)) continue;
      EXPECT_THAT(model.tensors->Find(id), StatusIs(absl::StatusCode::kNotFound, HasSubstr("is missing")));
    }
  EXPECT_EQ(model.tensors->NameOf({WeightRole::kFfnPostNorm, 3}), "blk.3.post_ffw_norm.weight");
}

// Opens a case after a change of its file.
absl::Status OpenChanged(const std::string& case_name, const std::function<void(GgufModel&)>& change) {
  absl::StatusOr<GgufModel> file = MakeTinyGguf(case_name);
  EXPECT_OK(file);
  change(*file);
  const TempFolder folder;
  return OpenModel(folder.Write("m.gguf", GgufBytes(*file))).status();
}

absl::Status OpenWith(const std::string& case_name, const std::string& key, MetadataValue value) {
  return OpenChanged(case_name, [&](GgufModel& file) { file[key] = value; });
}

TEST(GgufModelTest, RefusesWhatItDoesNotKnow) {
  const struct {
    const char* case_name;
    const char* key;
    MetadataValue value;
    const char* says;
  } cases[] = {
      {"llama_base", "general.architecture", std::string("rwkv"), "supported are llama, mistral3, "},
      {"llama_base", "general.type", std::string("adapter"), "'general.type' is 'adapter'"},
      {"qwen2", "qwen2.expert_count", int64_t{8}, "'qwen2.expert_count' is 8; only 0"},
      {"llama_base", "llama.rope.scaling.yarn_log_multiplier", 0.1, "is 0.1; only 0 is supported"},
      {"llama_base", "llama.logit_scale", 0.5, "'llama.logit_scale' is not supported"},
      {"llama_base", "llama.attention.causal", false,
       "'llama.attention.causal' is not supported unless it is true"},
      {"llama_base", "llama.rope.scaling.type", std::string("longrope"), "supported are none, linear, yarn"},
      {"llama_rope_yarn", "llama.rope.scaling.yarn_ext_factor", 0.5, "is 0.5; only 1 is supported"},
      {"llama_base", "llama.attention.head_count_kv", std::vector<int64_t>{2, 2, 1, 2},
       "differs between layers"},
      {"qwen3", "qwen3.attention.sliding_window", int64_t{32},
       "'qwen3.attention.sliding_window' is 32; only 0"},
  };
  for (const auto& test : cases)
    EXPECT_THAT(OpenWith(test.case_name, test.key, test.value),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(test.says)));
}

TEST(GgufModelTest, TakesEpsilonsOfBothKindsOfNorm) {
  EXPECT_OK(OpenWith("llama_base", "llama.attention.layer_norm_epsilon", 1e-5));
  EXPECT_THAT(OpenChanged("llama_base",
                          [](GgufModel& file) {
                            std::erase_if(file.metadata, [](const auto& pair) {
                              return pair.first == "llama.attention.layer_norm_rms_epsilon";
                            });
                            file["llama.attention.layer_norm_epsilon"] = 1e-5;
                          }),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("layer_norm_epsilon' is not supported")));
}

TEST(GgufModelTest, RefusesWhatContradictsItself) {
  const struct {
    const char* case_name;
    const char* key;
    MetadataValue value;
    const char* says;
  } cases[] = {
      {"llama_base", "llama.block_count", int64_t{0}, "'llama.block_count' must be in [1, 1024], is 0"},
      {"llama_base", "llama.block_count", int64_t{4000000000}, "must be in [0, 2^31), is 4000000000"},
      {"llama_base", "llama.block_count", int64_t{5}, "tensor 'blk.4.attn_norm.weight' is missing"},
      {"llama_base", "llama.embedding_length", std::string("96"),
       "'llama.embedding_length' must be an integer"},
      {"llama_base", "llama.embedding_length", int64_t{128}, "must have the shape [320, 128], has [320, 96]"},
      {"llama_base", "llama.attention.head_count", int64_t{0}, "num_heads must be in [1, 4096], is 0"},
      {"llama_base", "llama.attention.key_length", int64_t{1 << 20}, "head_dim must be in [1, 1024]"},
      {"llama_base", "llama.rope.dimension_count", int64_t{18}, "rotary_dim must be in [2, 16], is 18"},
      {"llama_base", "llama.rope.freq_base", -1.0, "rope base must be positive"},
      {"llama_base", "llama.attention.layer_norm_rms_epsilon", std::nan(""), "norm_epsilon must be positive"},
      {"llama_base", "llama.vocab_size", int64_t{319},
       "'llama.vocab_size' is 319, but tensor 'token_embd.weight' has"},
      {"llama_rope_yarn", "llama.rope.scaling.original_context_length", int64_t{0},
       "original_context must be in"},
      {"llama_rope_linear", "llama.rope.scaling.factor", 0.0, "rope factor must be positive"},
      {"gemma3_text", "gemma3.attention.sliding_window", int64_t{0}, "must be positive"},
      {"gemma3_text", "gemma3.attention.sliding_window_pattern", std::vector<bool>{true},
       "must have 4 elements"},
      {"gemma3_text", "gemma3.attention.sliding_window_pattern", int64_t{0}, "must be positive, is 0"},
  };
  for (const auto& test : cases)
    EXPECT_THAT(OpenWith(test.case_name, test.key, test.value),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.says)));
  EXPECT_THAT(
      OpenChanged("llama_base", [](GgufModel& file) { file.metadata.erase(file.metadata.begin() + 1); }),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'llama.block_count' is missing")));
}

RopeSpec RopeWith(const std::string& case_name, const std::string& key, MetadataValue value) {
  absl::StatusOr<GgufModel> file = MakeTinyGguf(case_name);
  EXPECT_OK(file);
  (*file)[key] = value;
  const TempFolder folder;
  absl::StatusOr<OpenedModel> model = OpenModel(folder.Write("m.gguf", GgufBytes(*file)));
  EXPECT_OK(model);
  return RopeIn(model->spec.layers[0]);
}

TEST(GgufModelTest, LinearScalingByItsOlderName) {
  const RopeSpec rope = RopeWith("llama_base", "llama.rope.scale_linear", 2.0);
  EXPECT_EQ(rope.scaling, RopeScalingKind::kLinear);
  EXPECT_EQ(rope.factor, 2);
  EXPECT_EQ(RopeWith("llama_rope_linear", "llama.rope.scale_linear", 3.0).factor, 4);  // the newer one counts
}

TEST(GgufModelTest, TheOriginalContextIsTheContextWhereNothingIsSaid) {
  const TempFolder folder;
  ASSERT_OK_AND_ASSIGN(GgufModel yarn, MakeTinyGguf("llama_rope_yarn"));
  const auto erased = std::erase_if(yarn.metadata, [](const auto& pair) {
    return pair.first == "llama.rope.scaling.original_context_length";
  });
  EXPECT_EQ(erased, 1u);
  // As converters write MiniCPM 3: with the lists of LongRoPE, and no key beside them.
  ASSERT_OK_AND_ASSIGN(GgufModel longrope, MakeTinyGguf("llama_base"));
  const std::vector<float> factors(8, 2.0f);
  const std::string bytes(reinterpret_cast<const char*>(factors.data()), factors.size() * sizeof(float));
  for (const char* name : {"rope_factors_short.weight", "rope_factors_long.weight"})
    longrope.tensors.push_back({name, DType::kF32, {8}, bytes});
  for (const GgufModel& file : {yarn, longrope}) {
    ASSERT_OK_AND_ASSIGN(OpenedModel model, OpenModel(folder.Write("m.gguf", GgufBytes(file))));
    EXPECT_EQ(RopeIn(model.spec.layers[0]).original_context, 256);
    EXPECT_EQ(model.spec.context_length, 256);
  }
}

// As converters write ERNIE 4.5's corrections of routers, for one.
TEST(GgufModelTest, VectorsMayBeMatricesOfOneRow) {
  for (const std::string name : {"gemma3_text", "qwen2"}) {
    ASSERT_OK_AND_ASSIGN(GgufModel file, MakeTinyGguf(name));
    const TempFolder folder;
    ASSERT_OK_AND_ASSIGN(const OpenedModel vectors, OpenModel(folder.Write("v.gguf", GgufBytes(file))));
    for (auto& tensor : file.tensors)
      if (tensor.shape.size() == 1) tensor.shape.insert(tensor.shape.begin(), 1);
    ASSERT_OK_AND_ASSIGN(const OpenedModel rows, OpenModel(folder.Write("r.gguf", GgufBytes(file))));
    for (const TensorId& id : TensorsOf(vectors.spec)) {
      ASSERT_OK_AND_ASSIGN(const WeightTensor expected, vectors.tensors->Find(id));
      ASSERT_OK_AND_ASSIGN(const WeightTensor found, rows.tensors->Find(id));
      EXPECT_EQ(found.view.shape, expected.view.shape) << rows.tensors->NameOf(id);
      ASSERT_EQ(found.view.bytes(), expected.view.bytes());
      EXPECT_EQ(std::memcmp(found.view.data, expected.view.data, static_cast<size_t>(found.view.bytes())), 0);
    }
  }
}

// Converters write what a folder's "attention_factor" is: all of it.
TEST(GgufModelTest, MagnitudeOfYarnByItsKey) {
  for (const double magnitude : {1.2, 1.0, 0.7})
    EXPECT_FLOAT_EQ(
        RopeWith("llama_rope_yarn", "llama.rope.scaling.yarn_attn_factor", magnitude).attention_factor,
        magnitude);
  EXPECT_DOUBLE_EQ(RopeWith("llama_rope_yarn", "llama.rope.scaling.attn_factor", 0.5).attention_factor,
                   0.5 * YarnMagnitude(4, 1));
}

// The feed-forward layers of a case as two experts each, of zeros.
void MakeExperts(GgufModel& file) {
  constexpr int64_t kHidden = 96, kFfn = 160, kExperts = 2;
  std::erase_if(file.tensors, [](const GgufTensor& tensor) {
    return absl::StrContains(tensor.name, ".ffn_") && !absl::StrContains(tensor.name, "norm");
  });
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    int64_t floats = 1;
    for (const int64_t extent : shape) floats *= extent;
    file.tensors.push_back({name, DType::kF32, shape, std::string(static_cast<size_t>(floats) * 4, '\0')});
  };
  for (const std::string layer : {"blk.0.", "blk.1.", "blk.2.", "blk.3."}) {
    add(layer + "ffn_gate_inp.weight", {kExperts, kHidden});
    add(layer + "ffn_gate_exps.weight", {kExperts, kFfn, kHidden});
    add(layer + "ffn_up_exps.weight", {kExperts, kFfn, kHidden});
    add(layer + "ffn_down_exps.weight", {kExperts, kHidden, kFfn});
  }
  file["llama.expert_count"] = kExperts;
  file["llama.expert_used_count"] = int64_t{1};
}

absl::Status OpenExperts(const std::string& key, MetadataValue value) {
  return OpenChanged("llama_base", [&](GgufModel& file) {
    MakeExperts(file);
    file[key] = value;
  });
}

TEST(GgufModelTest, ExpertsOfAFile) {
  ASSERT_OK_AND_ASSIGN(GgufModel file, MakeTinyGguf("llama_base"));
  MakeExperts(file);
  const TempFolder folder;
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.Write("m.gguf", GgufBytes(file))));
  EXPECT_EQ(model.spec.layers[3].ffn.experts, (ExpertsSpec{.count = 2, .per_token = 1, .normalised = true}));
  ASSERT_OK_AND_ASSIGN(const WeightTensor down,
                       model.tensors->Find({WeightRole::kExpertDown, 3, /*is_bias=*/false, /*expert=*/1}));
  EXPECT_EQ(down.view.shape, (std::vector<int64_t>{96, 160}));
  EXPECT_EQ(down.bytes, nullptr);  // seen in the file, not copied
}

TEST(GgufModelTest, RefusesExpertsThatContradictThemselves) {
  const struct {
    const char* key;
    MetadataValue value;
    const char* says;
  } cases[] = {
      {"llama.expert_count", int64_t{3}, "must have the shape [3, 96], has [2, 96]"},
      {"llama.expert_count", int64_t{1025}, "number of experts must be in [0, 1024], is 1025"},
      {"llama.expert_count", int64_t{0}, "'llama.expert_used_count' is 1; only 0"},
      {"llama.expert_used_count", int64_t{0}, "experts per token must be in [1, 64], is 0"},
      {"llama.expert_used_count", int64_t{3}, "experts per token must be in [1, 2], is 3"},
      {"llama.expert_feed_forward_length", int64_t{161}, "must have the shape [2, 161, 96]"},
      {"llama.expert_group_count", int64_t{3}, "groups of experts must be in [1, 2], is 3"},
      {"llama.leading_dense_block_count", int64_t{1}, "says that layer 0 has no experts, but tensor"},
      {"llama.interleave_moe_layer_step", int64_t{2}, "says that layer 0 has no experts, but tensor"},
      {"llama.expert_weights_scale", -1.0, "scale of the experts' weights must be positive"},
  };
  for (const auto& test : cases) {
    const absl::Status status = OpenExperts(test.key, test.value);
    EXPECT_TRUE(absl::IsInvalidArgument(status) || absl::IsUnimplemented(status))
        << test.key << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.says)) << test.key;
  }
  EXPECT_THAT(OpenExperts("llama.expert_gating_func", int64_t{4}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("'llama.expert_gating_func' is 4")));
  EXPECT_THAT(
      OpenWith("llama_base", "llama.expert_count", int64_t{2}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'llama.expert_used_count' is missing")));
}

TEST(GgufModelTest, RefusesTensorsThatDoNotFitTheMetadata) {
  const auto add = [](const char* name, int64_t size) {
    return [name, size](GgufModel& file) {
      file.tensors.push_back({name, DType::kF32, {size}, std::string(static_cast<size_t>(size) * 4, '\0')});
    };
  };
  for (const char* name : {"blk.0.attn_q_norm.weight", "blk.0.post_ffw_norm.weight", "blk.4.attn_norm.weight",
                           "blk.1.attn_q.bias", "extra"})
    EXPECT_THAT(OpenChanged("llama_base", add(name, 96)),
                StatusIs(absl::StatusCode::kUnimplemented,
                         HasSubstr(std::string("tensor '") + name + "' has no place")));
  // One bias asks for all of its kind.
  EXPECT_THAT(
      OpenChanged("llama_base", add("blk.0.attn_q.bias", 96)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensor 'blk.1.attn_q.bias' is missing")));
  EXPECT_THAT(OpenChanged("llama_base", add("rope_freqs.weight", 9)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'rope_freqs.weight' must have 8 values, has 9")));
  EXPECT_THAT(OpenChanged("llama_base", add("rope_freqs.weight", 8)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must hold positive numbers, holds 0")));
  EXPECT_THAT(
      OpenChanged("qwen2",
                  [](GgufModel& file) {
                    std::erase_if(file.tensors,
                                  [](const GgufTensor& t) { return t.name == "blk.2.attn_v.bias"; });
                  }),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensor 'blk.2.attn_v.bias' is missing")));
}

TEST(GgufModelTest, UniformArraysAreOneNumber) {
  EXPECT_OK(OpenWith("llama_base", "llama.attention.head_count_kv", std::vector<int64_t>{2, 2, 2, 2}));
}

// The path of a real model, or "" where tests are to run without.
std::string RealModel(const std::string& name) {
  const std::string path = "models/" + name;
  if (!std::filesystem::exists(path) && std::getenv("ROPEWAY_WITHOUT_MODELS") != nullptr) return "";
  return path;
}

TEST(GgufModelTest, OpensSmolLm2) {
  const std::string path = RealModel("SmolLM2-135M-Instruct.Q4_1.gguf");
  if (path.empty()) GTEST_SKIP() << "ROPEWAY_WITHOUT_MODELS is set";
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(path));
  const RopeSpec rope{.base = 100000, .rotary_dim = 64, .pairing = RopePairing::kInterleaved};
  const LayerSpec layer{.attention = {.scale = 0.125f}, .position = {.scheme = rope}, .ffn = {.size = 1536}};
  const DecoderSpec expected{.architecture = "llama",
                             .vocab_size = 49152,
                             .hidden_size = 576,
                             .num_heads = 9,
                             .num_kv_heads = 3,
                             .head_dim = 64,
                             .value_dim = 64,
                             .context_length = 8192,
                             .norm = {.epsilon = 1e-5f},
                             .tied_output = true,
                             .layers = std::vector<LayerSpec>(30, layer)};
  EXPECT_EQ(model.spec, expected);
  ASSERT_OK_AND_ASSIGN(const WeightTensor embedding, model.tensors->Find({WeightRole::kTokenEmbedding}));
  EXPECT_EQ(embedding.view.type, DType::kQ8_0);
  ASSERT_OK_AND_ASSIGN(const auto* tokens, model.metadata.GetStrings("tokenizer.ggml.tokens"));
  EXPECT_EQ(tokens->size(), 49152u);
}

TEST(GgufModelTest, OpensGemma3) {
  const std::string path = RealModel("gemma-3-270m-q4_k_m.gguf");
  if (path.empty() || !std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(path));
  const DecoderSpec& spec = model.spec;
  EXPECT_TRUE(spec.block.pre_norm && spec.block.post_norm && spec.tied_output);
  EXPECT_EQ(spec.norm.offset, 0);
  EXPECT_EQ(spec.head_dim, 256);
  EXPECT_EQ(spec.num_layers(), 18);
  const PositionSpec global{.scheme = RopeSpec{.base = 1000000, .rotary_dim = 256}},
      local{.scheme = RopeSpec{.base = 10000, .rotary_dim = 256}, .window = 512};
  for (int i = 0; i < 18; ++i) {
    const LayerSpec& layer = spec.layers[i];
    EXPECT_EQ(layer.position, i % 6 == 5 ? global : local);
    EXPECT_EQ(layer.attention.scale, 1 / 16.0f);
    EXPECT_EQ(layer.attention.head_norm.kind, NormKind::kRms);
    EXPECT_FALSE(layer.attention.qkv_bias);
  }
}

}  // namespace
}  // namespace ropeway
