// The same tokens give the same bytes: alone or in a batch, in chunks of any size, on any number of threads,
// on any pages, shared with others or not, with AVX2 or AVX-512.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "engine/base/splitmix.h"
#include "gtest/gtest.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/engine/exec/real_golden.h"
#include "tests/testing/gguf_writer.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

constexpr int kVocabulary = 320;

std::vector<TokenId> RandomIds(size_t count, uint64_t seed) {
  std::vector<TokenId> ids;
  for (size_t i = 0; i < count; ++i)
    ids.push_back(static_cast<TokenId>(SplitMix(seed * kGoldenRatio64 + i) % kVocabulary));
  return ids;
}

// A llama of two layers whose matrices are quantised in six ways, q, k and v each in its own.
GgufModel QuantisedModel() {
  constexpr int64_t kHidden = 256, kFfn = 512, kKeys = 128;
  GgufModel model;
  model["general.architecture"] = std::string("llama");
  model["llama.block_count"] = int64_t{2};
  model["llama.context_length"] = int64_t{1024};
  model["llama.embedding_length"] = kHidden;
  model["llama.feed_forward_length"] = kFfn;
  model["llama.attention.head_count"] = int64_t{4};
  model["llama.attention.head_count_kv"] = int64_t{2};
  uint64_t seed = 0;
  const auto add = [&](const std::string& name, DType type, std::vector<int64_t> shape) {
    const int64_t rows = shape.size() == 1 ? 1 : shape[0];
    model.tensors.push_back({name + ".weight", type, shape, RandomRows(type, rows, shape.back(), ++seed)});
  };
  add("token_embd", DType::kQ8_0, {kVocabulary, kHidden});
  add("output_norm", DType::kF32, {kHidden});
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    add(layer + "attn_norm", DType::kF32, {kHidden});
    add(layer + "attn_q", DType::kQ4_1, {kHidden, kHidden});
    add(layer + "attn_k", DType::kQ5_0, {kKeys, kHidden});
    add(layer + "attn_v", DType::kQ6_K, {kKeys, kHidden});
    add(layer + "attn_output", DType::kQ4_K, {kHidden, kHidden});
    add(layer + "ffn_norm", DType::kF32, {kHidden});
    add(layer + "ffn_gate", DType::kQ4_0, {kFfn, kHidden});
    add(layer + "ffn_up", DType::kQ4_0, {kFfn, kHidden});
    add(layer + "ffn_down", DType::kQ8_0, {kHidden, kFfn});
  }
  return model;
}

// The same with four experts, two a token, in stacked tensors of two types.
GgufModel QuantisedExperts() {
  constexpr int64_t kHidden = 256, kFfn = 512, kExperts = 4;
  GgufModel model = QuantisedModel();
  std::erase_if(model.tensors, [](const GgufTensor& tensor) {
    return absl::StrContains(tensor.name, ".ffn_") && !absl::StrContains(tensor.name, "norm");
  });
  model["llama.expert_count"] = kExperts;
  model["llama.expert_used_count"] = int64_t{2};
  uint64_t seed = 100;
  const auto add = [&](const std::string& name, DType type, std::vector<int64_t> shape) {
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
    model.tensors.push_back({name + ".weight", type, shape, RandomRows(type, rows, shape.back(), ++seed)});
  };
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    add(layer + "ffn_gate_inp", DType::kF32, {kExperts, kHidden});
    add(layer + "ffn_gate_exps", DType::kQ4_K, {kExperts, kFfn, kHidden});
    add(layer + "ffn_up_exps", DType::kQ4_K, {kExperts, kFfn, kHidden});
    add(layer + "ffn_down_exps", DType::kQ6_K, {kExperts, kHidden, kFfn});
  }
  return model;
}

absl::StatusOr<GgufModel> ModelNamed(const std::string& name) {
  if (name == "quantised") return QuantisedModel();
  if (name == "quantised_experts") return QuantisedExperts();
  return MakeTinyGguf(name);
}

absl::StatusOr<std::unique_ptr<CpuExecutor>> OpenNamed(const std::string& name,
                                                       const CpuExecutorOptions& options) {
  const TempFolder folder;
  const std::vector<std::string>& gguf = TinyGgufCases();
  if (!absl::StartsWith(name, "quantised") && std::find(gguf.begin(), gguf.end(), name) == gguf.end()) {
    RETURN_IF_ERROR(WriteTinyModel(name, folder.path()));
    return OpenExecutor(folder.path(), options);
  }
  ASSIGN_OR_RETURN(const GgufModel model, ModelNamed(name));
  return OpenExecutor(folder.Write("model.gguf", GgufBytes(model)), options);
}

void ExpectSameBytes(absl::Span<const float> a, absl::Span<const float> b) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
}

using Param = std::tuple<std::string, std::string, kernels::KvType>;  // model, kernels

class ByteContractTest : public ::testing::TestWithParam<Param> {
 protected:
  void SetUp() override {
    const auto& [model, kernels, kv_type] = GetParam();
    if (kernels::SelectKernels(kernels.c_str()) == nullptr)
      GTEST_SKIP() << "this processor lacks " << kernels;
    ASSERT_OK_AND_ASSIGN(executor_, Open(kernels, /*threads=*/1));
    alone_ = LogitsOf(*executor_, ids_, pages_, kAllAtOnce);
  }

  absl::StatusOr<std::unique_ptr<CpuExecutor>> Open(const std::string& kernels, int threads,
                                                    std::function<void(int)> delay = nullptr) const {
    return OpenNamed(std::get<0>(GetParam()), {.kv_type = std::get<2>(GetParam()),
                                               .kernels = kernels,
                                               .threads = threads,
                                               .delay = std::move(delay),
                                               .kv_cache_bytes = 64 << 20});
  }

  static constexpr int kAllAtOnce = 512;
  const std::vector<TokenId> ids_ = RandomIds(90, 1);
  const std::vector<PageId> pages_ = PagesFrom(0, ids_.size());
  std::unique_ptr<CpuExecutor> executor_;  // on one thread
  std::vector<float> alone_;               // the logits of all of ids_, computed in one go
};

TEST_P(ByteContractTest, ChunksOfAnySize) {
  for (const int chunk : {1, 7, 16, 33}) {
    SCOPED_TRACE(chunk);
    ExpectSameBytes(LogitsOf(*executor_, ids_, pages_, chunk), alone_);
  }
}

TEST_P(ByteContractTest, OnAnyNumberOfThreads) {
  for (const int threads : {2, 3, 16}) {
    SCOPED_TRACE(threads);
    ASSERT_OK_AND_ASSIGN(const auto executor, Open(std::get<1>(GetParam()), threads));
    for (const int chunk : {7, kAllAtOnce}) {
      SCOPED_TRACE(chunk);
      ExpectSameBytes(LogitsOf(*executor, ids_, pages_, chunk), alone_);
    }
  }
}

// Threads lose their cores at any moment, so that others take over what was theirs.
TEST_P(ByteContractTest, WhoeverIsHeldUp) {
  std::atomic<uint64_t> moment = 0;
  const auto delay = [&](int) {
    if (SplitMix(++moment) % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
  };
  ASSERT_OK_AND_ASSIGN(const auto executor, Open(std::get<1>(GetParam()), /*threads=*/3, delay));
  for (const int chunk : {7, kAllAtOnce}) {
    SCOPED_TRACE(chunk);
    ExpectSameBytes(LogitsOf(*executor, ids_, pages_, chunk), alone_);
  }
}

TEST_P(ByteContractTest, AnyOrderOfPages) {
  std::vector<PageId> pages = PagesFrom(40, ids_.size());
  std::reverse(pages.begin(), pages.end());
  ExpectSameBytes(LogitsOf(*executor_, ids_, pages, 7), alone_);
}

TEST_P(ByteContractTest, AfterOtherContentsOfThePages) {
  LogitsOf(*executor_, RandomIds(ids_.size(), 9), pages_, kAllAtOnce);
  ExpectSameBytes(LogitsOf(*executor_, ids_, pages_, kAllAtOnce), alone_);
}

// The last token, once alone and once among 16 others whose sequences are of all lengths.
TEST_P(ByteContractTest, InABatchOf17) {
  std::vector<std::vector<TokenId>> others;
  std::vector<std::vector<PageId>> tables;
  PageId next = static_cast<PageId>(pages_.size());
  for (size_t i = 0; i < 16; ++i) {
    others.push_back(RandomIds(5 * i + 1, 100 + i));
    tables.push_back(PagesFrom(next, others[i].size()));
    next += static_cast<PageId>(tables[i].size());
    LogitsOf(*executor_, others[i], tables[i], kAllAtOnce);
  }
  const size_t last = ids_.size() - 1;
  std::vector<RunRow> rows;
  for (size_t i = 0; i < others.size(); ++i) {
    const size_t end = others[i].size() - 1;
    rows.push_back({absl::MakeConstSpan(others[i]).subspan(end), static_cast<int32_t>(end), tables[i]});
  }
  rows.insert(rows.begin() + 11,
              {absl::MakeConstSpan(ids_).subspan(last), static_cast<int32_t>(last), pages_});
  const size_t vocabulary = alone_.size() / ids_.size();
  executor_->VisitLogits(PlanOf(rows), {11}, [&](int32_t, absl::Span<const float> logits) {
    ExpectSameBytes(logits, absl::MakeConstSpan(alone_).subspan(last * vocabulary));
  });
}

// Three sequences that begin alike hold the pages of the beginning together; a chunk, a token and a chunk in
// one step.
TEST_P(ByteContractTest, OnSharedPagesInAMixedStep) {
  constexpr size_t kShared = 2 * kPageTokens;
  std::vector<TokenId> other = ids_;
  other[kShared] = ids_[kShared] ^ 1;
  LogitsOf(*executor_, other, pages_, kAllAtOnce);
  std::vector<PageId> own = PagesFrom(20, ids_.size());
  std::copy_n(pages_.begin(), 2, own.begin());
  std::vector<PageId> third = PagesFrom(40, ids_.size());
  std::copy_n(pages_.begin(), 2, third.begin());
  const auto ids = absl::MakeConstSpan(ids_);
  const int32_t end = static_cast<int32_t>(ids_.size());
  const RunRow rows[] = {{ids.subspan(kShared), kShared, own},
                         {absl::MakeConstSpan(other).subspan(end - 1), end - 1, pages_},
                         {ids.subspan(kShared, 5), kShared, third}};
  const size_t vocabulary = alone_.size() / ids_.size();
  const int32_t chunk = end - static_cast<int32_t>(kShared);
  executor_->VisitLogits(
      PlanOf(rows), {chunk - 1, chunk + 1 + 4}, [&](int32_t index, absl::Span<const float> logits) {
        const size_t position = index < chunk ? ids_.size() - 1 : kShared + 4;
        SCOPED_TRACE(position);
        ExpectSameBytes(logits, absl::MakeConstSpan(alone_).subspan(position * vocabulary, vocabulary));
      });
}

TEST_P(ByteContractTest, OnCopiedPages) {
  StepPlan plan = PlanOf({{absl::MakeConstSpan(ids_).subspan(89), 89, PagesFrom(0, 0)}});
  const std::vector<PageId> copies = PagesFrom(30, ids_.size());
  plan.page_tables[0] = copies;
  for (size_t i = 0; i < copies.size(); ++i) plan.page_copies.push_back({.from = pages_[i], .to = copies[i]});
  executor_->VisitLogits(plan, {0}, [&](int32_t, absl::Span<const float> logits) {
    ExpectSameBytes(logits, absl::MakeConstSpan(alone_).subspan(89 * logits.size()));
  });
}

std::string TestName(const ::testing::TestParamInfo<Param>& info) {
  const auto& [model, kernels, kv_type] = info.param;
  return model + "_" + kernels + (kv_type == kernels::KvType::kF32 ? "_f32" : "_bf16");
}

INSTANTIATE_TEST_SUITE_P(All, ByteContractTest,
                         ::testing::Combine(::testing::Values("quantised", "quantised_experts", "mistral",
                                                              "gemma3_text", "qwen3", "qwen2_moe", "gpt_oss",
                                                              "llama4_text", "deepseek_v3", "opt_post_norm",
                                                              "bloom_pow2", "apertus"),
                                            ::testing::Values("ref", "avx2", "avx512"),
                                            ::testing::Values(kernels::KvType::kF32, kernels::KvType::kBF16)),
                         TestName);

TEST(InstructionSetTest, Avx2AndAvx512GiveTheSameBytes) {
  if (kernels::SelectKernels("avx2") == nullptr || kernels::SelectKernels("avx512") == nullptr)
    GTEST_SKIP() << "this processor does not have both";
  const std::vector<TokenId> ids = RandomIds(200, 2);
  const std::vector<PageId> pages = PagesFrom(0, ids.size());
  for (const char* model : {"quantised", "quantised_experts", "mistral", "gemma3_text", "qwen2", "qwen2_moe",
                            "gpt_oss", "deepseek_v3", "apertus"})
    for (const kernels::KvType kv_type : {kernels::KvType::kF32, kernels::KvType::kBF16}) {
      SCOPED_TRACE(model);
      CpuExecutorOptions options{
          .kv_type = kv_type, .kernels = "avx2", .threads = 1, .kv_cache_bytes = 64 << 20};
      ASSERT_OK_AND_ASSIGN(const auto avx2, OpenNamed(model, options));
      options.kernels = "avx512";
      ASSERT_OK_AND_ASSIGN(const auto avx512, OpenNamed(model, options));
      ExpectSameBytes(LogitsOf(*avx512, ids, pages, 7), LogitsOf(*avx2, ids, pages, 512));
    }
}

// The sizes of a real model, longer chunks than its tiles, and several pages.
TEST(RealByteContractTest, SmolLm2) {
  ASSERT_OK_AND_ASSIGN(const GoldenText text, ReadGoldenText(kSmolLm2));
  const auto ids = absl::MakeConstSpan(text.ids).subspan(0, kSlowBuild ? 40 : 120);
  const std::vector<PageId> pages = PagesFrom(3, ids.size());
  const int32_t visited = static_cast<int32_t>(ids.size()) - 10;
  std::vector<float> first;
  for (const std::string& kernels : UsableKernels()) {
    if (kernels == "ref") continue;
    for (const int threads : {1, 2}) {
      ASSERT_OK_AND_ASSIGN(
          const auto executor,
          OpenExecutor(RealModelPath(kSmolLm2),
                       {.kernels = kernels, .threads = threads, .kv_cache_bytes = 64 << 20}));
      for (const int chunk : {1, 7, 512}) {
        SCOPED_TRACE(::testing::Message() << kernels << ", " << threads << " threads, chunks of " << chunk);
        const std::vector<float> logits = LogitsOf(*executor, ids, pages, chunk, visited);
        if (first.empty()) first = logits;
        ExpectSameBytes(logits, first);
      }
    }
  }
}

// One token after another, whose positions are shared out by spans among threads, and in chunks.
TEST(RealByteContractTest, SmolLm2OfLongContext) {
  if (kSlowBuild) GTEST_SKIP() << "takes too long";
  ASSERT_OK_AND_ASSIGN(const GoldenText text, ReadGoldenText(kSmolLm2));
  const auto ids = absl::MakeConstSpan(text.ids).subspan(0, 600);
  const std::vector<PageId> pages = PagesFrom(3, ids.size());
  std::vector<float> first;
  for (const auto& [threads, chunk] : {std::pair(1, 300), std::pair(3, 1)}) {
    ASSERT_OK_AND_ASSIGN(const auto executor, OpenExecutor(RealModelPath(kSmolLm2),
                                                           {.threads = threads, .kv_cache_bytes = 64 << 20}));
    const std::vector<float> logits = LogitsOf(*executor, ids, pages, chunk, 540);
    if (first.empty()) first = logits;
    SCOPED_TRACE(threads);
    ExpectSameBytes(logits, first);
  }
}

}  // namespace
}  // namespace ropeway::testing
