#include "tests/bench/cuda/row_cases.h"

#include <cstdint>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "engine/base/ceil_div.h"

namespace ropeway {
namespace {

constexpr cuda::Element kElement = cuda::Element::kBF16;
constexpr int64_t kElementBytes = BytesOf(kElement);

OpCase NormCase(const BenchShape& shape, int tokens) {
  const int64_t numbers = int64_t{tokens} * shape.hidden_size;
  return {.operation = "norm, add",
          .sizes = absl::StrCat("T ", tokens),
          .bytes = static_cast<double>(numbers * (8 + 2 * kElementBytes)),
          .writes = true,
          .prepare = [=](BenchDevice& device) -> BenchDevice::Call {
            auto* residual = static_cast<float*>(device.Allocate(numbers * 4));
            const auto* weight = static_cast<float*>(device.Allocate(int64_t{shape.hidden_size} * 4));
            const void* branch = device.Allocate(numbers * kElementBytes);
            void* out = device.Allocate(numbers * kElementBytes);
            return [=, &device](int64_t) {
              return device.kernels().norm({.element = kElement,
                                            .num_rows = tokens,
                                            .columns = shape.hidden_size,
                                            .epsilon = 1e-5f,
                                            .residual = residual,
                                            .branch = branch,
                                            .branch_scale = 0.5f,
                                            .weight = weight,
                                            .out = out},
                                           device.stream());
            };
          }};
}

OpCase GateCase(const BenchShape& shape, int tokens) {
  const int64_t numbers = int64_t{tokens} * shape.ffn_size;
  return {.operation = "gate",
          .sizes = absl::StrCat("T ", tokens),
          .bytes = static_cast<double>(3 * numbers * kElementBytes),
          .writes = true,
          .prepare = [=](BenchDevice& device) -> BenchDevice::Call {
            const void* gate_up = device.Allocate(2 * numbers * kElementBytes);
            void* out = device.Allocate(numbers * kElementBytes);
            return [=, &device](int64_t) {
              return device.kernels().gate({.element = kElement,
                                            .num_tokens = tokens,
                                            .columns = shape.ffn_size,
                                            .gate_up = gate_up,
                                            .out = out},
                                           device.stream());
            };
          }};
}

// Queries, keys and values of a prompt, rotated and stored.
OpCase RotateCase(const BenchShape& shape, int tokens) {
  const int query_heads = shape.num_heads, kv_heads = shape.num_kv_heads, head_dim = shape.head_dim;
  const int64_t numbers = int64_t{tokens} * (query_heads + 2 * kv_heads) * head_dim;
  return {.operation = "rotate, store",
          .sizes = absl::StrCat("T ", tokens),
          .bytes = static_cast<double>(2 * numbers * kElementBytes),
          .writes = true,
          .prepare = [=](BenchDevice& device) -> BenchDevice::Call {
            std::vector<int32_t> positions(static_cast<size_t>(tokens)), pages(CeilDiv(tokens, kPageTokens));
            std::iota(positions.begin(), positions.end(), 0);
            std::iota(pages.begin(), pages.end(), 0);
            cuda::KvPages kv = {.element = cuda::KvElement::kBF16,
                                .num_kv_heads = kv_heads,
                                .head_dim = head_dim,
                                .value_dim = head_dim};
            kv.data =
                static_cast<uint8_t*>(device.Allocate(static_cast<int64_t>(pages.size()) * kv.page_bytes()));
            const auto angles = [&] {
              return static_cast<float*>(device.Allocate(int64_t{tokens} * head_dim / 2 * 4));
            };
            const cuda::QkvArgs args = {
                .element = kElement,
                .num_tokens = tokens,
                .num_heads = query_heads,
                .qkv = device.Allocate(numbers * kElementBytes),
                .rotary_dim = head_dim,
                .cosines = angles(),
                .sines = angles(),
                .positions = device.Upload(positions),
                .token_rows = device.Upload(std::vector<int32_t>(positions.size())),
                .page_tables = device.Upload(pages),
                .max_pages = static_cast<int>(pages.size()),
                .kv = kv,
                .queries = device.Allocate(int64_t{tokens} * query_heads * head_dim * kElementBytes)};
            return [=, &device](int64_t) { return device.kernels().qkv(args, device.stream()); };
          }};
}

}  // namespace

void AddRowCases(const BenchShape& shape, std::vector<OpCase>& cases) {
  for (const int tokens : shape.tokens) cases.push_back(NormCase(shape, tokens));
  for (const int tokens : shape.tokens) cases.push_back(GateCase(shape, tokens));
  for (const int tokens : shape.tokens) cases.push_back(RotateCase(shape, tokens));
}

}  // namespace ropeway
