// What every executor promises, CPU and CUDA alike: the answers of other implementations' golden files, and
// the same bytes for a request whatever it is batched with.
#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "engine/base/splitmix.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/exec/executor_devices.h"
#include "tests/engine/exec/real_golden.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using cuda::Element;

std::vector<TokenId> RandomIds(size_t count, uint64_t seed, int32_t vocabulary) {
  std::vector<TokenId> ids;
  for (size_t i = 0; i < count; ++i)
    ids.push_back(static_cast<TokenId>(SplitMix(seed * kGoldenRatio64 + i) % vocabulary));
  return ids;
}

std::string NameOfParam(const ::testing::TestParamInfo<DeviceOptions>& info) { return NameOf(info.param); }

// Equal to the last bit.
void ExpectSame(const Sampled& a, const Sampled& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  ASSERT_EQ(a.logprobs.size(), b.logprobs.size());
  for (size_t i = 0; i < a.logprobs.size(); ++i) {
    EXPECT_EQ(a.logprobs[i].chosen, b.logprobs[i].chosen) << i;
    EXPECT_EQ(a.logprobs[i].top, b.logprobs[i].top) << i;
  }
}

// Whether each greedy token of a golden file is that of a prompt of its own, whose length the rotation hangs on.
bool GrowsWithThePrompt(const nlohmann::ordered_json& config) {
  if (!config.contains("rope_parameters")) return false;
  const auto& rope = config["rope_parameters"];
  return rope.value("rope_type", "") == "dynamic" && !rope.contains("alpha");
}

class TinyModelsOnTest : public ::testing::TestWithParam<std::tuple<std::string, DeviceOptions>> {};

TEST_P(TinyModelsOnTest, GreedyTokensAreThoseOfTheGoldenFile) {
  const auto& [name, device] = GetParam();
  const TempFolder folder;
  ASSERT_TRUE(WriteTinyModel(name, folder.path()).ok());
  ASSERT_OK_AND_ASSIGN(const auto golden, ReadTinyGolden(name));
  ASSERT_OK_AND_ASSIGN(const auto executor, OpenOn(folder.path(), device));
  std::vector<ValidRequest> requests;
  for (const auto& sequence : golden["sequences"]) {
    requests.push_back(Greedy(sequence["input_ids"].get<std::vector<TokenId>>(),
                              static_cast<int32_t>(sequence["greedy"]["token_ids"].size())));
  }
  const auto results = RunAll(*executor, requests);
  // Where the two likeliest tokens are nearly as likely, the precision of 16 bits may choose the other.
  const double margin = device.element == Element::kF32 ? 1e-4 : 1;
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto& greedy = golden["sequences"][i]["greedy"];
    ASSERT_TRUE(results[i][0].error.ok()) << results[i][0].error;
    const auto& tokens = results[i][0].tokens;
    const size_t comparable = GrowsWithThePrompt(golden["config"]) ? 1 : tokens.size();
    for (size_t t = 0; t < comparable && greedy["margins"][t].get<double>() > margin; ++t)
      ASSERT_EQ(tokens[t], greedy["token_ids"][t].get<TokenId>()) << "sequence " << i << ", token " << t;
  }
}

std::vector<DeviceOptions> Devices() {
  return {{.kind = DeviceKind::kHostKernels},
          {.kind = DeviceKind::kHostKernels, .element = Element::kBF16},
          {.kind = DeviceKind::kHostKernels, .element = Element::kF16},
          {.kind = DeviceKind::kHostKernels, .tensor_parallel = 2}};
}

std::vector<DeviceOptions> CpuAndDevices() {
  std::vector<DeviceOptions> all = Devices();
  all.push_back({.kind = DeviceKind::kCpu});
  return all;
}

std::string NameOfCase(const ::testing::TestParamInfo<std::tuple<std::string, DeviceOptions>>& info) {
  return std::get<0>(info.param) + "_on_" + NameOf(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(
    Quick, TinyModelsOnTest,
    ::testing::Combine(::testing::Values("llama_base", "llama_rope_linear", "llama_rope_llama3",
                                         "llama_rope_yarn", "llama_rope_yarn_mscale", "llama_tied_bias",
                                         "mistral", "qwen2", "qwen2_window", "qwen3", "gemma3_text"),
                       ::testing::ValuesIn(CpuAndDevices())),
    NameOfCase);
// Every family, in the precision of its golden file.
INSTANTIATE_TEST_SUITE_P(Families, TinyModelsOnTest,
                         ::testing::Combine(::testing::ValuesIn(SupportedTinyCases()),
                                            ::testing::Values(DeviceOptions{
                                                .kind = DeviceKind::kHostKernels})),
                         NameOfCase);
class ExecutorTest : public ::testing::TestWithParam<DeviceOptions> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(WriteTinyModel("gemma3_text", folder_.path()).ok());
    ASSERT_OK_AND_ASSIGN(executor_, OpenOn(folder_.path(), GetParam()));
  }

  std::vector<TokenId> Ids(size_t count, uint64_t seed) const {
    return RandomIds(count, seed, executor_->limits().vocab_size);
  }

  const TempFolder folder_;
  std::unique_ptr<Executor> executor_;
};

TEST_P(ExecutorTest, ARequestHasTheSameBytesAloneAndInABatch) {
  std::vector<ValidRequest> requests;
  for (const size_t length : {1, 5, 16, 33, 70, 17, 2}) requests.push_back(Greedy(Ids(length, length), 9));
  const auto together = RunAll(*executor_, requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(i);
    ExpectSame(together[i][0], RunAll(*executor_, {requests[i]})[0][0]);
  }
}

TEST_P(ExecutorTest, ARequestHasTheSameBytesWhateverTheChunksOfItsPrompt) {
  ValidRequest request = Greedy(Ids(75, 3), 5);
  request.prompt_logprobs = 2;
  const Sampled whole = RunAll(*executor_, {request})[0][0];
  ASSERT_EQ(whole.prompt_logprobs.size(), 74u);
  for (const int32_t tokens : {16, 23}) {
    SCOPED_TRACE(tokens);
    DeviceOptions device = GetParam();
    device.max_tokens_per_step = tokens;
    ASSERT_OK_AND_ASSIGN(const auto executor, OpenOn(folder_.path(), device));
    const Sampled chunked = RunAll(*executor, {request})[0][0];
    ExpectSame(chunked, whole);
    ASSERT_EQ(chunked.prompt_logprobs.size(), whole.prompt_logprobs.size());
    for (size_t i = 0; i < whole.prompt_logprobs.size(); ++i)
      ASSERT_EQ(chunked.prompt_logprobs[i].chosen, whole.prompt_logprobs[i].chosen) << i;
  }
}

// Samples share the pages of the prompt until they write: what is copied then must be what was there.
TEST_P(ExecutorTest, ParallelSamplesAreThoseOfRequestsOfTheirOwn) {
  ValidRequest request = Greedy(Ids(21, 4), 6);
  request.num_samples = 3;
  const auto samples = RunAll(*executor_, {request})[0];
  request.num_samples = 1;
  const Sampled alone = RunAll(*executor_, {request})[0][0];
  for (const Sampled& sample : samples) ExpectSame(sample, alone);
}

// What the first computes the others find: as they come together, all but the first wait for its pages.
TEST_P(ExecutorTest, ARequestHasTheSameBytesWhateverItFindsInThePrefixCache) {
  std::vector<ValidRequest> requests;
  for (const size_t tail : {3, 21, 1, 17}) {
    std::vector<TokenId> prompt = Ids(48, 9);
    for (const TokenId id : Ids(tail, 100 + tail)) prompt.push_back(id);
    requests.push_back(Greedy(std::move(prompt), 6));
  }
  requests[1].num_samples = 2;
  requests[1].sampling.temperature = 1;
  requests[2].sampling.repetition_penalty = 1.5f;  // which sees the whole prompt
  requests[3].prompt_logprobs = 1;                 // which are computed, not skipped
  std::vector<ValidRequest> sharing = requests;
  for (ValidRequest& request : sharing) request.prefix_salt = PrefixSalt{1, 2};
  const auto shared = RunAll(*executor_, sharing);
  EXPECT_EQ(shared[1][0].cached_tokens, 48);
  EXPECT_EQ(shared[2][0].cached_tokens, 48);
  EXPECT_EQ(shared[3][0].cached_tokens, 0);
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(i);
    const auto alone = RunAll(*executor_, {requests[i]})[0];
    for (size_t sample = 0; sample < alone.size(); ++sample) ExpectSame(shared[i][sample], alone[sample]);
    ASSERT_EQ(shared[i][0].prompt_logprobs.size(), alone[0].prompt_logprobs.size());
    for (size_t at = 0; at < alone[0].prompt_logprobs.size(); ++at)
      EXPECT_EQ(shared[i][0].prompt_logprobs[at].chosen, alone[0].prompt_logprobs[at].chosen) << at;
  }
}

// The sampler of the CPU has a test of its own.
class DeviceSamplingTest : public ExecutorTest {};

TEST_P(DeviceSamplingTest, BiasesChangeTheChoice) {
  ValidRequest request = Greedy(Ids(12, 5), 1);
  const TokenId favourite = RunAll(*executor_, {request})[0][0].tokens[0];
  request.sampling.logit_bias = {{favourite, -1000.0f}};
  const TokenId second = RunAll(*executor_, {request})[0][0].tokens[0];
  EXPECT_NE(second, favourite);
  request.sampling.logit_bias.push_back({second, -1000.0f});
  std::sort(request.sampling.logit_bias.begin(), request.sampling.logit_bias.end());
  const TokenId third = RunAll(*executor_, {request})[0][0].tokens[0];
  EXPECT_NE(third, favourite);
  EXPECT_NE(third, second);
}

TEST_P(ExecutorTest, CoinsDependOnSeedAndSampleAlone) {
  ValidRequest request = Greedy(Ids(12, 6), 12);
  request.sampling.temperature = 2;
  request.sampling.seed = 7;
  request.num_samples = 2;
  const auto first = RunAll(*executor_, {request})[0];
  const auto again = RunAll(*executor_, {Greedy(Ids(30, 8), 3), request})[1];
  EXPECT_NE(first[0].tokens, first[1].tokens);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(first[i].tokens, again[i].tokens);
  request.sampling.seed = 8;
  EXPECT_NE(RunAll(*executor_, {request})[0][0].tokens, first[0].tokens);
}

TEST_P(DeviceSamplingTest, PenaltiesMakeTokensRarer) {
  ValidRequest request = Greedy(Ids(12, 5), 24);
  const auto distinct = [&] {
    std::vector<TokenId> tokens = RunAll(*executor_, {request})[0][0].tokens;
    std::sort(tokens.begin(), tokens.end());
    return std::unique(tokens.begin(), tokens.end()) - tokens.begin();
  };
  const auto without = distinct();
  request.sampling.presence_penalty = 2;
  request.sampling.frequency_penalty = 2;
  request.sampling.repetition_penalty = 3;
  EXPECT_GT(distinct(), without);
}

INSTANTIATE_TEST_SUITE_P(Quick, DeviceSamplingTest, ::testing::ValuesIn(Devices()), NameOfParam);
INSTANTIATE_TEST_SUITE_P(Quick, ExecutorTest, ::testing::ValuesIn(CpuAndDevices()), NameOfParam);

// The shipped kernels, executed lane by lane.
std::vector<DeviceOptions> EmulatedDevices() {
  return {{.kind = DeviceKind::kEmulatedKernels},
          {.kind = DeviceKind::kEmulatedKernels, .element = Element::kBF16}};
}

INSTANTIATE_TEST_SUITE_P(Emulated, ExecutorTest, ::testing::ValuesIn(EmulatedDevices()), NameOfParam);
INSTANTIATE_TEST_SUITE_P(Emulated, DeviceSamplingTest, ::testing::ValuesIn(EmulatedDevices()), NameOfParam);
// In float32: tiny_golden_test.
INSTANTIATE_TEST_SUITE_P(Emulated, TinyModelsOnTest,
                         ::testing::Combine(::testing::ValuesIn(SupportedTinyCases()),
                                            ::testing::Values(DeviceOptions{
                                                .kind = DeviceKind::kEmulatedKernels,
                                                .element = Element::kBF16})),
                         NameOfCase);

// The GPU of this machine, where there is one: tests/gpu/check.sh runs what has "device_" in its name.
INSTANTIATE_TEST_SUITE_P(Device, ExecutorTest, ::testing::ValuesIn(RealDevices()), NameOfParam);
INSTANTIATE_TEST_SUITE_P(Fp8Device, ExecutorTest, ::testing::ValuesIn(RealDevicesOfFp8()), NameOfParam);
INSTANTIATE_TEST_SUITE_P(Device, DeviceSamplingTest, ::testing::ValuesIn(RealDevices()), NameOfParam);
INSTANTIATE_TEST_SUITE_P(Device, TinyModelsOnTest,
                         ::testing::Combine(::testing::ValuesIn(SupportedTinyCases()),
                                            ::testing::ValuesIn(RealDevices())),
                         NameOfCase);

// Greedy answers of a real model to the prompts of its golden files.
class GoldenPromptsOnTest : public ::testing::TestWithParam<DeviceOptions> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GoldenPromptsOnTest);

TEST_P(GoldenPromptsOnTest, AnswersAreThoseOfTheGoldenFiles) {
  ASSERT_OK_AND_ASSIGN(const auto executor, OpenOn(RealModelPath(kSmolLm2), GetParam()));
  std::vector<GoldenPrompt> goldens;
  std::vector<ValidRequest> requests;
  for (const char* name : {"chat_code", "chat_turns", "chinese", "code_cpp", "digits", "emoji"}) {
    ASSERT_OK_AND_ASSIGN(goldens.emplace_back(), ReadGoldenPrompt(kSmolLm2, name));
    requests.push_back(Greedy(goldens.back().ids, static_cast<int32_t>(goldens.back().greedy.size())));
  }
  const auto results = RunAll(*executor, requests);
  // Nearly equal likelihoods may fall otherwise in 16 bits.
  const float margin = GetParam().element == Element::kF32 ? 0.01f : 1;
  for (size_t i = 0; i < goldens.size(); ++i) {
    const auto& [tokens, error] = std::tie(results[i][0].tokens, results[i][0].error);
    ASSERT_TRUE(error.ok()) << error;
    for (size_t t = 0; t < tokens.size() && goldens[i].margins[t] > margin; ++t)
      ASSERT_EQ(tokens[t], goldens[i].greedy[t]) << "prompt " << i << ", token " << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Device, GoldenPromptsOnTest, ::testing::ValuesIn(RealDevices()), NameOfParam);

// An 8-bit cache rounds keys and values to one part in some tens (fp8) or hundreds (int8), which moves
// log-probabilities; a cache that is read wrongly moves them by more than 1.
class EightBitCacheTest : public ::testing::TestWithParam<DeviceOptions> {};

TEST_P(EightBitCacheTest, MovesLogprobsLittle) {
  const TempFolder folder;
  ASSERT_TRUE(WriteTinyModel("llama_base", folder.path()).ok());
  ASSERT_OK_AND_ASSIGN(const auto cpu, OpenOn(folder.path(), {.kind = DeviceKind::kCpu}));
  ASSERT_OK_AND_ASSIGN(const auto executor, OpenOn(folder.path(), GetParam()));
  ValidRequest request = Greedy(RandomIds(75, 1, cpu->limits().vocab_size), 4);  // in two chunks
  request.prompt_logprobs = 0;
  const Sampled expected = RunAll(*cpu, {request})[0][0], result = RunAll(*executor, {request})[0][0];
  ASSERT_TRUE(result.error.ok()) << result.error;
  ASSERT_EQ(result.prompt_logprobs.size(), 74u);
  double squares = 0;
  for (size_t i = 0; i < 74; ++i)
    squares += std::pow(result.prompt_logprobs[i].chosen - expected.prompt_logprobs[i].chosen, 2);
  EXPECT_LT(std::sqrt(squares / 74), GetParam().kv_element == cuda::KvElement::kInt8 ? 0.1 : 0.3);
  EXPECT_GT(squares, 0);
  EXPECT_EQ(result.tokens.size(), 4u);
}

std::vector<DeviceOptions> EmulatedDevicesOfAllTypes() {
  std::vector<DeviceOptions> devices;
  for (const Element element : {Element::kF32, Element::kF16, Element::kBF16})
    devices.push_back({.kind = DeviceKind::kEmulatedKernels, .element = element});
  return devices;
}

std::vector<DeviceOptions> WithEightBitCaches(const std::vector<DeviceOptions>& devices) {
  std::vector<DeviceOptions> all;
  for (DeviceOptions device : devices)
    for (const cuda::KvElement kv : {cuda::KvElement::kInt8, cuda::KvElement::kFp8E4M3}) {
      device.kv_element = kv;
      all.push_back(device);
    }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Emulated, EightBitCacheTest,
                         ::testing::ValuesIn(WithEightBitCaches(EmulatedDevicesOfAllTypes())), NameOfParam);
INSTANTIATE_TEST_SUITE_P(Device, EightBitCacheTest, ::testing::ValuesIn(WithEightBitCaches(RealDevices())),
                         NameOfParam);

// Scales beside the pages are kept apart and copied like them.
INSTANTIATE_TEST_SUITE_P(EightBitCache, ExecutorTest,
                         ::testing::Values(DeviceOptions{.kind = DeviceKind::kEmulatedKernels,
                                                         .element = Element::kF32,
                                                         .kv_element = cuda::KvElement::kInt8}),
                         NameOfParam);

// Four KV heads, so that four ranks have one each.
void WriteModelForFourRanks(const TempFolder& folder) {
  ASSERT_OK_AND_ASSIGN(auto golden, ReadTinyGolden("llama_tied_bias"));
  golden["config"]["num_attention_heads"] = 8;
  golden["config"]["num_key_value_heads"] = 4;
  folder.Write("config.json", golden["config"].dump());
  folder.Write("model.safetensors", SafetensorsBytes(MakeTinyTensors(golden)));
}

class TensorParallelTest : public ::testing::TestWithParam<std::tuple<int, DeviceKind>> {};

// Sums over ranks are taken in another order than within one: log-probabilities differ by rounding.
TEST_P(TensorParallelTest, RanksGiveTheTokensOfOne) {
  const auto [ranks, kind] = GetParam();
  const TempFolder folder;
  WriteModelForFourRanks(folder);
  const std::vector<ValidRequest> requests = {Greedy(RandomIds(21, 1, 320), 16),
                                              Greedy(RandomIds(7, 2, 320), 16)};
  ASSERT_OK_AND_ASSIGN(const auto cpu, OpenOn(folder.path(), {.kind = DeviceKind::kCpu}));
  const auto expected = RunAll(*cpu, requests);
  ASSERT_OK_AND_ASSIGN(const auto executor, OpenOn(folder.path(), {.kind = kind, .tensor_parallel = ranks}));
  const auto results = RunAll(*executor, requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(results[i][0].tokens, expected[i][0].tokens) << i;
    for (size_t t = 0; t < results[i][0].logprobs.size(); ++t)
      EXPECT_NEAR(results[i][0].logprobs[t].chosen, expected[i][0].logprobs[t].chosen, 1e-4) << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Quick, TensorParallelTest,
                         ::testing::Combine(::testing::Values(1, 2, 4),
                                            ::testing::Values(DeviceKind::kHostKernels)));
INSTANTIATE_TEST_SUITE_P(Emulated, TensorParallelTest,
                         ::testing::Combine(::testing::Values(1, 2, 4),
                                            ::testing::Values(DeviceKind::kEmulatedKernels)));

class SharedLayersTest : public ::testing::TestWithParam<std::tuple<std::string, DeviceOptions>> {};

// What ranks share beyond heads and feed-forward columns: experts, the shared one too; norms over all heads, before
// and after the rotation; latent attention.
TEST_P(SharedLayersTest, TokensAreThoseOfTheGoldenFile) {
  const auto& [name, device] = GetParam();
  const TempFolder folder;
  ASSERT_THAT(WriteTinyModel(name, folder.path()), IsOk());
  ASSERT_OK_AND_ASSIGN(const auto golden, ReadTinyGolden(name));
  const auto& greedy = golden["sequences"][0]["greedy"];
  const ValidRequest request = Greedy(golden["sequences"][0]["input_ids"].get<std::vector<TokenId>>(), 8);
  ASSERT_OK_AND_ASSIGN(const auto executor, OpenOn(folder.path(), device));
  const Sampled alone = RunAll(*executor, {request})[0][0];
  ASSERT_TRUE(alone.error.ok()) << alone.error;
  ASSERT_EQ(alone.tokens.size(), 8u);
  for (size_t t = 0; t < 8 && greedy["margins"][t].get<double>() > 1e-3; ++t)
    ASSERT_EQ(alone.tokens[t], greedy["token_ids"][t].get<TokenId>()) << t;
  const auto together = RunAll(*executor, {Greedy(RandomIds(19, 1, 320), 3), request});
  ExpectSame(together[1][0], alone);
}

INSTANTIATE_TEST_SUITE_P(Quick, SharedLayersTest,
                         ::testing::Combine(::testing::Values("mixtral", "gpt_oss", "qwen2_moe",
                                                              "llama4_text", "granitemoeshared", "olmo2",
                                                              "olmoe", "hunyuan_v1_moe", "deepseek_v3",
                                                              "deepseek_v3_plain", "minicpm3"),
                                            ::testing::Values(DeviceOptions{.kind = DeviceKind::kHostKernels,
                                                                            .tensor_parallel = 2})),
                         NameOfCase);
INSTANTIATE_TEST_SUITE_P(Emulated, SharedLayersTest,
                         ::testing::Combine(::testing::Values("gpt_oss", "olmo2", "deepseek_v3"),
                                            ::testing::Values(DeviceOptions{
                                                .kind = DeviceKind::kEmulatedKernels, .tensor_parallel = 2})),
                         NameOfCase);

// The first layers of a real model, or all of it.
void ExpectTokensOfCpu(const DeviceOptions& device, int32_t num_tokens) {
  DeviceOptions cpu{.kind = DeviceKind::kCpu, .num_layers = device.num_layers};
  ASSERT_OK_AND_ASSIGN(const auto reference, OpenOn(RealModelPath(kSmolLm2), cpu));
  ASSERT_OK_AND_ASSIGN(const auto executor, OpenOn(RealModelPath(kSmolLm2), device));
  if (kSlowBuild) num_tokens = 2;
  const std::vector<ValidRequest> requests = {
      Greedy({1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47}, num_tokens),
      Greedy(RandomIds(19, 1, 49152), num_tokens)};
  const auto expected = RunAll(*reference, requests), results = RunAll(*executor, requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    ASSERT_TRUE(results[i][0].error.ok()) << results[i][0].error;
    EXPECT_EQ(results[i][0].tokens, expected[i][0].tokens);
    for (size_t t = 0; t < expected[i][0].logprobs.size(); ++t)
      EXPECT_NEAR(results[i][0].logprobs[t].chosen, expected[i][0].logprobs[t].chosen, 1e-3) << t;
  }
}

TEST(SmolLm2Test, FourLayersOnHostKernels) {
  ExpectTokensOfCpu({.kind = DeviceKind::kHostKernels, .num_layers = 4}, 8);
}

TEST(SmolLm2Test, FourLayersOnEmulatedKernels) {
  ExpectTokensOfCpu({.kind = DeviceKind::kEmulatedKernels, .num_layers = 4}, 3);
}

TEST(SmolLm2Test, FourLayersOnThreeRanks) {
  ExpectTokensOfCpu({.kind = DeviceKind::kHostKernels, .tensor_parallel = 3, .num_layers = 4}, 8);
}

// Minutes long; see CMakeLists.txt.
TEST(SmolLm2LongTest, AllLayersOnEmulatedKernels) {
  ExpectTokensOfCpu({.kind = DeviceKind::kEmulatedKernels}, 4);
}

TEST(SmolLm2Test, AllLayersOnHostKernels) { ExpectTokensOfCpu({.kind = DeviceKind::kHostKernels}, 12); }

}  // namespace
}  // namespace ropeway::testing
