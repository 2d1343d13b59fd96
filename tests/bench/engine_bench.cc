// Tokens per second of the engine: prefill of prompts, and decode steps of several streams. On a CPU at the
// context lengths that llama-bench and llama-batched-bench use, so that both can be measured in one run
// (compare.sh), and in long contexts; on a GPU at those of its published figures.
//
// LongDecode tells how fast attention reads keys and values, beside what all threads read in a straight line. SmolLM2 has
// a context of 8,192; its random twin, --shape=smollm2, of 131,072.
//
//   engine_bench [--model=FILE] [--kernels=auto] [--threads=N] [Google Benchmark's flags]
//   engine_bench --device=cuda --shape=8b --type=Q4_K    random weights in the shape of a published model
//   engine_bench --device=cuda --steps_in_flight=1       what it costs to plan a step while the GPU has none
//   engine_bench --device=cuda --weights=fp8 --wgmma=off --bulk_copies=off
//                                                        as the server's settings of these names
//   engine_bench --answers=80                            first: answers are the same alone and among 80, whose hash is told
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "engine/base/ceil_div.h"
#include "engine/base/clock.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cpu/executor.h"
#include "engine/exec/cuda/backend.h"
#include "engine/exec/cuda/executor.h"
#include "engine/model/tensor_source.h"
#include "tests/bench/decode_steps.h"
#include "tests/bench/random_model.h"
#include "tests/bench/serve_load.h"
#include "tests/bench/straight_line.h"

namespace ropeway {
namespace {

constexpr int32_t kCpuStepTokens = 512, kCudaStepTokens = 2048;  // of a prompt
constexpr int32_t kMaxRows = 256;

// Chunks one behind the other, as many in flight as the executor takes.
void Prefill(benchmark::State& state, Executor* executor) {
  const int32_t step_tokens = executor->limits().max_tokens_per_step;
  const auto tokens = static_cast<int32_t>(state.range(0));
  const auto tables = PageTables(executor->limits().num_pages, 1, tokens);
  const SamplingParams greedy{.temperature = 0};
  bool ok = true;
  int32_t in_flight = 0;
  const auto collect = [&](int32_t left) {
    for (; in_flight > left; --in_flight) ok = executor->Collect().ok() && ok;
  };
  for (auto _ : state) {
    for (int32_t first = 0; first < tokens; first += step_tokens) {
      collect(executor->limits().max_steps_in_flight - 1);
      StepPlan plan;
      AddRow(tables[0], first, std::min(step_tokens, tokens - first), plan, greedy);
      executor->Submit(plan);
      ++in_flight;
    }
    collect(0);
  }
  if (!ok) state.SkipWithError("step failed");
  state.SetItemsProcessed(state.iterations() * tokens);
}

// What decode steps may reach.
void ReadMemory(benchmark::State& state, int threads) {
  absl::StatusOr<StraightLine> line = StraightLine::Make(threads);
  if (!line.ok()) return state.SkipWithError("no threads");
  int64_t bytes = 0;
  for (auto _ : state) bytes = line->Read();
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(bytes) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

// `range(1)` tokens are in the cache before the first step.
void Decode(benchmark::State& state, Executor* executor) {
  const auto streams = static_cast<int>(state.range(0));
  DecodeSteps steps(*executor, streams, static_cast<int32_t>(state.range(1)));
  if (!steps.Fill().ok()) return state.SkipWithError("the cache cannot be filled");
  bool ok = steps.Run();
  for (auto _ : state) ok = ok && steps.Run();
  if (!steps.Finish() || !ok) state.SkipWithError("step failed");
  state.SetItemsProcessed(state.iterations() * streams);
}

// Steps of a long context and of a short one in turn, which takes for products what the long one does: the difference is
// what keys and values take, which are read once. Medians of steps.
void LongDecode(benchmark::State& state, CpuExecutor* executor) {
  constexpr int32_t kShort = 64;
  const auto streams = static_cast<int>(state.range(0));
  const auto start = static_cast<int32_t>(state.range(1));
  absl::StatusOr<StraightLine> line = StraightLine::Make(executor->threads());
  DecodeSteps steps(*executor, streams, start), short_steps(*executor, streams, kShort);
  if (!line.ok() || !steps.Fill().ok())
    return state.SkipWithError("no threads, or the cache cannot be filled");
  std::vector<double> seconds, short_seconds;
  bool ok = true;
  const auto time = [&](DecodeSteps& which, std::vector<double>& times) {
    const absl::Time began_at = absl::Now();
    ok = ok && which.Run();
    times.push_back(absl::ToDoubleSeconds(absl::Now() - began_at));
  };
  const double rate_before = line->Measure();
  for (auto _ : state) {
    time(short_steps, short_seconds);
    time(steps, seconds);
    state.SetIterationTime(seconds.back());
  }
  const double rate = (rate_before + line->Measure()) / 2;
  if (!ok) return state.SkipWithError("step failed");
  const double bytes = static_cast<double>(executor->kv_cache_bytes()) / executor->limits().num_pages /
                       kPageTokens * streams * (start - kShort);
  const double step = Median(seconds), rest = Median(short_seconds);
  state.SetItemsProcessed(state.iterations() * streams);
  state.counters["KV MB"] = bytes * 1e-6;
  state.counters["step ms"] = step * 1e3;
  state.counters["products ms"] = rest * 1e3;
  state.counters["KV GB/s"] = bytes / (step - rest) * 1e-9;
  state.counters["line GB/s"] = rate * 1e-9;
  state.counters["% of line"] = 100 * bytes / (step - rest) / rate;
}

// As many streams as a server has by default, from the first prompt to the last token.
void ServeAll(benchmark::State& state, Executor* executor) {
  const auto streams = static_cast<int>(state.range(0));
  const auto prompt = static_cast<int32_t>(state.range(1)), output = static_cast<int32_t>(state.range(2));
  const std::vector<ValidRequest> requests =
      RandomRequests(streams, prompt, output, executor->limits().vocab_size);
  for (auto _ : state) {
    if (const auto answers = Serve(*executor, requests); !answers.ok())
      state.SkipWithError(std::string(answers.status().message()).c_str());
  }
  state.SetItemsProcessed(state.iterations() * streams * (prompt + output));
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

struct BenchOptions {
  std::string model, shape, type, device, kernels;
  int threads = 0;
  int answers = 0;  // among which answers are compared; 0: not done
  // On a GPU.
  int32_t steps_in_flight = kMaxStepsInFlight;
  bool fp8_weights = false, wgmma = true, bulk_copies = true;
};

absl::StatusOr<OpenedModel> Open(const BenchOptions& options) {
  if (options.shape.empty()) return OpenModel(options.model);
  for (const DTypeInfo& info : kDTypes)
    if (options.type == info.name) return MakeRandomModel(options.shape, info.type);
  return absl::InvalidArgumentError("--type must be one of GGUF's, such as BF16, Q8_0 or Q4_K, is \"" +
                                    options.type + "\"");
}

absl::StatusOr<std::unique_ptr<Executor>> MakeOnCpu(OpenedModel model, const BenchOptions& options) {
  ASSIGN_OR_RETURN(auto executor,
                   CpuExecutor::Make(std::move(model), {.kernels = options.kernels,
                                                        .threads = options.threads,
                                                        .kv_cache_bytes = int64_t{1} << 30,
                                                        .max_tokens_per_step = kCpuStepTokens}));
  benchmark::AddCustomContext("kernels", executor->decoder().table().name);
  benchmark::AddCustomContext("threads", std::to_string(executor->threads()));
  return executor;
}

absl::StatusOr<std::unique_ptr<Executor>> MakeOnCuda(const OpenedModel& model, const BenchOptions& options) {
  ASSIGN_OR_RETURN(const cuda::Backend* backend, OpenCudaBackend());
  const absl::Time began_at = absl::Now();
  const RealClock clock;
  ASSIGN_OR_RETURN(
      auto executor,
      CudaExecutor::Make(model, *backend,
                         {.fp8_weights = options.fp8_weights,
                          .max_model_len = std::min(model.spec.context_length, 8192 + kPageTokens),
                          .max_tokens_per_step = kCudaStepTokens,
                          .max_rows_per_step = kMaxRows,
                          .clock = &clock,
                          .use_wgmma = options.wgmma,
                          .use_bulk_copies = options.bulk_copies,
                          .max_steps_in_flight = options.steps_in_flight,
                          .warm_up = true}));
  const CudaUpload upload = executor->upload();
  std::printf("load/ms %.0f ms: %.2f GB, of which the upload took %.0f ms\n",
              absl::ToDoubleMilliseconds(absl::Now() - began_at), static_cast<double>(upload.bytes) * 1e-9,
              absl::ToDoubleMilliseconds(upload.duration));
  for (const std::string& line : executor->products()) std::printf("%s\n", line.c_str());
  benchmark::AddCustomContext("steps_in_flight", std::to_string(options.steps_in_flight));
  benchmark::AddCustomContext("device", executor->description());
  return executor;
}

absl::StatusOr<std::unique_ptr<Executor>> Make(const BenchOptions& options) {
  ASSIGN_OR_RETURN(OpenedModel model, Open(options));
  if (options.device == "cpu") return MakeOnCpu(std::move(model), options);
  if (options.device == "cuda") return MakeOnCuda(model, options);
  return absl::InvalidArgumentError("--device must be cpu or cuda, is \"" + options.device + "\"");
}

// Streams and tokens of context.
using Contexts = std::vector<std::vector<int64_t>>;

bool Fits(const ExecutorLimits& limits, const std::vector<int64_t>& context) {
  const int64_t tokens = context[1] + kDecodeSteps;
  return tokens <= limits.max_model_len && context[0] * CeilDiv(tokens, kPageTokens) <= limits.num_pages;
}

void RegisterOnCpu(CpuExecutor* executor) {
  benchmark::RegisterBenchmark("ReadMemory", ReadMemory, executor->threads())
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
  for (const std::vector<int64_t>& context : Contexts{{8, 4000}, {1, 8000}, {1, 32000}})
    if (Fits(executor->limits(), context))
      benchmark::RegisterBenchmark("LongDecode", LongDecode, executor)
          ->ArgNames({"streams", "context"})
          ->Args(context)
          ->Unit(benchmark::kMillisecond)
          ->UseManualTime();
}

// What a context of the model or the cache is too small for is left out.
void Register(bool on_cuda, Executor* executor) {
  if (auto* cpu = dynamic_cast<CpuExecutor*>(executor); cpu != nullptr) RegisterOnCpu(cpu);
  const std::vector<int64_t> prompts =
      on_cuda ? std::vector<int64_t>{512, 2048, 8192} : std::vector<int64_t>{512, 2048, 4096, 8000};
  const Contexts decodes = on_cuda ? Contexts{{1, 512}, {8, 512}, {64, 512}, {128, 512}, {256, 512}}
                                   : Contexts{{1, 128}, {8, 128}, {32, 128}};
  const ExecutorLimits& limits = executor->limits();
  const auto unit = benchmark::kMillisecond;
  for (const int64_t tokens : prompts)
    if (tokens <= limits.max_model_len)
      benchmark::RegisterBenchmark("Prefill", Prefill, executor)->Arg(tokens)->Unit(unit)->UseRealTime();
  for (const std::vector<int64_t>& decode : decodes)
    if (Fits(limits, decode))
      benchmark::RegisterBenchmark("Decode", Decode, executor)
          ->ArgNames({"streams", "context"})
          ->Args(decode)
          ->Unit(unit)
          ->UseRealTime();
  constexpr int64_t kServed[] = {256, 512, 64};
  if (on_cuda && kServed[1] + kServed[2] <= limits.max_model_len && kServed[0] <= limits.max_rows_per_step)
    benchmark::RegisterBenchmark("Serve", ServeAll, executor)
        ->ArgNames({"streams", "prompt", "output"})
        ->Args({kServed[0], kServed[1], kServed[2]})
        ->Iterations(1)
        ->Unit(unit)
        ->UseRealTime();
}

// Whether all answers are alike; tells how many are.
bool CompareAnswers(Executor& executor, int count) {
  const absl::StatusOr<AnswerCheck> check = CheckAnswers(executor, count);
  if (!check.ok()) return std::fprintf(stderr, "%s\n", check.status().ToString().c_str()), false;
  const std::string told =
      absl::StrFormat("answers: %d of %d alike alone and among %d, %d distinct tokens, hash %016x",
                      check->alike, check->compared, count, check->distinct_tokens, check->hash);
  std::printf("%s\n", told.c_str());
  return check->alike == check->compared;
}

// "on" and "off"; nothing else.
bool TakeSwitch(std::string_view name, bool* on, int& argc, char** argv) {
  const std::string value = TakeFlag(name, *on ? "on" : "off", argc, argv);
  *on = value == "on";
  return value == "on" || value == "off";
}

int Main(int argc, char** argv) {
  // Of a run that is cut short what was told stays.
  static_cast<void>(std::setvbuf(stdout, nullptr, _IOLBF, 0));
  BenchOptions options{.model = TakeFlag("model", "models/SmolLM2-135M-Instruct.Q4_1.gguf", argc, argv),
                       .shape = TakeFlag("shape", "", argc, argv),
                       .type = TakeFlag("type", "BF16", argc, argv),
                       .device = TakeFlag("device", "cpu", argc, argv),
                       .kernels = TakeFlag("kernels", "auto", argc, argv)};
  options.threads = std::atoi(TakeFlag("threads", "0", argc, argv).c_str());
  options.answers = std::atoi(TakeFlag("answers", "0", argc, argv).c_str());
  options.steps_in_flight = std::atoi(TakeFlag("steps_in_flight", "2", argc, argv).c_str());
  const std::string weights = TakeFlag("weights", "auto", argc, argv);
  options.fp8_weights = weights == "fp8";
  if (!TakeSwitch("wgmma", &options.wgmma, argc, argv) ||
      !TakeSwitch("bulk_copies", &options.bulk_copies, argc, argv) || (weights != "auto" && weights != "fp8"))
    return std::fprintf(stderr, "--wgmma and --bulk_copies must be on or off, --weights auto or fp8\n"), 2;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const absl::StatusOr<std::unique_ptr<Executor>> executor = Make(options);
  if (!executor.ok()) return std::fprintf(stderr, "%s\n", executor.status().ToString().c_str()), 2;
  if (options.answers > 0 && !CompareAnswers(**executor, options.answers)) return 1;
  Register(options.device == "cuda", executor->get());
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace ropeway

int main(int argc, char** argv) { return ropeway::Main(argc, argv); }
