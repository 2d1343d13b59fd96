#include "tests/bench/cuda/product_cases.h"

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/clock.h"
#include "engine/exec/cuda/product.h"
#include "engine/exec/cuda/product_choices.h"
#include "engine/kernels/cuda/stream_matmul.h"

namespace ropeway {
namespace {

using cuda::Element;

constexpr Element kElement = Element::kBF16;
constexpr int64_t kElementBytes = BytesOf(kElement);
constexpr DType kPackedTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K};
constexpr int64_t kOwnTokens = 64;  // with more our own kernel by mma.sync is far behind the library

// A kernel that is named, instead of the executor's choice; of kDense also how weights come.
struct Way {
  ProductKernel kernel;
  bool bulk = false;
};

const char* WordOf(const Way& way) { return way.bulk ? "bulk" : NameOf(way.kernel); }

struct Product {
  std::string name;
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
  const std::string how = forced.has_value() ? absl::StrCat(WordOf(*forced), " ") : "";
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

// All kernels that take it.
void AddDense(const Product& product, int64_t tokens, const cuda::DeviceInfo& device,
              std::vector<OpCase>& cases) {
  const auto add = [&](const Way& way) {
    cases.push_back(ProductCase(product, DType::kBF16, tokens, kElement, way));
  };
  if (tokens <= kOwnTokens) add({ProductKernel::kDense});
  if (cuda::HasBulkCopies(device) && tokens <= cuda::kFusedTokens) add({ProductKernel::kDense, true});
  if (cuda::HasWarpgroups(device)) add({ProductKernel::kWarpgroups});
  add({ProductKernel::kGemm});
}

void AddPacked(const Product& product, DType type, int64_t tokens, const cuda::DeviceInfo& device,
               std::vector<OpCase>& cases) {
  for (const ProductKernel kernel :
       {ProductKernel::kPacked, ProductKernel::kWarpgroups, ProductKernel::kUnpack})
    if (kernel != ProductKernel::kWarpgroups || cuda::HasWarpgroups(device))
      cases.push_back(ProductCase(product, type, tokens, kElement, Way{kernel}));
}

void AddFp8(const Product& product, int64_t tokens, const cuda::DeviceInfo& device,
            std::vector<OpCase>& cases) {
  cases.push_back(Fp8ProductCase(product, tokens, /*warpgroups=*/false));
  if (cuda::HasWarpgroups(device) && tokens > kFp8MmaTokens)
    cases.push_back(Fp8ProductCase(product, tokens, /*warpgroups=*/true));
}

}  // namespace

// With packed weights a prompt's tokens, too, where most of them are; of the others' one token, which their bytes bound.
void AddProductCases(const BenchShape& shape, std::vector<OpCase>& cases) {
  const std::vector<Product> products = LayerProducts(shape);
  const Product gate_up = products[2], head = {"head", shape.vocab_size, shape.hidden_size};
  for (const Product& product : products)
    for (const int tokens : shape.tokens)
      cases.push_back(ProductCase(product, DType::kBF16, tokens, kElement));
  for (const int tokens : shape.tokens)
    if (tokens <= 256) cases.push_back(ProductCase(head, DType::kBF16, tokens, Element::kF32));
  for (const DType type : kPackedTypes)
    for (const Product& product : products) {
      if (product.columns % InfoOf(type).block_columns != 0) continue;
      for (const int tokens : shape.tokens)
        if (tokens == 1 || product.name == gate_up.name)
          cases.push_back(ProductCase(product, type, tokens, kElement));
    }
}

void AddProductKernelCases(const BenchShape& shape, const cuda::DeviceInfo& device,
                           std::vector<OpCase>& cases) {
  AddProductsBothWays(shape, cuda::HasBulkCopies(device), cuda::HasWarpgroups(device), cases);
  AddPackedProducts(shape, cuda::HasWarpgroups(device), cases);
}

// Of one matrix also around the numbers of tokens at which tiles change.
void AddFp8ProductCases(const BenchShape& shape, const cuda::DeviceInfo& device, std::vector<OpCase>& cases) {
  const std::vector<Product> products = LayerProducts(shape);
  for (const Product& product : products)
    for (const int tokens : shape.tokens) AddFp8(product, tokens, device, cases);
  for (const int tokens : {9, 16, 32, 48, 65, 128, 192, 256}) AddFp8(products[2], tokens, device, cases);
}

absl::StatusOr<std::vector<OpCase>> CasesOfProduct(const ProductShape& shape, int64_t pool_bytes,
                                                   const cuda::DeviceInfo& device) {
  const bool fp8 = shape.type == "fp8";
  DType type = DType::kBF16;
  for (const DTypeInfo& info : kDTypes)
    if (shape.type == info.name && cuda::IsPacked(info.type)) type = info.type;
  if (fp8 ? !cuda::HasFp8(device.major, device.minor) : NameOf(type) != shape.type)
    return absl::InvalidArgumentError(absl::StrCat(
        "--type must be BF16, a packed type such as Q4_K or, where the device has it, fp8, is \"", shape.type,
        "\""));
  const int64_t step = cuda::IsPacked(type) ? InfoOf(type).block_columns : 8;
  if (shape.columns % step != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("--columns must be a multiple of ", step, " for ", shape.type, ", is ", shape.columns));
  const Product product = {absl::StrCat("[", shape.rows, ", ", shape.columns, "]"), shape.rows,
                           shape.columns};
  const int64_t bytes = fp8 ? cuda::Fp8LayoutOf(shape.rows, shape.columns).bytes
                            : cuda::DeviceMatrixBytes(type, shape.rows, shape.columns);
  if (bytes > pool_bytes)
    return absl::InvalidArgumentError(
        absl::StrCat("a matrix ", product.name, " has ", bytes, " bytes, and may have ", pool_bytes));
  std::vector<OpCase> cases;
  for (const int64_t tokens : shape.tokens) {
    if (fp8) {
      AddFp8(product, tokens, device, cases);
      continue;
    }
    cases.push_back(ProductCase(product, type, tokens, kElement));
    if (cuda::IsPacked(type))
      AddPacked(product, type, tokens, device, cases);
    else
      AddDense(product, tokens, device, cases);
  }
  return cases;
}

OpCase PeakCase(const BenchShape& shape) {
  OpCase peak = ProductCase({"square", shape.square, shape.square}, DType::kBF16, shape.square, kElement);
  peak.sizes = absl::StrCat(shape.square, "^3");
  return peak;
}

}  // namespace ropeway
