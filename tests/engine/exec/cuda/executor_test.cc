// What CudaExecutor does with devices that are missing, too small, too old, or fail.
#include "engine/exec/cuda/executor.h"

#include <numeric>
#include <string>
#include <vector>

#include "engine/exec/cuda/backend.h"
#include "engine/kernels/cuda/sampling.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/host_gemm.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/engine/exec/executor_devices.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class CudaExecutorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(WriteTinyModel("qwen3", folder_.path()).ok());  // 6 heads, 2 KV heads, head_dim 24
    ASSERT_OK_AND_ASSIGN(model_, OpenModel(folder_.path()));
  }
  void TearDown() override { cuda::emulation::DeviceOptions() = {}; }

  absl::StatusOr<std::unique_ptr<CudaExecutor>> Make(CudaExecutorOptions options = {}) {
    options.max_tokens_per_step = 64;
    options.max_rows_per_step = 8;
    return CudaExecutor::Make(model_, backend_, options);
  }

  // A step of one token of each of two sequences.
  absl::StatusOr<StepResult> Decode(Executor& executor, int32_t position) {
    StepPlan plan{.token_ids = {3, 5},
                  .positions = {position, position},
                  .row_starts = {0, 1, 2},
                  .page_tables = {first_pages_, second_pages_}};
    plan.sample_rows = {{.row = 0, .params = &params_}, {.row = 1, .params = &params_}};
    return executor.Step(plan);
  }

  const TempFolder folder_;
  OpenedModel model_;
  cuda::Backend backend_ = cuda::emulation::EmulatedBackend(cuda::emulation::HostKernels());
  const SamplingParams params_{.temperature = 0};
  const std::vector<PageId> first_pages_ = {0}, second_pages_ = {1};
};

TEST_F(CudaExecutorTest, SaysWhyThereIsNoDevice) {
  backend_.device_count = [](const char** error) {
    *error = "CUDA driver version is insufficient for CUDA runtime version";
    return 0;
  };
  EXPECT_THAT(Make().status(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("driver version")));
}

TEST_F(CudaExecutorTest, RefusesALibraryOfAnotherBuild) {
  backend_.version = cuda::kBackendVersion + 1;
  EXPECT_THAT(Make().status(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("another build")));
}

TEST_F(CudaExecutorTest, RefusesAnOldDevice) {
  cuda::emulation::DeviceOptions().major = 7;
  cuda::emulation::DeviceOptions().minor = 5;
  EXPECT_THAT(Make().status(),
              StatusIs(absl::StatusCode::kUnimplemented, AllOf(HasSubstr("8.0"), HasSubstr("7.5"))));
}

TEST_F(CudaExecutorTest, NamesTheBytesThatDoNotFit) {
  cuda::emulation::DeviceOptions().memory_bytes = 1 << 20;
  EXPECT_THAT(Make().status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("the model needs"), HasSubstr("1048576 that are free"))));
}

TEST_F(CudaExecutorTest, TakesTheFractionOfMemoryForPages) {
  cuda::emulation::DeviceOptions().memory_bytes = 64 << 20;
  ASSERT_OK_AND_ASSIGN(const auto half, Make({.memory_fraction = 0.5}));
  ASSERT_OK_AND_ASSIGN(const auto more, Make({.memory_fraction = 0.9}));
  EXPECT_GT(half->limits().num_pages, 100);
  EXPECT_GT(more->limits().num_pages, half->limits().num_pages * 1.5);
}

TEST_F(CudaExecutorTest, RefusesRanksThatDoNotDivideTheModel) {
  EXPECT_THAT(
      Make({.tensor_parallel = 3}).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must divide the model's 2 KV heads, is 3")));
  EXPECT_THAT(
      Make({.tensor_parallel = 4}).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must divide the model's 6 heads, is 4")));
  backend_.device_count = [](const char**) { return 1; };
  EXPECT_THAT(Make({.tensor_parallel = 2}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("number of CUDA devices, 1; is 2")));
}

TEST_F(CudaExecutorTest, NamesWhatHasNoKernel) {
  EXPECT_THAT(
      Make({.element = cuda::Element::kBF16, .kv_element = cuda::KvElement::kF16}).status(),
      StatusIs(absl::StatusCode::kUnimplemented,
               AllOf(HasSubstr("no attention kernel for head_dim 24"), HasSubstr("activations of bf16"),
                     HasSubstr("keys and values of f16"), HasSubstr("of their own type"))));
  model_.spec.vocab_size = cuda::kMaxVocabulary + 1;
  EXPECT_THAT(Make().status(),
              StatusIs(absl::StatusCode::kUnimplemented, AllOf(HasSubstr("4194305"), HasSubstr("4194304"))));
  model_.spec.vocab_size = 320;
  model_.spec.layers[0].position.scheme = DapeSpec{.width = 4096};
  EXPECT_THAT(Make().status(), StatusIs(absl::StatusCode::kUnimplemented,
                                        AllOf(HasSubstr("a mixer of heads takes"), HasSubstr("98304"))));
}

class GemmThatTakesNothing final : public cuda::emulation::HostGemm {
 public:
  cuda::ErrorCode Prepare(const cuda::GemmArgs&, cuda::Stream) override { return cuda::kFirstGemmError + 15; }
  std::string Describe(cuda::ErrorCode code) const override {
    EXPECT_EQ(code, cuda::kFirstGemmError + 15);
    return "no algorithm takes these sizes and types; x [3, 144]";
  }
};

TEST_F(CudaExecutorTest, AProductThatNobodyTakesIsToldAtTheStart) {
  backend_.make_gemm = [](cuda::Runtime&, const cuda::GemmOptions&, const char**) -> cuda::Gemm* {
    return new GemmThatTakesNothing;
  };
  EXPECT_THAT(
      Make({.element = cuda::Element::kF32}).status(),
      StatusIs(absl::StatusCode::kInternal,
               "preparing products of matrices: no algorithm takes these sizes and types; x [3, 144]"));
}

TEST_F(CudaExecutorTest, RefusesOptionsOutOfRange) {
  EXPECT_THAT(
      Make({.memory_fraction = 1.5}).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gpu_memory_fraction must be in (0, 1]")));
  EXPECT_THAT(Make({.max_model_len = 1 << 20}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_model_len")));
}

TEST_F(CudaExecutorTest, AWarmDeviceAnswersAsAColdOne) {
  ASSERT_OK_AND_ASSIGN(const auto cold, Make({.kv_cache_bytes = 1 << 20}));
  ASSERT_OK_AND_ASSIGN(const auto warm, Make({.kv_cache_bytes = 1 << 20, .warm_up = true}));
  for (int32_t position = 0; position < 3; ++position) {
    ASSERT_OK_AND_ASSIGN(const StepResult expected, Decode(*cold, position));
    ASSERT_OK_AND_ASSIGN(const StepResult result, Decode(*warm, position));
    EXPECT_EQ(result.warning, "");
    for (int i = 0; i < 2; ++i) EXPECT_EQ(result.samples[i].token, expected.samples[i].token);
  }
}

// What a step did that it should do rarely.
cuda::emulation::CallCounts Since(const cuda::emulation::CallCounts& before) {
  const cuda::emulation::CallCounts now = cuda::emulation::LastDevice()->counts();
  return {now.allocations - before.allocations, now.waits - before.waits};
}

// The first step of a bucket runs as it is, the others as a graph.
TEST_F(CudaExecutorTest, DecodeStepsAllocateNothingAndWaitOnce) {
  ASSERT_OK_AND_ASSIGN(const auto executor, Make({.kv_cache_bytes = 1 << 20}));
  for (int32_t position = 0; position < 4; ++position) {
    const auto before = cuda::emulation::LastDevice()->counts();
    ASSERT_THAT(Decode(*executor, position).status(), IsOk());
    EXPECT_EQ(Since(before).allocations, 0);
    EXPECT_EQ(Since(before).waits, 1);
  }
}

// As many tokens, rows, scores, samples and copies as the limits allow.
TEST_F(CudaExecutorTest, TheLargestStepAllocatesNothingAndWaitsOnce) {
  ASSERT_OK_AND_ASSIGN(const auto executor, Make({.kv_cache_bytes = 1 << 20}));
  StepPlan plan;
  std::vector<std::vector<PageId>> pages(8);
  const std::vector<TokenId> next_tokens(8, 9);
  const SamplingParams params{.seed = 1, .num_logprobs = 20};
  for (int32_t row = 0; row < 8; ++row) {
    pages[row] = {row};
    for (int32_t t = 0; t < 8; ++t) {
      plan.token_ids.push_back(t);
      plan.positions.push_back(t);
    }
    plan.row_starts.push_back(plan.num_tokens());
    plan.page_tables.push_back(pages[row]);
    plan.page_copies.push_back({.from = row, .to = 8 + row});
    plan.score_rows.push_back({.row = row, .top = 20, .next_tokens = next_tokens});
    plan.sample_rows.push_back({.row = row, .params = &params});
  }
  const auto before = cuda::emulation::LastDevice()->counts();
  ASSERT_OK_AND_ASSIGN(const StepResult result, executor->Step(plan));
  EXPECT_EQ(Since(before).allocations, 0);
  EXPECT_EQ(Since(before).waits, 1);
  for (const auto& scores : result.scores) EXPECT_EQ(scores.size(), 8u);
}

// More rows of logits than a round has, each round with samples that change logits.
TEST_F(CudaExecutorTest, RoundsThatChangeLogitsWaitOnce) {
  constexpr int32_t kTokens = 170, kRows = 4;
  ASSERT_OK_AND_ASSIGN(const auto executor, CudaExecutor::Make(model_, backend_,
                                                               {.kv_cache_bytes = 1 << 22,
                                                                .max_tokens_per_step = kRows * kTokens}));
  std::vector<SamplingParams> params(kRows, {.temperature = 0});
  std::vector<std::vector<PageId>> pages(kRows);
  const std::vector<TokenId> next_tokens(kTokens, 9);
  StepPlan plan;
  for (int32_t row = 0; row < kRows; ++row) {
    params[row].logit_bias = {{20 + row, 300.0f}};
    for (int32_t page = 0; page < PagesFor(kTokens); ++page) pages[row].push_back(20 * row + page);
    for (int32_t t = 0; t < kTokens; ++t) {
      plan.token_ids.push_back(t);
      plan.positions.push_back(t);
    }
    plan.row_starts.push_back(plan.num_tokens());
    plan.page_tables.push_back(pages[row]);
    plan.score_rows.push_back({.row = row, .next_tokens = next_tokens});
    plan.sample_rows.push_back({.row = row, .params = &params[row]});
  }
  const auto before = cuda::emulation::LastDevice()->counts();
  ASSERT_OK_AND_ASSIGN(const StepResult result, executor->Step(plan));
  EXPECT_EQ(Since(before).allocations, 0);
  EXPECT_EQ(Since(before).waits, 1);
  for (int32_t row = 0; row < kRows; ++row) EXPECT_EQ(result.samples[row].token, 20 + row);
}

// Every logit of every row changes: more at a time than there is memory for, which is for the changes of one
// row. Where several devices share the model, what the first of them waits for needs the others' part of sums.
TEST_F(CudaExecutorTest, ChangesOfAllLogitsTakeTurns) {
  const int32_t vocab_size = model_.spec.vocab_size;
  std::vector<TokenId> prompt(vocab_size);
  std::iota(prompt.begin(), prompt.end(), 0);
  std::vector<SamplingParams> params(8, {.temperature = 0, .repetition_penalty = 1.5});
  std::vector<std::vector<PageId>> pages(8);
  StepPlan plan;
  for (int32_t row = 0; row < 8; ++row) {
    for (TokenId token = 0; token < vocab_size; ++token)
      params[row].logit_bias.emplace_back(token, token == 10 * row ? 300.0f : -300.0f);
    pages[row] = {row};
    plan.token_ids.push_back(3);
    plan.positions.push_back(0);
    plan.row_starts.push_back(plan.num_tokens());
    plan.page_tables.push_back(pages[row]);
    plan.sample_rows.push_back({.row = row, .params = &params[row], .prompt = prompt});
  }
  for (const int ranks : {1, 2}) {
    ASSERT_OK_AND_ASSIGN(const auto executor,
                         Make({.tensor_parallel = ranks, .kv_cache_bytes = 1 << 20, .max_changes = 1}));
    const auto before = cuda::emulation::LastDevice()->counts();
    ASSERT_OK_AND_ASSIGN(const StepResult result, executor->Step(plan));
    EXPECT_EQ(Since(before).allocations, 0);
    EXPECT_EQ(Since(before).waits, ranks == 1 ? 8 : 2) << "of the last device";
    for (int32_t row = 0; row < 8; ++row) EXPECT_EQ(result.samples[row].token, 10 * row);
  }
}

// Sequences of different lengths on pages of their own, of which any few can be computed in a step.
class Sequences {
 public:
  explicit Sequences(const SamplingParams& params) : params_(params) {
    PageId page = 20;
    for (const int length : {5, 40, 17, 1}) {
      std::vector<TokenId> tokens(length);
      for (int t = 0; t < length; ++t) tokens[t] = (7 * t + length) % 100;
      tokens_.push_back(tokens);
      pages_.emplace_back();
      while (pages_.back().size() < 4) pages_.back().push_back(--page);  // room for 64 tokens
    }
  }

  StepPlan Decode(const std::vector<int>& which) const {
    StepPlan plan;
    for (const int i : which) Append(i, static_cast<int32_t>(tokens_[i].size()) - 1, plan);
    return plan;
  }
  StepPlan Prefill(int which) const {
    StepPlan plan;
    Append(which, 0, plan);
    return plan;
  }
  void Extend(int which, TokenId token) { tokens_[which].push_back(token); }

 private:
  void Append(int which, int32_t first, StepPlan& plan) const {
    for (int32_t t = first; t < static_cast<int32_t>(tokens_[which].size()); ++t) {
      plan.token_ids.push_back(tokens_[which][t]);
      plan.positions.push_back(t);
    }
    plan.sample_rows.push_back({.row = plan.num_rows(), .params = &params_});
    plan.row_starts.push_back(plan.num_tokens());
    plan.page_tables.push_back(pages_[which]);
  }

  const SamplingParams& params_;
  std::vector<std::vector<TokenId>> tokens_;
  std::vector<std::vector<PageId>> pages_;
};

// A graph meets other sequences, lengths and numbers of padded rows than those it was captured with.
TEST_F(CudaExecutorTest, GraphsGiveTheBytesOfLaunches) {
  const SamplingParams params{.temperature = 0, .num_logprobs = 3};
  for (const cuda::KernelTable* kernels : {&cuda::emulation::HostKernels(), &cuda::Kernels()}) {
    if (testing::kWatchesThreads && kernels == &cuda::Kernels()) continue;
    backend_.kernels = kernels;
    const CudaExecutorOptions options{.element = cuda::Element::kF32, .kv_cache_bytes = 1 << 20};
    CudaExecutorOptions without = options;
    without.use_graphs = false;
    ASSERT_OK_AND_ASSIGN(const auto graphs, Make(options));
    ASSERT_OK_AND_ASSIGN(const auto launches, Make(without));
    Sequences sequences(params);
    for (int i = 0; i < 4; ++i) {
      ASSERT_THAT(graphs->Step(sequences.Prefill(i)).status(), IsOk());
      ASSERT_THAT(launches->Step(sequences.Prefill(i)).status(), IsOk());
    }
    for (const std::vector<int>& which : std::vector<std::vector<int>>{
             {0, 1, 2, 3}, {3, 1, 0}, {2, 3, 1}, {1, 2, 0, 3}, {1}, {0}, {2, 0, 3}, {3, 2}, {0, 1}}) {
      ASSERT_OK_AND_ASSIGN(const StepResult a, graphs->Step(sequences.Decode(which)));
      ASSERT_OK_AND_ASSIGN(const StepResult b, launches->Step(sequences.Decode(which)));
      for (size_t i = 0; i < which.size(); ++i) {
        EXPECT_EQ(a.samples[i].token, b.samples[i].token);
        EXPECT_EQ(a.samples[i].logprobs->top, b.samples[i].logprobs->top);
        sequences.Extend(which[i], b.samples[i].token);
      }
    }
  }
}

// Which call of the start fails, counted from the making of the device.
int& FailingCall() {
  static int calls = 0;
  return calls;
}

// Whether an error that InjectError was told of has not come yet.
bool IsErrorLeft(cuda::emulation::EmulatedRuntime& device) {
  constexpr int kMost = 1000;
  void* nothing = nullptr;
  for (int i = 0; i < kMost; ++i)
    if (device.Malloc(&nothing, 0) != 0) return true;
  return false;
}

// Whatever cannot be had at the start, the reason is told; but for buffers of the upload that need not be.
TEST_F(CudaExecutorTest, AnyCallOfTheStartMayFail) {
  backend_.make_runtime = [](int device, const char** error) {
    cuda::Runtime* runtime =
        cuda::emulation::EmulatedBackend(cuda::emulation::HostKernels()).make_runtime(device, error);
    cuda::emulation::LastDevice()->InjectError(cuda::emulation::kOutOfMemory, FailingCall());
    return runtime;
  };
  int failures = 0;
  for (FailingCall() = 0;; ++FailingCall()) {
    const auto executor = Make({.kv_cache_bytes = 1 << 20});
    const absl::Status& status = executor.status();
    if (status.ok()) {
      if (IsErrorLeft(*cuda::emulation::LastDevice())) break;
      continue;
    }
    ++failures;
    EXPECT_THAT(status.code(), AnyOf(absl::StatusCode::kResourceExhausted, absl::StatusCode::kInternal));
    EXPECT_THAT(status.message(), HasSubstr("cudaErrorMemoryAllocation"));
  }
  EXPECT_GT(failures, 20);
}

// Every call of a step may fail. An error that passes leaves an executor that goes on; one that stays says
// that a new process is needed.
TEST_F(CudaExecutorTest, AnyCallOfAStepMayFail) {
  ASSERT_OK_AND_ASSIGN(const auto executor, Make({.kv_cache_bytes = 1 << 20, .use_graphs = false}));
  cuda::emulation::EmulatedRuntime& device = *cuda::emulation::LastDevice();
  int failures = 0;
  for (int calls = 0;; ++calls) {
    device.InjectError(cuda::emulation::kOutOfMemory, calls);
    const absl::Status status = Decode(*executor, 0).status();
    EXPECT_FALSE(executor->lost());
    if (status.ok()) break;
    ++failures;
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal, HasSubstr("cudaErrorMemoryAllocation")));
  }
  EXPECT_GT(failures, 10);
}

// A step is not worse for its graph, which was captured after it was launched. Steps go on without graphs.
TEST_F(CudaExecutorTest, AnyCallOfACaptureMayFail) {
  const CudaExecutorOptions options{.kv_cache_bytes = 1 << 20};
  ASSERT_OK_AND_ASSIGN(const auto reference, Make(options));
  ASSERT_OK_AND_ASSIGN(const StepResult first, Decode(*reference, 0));
  ASSERT_OK_AND_ASSIGN(const StepResult second, Decode(*reference, 1));
  EXPECT_EQ(first.warning, "");
  EXPECT_EQ(second.warning, "");
  int failures = 0;
  for (int calls = 0;; ++calls) {
    ASSERT_OK_AND_ASSIGN(const auto executor, Make(options));
    cuda::emulation::LastDevice()->InjectError(cuda::emulation::kOutOfMemory, calls);
    const absl::StatusOr<StepResult> result = Decode(*executor, 0);
    if (result.ok() && result->warning.empty()) break;  // the error came after the step
    if (!result.ok()) continue;
    ++failures;
    EXPECT_THAT(result->warning, AllOf(HasSubstr("without graphs"), HasSubstr("cudaErrorMemoryAllocation")));
    EXPECT_EQ(result->samples[0].token, first.samples[0].token);
    ASSERT_OK_AND_ASSIGN(const StepResult next, Decode(*executor, 1));
    EXPECT_EQ(next.warning, "") << "told once";
    EXPECT_EQ(next.samples[1].token, second.samples[1].token);
  }
  EXPECT_GT(failures, 10);
}

// The warning waits for the first step that anybody asked for.
TEST_F(CudaExecutorTest, ACaptureThatFailsWhileWarmingUpIsTold) {
  static int calls_left = 0;
  backend_.make_runtime = [](int device, const char** error) {
    cuda::Runtime* runtime =
        cuda::emulation::EmulatedBackend(cuda::emulation::HostKernels()).make_runtime(device, error);
    cuda::emulation::LastDevice()->InjectError(cuda::emulation::kOutOfMemory, calls_left);
    return runtime;
  };
  bool told = false;
  int refused = 0;
  for (calls_left = 0; !told; ++calls_left) {
    const auto executor = Make({.kv_cache_bytes = 1 << 20, .warm_up = true});
    if (!executor.ok()) {
      ++refused;
      continue;
    }
    ASSERT_OK_AND_ASSIGN(const StepResult first, Decode(**executor, 0));
    if (first.warning.empty()) continue;  // nothing depends on the call, which freed memory
    ASSERT_OK_AND_ASSIGN(const StepResult second, Decode(**executor, 1));
    EXPECT_THAT(first.warning, HasSubstr("without graphs"));
    EXPECT_EQ(second.warning, "");
    told = true;
  }
  EXPECT_GT(refused, 40) << "what fails in a step of the warm-up is an error of the start";
}

TEST_F(CudaExecutorTest, ACaptureThatFailsOnOneRankEndsTheGraphsOfAll) {
  const CudaExecutorOptions options{.tensor_parallel = 2, .kv_cache_bytes = 1 << 20};
  ASSERT_OK_AND_ASSIGN(const auto reference, Make(options));
  std::vector<StepResult> expected;
  for (int32_t position = 0; position < 3; ++position) {
    ASSERT_OK_AND_ASSIGN(StepResult result, Decode(*reference, position));
    expected.push_back(std::move(result));
  }
  bool told = false;
  for (int calls = 20; !told; ++calls) {
    ASSERT_OK_AND_ASSIGN(const auto executor, Make(options));
    cuda::emulation::LastDevice()->InjectError(cuda::emulation::kOutOfMemory, calls);
    const absl::StatusOr<StepResult> result = Decode(*executor, 0);
    if (!result.ok()) continue;  // the error came before the capture
    ASSERT_THAT(result->warning, HasSubstr("without graphs"));
    told = true;
    for (int32_t position = 1; position < 3; ++position) {
      ASSERT_OK_AND_ASSIGN(const StepResult next, Decode(*executor, position));
      EXPECT_EQ(next.warning, "");
      EXPECT_EQ(next.samples[0].token, expected[position].samples[0].token);
    }
  }
}

TEST_F(CudaExecutorTest, ALostContextIsTold) {
  ASSERT_OK_AND_ASSIGN(const auto executor, Make({.kv_cache_bytes = 1 << 20}));
  ASSERT_THAT(Decode(*executor, 0).status(), IsOk());
  cuda::emulation::LastDevice()->InjectError(cuda::emulation::kKernelFailed, 2);
  EXPECT_THAT(Decode(*executor, 1).status(), StatusIs(absl::StatusCode::kInternal, HasSubstr("injected")));
  EXPECT_TRUE(executor->lost());
  EXPECT_FALSE(Decode(*executor, 1).ok());
}

// The others wait for its part of a sum, and must not wait forever.
TEST_F(CudaExecutorTest, ARankThatFailsEndsTheStepOfAll) {
  ASSERT_OK_AND_ASSIGN(const auto executor, Make({.tensor_parallel = 2, .kv_cache_bytes = 1 << 20}));
  cuda::emulation::LastDevice()->InjectError(cuda::emulation::kOutOfMemory, 30);
  EXPECT_THAT(Decode(*executor, 0).status(), StatusIs(absl::StatusCode::kInternal, HasSubstr("injected")));
  EXPECT_TRUE(executor->lost());
}

TEST(CudaBackendTest, SaysWhereItLooked) {
  EXPECT_THAT(OpenCudaBackend({"/nowhere/a.so", "/nowhere/b.so"}).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("none of /nowhere/a.so, /nowhere/b.so")));
}

TEST(CudaBackendTest, SaysWhatIsWrongWithALibrary) {
  const TempFolder folder;
  const std::string path = folder.Write("libropeway_cuda.so", "not a library");
  EXPECT_THAT(OpenCudaBackend({path}).status(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(path)));
}

}  // namespace
}  // namespace ropeway::testing
