// Two steps in flight on a CUDA device: the same bytes as one at a time, whatever ends sequences meanwhile.
#include <algorithm>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/splitmix.h"
#include "engine/exec/cuda/executor.h"
#include "engine/sched/scheduler.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;

// What a client does beside waiting.
struct Wish {
  ValidRequest request;
  int64_t arrival = 0;     // after so many commits
  int32_t cancel_at = -1;  // tokens of sample 0; -1: not
  int32_t finish_at = -1;  // likewise, of each sample: a stop string is found there
};

struct Told {
  std::vector<TokenId> tokens;
  std::vector<TokenLogprobs> logprobs;
  std::optional<FinishReason> finish;
};

class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  int32_t Below(int32_t n) { return static_cast<int32_t>(SplitMix(seed_ + next_++ * kGoldenRatio64) % n); }
  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return values.begin()[Below(static_cast<int32_t>(values.size()))];
  }

 private:
  const uint64_t seed_;
  uint64_t next_ = 0;
};

Wish RandomWish(Random& random, RequestId id, int32_t vocab_size) {
  Wish wish;
  ValidRequest& request = wish.request;
  request.id = id;
  request.prompt.resize(1 + random.Below(60));
  const int32_t kind = random.Below(3);  // prompts of one kind begin alike
  for (size_t i = 0; i < request.prompt.size(); ++i)
    request.prompt[i] =
        i < 32 ? static_cast<TokenId>((kind * 50 + i) % vocab_size) : random.Below(vocab_size);
  if (random.Below(3) > 0) request.prefix_salt = PrefixSalt{1, 2};
  request.sampling = {.temperature = random.OneOf({0.0f, 0.7f, 1.0f}),
                      .top_k = random.OneOf({0, 20}),
                      .repetition_penalty = random.OneOf({1.0f, 1.0f, 1.5f}),
                      .presence_penalty = random.OneOf({0.0f, 0.0f, 1.5f}),
                      .frequency_penalty = random.OneOf({0.0f, 0.0f, 2.0f}),
                      .seed = static_cast<uint64_t>(id),
                      .num_logprobs = random.OneOf({-1, 0, 3})};
  if (random.Below(4) == 0) request.sampling.logit_bias = {{7, 2.0f}, {9, -100.0f}};
  request.max_tokens = 1 + random.Below(30);
  request.min_tokens = random.Below(4) == 0 ? std::min(5, request.max_tokens) : 0;
  for (int32_t i = random.Below(40); i > 0; --i) request.stop_token_ids.push_back(random.Below(vocab_size));
  request.num_samples = random.Below(4) == 0 ? 3 : 1;
  if (random.Below(5) == 0) request.prompt_logprobs = 1;
  wish.arrival = random.Below(60);
  if (random.Below(5) == 0) wish.cancel_at = 1 + random.Below(15);
  if (random.Below(4) == 0) wish.finish_at = 1 + random.Below(15);
  if (random.Below(6) == 0)
    request.deadline = absl::UnixEpoch() + absl::Milliseconds(wish.arrival + 5 + random.Below(40));
  return wish;
}

// Runs a load until all of it ended.
class Load {
 public:
  Load(Executor& executor, const std::vector<Wish>& wishes)
      : executor_(executor), wishes_(wishes), scheduler_({.max_running = 8}, executor.limits()) {}

  void Run() {
    size_t added = 0;
    std::vector<const Wish*> by_arrival;
    for (const Wish& wish : wishes_) by_arrival.push_back(&wish);
    std::stable_sort(by_arrival.begin(), by_arrival.end(),
                     [](const Wish* a, const Wish* b) { return a->arrival < b->arrival; });
    for (int64_t step = 0; added < by_arrival.size() || !scheduler_.empty(); ++step) {
      ASSERT_LT(step, 20'000);
      now_ = absl::UnixEpoch() + absl::Milliseconds(step);
      for (; added < by_arrival.size() && by_arrival[added]->arrival <= step; ++added) {
        const ValidRequest& request = by_arrival[added]->request;
        if (!scheduler_.Add(request, now_).ok()) {
          ASSERT_LT(request.deadline, absl::InfiniteFuture());  // it cannot be met
        }
      }
      RunStep();
      Observe();
      scheduler_.CheckInvariants();
    }
    while (scheduler_.num_steps_in_flight() > 0) scheduler_.Commit(executor_.Collect(), now_);
    EXPECT_EQ(scheduler_.num_free_pages(), scheduler_.num_pages());
  }

  std::map<std::pair<RequestId, int32_t>, Told> told;
  int awaited = 0;  // tokens that were planned before they were known
  int64_t num_preemptions() const { return scheduler_.num_preemptions(); }

 private:
  void RunStep() {
    const int32_t most = executor_.limits().max_steps_in_flight;
    const StepPlan plan = scheduler_.Plan(now_);
    for (const TokenId token : plan.token_ids) awaited += IsAwaited(token);
    if (!plan.empty()) executor_.Submit(plan);
    const int32_t in_flight = scheduler_.num_steps_in_flight();
    if (in_flight == most || (plan.empty() && in_flight > 0)) scheduler_.Commit(executor_.Collect(), now_);
  }

  void Observe() {
    for (std::vector<TokenEvent> events = scheduler_.TakeEvents(); !events.empty();
         events = scheduler_.TakeEvents()) {
      for (TokenEvent& event : events) Observe(event);
    }
  }

  void Observe(TokenEvent& event) {
    Told& sample = told[{event.request_id, event.sample}];
    ASSERT_FALSE(sample.finish.has_value());
    ASSERT_OK(event.error);
    sample.finish = event.sample_finish;
    if (event.token == kNoToken) return;
    sample.tokens.push_back(event.token);
    if (event.logprobs.has_value()) sample.logprobs.push_back(*std::move(event.logprobs));
    if (event.sample_finish.has_value()) return;
    const Wish& wish = wishes_[event.request_id];
    const auto count = static_cast<int32_t>(sample.tokens.size());
    if (count == wish.finish_at) scheduler_.Finish(event.request_id, event.sample, now_);
    if (event.sample == 0 && count == wish.cancel_at) scheduler_.Cancel(event.request_id, now_);
  }

  Executor& executor_;
  const std::vector<Wish>& wishes_;
  Scheduler scheduler_;
  absl::Time now_ = absl::UnixEpoch();
};

// Of two samples, one of which time or a client may have ended earlier.
void ExpectSamePrefix(const Told& a, const Told& b) {
  const size_t size = std::min(a.tokens.size(), b.tokens.size());
  for (size_t i = 0; i < size; ++i) {
    ASSERT_EQ(a.tokens[i], b.tokens[i]) << "token " << i;
    if (a.logprobs.empty()) continue;
    ASSERT_EQ(a.logprobs[i].chosen, b.logprobs[i].chosen) << "token " << i;
    ASSERT_EQ(a.logprobs[i].top, b.logprobs[i].top) << "token " << i;
  }
}

bool EndsByItself(const Told& told) {
  return told.finish == FinishReason::kStop || told.finish == FinishReason::kLength;
}

class PipelineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(WriteTinyModel("qwen3", folder_.path()).ok());
    ASSERT_OK_AND_ASSIGN(model_, OpenModel(folder_.path()));
  }

  std::unique_ptr<CudaExecutor> Make(int32_t steps_in_flight, const cuda::KernelTable& kernels,
                                     CudaExecutorOptions options = {}) {
    options.max_tokens_per_step = 48;
    options.max_rows_per_step = 8;
    options.max_steps_in_flight = steps_in_flight;
    if (options.kv_cache_bytes == 0) options.kv_cache_bytes = 1 << 20;
    auto executor = CudaExecutor::Make(model_, cuda::emulation::EmulatedBackend(kernels), options);
    EXPECT_OK(executor);
    return *std::move(executor);
  }

  // Bytes of keys and values that hold so many pages in float32.
  int64_t BytesOfPages(int32_t pages) {
    const DecoderSpec& spec = model_.spec;
    return int64_t{pages} * kPageTokens * spec.num_layers() * spec.num_kv_heads *
           (spec.head_dim + spec.value_dim) * static_cast<int64_t>(sizeof(float));
  }

  void ExpectSameBytes(uint64_t seed, int requests, const cuda::KernelTable& kernels, int32_t pages,
                       int ranks = 1) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const CudaExecutorOptions options{.element = cuda::Element::kF32,
                                      .tensor_parallel = ranks,
                                      .kv_cache_bytes = BytesOfPages(pages) / ranks};
    Random random(seed);
    std::vector<Wish> wishes;
    for (int i = 0; i < requests; ++i) wishes.push_back(RandomWish(random, i, model_.spec.vocab_size));
    const auto one = Make(1, kernels, options), two = Make(2, kernels, options);
    ASSERT_EQ(two->limits().max_steps_in_flight, 2);
    Load alone(*one, wishes), pipelined(*two, wishes);
    alone.Run();
    pipelined.Run();
    for (const auto& [key, told] : alone.told) {
      if (pipelined.told.count(key) == 0) continue;  // refused for its deadline
      SCOPED_TRACE("request " + std::to_string(key.first) + " sample " + std::to_string(key.second));
      const Told& other = pipelined.told.at(key);
      ExpectSamePrefix(told, other);
      ASSERT_TRUE(other.finish.has_value());
      if (!EndsByItself(told) || !EndsByItself(other)) continue;
      EXPECT_EQ(told.tokens.size(), other.tokens.size());
      EXPECT_EQ(told.finish, other.finish);
      ++ended_alike_;
    }
    EXPECT_EQ(alone.awaited, 0);
    awaited_ += pipelined.awaited;
    preemptions_ += static_cast<int>(pipelined.num_preemptions());
  }

  const TempFolder folder_;
  OpenedModel model_;
  int ended_alike_ = 0, awaited_ = 0, preemptions_ = 0;
};

TEST_F(PipelineTest, RandomLoadsGetTheBytesOfOneStepAtATime) {
  for (uint64_t seed = 1; seed <= 6; ++seed)
    ExpectSameBytes(seed, /*requests=*/40, cuda::emulation::HostKernels(), /*pages=*/14);
  EXPECT_GT(ended_alike_, 100);
  EXPECT_GT(awaited_, 1000);
  EXPECT_GT(preemptions_, 10);
}

TEST_F(PipelineTest, TheShippedKernelsDoSoToo) {
  if (kWatchesThreads) GTEST_SKIP() << "whole models on the shipped kernels";
  ExpectSameBytes(/*seed=*/11, /*requests=*/8, cuda::Kernels(), /*pages=*/40);
  EXPECT_GT(awaited_, 20);
}

// A step of one row, at `position`.
StepPlan RowAt(int32_t position, TokenId token, const SamplingParams& params,
               absl::Span<const PageId> pages) {
  StepPlan plan{.token_ids = {token}, .positions = {position}, .row_starts = {0, 1}, .page_tables = {pages}};
  plan.sample_rows = {{.row = 0, .step = position, .params = &params}};
  return plan;
}

// Steps go to the device without a wait of the host in between, and each is waited for once.
TEST_F(PipelineTest, StepsAreQueuedWithoutAWait) {
  const SamplingParams greedy{.temperature = 0};
  const std::vector<PageId> pages = {0};
  const auto one = Make(1, cuda::emulation::HostKernels()), two = Make(2, cuda::emulation::HostKernels());
  cuda::emulation::EmulatedRuntime& device = *cuda::emulation::LastDevice();
  std::vector<TokenId> expected = {3};
  for (int32_t position = 0; position < 12; ++position) {
    ASSERT_OK_AND_ASSIGN(const StepResult result, one->Step(RowAt(position, expected.back(), greedy, pages)));
    expected.push_back(result.samples[0].token);
  }
  two->Submit(RowAt(0, 3, greedy, pages));
  for (int32_t position = 1; position < 12; ++position) {
    const auto before = device.counts();
    two->Submit(RowAt(position, AwaitedToken(0), greedy, pages));
    EXPECT_EQ(device.counts().waits, before.waits);
    EXPECT_EQ(device.counts().allocations, before.allocations);
    ASSERT_OK_AND_ASSIGN(const StepResult result, two->Collect());
    EXPECT_EQ(device.counts().waits, before.waits + 1);
    EXPECT_EQ(result.samples[0].token, expected[position]);
  }
  ASSERT_OK_AND_ASSIGN(const StepResult last, two->Collect());
  EXPECT_EQ(last.samples[0].token, expected[12]);
}

bool no_memory = false;

// Where the host has no memory when a step is partly on the stream, nobody waits for it later: it is done before its
// slot's pinned memory is written again.
TEST_F(PipelineTest, AStepThatRanOutOfMemoryIsDoneWhenItsSubmitReturns) {
  cuda::KernelTable kernels = cuda::emulation::HostKernels();
  kernels.sample = [](const cuda::SampleArgs& args, cuda::Stream stream) {
    if (no_memory) throw std::bad_alloc();
    return cuda::emulation::HostKernels().sample(args, stream);
  };
  const SamplingParams greedy{.temperature = 0};
  const std::vector<PageId> pages = {0}, others = {1};
  const auto executor = Make(2, kernels);
  cuda::emulation::EmulatedRuntime& device = *cuda::emulation::LastDevice();
  ASSERT_OK_AND_ASSIGN(const StepResult expected, executor->Step(RowAt(0, 3, greedy, pages)));
  executor->Submit(RowAt(0, 3, greedy, pages));
  no_memory = true;
  const int waits = device.counts().waits;
  executor->Submit(RowAt(0, 5, greedy, others));
  EXPECT_EQ(device.counts().waits, waits + 1);
  no_memory = false;
  ASSERT_OK_AND_ASSIGN(const StepResult result, executor->Collect());
  EXPECT_EQ(result.samples[0].token, expected.samples[0].token);
  EXPECT_THAT(executor->Collect().status(), StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
  EXPECT_FALSE(executor->lost());
  ASSERT_OK_AND_ASSIGN(const StepResult again, executor->Step(RowAt(0, 3, greedy, pages)));
  EXPECT_EQ(again.samples[0].token, expected.samples[0].token);
}

int calls_until_no_memory = 0;

// The stream takes steps again, which run without graphs from then on.
TEST_F(PipelineTest, ACaptureThatRunsOutOfMemoryEnds) {
  cuda::KernelTable kernels = cuda::emulation::HostKernels();
  kernels.take_tokens = [](const cuda::TakeTokensArgs& args, cuda::Stream stream) {
    if (--calls_until_no_memory == 0) throw std::bad_alloc();
    return cuda::emulation::HostKernels().take_tokens(args, stream);
  };
  const SamplingParams greedy{.temperature = 0};
  const std::vector<PageId> pages = {0};
  const auto executor = Make(2, kernels);
  calls_until_no_memory = 2;  // the second one is captured
  ASSERT_OK_AND_ASSIGN(const StepResult first, executor->Step(RowAt(0, 3, greedy, pages)));
  EXPECT_EQ(calls_until_no_memory, 0);
  EXPECT_THAT(first.warning, ::testing::HasSubstr("without graphs"));
  ASSERT_OK_AND_ASSIGN(const StepResult second, executor->Step(RowAt(0, 3, greedy, pages)));
  EXPECT_EQ(second.samples[0].token, first.samples[0].token);
  EXPECT_EQ(second.warning, "");
}

// The threads of an upload end, too.
TEST_F(PipelineTest, AnUploadThatRunsOutOfMemoryEnds) {
  const CudaExecutorOptions options{.progress = [](int, int) -> absl::Status { throw std::bad_alloc(); }};
  EXPECT_THAT(
      CudaExecutor::Make(model_, cuda::emulation::EmulatedBackend(cuda::emulation::HostKernels()), options)
          .status(),
      StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
}

// An error of any call that passes: each step is answered once, in order, and the next ones are right.
TEST_F(PipelineTest, AnyCallMayFailWhileAStepIsInFlight) {
  const SamplingParams greedy{.temperature = 0};
  const std::vector<PageId> pages = {0}, others = {1};
  const auto executor = Make(2, cuda::emulation::HostKernels(), {.use_graphs = false});
  cuda::emulation::EmulatedRuntime& device = *cuda::emulation::LastDevice();
  ASSERT_OK_AND_ASSIGN(const StepResult first, executor->Step(RowAt(0, 3, greedy, pages)));
  ASSERT_OK_AND_ASSIGN(const StepResult second,
                       executor->Step(RowAt(1, first.samples[0].token, greedy, pages)));
  int failures = 0;
  for (int calls = 0, failed = 1; failed > 0; ++calls) {
    executor->Submit(RowAt(0, 3, greedy, pages));
    device.InjectError(cuda::emulation::kOutOfMemory, calls);
    executor->Submit(RowAt(0, 5, greedy, others));
    const absl::StatusOr<StepResult> a = executor->Collect(), b = executor->Collect();
    failed = !a.ok() + !b.ok();
    ASSERT_LE(failed, 1);
    failures += failed;
    if (a.ok()) {
      EXPECT_EQ(a->samples[0].token, first.samples[0].token);
    }
    ASSERT_FALSE(executor->lost());
    device.InjectError(cuda::emulation::kOutOfMemory, -1);
    executor->Submit(RowAt(0, 3, greedy, pages));
    executor->Submit(RowAt(1, AwaitedToken(0), greedy, pages));
    ASSERT_OK_AND_ASSIGN(const StepResult again, executor->Collect());
    ASSERT_OK_AND_ASSIGN(const StepResult next, executor->Collect());
    EXPECT_EQ(again.samples[0].token, first.samples[0].token);
    EXPECT_EQ(next.samples[0].token, second.samples[0].token);
  }
  EXPECT_GT(failures, 20);
}

// What stays: both steps fail, and all further ones.
TEST_F(PipelineTest, ALossInMidstreamFailsAllStepsInFlight) {
  const SamplingParams greedy{.temperature = 0};
  const std::vector<PageId> pages = {0};
  const auto executor = Make(2, cuda::emulation::HostKernels());
  executor->Submit(RowAt(0, 3, greedy, pages));
  executor->Submit(RowAt(1, AwaitedToken(0), greedy, pages));
  cuda::emulation::LastDevice()->InjectError(cuda::emulation::kKernelFailed, 0);
  EXPECT_THAT(executor->Collect(), StatusIs(absl::StatusCode::kInternal, HasSubstr("injected")));
  EXPECT_TRUE(executor->lost());
  EXPECT_FALSE(executor->Collect().ok());
  EXPECT_FALSE(executor->Step(RowAt(0, 3, greedy, pages)).ok());
}

// Its other ranks are told what the first one sampled.
TEST_F(PipelineTest, GroupsDoSoToo) {
  for (uint64_t seed = 21; seed <= 23; ++seed)
    ExpectSameBytes(seed, /*requests=*/30, cuda::emulation::HostKernels(), /*pages=*/14, /*ranks=*/2);
  EXPECT_GT(ended_alike_, 40);
  EXPECT_GT(awaited_, 400);
}

// Where one rank fails, the sums of all end: no step that is in flight then gives tokens that may be wrong, and none
// is waited for without end.
TEST_F(PipelineTest, AGroupThatFailsGivesNoWrongTokens) {
  const SamplingParams greedy{.temperature = 0};
  const std::vector<PageId> pages = {0};
  std::vector<TokenId> expected;
  const auto run = [&](int failing_call) {
    const auto executor =
        Make(2, cuda::emulation::HostKernels(), {.tensor_parallel = 2, .use_graphs = false});
    executor->Submit(RowAt(0, 3, greedy, pages));
    if (failing_call >= 0)
      cuda::emulation::LastDevice()->InjectError(cuda::emulation::kOutOfMemory, failing_call);
    executor->Submit(RowAt(1, AwaitedToken(0), greedy, pages));
    int failed = 0;
    for (int step = 0; step < 2; ++step) {
      const absl::StatusOr<StepResult> result = executor->Collect();
      failed += !result.ok();
      if (!result.ok()) continue;
      if (failing_call < 0) expected.push_back(result->samples[0].token);
      EXPECT_EQ(result->samples[0].token, expected[step]);
    }
    EXPECT_EQ(executor->lost(), failed > 0);
    return failed;
  };
  ASSERT_EQ(run(-1), 0);
  int failing_call = 0;
  while (run(failing_call) > 0) ASSERT_LT(++failing_call, 1000);
  EXPECT_GT(failing_call, 20);
}

}  // namespace
}  // namespace ropeway::testing
