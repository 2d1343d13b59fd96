#include "tests/bench/cuda/op_cases.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/ceil_div.h"
#include "engine/base/clock.h"
#include "engine/base/splitmix.h"
#include "engine/exec/cuda/product.h"
#include "engine/exec/cuda/product_choices.h"
#include "engine/kernels/cuda/stream_matmul.h"
#include "tests/bench/cuda/attention_cases.h"
#include "tests/bench/cuda/expert_cases.h"
#include "tests/bench/cuda/fused_cases.h"
#include "tests/bench/cuda/row_cases.h"

namespace ropeway {
namespace {

using cuda::Element;

constexpr Element kElement = Element::kBF16;
constexpr int64_t kElementBytes = BytesOf(kElement);
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
                                    .decode_contexts = {512, 2048, 4096},
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

// A kernel that is named, instead of the executor's choice; of kDense also how weights come.
struct Way {
  ProductKernel kernel;
  bool bulk = false;
};

const char* NameOf(const Way& way) { return way.bulk ? "bulk" : NameOf(way.kernel); }

struct Product {
  const char* name;
  int64_t outputs, columns;  // M, K
};

std::vector<Product> LayerProducts(const BenchShape& shape) {
  const int64_t query_size = int64_t{shape.num_heads} * shape.head_dim;
  const int64_t key_size = int64_t{shape.num_kv_heads} * shape.head_dim;
  return {{"qkv", query_size + 2 * key_size, shape.hidden_size},
          {"o", shape.hidden_size, query_size},
          {"gate_up", int64_t{2} * shape.ffn_size, shape.hidden_size},
          {"down", shape.hidden_size, shape.ffn_size}};
}

// The executor's choice. What goes wrong here goes wrong again where the product is made.
ProductKernel ChosenKernel(cuda::MatMulArgs args, int64_t bytes, const ProductTools& tools,
                           BenchDevice& device) {
  constexpr int kMatrices = 8;
  const RealClock clock;
  ProductChoices choices(&clock);
  for (int matrix = 0; matrix < kMatrices; ++matrix) {
    args.weights.data = device.FromPool(bytes, matrix);
    static_cast<void>(choices.Prepare(args, tools));
  }
  static_cast<void>(choices.Measure(tools, device.runtime()));
  return choices.KernelFor(args);
}

// As the executor multiplies, or in a way that is named.
OpCase ProductCase(const Product& product, DType type, int64_t tokens, Element out,
                   std::optional<Way> forced = {}) {
  const auto [name, outputs, columns] = product;
  const int64_t bytes = cuda::DeviceMatrixBytes(type, outputs, columns);
  const std::string how = forced.has_value() ? absl::StrCat(NameOf(*forced), " ") : "";
  return {.operation = absl::StrCat(how, cuda::IsPacked(type) ? NameOf(type) : "matmul", " ", name),
          .sizes = absl::StrCat("T ", tokens),
          .bytes = static_cast<double>(bytes + tokens * (columns * kElementBytes + outputs * BytesOf(out))),
          .flops = 2.0 * static_cast<double>(outputs * columns * tokens),
          .prepare = [=, outputs = outputs, columns = columns](BenchDevice& device) -> BenchDevice::Call {
            const cuda::MatMulArgs args = {
                .weights = {type, outputs, columns, device.FromPool(bytes, 0)},
                .element = kElement,
                .out = out,
                .num_tokens = tokens,
                .processors = device.info().processors,
                .x = device.Allocate(tokens * columns * kElementBytes),
                .y = device.Allocate(tokens * outputs * BytesOf(out)),
                .y_stride = outputs,
                .bulk_copies = forced ? forced->bulk : cuda::HasBulkCopies(device.info())};
            const ProductTools tools = {.kernels = device.kernels(),
                                        .gemm = device.gemm(),
                                        .slice = {device.Allocate(kMaxSliceBytes), kMaxSliceBytes},
                                        .stream = device.stream(),
                                        .warpgroups = cuda::HasWarpgroups(device.info())};
            if (forced) static_cast<void>(PrepareOnCuda(args, tools, forced->kernel));
            const ProductKernel kernel = forced ? forced->kernel : ChosenKernel(args, bytes, tools, device);
            return [=, &device](int64_t repeat) {
              cuda::MatMulArgs again = args;
              again.weights.data = device.FromPool(bytes, repeat);
              return MultiplyOnCuda(again, tools, kernel);
            };
          }};
}

// Likewise by fp8 weights, what makes x fp8 included; prompts by wgmma or by mma.sync.
OpCase Fp8ProductCase(const Product& product, int64_t tokens, bool warpgroups) {
  const auto [name, outputs, columns] = product;
  const int64_t bytes = cuda::Fp8LayoutOf(outputs, columns).bytes, row_bytes = cuda::Fp8RowBytes(columns);
  const char* const how = tokens <= kFp8MmaTokens ? "" : warpgroups ? ", wgmma" : ", mma.sync";
  return {.operation = absl::StrCat("fp8 ", name, how),
          .sizes = absl::StrCat("T ", tokens),
          .bytes = static_cast<double>(bytes + tokens * (columns + outputs) * kElementBytes),
          .flops = 2.0 * static_cast<double>(outputs * columns * tokens),
          .prepare = [=, outputs = outputs, columns = columns](BenchDevice& device) -> BenchDevice::Call {
            const cuda::MatMulArgs args = {.weights = {.rows = outputs, .columns = columns},
                                           .element = kElement,
                                           .out = kElement,
                                           .num_tokens = tokens,
                                           .x = device.Allocate(tokens * columns * kElementBytes),
                                           .y = device.Allocate(tokens * outputs * kElementBytes),
                                           .y_stride = outputs};
            const ProductTools tools = {
                .kernels = device.kernels(),
                .gemm = device.gemm(),
                .slice = {},
                .stream = device.stream(),
                .fp8 = &device.fp8_kernels(),
                .quantized = {.codes = static_cast<uint8_t*>(device.Allocate(2 * tokens * row_bytes)),
                              .scales = static_cast<float*>(device.Allocate(tokens * 4))},
                .fp8_warpgroups = warpgroups};
            return [=, &device](int64_t repeat) {
              cuda::MatMulArgs again = args;
              again.weights.data = device.FromPool(bytes, repeat);
              return MultiplyFp8OnCuda(again, tools);
            };
          }};
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

void AddProducts(const BenchShape& shape, std::vector<OpCase>& cases) {
  for (const Product& product : LayerProducts(shape))
    for (const int tokens : shape.tokens)
      cases.push_back(ProductCase(product, DType::kBF16, tokens, kElement));
  const Product head = {"head", shape.vocab_size, shape.hidden_size};
  for (const int tokens : shape.tokens)
    if (tokens <= 256) cases.push_back(ProductCase(head, DType::kBF16, tokens, Element::kF32));
  const Product gate_up = LayerProducts(shape)[2];
  for (const DType type : {DType::kQ4_0, DType::kQ4_1, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K}) {
    if (gate_up.columns % InfoOf(type).block_columns != 0) continue;
    for (const int tokens : shape.tokens) cases.push_back(ProductCase(gate_up, type, tokens, kElement));
  }
}

// Of all of a layer's products, at numbers of tokens between which their kernels change.
void AddPackedProducts(const BenchShape& shape, bool has_warpgroups, std::vector<OpCase>& cases) {
  const auto add = [&](const Product& product, std::initializer_list<int> counts, ProductKernel kernel) {
    for (const int tokens : counts)
      cases.push_back(ProductCase(product, DType::kQ4_K, tokens, kElement, Way{kernel}));
  };
  for (const Product& product : LayerProducts(shape)) {
    if (product.columns % InfoOf(DType::kQ4_K).block_columns != 0) continue;
    add(product, {1, 8, 16, 32, 64, 128}, ProductKernel::kPacked);
    if (has_warpgroups) add(product, {1, 8, 16, 32, 64, 128, 256, 512}, ProductKernel::kWarpgroups);
    add(product, {64, 128, 256, 512}, ProductKernel::kUnpack);
  }
}

// All kinds of kernel where the number of tokens decides which is taken (engine/exec/cuda/product.h): what
// kStreamedTokens and kPackedTokens should be, and who wins where it is measured. And both ways in which weights come where
// they are streamed.
void AddProductsBothWays(const BenchShape& shape, bool has_bulk_copies, bool has_warpgroups,
                         std::vector<OpCase>& cases) {
  const std::vector<Product> products = LayerProducts(shape);
  const Product gate_up = products[2], head = {"head", shape.vocab_size, shape.hidden_size};
  const Way bulk = {ProductKernel::kDense, true}, streamed = {ProductKernel::kDense};
  for (const int tokens : {8, 16, 32, 64}) {
    for (const Way& way : {streamed, Way{ProductKernel::kGemm}})
      cases.push_back(ProductCase(gate_up, DType::kBF16, tokens, kElement, way));
    if (has_bulk_copies && tokens <= cuda::kFusedTokens)
      cases.push_back(ProductCase(gate_up, DType::kBF16, tokens, kElement, bulk));
  }
  for (const int tokens : {32, 64, 128, 256})
    for (const ProductKernel kernel : {ProductKernel::kGemm, ProductKernel::kWarpgroups}) {
      if (!has_warpgroups) break;
      for (const Product& product : products)
        cases.push_back(ProductCase(product, DType::kBF16, tokens, kElement, Way{kernel}));
    }
  for (const int tokens : {1, 4})
    for (const Way& way : {streamed, bulk}) {
      if (!has_bulk_copies) break;
      for (const Product& product : products)
        cases.push_back(ProductCase(product, DType::kBF16, tokens, kElement, way));
      cases.push_back(ProductCase(head, DType::kBF16, tokens, Element::kF32, way));
    }
}

// Of one matrix also around the numbers of tokens at which tiles change.
void AddFp8Products(const BenchShape& shape, bool has_warpgroups, std::vector<OpCase>& cases) {
  const auto add = [&](const Product& product, int64_t tokens) {
    cases.push_back(Fp8ProductCase(product, tokens, /*warpgroups=*/false));
    if (has_warpgroups && tokens > kFp8MmaTokens) cases.push_back(Fp8ProductCase(product, tokens, true));
  };
  const std::vector<Product> products = LayerProducts(shape);
  for (const Product& product : products)
    for (const int tokens : shape.tokens) add(product, tokens);
  for (const int tokens : {9, 16, 32, 48, 65, 128, 192, 256}) add(products[2], tokens);
}

void AddSampling(const BenchShape& shape, std::vector<OpCase>& cases) {
  for (const int rows : {1, 64}) {
    cases.push_back(SampleCase(shape, rows, "greedy", {.scale = 0}));
    cases.push_back(SampleCase(shape, rows, "temperature", {.scale = 1.25f}));
    cases.push_back(SampleCase(shape, rows, "top_k 40", {.scale = 1.25f, .top_k = 40}));
    cases.push_back(SampleCase(shape, rows, "top_p 0.9", {.scale = 1.25f, .top_p = 0.9f}));
    cases.push_back(
        SampleCase(shape, rows, "top_k 40, top_p 0.9", {.scale = 1.25f, .top_k = 40, .top_p = 0.9f}));
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

OpCase PeakCase(const BenchShape& shape) {
  OpCase peak = ProductCase({"square", shape.square, shape.square}, DType::kBF16, shape.square, kElement);
  peak.sizes = absl::StrCat(shape.square, "^3");
  return peak;
}

std::vector<OpCase> OpCases(const BenchShape& shape, const cuda::DeviceInfo& device) {
  std::vector<OpCase> cases;
  AddProducts(shape, cases);
  const bool has_bulk_copies = cuda::HasBulkCopies(device);
  const bool has_warpgroups = cuda::HasWarpgroups(device);
  AddProductsBothWays(shape, has_bulk_copies, has_warpgroups, cases);
  AddPackedProducts(shape, has_warpgroups, cases);
  if (cuda::HasFp8(device.major, device.minor)) {
    AddFp8Products(shape, has_warpgroups, cases);
    AddFp8ExpertCases(shape, cases);
  }
  AddFusedCases(shape, has_bulk_copies, cases);
  AddExpertCases(shape, cases);
  AddAttentionCases(shape, cases);
  AddRowCases(shape, cases);
  AddSampling(shape, cases);
  return cases;
}

}  // namespace ropeway
