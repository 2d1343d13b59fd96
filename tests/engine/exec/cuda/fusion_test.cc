// Steps of few tokens, whose products take their neighbours into their kernels: the same bytes as by one kernel
// after the other, whatever the number of tokens is.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/exec/cuda/executor.h"
#include "engine/kernels/cuda/fused_matmul.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/testing/patience.h"
#include "tests/testing/run_apart.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using cuda::ErrorCode;
using cuda::FusedMatMulArgs;
using cuda::Stream;

constexpr int kTokens = 19;  // more than are ever fused

// Which neighbours were fused since Clear: kernel tables are plain functions.
struct Counts {
  int norm = 0, add = 0, gate = 0, qkv = 0;
  bool operator==(const Counts&) const = default;
};
Counts& Seen() {
  static Counts counts;
  return counts;
}
std::ostream& operator<<(std::ostream& out, const Counts& counts) {
  return out << counts.norm << " norms, " << counts.add << " sums, " << counts.gate << " activations, "
             << counts.qkv << " rotations";
}

ErrorCode CountAndFuse(const FusedMatMulArgs& args, Stream stream) {
  Seen().norm += args.norm.has_value();
  Seen().add += args.add.has_value();
  Seen().gate += args.gate.has_value();
  Seen().qkv += args.qkv.has_value();
  return cuda::Kernels().fused_matmul(args, stream);
}

ErrorCode RunOneAfterTheOther(const FusedMatMulArgs& args, Stream stream) {
  return RunApart(cuda::Kernels(), args, stream);
}

const cuda::KernelTable& TableWith(ErrorCode (*fused_matmul)(const FusedMatMulArgs&, Stream)) {
  static cuda::KernelTable together = cuda::Kernels(), apart = cuda::Kernels();
  together.fused_matmul = CountAndFuse;
  apart.fused_matmul = RunOneAfterTheOther;
  return fused_matmul == CountAndFuse ? together : apart;
}

struct FusionCase {
  const char* model;  // of the tiny models
  Counts per_layer;   // of a step of few tokens, in layers that are neither the first nor the last
};

std::ostream& operator<<(std::ostream& out, const FusionCase& c) {
  return out << c.model << ": " << c.per_layer;
}

class FusionTest : public ::testing::TestWithParam<FusionCase> {
 protected:
  void SetUp() override {
    if (kWatchesThreads) GTEST_SKIP() << "whole models on the shipped kernels";
    ASSERT_TRUE(WriteTinyModel(GetParam().model, folder_.path()).ok());
    ASSERT_OK_AND_ASSIGN(model_, OpenModel(folder_.path()));
    together_ = Open(CountAndFuse);
    apart_ = Open(RunOneAfterTheOther);
    for (int i = 0; i < kTokens; ++i) ids_.push_back((11 * i + 5) % 64);
  }
  std::unique_ptr<CudaExecutor> Open(ErrorCode (*fused_matmul)(const FusedMatMulArgs&, Stream)) {
    auto executor = CudaExecutor::Make(model_, cuda::emulation::EmulatedBackend(TableWith(fused_matmul)),
                                       {.element = cuda::Element::kBF16,
                                        .kv_cache_bytes = 1 << 20,
                                        .max_tokens_per_step = 64,
                                        .max_rows_per_step = 4});
    EXPECT_THAT(executor.status(), IsOk());
    return executor.ok() ? *std::move(executor) : nullptr;
  }
  std::vector<float> Logits(CudaExecutor& executor, int chunk) const {
    return LogitsOf(LogitSource(executor), ids_, PagesFrom(0, kTokens), chunk);
  }

  const TempFolder folder_;
  OpenedModel model_;
  std::unique_ptr<CudaExecutor> together_, apart_;
  std::vector<TokenId> ids_;
};

TEST_P(FusionTest, TheNumberOfTokensChangesNoByte) {
  ASSERT_TRUE(together_ != nullptr && apart_ != nullptr);
  const std::vector<float> whole = Logits(*apart_, kTokens);
  for (const int chunk : {1, 7, 16, 17, kTokens}) {
    Seen() = {};
    EXPECT_EQ(Logits(*together_, chunk), whole) << "chunks of " << chunk;
    if (chunk == kTokens) {
      EXPECT_EQ(Seen(), Counts()) << "too many tokens to be fused";
    }
  }
  EXPECT_EQ(Logits(*apart_, 1), whole);
}

// The first layer's norm and what the last one adds are on their own.
TEST_P(FusionTest, LayersAreFusedAsFarAsTheyAllow) {
  ASSERT_TRUE(together_ != nullptr);
  Seen() = {};
  Logits(*together_, kTokens - 2);  // a step of 17 tokens, and one of two, which is no graph
  const Counts of_two = Seen(), per_layer = GetParam().per_layer;
  const int layers = model_.spec.num_layers();
  EXPECT_EQ(of_two.qkv, layers * per_layer.qkv);
  EXPECT_EQ(of_two.gate, layers * per_layer.gate);
  EXPECT_GE(of_two.norm, layers * per_layer.norm);
  EXPECT_GE(of_two.add, layers * per_layer.add);
  EXPECT_LE(of_two.norm, layers * per_layer.norm + 1);
  EXPECT_LE(of_two.add, layers * per_layer.add + 1);
}

// Products of experts since Clear, those that a gate ends, and gates of their own.
struct ExpertCounts {
  int products = 0, gated = 0, gates = 0;
  bool operator==(const ExpertCounts&) const = default;
};
ExpertCounts& SeenOfExperts() {
  static ExpertCounts counts;
  return counts;
}
std::ostream& operator<<(std::ostream& out, const ExpertCounts& counts) {
  return out << counts.products << " products, " << counts.gated << " of them with a gate, " << counts.gates
             << " gates";
}

ErrorCode CountExperts(const cuda::ExpertMatMulArgs& args, Stream stream) {
  ++SeenOfExperts().products;
  SeenOfExperts().gated += args.gate.has_value();
  return cuda::Kernels().expert_matmul(args, stream);
}
ErrorCode CountGate(const cuda::GateArgs& args, Stream stream) {
  ++SeenOfExperts().gates;
  return cuda::Kernels().gate(args, stream);
}

// Dense and packed, of one token and of many: two products a layer of experts, and no kernel between them.
TEST(ExpertFusionTest, TheGateEndsTheInputProduct) {
  if (kWatchesThreads) GTEST_SKIP() << "whole models on the shipped kernels";
  static cuda::KernelTable table = cuda::Kernels();
  table.expert_matmul = CountExperts;
  table.gate = CountGate;
  for (const char* name : {"mixtral", "gpt_oss_mxfp4"}) {
    SCOPED_TRACE(name);
    const TempFolder folder;
    ASSERT_TRUE(WriteTinyModel(name, folder.path()).ok());
    ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.path()));
    const int layers = model.spec.num_layers();
    for (const cuda::Element element : {cuda::Element::kBF16, cuda::Element::kF32}) {
      ASSERT_OK_AND_ASSIGN(const auto executor,
                           CudaExecutor::Make(model, cuda::emulation::EmulatedBackend(table),
                                              {.element = element,
                                               .kv_cache_bytes = 1 << 20,
                                               .max_tokens_per_step = 64,
                                               .max_rows_per_step = 4}));
      for (const int tokens : {2, 19}) {
        const std::vector<TokenId> ids(static_cast<size_t>(tokens), 7);
        SeenOfExperts() = {};
        LogitsOf(LogitSource(*executor), ids, PagesFrom(0, ids.size()), tokens);
        EXPECT_EQ(SeenOfExperts(), (ExpertCounts{.products = 2 * layers, .gated = layers, .gates = 0}));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, FusionTest,
    ::testing::Values(FusionCase{"llama_base", {.norm = 2, .add = 2, .gate = 1, .qkv = 1}},
                      FusionCase{"qwen2", {.norm = 2, .add = 2, .gate = 1, .qkv = 1}},
                      FusionCase{"qwen3", {.norm = 2, .add = 2, .gate = 1, .qkv = 0}},
                      FusionCase{"phi", {.norm = 2, .add = 2, .gate = 1, .qkv = 0}},
                      FusionCase{"gpt_neox", {.norm = 2, .add = 2, .gate = 1, .qkv = 0}},
                      FusionCase{"granite", {.norm = 2, .add = 2, .gate = 1, .qkv = 1}},
                      FusionCase{"gemma2", {.norm = 0, .add = 0, .gate = 1, .qkv = 0}},
                      FusionCase{"olmo2", {.norm = 0, .add = 0, .gate = 1, .qkv = 0}},
                      FusionCase{"bloom", {.norm = 2, .add = 2, .gate = 1, .qkv = 1}},
                      FusionCase{"mixtral", {.norm = 1, .add = 0, .gate = 0, .qkv = 1}},
                      FusionCase{"bloom_pow2", {.norm = 0, .add = 0, .gate = 1, .qkv = 0}}),
    [](const auto& info) { return std::string(info.param.model); });

}  // namespace
}  // namespace ropeway::testing
