// Tokens per second of the CPU engine on a real model: prefill of prompts, and decode steps of 1, 8 and 32
// streams at the context lengths that llama-bench and llama-batched-bench use, so that both can be measured
// in one run (compare.sh); and decode steps in long contexts.
//
//   build/release/bin/engine_bench [--model=FILE] [--kernels=auto] [--threads=N] [Google Benchmark's flags]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "engine/exec/cpu/executor.h"
#include "engine/model/tensor_source.h"

namespace ropeway {
namespace {

constexpr int32_t kDecodeSteps = 64;
constexpr int32_t kStepTokens = 512;  // of a prompt

// Rows of one step; the plan points into `tables`.
void AddRow(const std::vector<PageId>& table, int32_t first, int32_t count, StepPlan& plan,
            const SamplingParams& greedy) {
  for (int32_t i = 0; i < count; ++i) {
    plan.token_ids.push_back((first + i) * 7 % 1000 + 100);
    plan.positions.push_back(first + i);
  }
  plan.row_starts.push_back(plan.num_tokens());
  plan.page_tables.push_back(table);
  plan.sample_rows.push_back({.row = plan.num_rows() - 1, .params = &greedy});
}

std::vector<std::vector<PageId>> Tables(int streams, int32_t tokens) {
  std::vector<std::vector<PageId>> tables(streams);
  PageId next = 0;
  for (auto& table : tables)
    for (int32_t i = 0; i < tokens; i += kPageTokens) table.push_back(next++);
  return tables;
}

void Prefill(benchmark::State& state, CpuExecutor* executor) {
  const auto tokens = static_cast<int32_t>(state.range(0));
  const auto tables = Tables(1, tokens);
  const SamplingParams greedy{.temperature = 0};
  for (auto _ : state)
    for (int32_t first = 0; first < tokens; first += kStepTokens) {
      StepPlan plan;
      AddRow(tables[0], first, std::min(kStepTokens, tokens - first), plan, greedy);
      if (!executor->Step(plan).ok()) state.SkipWithError("step failed");
    }
  state.SetItemsProcessed(state.iterations() * tokens);
}

// `range(1)` tokens are in the cache before the first step.
void Decode(benchmark::State& state, CpuExecutor* executor) {
  const auto streams = static_cast<int>(state.range(0));
  const auto start = static_cast<int32_t>(state.range(1));
  const auto tables = Tables(streams, start + kDecodeSteps);
  const SamplingParams greedy{.temperature = 0};
  int32_t step = 0;
  const auto decode = [&] {
    StepPlan plan;
    for (const auto& table : tables) AddRow(table, start + step, 1, plan, greedy);
    step = (step + 1) % kDecodeSteps;
    if (!executor->Step(plan).ok()) state.SkipWithError("step failed");
  };
  decode();  // the first one touches pages of memory that were never used
  for (auto _ : state) decode();
  state.SetItemsProcessed(state.iterations() * streams);
}

// Takes --name=value out of the arguments.
std::string TakeFlag(std::string_view name, std::string value, int& argc, char** argv) {
  const std::string prefix = "--" + std::string(name) + "=";
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.substr(0, prefix.size()) == prefix)
      value = argument.substr(prefix.size());
    else
      argv[kept++] = argv[i];
  }
  argc = kept;
  return value;
}

int Main(int argc, char** argv) {
  const std::string path = TakeFlag("model", "models/SmolLM2-135M-Instruct.Q4_1.gguf", argc, argv);
  CpuExecutorOptions options{.kernels = TakeFlag("kernels", "auto", argc, argv),
                             .kv_cache_bytes = int64_t{1} << 30,
                             .max_tokens_per_step = kStepTokens};
  options.threads = std::atoi(TakeFlag("threads", "0", argc, argv).c_str());
  absl::StatusOr<OpenedModel> model = OpenModel(path);
  if (!model.ok()) return std::fprintf(stderr, "%s\n", model.status().ToString().c_str()), 2;
  auto executor = CpuExecutor::Make(*std::move(model), options);
  if (!executor.ok()) return std::fprintf(stderr, "%s\n", executor.status().ToString().c_str()), 2;
  benchmark::AddCustomContext("kernels", (*executor)->decoder().table().name);
  benchmark::AddCustomContext("threads", std::to_string((*executor)->threads()));
  const auto unit = benchmark::kMillisecond;
  benchmark::RegisterBenchmark("Prefill", Prefill, executor->get())
      ->Arg(512)
      ->Arg(2048)
      ->Arg(4096)
      ->Arg(8000)
      ->Unit(unit)
      ->UseRealTime();
  benchmark::RegisterBenchmark("Decode", Decode, executor->get())
      ->ArgNames({"streams", "context"})
      ->Args({1, 128})
      ->Args({8, 128})
      ->Args({32, 128})
      ->Args({1, 4000})
      ->Args({8, 4000})
      ->Unit(unit)
      ->UseRealTime();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace ropeway

int main(int argc, char** argv) { return ropeway::Main(argc, argv); }
