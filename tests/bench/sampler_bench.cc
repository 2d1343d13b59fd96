// Speed of choosing a token, per vocabulary and way of choosing. Example:
//   sampler_bench --benchmark_filter='top_p'
#include <cstdint>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "engine/base/splitmix.h"
#include "engine/sample/sampler.h"

namespace ropeway {
namespace {

// A bell of width `spread`, as the logits of a model are.
std::vector<float> Logits(int vocabulary, double spread) {
  std::vector<float> logits(vocabulary);
  for (int i = 0; i < vocabulary; ++i) {
    double bell = -6;
    for (uint64_t j = 0; j < 12; ++j) bell += UnitInterval(j, i);
    logits[i] = static_cast<float>(bell * spread);
  }
  return logits;
}

void BM_Sample(benchmark::State& state, const SamplingParams& params, double spread) {
  const std::vector<float> logits = Logits(static_cast<int>(state.range(0)), spread);
  const std::vector<TokenId> prompt(1000, 5);
  Sampler sampler;
  int32_t step = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        sampler.Sample(logits, {.step = step++, .params = &params, .prompt = prompt, .generated = prompt}));
  }
}

void RegisterAll() {
  const struct {
    std::string name;
    SamplingParams params;
    double spread = 3;
  } cases[] = {
      {"greedy", {.temperature = 0}},
      {"temperature", {}},
      {"top_k_40", {.top_k = 40}},
      {"top_p_0.95", {.top_p = 0.95F}},
      {"top_p_0.95_flat", {.top_p = 0.95F}, 0.1},
      {"top_k_top_p_min_p", {.temperature = 0.7F, .top_k = 40, .top_p = 0.9F, .min_p = 0.05F}},
      {"min_p_0.05", {.min_p = 0.05F}},
      {"penalties", {.temperature = 0, .repetition_penalty = 1.1F, .frequency_penalty = 0.1F}},
      {"logprobs_20", {.temperature = 0, .num_logprobs = 20}},
  };
  for (const auto& one : cases) {
    benchmark::RegisterBenchmark(one.name.c_str(), BM_Sample, one.params, one.spread)
        ->Arg(49152)
        ->Arg(262144)
        ->Unit(benchmark::kMicrosecond);
  }
}

}  // namespace
}  // namespace ropeway

int main(int argc, char** argv) {
  ropeway::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
