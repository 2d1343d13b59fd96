#include "tests/bench/cuda/op_cases.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/splitmix.h"
#include "engine/kernels/cuda/stream_matmul.h"
#include "tests/bench/cuda/attention_cases.h"
#include "tests/bench/cuda/expert_cases.h"
#include "tests/bench/cuda/fused_cases.h"
#include "tests/bench/cuda/product_cases.h"
#include "tests/bench/cuda/row_cases.h"

namespace ropeway {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

const std::vector<BenchShape>& Shapes() {
  static const auto& shapes =
      *new std::vector<BenchShape>{{.name = "8b",
                                    .hidden_size = 4096,
                                    .num_heads = 32,
                                    .num_kv_heads = 8,
                                    .head_dim = 128,
                                    .ffn_size = 14336,
                                    .vocab_size = 128256,
                                    .experts = {{8, 2, 14336}, {128, 8, 768}},
                                    .tokens = {1, 8, 64, 256, 2048},
                                    .decode_contexts = {512, 1024, 2048, 4096},
                                    .prompts = {512, 2048, 8192, 32768},
                                    .long_context = 32768,
                                    .square = 8192,
                                    .copied_bytes = 256 * kMiB,
                                    .read_bytes = 1024 * kMiB,
                                    .pool_bytes = 4096 * kMiB},
                                   {.name = "smollm2",
                                    .hidden_size = 576,
                                    .num_heads = 9,
                                    .num_kv_heads = 3,
                                    .head_dim = 64,
                                    .ffn_size = 1536,
                                    .vocab_size = 49152,
                                    .experts = {},
                                    .tokens = {1, 8, 64, 256, 2048},
                                    .decode_contexts = {512, 2048},
                                    .prompts = {2048, 8192, 32768},
                                    .long_context = 8192,
                                    .square = 8192,
                                    .copied_bytes = 256 * kMiB,
                                    .read_bytes = 1024 * kMiB,
                                    .pool_bytes = 2048 * kMiB},
                                   // Proves that the program runs; its times say nothing.
                                   {.name = "tiny",
                                    .hidden_size = 64,
                                    .num_heads = 4,
                                    .num_kv_heads = 2,
                                    .head_dim = 16,
                                    .ffn_size = 256,
                                    .vocab_size = 512,
                                    .experts = {{4, 2, 32}},
                                    .tokens = {1, 3},
                                    .decode_contexts = {17},
                                    .prompts = {20},
                                    .long_context = 300,
                                    .square = 64,
                                    .copied_bytes = kMiB,
                                    .read_bytes = kMiB,
                                    .pool_bytes = 4 * kMiB}};
  return shapes;
}

std::vector<float> RandomLogits(int64_t count) {
  std::vector<float> logits(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    double sum = -6;  // of 12 uniform numbers: nearly normal
    for (int j = 0; j < 12; ++j) sum += UnitInterval(5, static_cast<uint64_t>(i * 12 + j));
    logits[static_cast<size_t>(i)] = static_cast<float>(3 * sum);
  }
  return logits;
}

// Without logits; no row has changes.
cuda::SampleArgs SampleArgsOf(BenchDevice& device, int32_t vocab_size, int rows, const SamplingRule& rule) {
  std::vector<cuda::SampleRowParams> params(static_cast<size_t>(rows));
  for (int row = 0; row < rows; ++row) {
    params[static_cast<size_t>(row)].logit_row = row;
    params[static_cast<size_t>(row)].rule = rule;
    params[static_cast<size_t>(row)].rule.coin = RandomBits(7, static_cast<uint64_t>(row));
  }
  const auto state_bytes = rows * static_cast<int64_t>(sizeof(cuda::SampleState));
  return {.logit_stride = vocab_size,
          .vocab_size = vocab_size,
          .rows = device.Upload(params),
          .num_rows = rows,
          .processors = device.info().processors,
          .states = static_cast<cuda::SampleState*>(device.Allocate(state_bytes)),
          .tokens = static_cast<int32_t*>(device.Allocate(rows * 4)),
          .logprobs = static_cast<float*>(device.Allocate(rows * 4))};
}

OpCase SampleCase(const BenchShape& shape, int rows, const std::string& how, const SamplingRule& rule) {
  const int64_t logits = int64_t{rows} * shape.vocab_size;
  return {.operation = absl::StrCat("sample ", how),
          .sizes = absl::StrCat("rows ", rows),
          .bytes = 4.0 * static_cast<double>(logits),
          .prepare = [=](BenchDevice& device) -> BenchDevice::Call {
            cuda::SampleArgs args = SampleArgsOf(device, shape.vocab_size, rows, rule);
            args.logits = device.Upload(RandomLogits(logits));
            return [=, &device](int64_t) { return device.kernels().sample(args, device.stream()); };
          }};
}

void AddSampling(const BenchShape& shape, std::vector<OpCase>& cases) {
  constexpr float kScale = 1.25f;
  const double min_p_offset = std::log(0.05) / kScale;
  for (const int rows : {1, 64}) {
    const auto add = [&](const char* how, const SamplingRule& rule) {
      cases.push_back(SampleCase(shape, rows, how, rule));
    };
    add("greedy", {.scale = 0});
    add("temperature", {.scale = kScale});
    add("top_k 40", {.scale = kScale, .top_k = 40});
    add("top_p 0.9", {.scale = kScale, .top_p = 0.9f});
    add("min_p 0.05", {.scale = kScale, .min_p_offset = min_p_offset});
    add("top_k 40, top_p 0.9", {.scale = kScale, .top_k = 40, .top_p = 0.9f});
  }
}

}  // namespace

const BenchShape* FindBenchShape(const std::string& name) {
  for (const BenchShape& shape : Shapes())
    if (shape.name == name) return &shape;
  return nullptr;
}

std::string BenchShapeNames() {
  std::string names;
  for (const BenchShape& shape : Shapes()) absl::StrAppend(&names, names.empty() ? "" : ", ", shape.name);
  return names;
}

// Of bytes that no cache holds from one call to the next, and not of many: a graph's copy of 1 GiB is a fifth slower
// than one of 256 MiB on an H100, or than that of a stream.
OpCase CopyCase(const BenchShape& shape) {
  const int64_t bytes = shape.copied_bytes;
  return {.operation = "copy",
          .sizes = absl::StrCat(bytes / kMiB, " MiB"),
          .bytes = 2.0 * static_cast<double>(bytes),
          .writes = true,
          .prepare = [=](BenchDevice& device) -> BenchDevice::Call {
            void* to = device.Allocate(bytes);
            return [=, &device](int64_t repeat) {
              return device.runtime().Copy(to, device.FromPool(bytes, repeat), static_cast<size_t>(bytes),
                                           cuda::CopyKind::kDeviceToDevice, device.stream());
            };
          }};
}

// The likeliest token of a large vocabulary for each processor: the operation that computes least on what it reads.
OpCase ReadCase(const BenchShape& shape, const cuda::DeviceInfo& device) {
  const int rows = std::max(device.processors, 1);
  const auto vocab_size =
      static_cast<int32_t>(std::min<int64_t>(shape.read_bytes / 4 / rows / 4 * 4, cuda::kMaxVocabulary));
  const int64_t bytes = int64_t{4} * rows * vocab_size;
  return {.operation = "read",
          .sizes = absl::StrCat(shape.read_bytes / kMiB, " MiB"),
          .bytes = static_cast<double>(bytes),
          .prepare = [=](BenchDevice& device) -> BenchDevice::Call {
            const cuda::SampleArgs args = SampleArgsOf(device, vocab_size, rows, {.scale = 0});
            return [=, &device](int64_t repeat) {
              cuda::SampleArgs again = args;
              again.logits = reinterpret_cast<const float*>(device.FromPool(bytes, repeat));
              return device.kernels().sample(again, device.stream());
            };
          }};
}

std::vector<OpCase> OpCases(const BenchShape& shape, const cuda::DeviceInfo& device) {
  // In the order in which they tell something, if somebody ends it: what the executor does first, then what it chose from.
  std::vector<OpCase> cases;
  AddProductCases(shape, cases);
  AddFusedCases(shape, cuda::HasBulkCopies(device), cases);
  AddAttentionCases(shape, cases);
  AddRowCases(shape, cases);
  AddSampling(shape, cases);
  AddProductKernelCases(shape, device, cases);
  if (cuda::HasFp8(device.major, device.minor)) {
    AddFp8ProductCases(shape, device, cases);
    AddFp8ExpertCases(shape, cases);
  }
  AddExpertCases(shape, cases);
  return cases;
}

}  // namespace ropeway
