// What the scheduler costs and what it holds to, on a real model:
//
//   bookkeeping   time of Plan(), Commit() and TakeEvents() beside that of the steps, with many sequences, with and
//                 without the prefix cache
//   chunks        from one token to the next of eight streams while a long prompt is computed beside them, with a
//                 target and without
//
//   build/release/bin/scheduler_bench [MODEL [SEQUENCES [PROMPT_TOKENS [TARGET_MS]]]]    (0 SEQUENCES: chunks alone)
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "engine/exec/cpu/executor.h"
#include "engine/model/tensor_source.h"
#include "engine/sched/scheduler.h"

namespace ropeway {
namespace {

struct Options {
  std::string model = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
  int sequences = 256;
  int prompt_tokens = 8000;
  int target_ms = 50;
};

ValidRequest Request(RequestId id, int32_t prompt, int32_t answer, bool cached) {
  ValidRequest request = {.id = id, .max_tokens = answer};
  for (int32_t i = 0; i < prompt; ++i)
    request.prompt.push_back(static_cast<TokenId>((id * 131 + static_cast<uint64_t>(i) * 7) % 1000 + 100));
  request.sampling.temperature = 0;
  if (cached) request.prefix_salt = PrefixSalt{1, 2};
  return request;
}

// Runs steps and keeps the times.
class Runner {
 public:
  Runner(Executor& executor, const SchedulerOptions& options)
      : executor_(executor), scheduler_(options, executor.limits()) {}

  void Add(ValidRequest request) {
    const RequestId id = request.id;
    if (!scheduler_.Add(std::move(request), absl::Now()).ok()) std::abort();
    tokens_[id];
  }

  void Step() {
    const absl::Time begin = absl::Now();
    const StepPlan plan = scheduler_.Plan(begin);
    const absl::Time planned = absl::Now();
    absl::StatusOr<StepResult> result = executor_.Step(plan);
    const absl::Time computed = absl::Now();
    scheduler_.Commit(std::move(result), computed);
    for (const TokenEvent& event : scheduler_.TakeEvents())
      if (event.token != kNoToken) tokens_[event.request_id].push_back(computed);
    const absl::Time end = absl::Now();
    bookkeeping += planned - begin + (end - computed);
    compute += computed - planned;
    ++steps;
  }

  const std::vector<absl::Time>& tokens(RequestId id) { return tokens_[id]; }
  void ResetTimes() { bookkeeping = compute = absl::ZeroDuration(), steps = 0; }
  void CancelAll() {
    for (const auto& [id, times] : tokens_) scheduler_.Cancel(id, absl::Now());
  }

  absl::Duration bookkeeping, compute;
  int steps = 0;

 private:
  Executor& executor_;
  Scheduler scheduler_;
  std::map<RequestId, std::vector<absl::Time>> tokens_;
};

void MeasureBookkeeping(Executor& executor, const Options& options, bool cached) {
  constexpr int kSteps = 24;
  Runner runner(executor, {.max_running = options.sequences, .max_requests = options.sequences});
  for (int i = 0; i < options.sequences; ++i)
    runner.Add(Request(static_cast<RequestId>(i + 1), 33, kSteps + 40, cached));
  while (runner.tokens(static_cast<RequestId>(options.sequences)).empty()) runner.Step();
  runner.ResetTimes();
  for (int i = 0; i < kSteps; ++i) runner.Step();
  std::printf("bookkeeping, %d sequences, prefix cache %s: %.1f us a step, %.2f ms computed, %.2f %%\n",
              options.sequences, cached ? "on" : "off",
              absl::ToDoubleMicroseconds(runner.bookkeeping) / runner.steps,
              absl::ToDoubleMilliseconds(runner.compute) / runner.steps,
              100 * absl::FDivDuration(runner.bookkeeping, runner.compute));
  runner.CancelAll();
}

void MeasureChunks(Executor& executor, const Options& options, int target_ms) {
  constexpr RequestId kStreams = 8;
  Runner runner(executor, {.target_itl = absl::Milliseconds(target_ms)});
  for (RequestId id = 1; id <= kStreams; ++id) runner.Add(Request(id, 40, 6000, false));
  while (runner.tokens(kStreams).size() < 20) runner.Step();
  const RequestId prompt = kStreams + 1;
  runner.Add(Request(prompt, options.prompt_tokens, 1, false));
  const absl::Time begin = absl::Now();
  while (runner.tokens(prompt).empty()) runner.Step();
  std::vector<double> gaps;
  for (RequestId id = 1; id <= kStreams; ++id) {
    const std::vector<absl::Time>& times = runner.tokens(id);
    for (size_t i = 1; i < times.size(); ++i)
      if (times[i] >= begin) gaps.push_back(absl::ToDoubleMilliseconds(times[i] - times[i - 1]));
  }
  std::sort(gaps.begin(), gaps.end());
  const auto at = [&](double q) {
    return gaps[static_cast<size_t>(q * static_cast<double>(gaps.size() - 1))];
  };
  std::printf(
      "chunks, target %d ms: from token to token p50 %.1f, p99 %.1f, worst %.1f ms; %d tokens of prompt in "
      "%.2f s\n",
      target_ms, at(0.5), at(0.99), at(1), options.prompt_tokens,
      absl::ToDoubleSeconds(runner.tokens(prompt).front() - begin));
  runner.CancelAll();
}

int Main(int argc, char** argv) {
  Options options;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (argc > 1) options.model = argv[1];
  if (argc > 2) options.sequences = std::atoi(argv[2]);
  if (argc > 3) options.prompt_tokens = std::atoi(argv[3]);
  if (argc > 4) options.target_ms = std::atoi(argv[4]);
  absl::StatusOr<OpenedModel> model = OpenModel(options.model);
  if (!model.ok()) return std::fprintf(stderr, "%s\n", model.status().ToString().c_str()), 2;
  auto executor =
      CpuExecutor::Make(*std::move(model), {.max_tokens_per_step = std::max(256, 2 * options.sequences),
                                            .max_rows_per_step = std::max(64, options.sequences)});
  if (!executor.ok()) return std::fprintf(stderr, "%s\n", executor.status().ToString().c_str()), 2;
  for (const bool cached : {false, true})
    if (options.sequences > 0) MeasureBookkeeping(**executor, options, cached);
  for (const int target_ms : {0, options.target_ms}) MeasureChunks(**executor, options, target_ms);
  return 0;
}

}  // namespace
}  // namespace ropeway

int main(int argc, char** argv) { return ropeway::Main(argc, argv); }
