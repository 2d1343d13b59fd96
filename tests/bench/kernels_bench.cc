// Speed of the kernels on one thread: matrix products and attention on the shapes of SmolLM2-135M and of a
// model of one thousand million weights, beside the limits of the machine. Examples:
//   kernels_bench --benchmark_filter='limit|Q4_1/smollm.*n:1$'
//   kernels_bench --benchmark_filter='attention/avx512'
//   kernels_bench --benchmark_filter='limit/read|^decode'    beside what memory gives
// GOPS counts a multiplication and an addition as two; GB is 1e9 bytes of weights, or of keys and values.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "tests/bench/machine_limits.h"
#include "tests/kernels/kernel_inputs.h"
#include "tests/kernels/modifier_inputs.h"

namespace ropeway::kernels {
namespace {

// Beyond any L3, so that a pass over it comes from memory.
constexpr int64_t kUncached = 640 << 20;

benchmark::Counter PerSecond(double amount) {
  return benchmark::Counter(amount * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void BM_ReadMemory(benchmark::State& state) {
  AlignedBuffer buffer(kUncached);
  // What was never written is one page of zeros, many times.
  std::memset(buffer.data(), 1, kUncached);
  for (auto _ : state) ReadAll(buffer.data(), buffer.bytes());
  state.counters["GB/s"] = PerSecond(static_cast<double>(buffer.bytes()));
}

void BM_Peak(benchmark::State& state, int64_t (*run)()) {
  int64_t operations = 0;
  for (auto _ : state) operations = run();
  state.counters["GOPS"] = PerSecond(static_cast<double>(operations));
}

struct Shape {
  const char* name;
  int64_t rows, columns;
  bool gate = false;
};

constexpr Shape kShapes[] = {{"smollm_qkv", 960, 576},          {"smollm_gate_up", 3072, 576, true},
                             {"smollm_down", 576, 1536},        {"smollm_output", 49152, 576},
                             {"1b_gate_up", 16384, 2048, true}, {"1b_down", 2048, 8192}};

// The same matrix several times, so that few tokens read it from memory as in a whole model.
std::vector<PackedMatrix> Copies(const KernelTable& table, DType type, const Shape& shape, int64_t bytes) {
  std::vector<uint8_t> weights = RandomWeights(type, shape.rows, shape.columns, 1);
  std::vector<PackedMatrix> copies;
  const int64_t half = shape.rows / 2;
  const std::vector<uint8_t> second(weights.begin() + RowBytes(type, shape.columns) * half, weights.end());
  const TensorView both[2] = {ViewOf(type, weights, half, shape.columns),
                              ViewOf(type, second, half, shape.columns)};
  if (shape.gate)
    copies.push_back(table.pack({.parts = both, .interleave = true}));
  else
    copies.push_back(PackOne(table, type, weights, shape.rows, shape.columns));
  const int64_t one = copies[0].data.bytes();
  for (int64_t total = one; total + one <= bytes; total += one) {
    const PackedMatrix& first = copies[0];
    PackedMatrix copy{.type = first.type,
                      .activation = first.activation,
                      .interleaved = first.interleaved,
                      .rows = first.rows,
                      .columns = first.columns,
                      .num_panels = first.num_panels,
                      .panel_bytes = first.panel_bytes,
                      .data = AlignedBuffer(one)};
    std::memcpy(copy.data.data(), first.data.data(), static_cast<size_t>(one));
    copies.push_back(std::move(copy));
  }
  return copies;
}

void BM_MatMul(benchmark::State& state, const KernelTable& table, DType type, const Shape& shape) {
  const int64_t num_tokens = state.range(0);
  const std::vector<PackedMatrix> copies = Copies(table, type, shape, num_tokens <= 8 ? kUncached : 0);
  const PackedMatrix& first = copies[0];
  const std::vector<float> x = RandomActivations(num_tokens, shape.columns, 2);
  AlignedBuffer activations(table.activation_bytes(first.activation, num_tokens, shape.columns));
  const int64_t y_stride = shape.rows + 16;
  AlignedBuffer y(num_tokens * y_stride * static_cast<int64_t>(sizeof(float)));
  size_t next = 0;
  for (auto _ : state) {
    const PackedMatrix& matrix = copies[next];
    next = (next + 1) % copies.size();
    table.prepare({.kind = first.activation,
                   .x = x.data(),
                   .x_stride = shape.columns,
                   .num_tokens = num_tokens,
                   .columns = shape.columns,
                   .out = activations.data(),
                   .groups = {0, NumPrepareGroups(num_tokens)}});
    table.matmul({.matrix = &matrix,
                  .activations = activations.data(),
                  .num_tokens = num_tokens,
                  .y = y.as<float>(),
                  .y_stride = y_stride,
                  .epilogue = shape.gate ? Epilogue::kGate : Epilogue::kStore,
                  .panels = {0, matrix.num_panels},
                  .next = copies[next].panel(0),
                  .next_bytes = matrix.panel_bytes});
  }
  state.counters["GOPS"] = PerSecond(2.0 * static_cast<double>(shape.rows * shape.columns * num_tokens));
  state.counters["GB/s"] = PerSecond(static_cast<double>(first.data.bytes()));
}

struct AttentionShape {
  const char* name;
  int num_kv_heads, queries_per_token, head_dim;
};

constexpr AttentionShape kAttentionShapes[] = {{"smollm", 3, 3, 64}, {"1b", 8, 4, 64}, {"gemma", 1, 4, 256}};

// Scores of a few units, as models have, of what RandomActivations gives.
constexpr float kScale = 1e-3f;

// A sequence of `length` tokens in the first pages of `cache`.
void StoreSequence(const KernelTable& table, const KvLayout& kv, int length, AlignedBuffer& cache) {
  const int64_t columns = int64_t{kv.num_kv_heads} * kv.head_dim;
  const std::vector<float> keys = RandomActivations(length, columns, 3);
  for (int t = 0; t < length; ++t)
    table.store_kv({.kv = kv,
                    .cache = cache.data(),
                    .quad_stride = kv.quad_bytes,
                    .page = t / kPageTokens,
                    .slot = t % kPageTokens,
                    .keys = &keys[t * columns],
                    .values = &keys[t * columns]});
}

// The last `num_tokens` of `length` tokens, all heads: a decode step where it is one, a whole prompt where it
// is all.
void BM_Attention(benchmark::State& state, const KernelTable& table, const AttentionShape& shape,
                  const std::string& modifier_name) {
  const int num_tokens = static_cast<int>(state.range(0)), length = static_cast<int>(state.range(1));
  const KvLayout kv = MakeKvLayout(KvType::kBF16, shape.num_kv_heads, shape.head_dim, shape.head_dim);
  const int num_heads = shape.num_kv_heads * shape.queries_per_token;
  ModifierInputs modifier = MakeModifier(
      modifier_name,
      {.num_heads = num_heads, .head_dim = shape.head_dim, .value_dim = shape.head_dim, .length = length});
  if (modifier.modifier.window > 0)
    modifier.modifier.window = length;  // the work of a window that hides nothing
  if (modifier.modifier.chunk > 0) modifier.modifier.chunk = length;
  if (modifier.modifier.softcap > 0) modifier.modifier.softcap = 50;  // Gemma-2's
  if (modifier.modifier.zone > 0) modifier.modifier.zone = length / 8;
  const int pages = (length + kPageTokens - 1) / kPageTokens;
  AlignedBuffer cache(NumQuads(pages) * kv.quad_bytes),
      scratch(table.attention_scratch_bytes(kv, num_heads, modifier.modifier.mixer.width));
  std::vector<int32_t> page_table(pages);
  for (int p = 0; p < pages; ++p) page_table[p] = p;
  StoreSequence(table, kv, length, cache);
  const int64_t width = int64_t{shape.num_kv_heads} * shape.queries_per_token * shape.head_dim;
  const std::vector<float> queries = RandomActivations(num_tokens, width, 4);
  std::vector<float> out(num_tokens * width);
  const int calls = modifier.modifier.mixer.width > 0 ? 1 : shape.num_kv_heads;
  for (auto _ : state)
    for (int g = 0; g < calls; ++g) {
      const int64_t head = int64_t{g} * shape.queries_per_token * shape.head_dim;
      table.attention({.kv = kv,
                       .cache = cache.data(),
                       .quad_stride = kv.quad_bytes,
                       .page_table = page_table.data(),
                       .kv_head = g,
                       .queries_per_token = shape.queries_per_token,
                       .num_tokens = num_tokens,
                       .first_position = length - num_tokens,
                       .queries = queries.data() + head,
                       .query_stride = width,
                       .previous_queries = queries.data() + head,
                       .older_queries = queries.data() + head,
                       .out = out.data() + head,
                       .out_stride = width,
                       .scale = kScale,
                       .modifier = modifier.modifier,
                       .scratch = scratch.data()});
    }
  const double seen = num_tokens * (length - (num_tokens - 1) / 2.0);  // pairs of query and key, per head
  state.counters["GOPS"] = PerSecond(4.0 * seen * static_cast<double>(width));
  state.counters["GB/s"] = PerSecond(static_cast<double>(cache.bytes()));
  state.counters["table_bytes"] = static_cast<double>(modifier.bytes());
}

// Decode steps of streams of `length` tokens each, of so many that keys and values come from memory.
void BM_DecodeAttention(benchmark::State& state, const KernelTable& table, const AttentionShape& shape) {
  const auto length = static_cast<int>(state.range(0));
  const KvLayout kv = MakeKvLayout(KvType::kBF16, shape.num_kv_heads, shape.head_dim, shape.head_dim);
  const int pages = (length + kPageTokens - 1) / kPageTokens;
  const int64_t stream_bytes = NumQuads(pages) * kv.quad_bytes, streams = kUncached / stream_bytes;
  AlignedBuffer cache(streams * stream_bytes),
      scratch(table.attention_scratch_bytes(kv, shape.num_kv_heads * shape.queries_per_token, 0));
  StoreSequence(table, kv, length, cache);
  for (int64_t s = 1; s < streams; ++s)
    std::memcpy(cache.data() + s * stream_bytes, cache.data(), static_cast<size_t>(stream_bytes));
  std::vector<int32_t> page_table(pages);
  for (int p = 0; p < pages; ++p) page_table[p] = p;
  const int64_t width = int64_t{shape.num_kv_heads} * shape.queries_per_token * shape.head_dim;
  const std::vector<float> queries = RandomActivations(1, width, 4);
  std::vector<float> out(width);
  for (auto _ : state)
    for (int64_t s = 0; s < streams; ++s)
      table.attention({.kv = kv,
                       .cache = cache.data() + s * stream_bytes,
                       .quad_stride = kv.quad_bytes,
                       .page_table = page_table.data(),
                       .kv_head = 0,
                       .kv_heads = shape.num_kv_heads,
                       .queries_per_token = shape.queries_per_token,
                       .num_tokens = 1,
                       .first_position = length - 1,
                       .queries = queries.data(),
                       .query_stride = width,
                       .out = out.data(),
                       .out_stride = width,
                       .scale = kScale,
                       .scratch = scratch.data()});
  state.counters["GB/s"] = PerSecond(static_cast<double>(cache.bytes()));
}

void BM_RmsNorm(benchmark::State& state, const KernelTable& table) {
  const int64_t n = state.range(0);
  const std::vector<float> x = RandomActivations(1, n, 5);
  std::vector<float> out(n);
  for (auto _ : state) {
    table.rms_norm(x.data(), x.data(), n, 1e-5f, out.data());
    benchmark::ClobberMemory();
  }
}

void BM_Prepare(benchmark::State& state, const KernelTable& table) {
  const int64_t num_tokens = state.range(0), columns = 576;
  const std::vector<float> x = RandomActivations(num_tokens, columns, 6);
  AlignedBuffer out(table.activation_bytes(ActivationKind::kInt8, num_tokens, columns));
  for (auto _ : state)
    table.prepare({.kind = ActivationKind::kInt8,
                   .x = x.data(),
                   .x_stride = columns,
                   .num_tokens = num_tokens,
                   .columns = columns,
                   .out = out.data(),
                   .groups = {0, NumPrepareGroups(num_tokens)}});
}

void RegisterAll() {
  benchmark::RegisterBenchmark("limit/read_memory", BM_ReadMemory);
  benchmark::RegisterBenchmark("limit/vpdpbusd", BM_Peak, &DotProducts);
  benchmark::RegisterBenchmark("limit/fma", BM_Peak, &FusedMultiplyAdds);
  for (const KernelTable* table : ProductTables()) {
    const std::string name =
        std::string("/") + table->name + (*table->extension != 0 ? "_" : "") + table->extension;
    for (DType type : kAllTypes)
      for (const Shape& shape : kShapes) {
        if (shape.columns % InfoOf(type).block_columns != 0) continue;
        benchmark::RegisterBenchmark(("matmul" + name + "/" + NameOf(type) + "/" + shape.name).c_str(),
                                     BM_MatMul, *table, type, shape)
            ->ArgName("n")
            ->Arg(1)
            ->Arg(8)
            ->Arg(16)
            ->Arg(32)
            ->Arg(512);
      }
  }
  for (const KernelTable* table : ProductTables()) {
    const std::string name =
        std::string("/") + table->name + (*table->extension != 0 ? "_" : "") + table->extension;
    for (const AttentionShape& shape : kAttentionShapes)
      benchmark::RegisterBenchmark(("attention" + name + "/" + shape.name).c_str(), BM_Attention, *table,
                                   shape, "")
          ->ArgNames({"n", "length"})
          ->Args({1, 100})
          ->Args({1, 2048})
          ->Args({64, 512})
          ->Args({512, 512})
          ->Args({512, 2048})
          ->Args({16, 8000});
    for (const AttentionShape& shape : kAttentionShapes)
      benchmark::RegisterBenchmark(("decode" + name + "/" + shape.name).c_str(), BM_DecodeAttention, *table,
                                   shape)
          ->ArgName("length")
          ->Arg(4000)
          ->Unit(benchmark::kMillisecond);
    // Soft-caps came with heads of 256 columns.
    for (const char* modifier : {"", "softcap"})
      benchmark::RegisterBenchmark(("modifier" + name + "/gemma/" + modifier).c_str(), BM_Attention, *table,
                                   kAttentionShapes[2], modifier)
          ->ArgNames({"n", "length"})
          ->Args({1, 2048})
          ->Args({512, 2048});
    for (const std::string& modifier : ModifierNames())
      benchmark::RegisterBenchmark(("modifier" + name + "/" + modifier).c_str(), BM_Attention, *table,
                                   kAttentionShapes[1], modifier)
          ->ArgNames({"n", "length"})
          ->Args({1, 2048})
          ->Args({512, 2048});
    benchmark::RegisterBenchmark(("rms_norm" + name).c_str(), BM_RmsNorm, *table)->Arg(576)->Arg(2048);
    benchmark::RegisterBenchmark(("prepare" + name).c_str(), BM_Prepare, *table)
        ->Arg(1)
        ->Arg(3)
        ->Arg(8)
        ->Arg(64);
  }
}

}  // namespace
}  // namespace ropeway::kernels

int main(int argc, char** argv) {
  ropeway::kernels::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
