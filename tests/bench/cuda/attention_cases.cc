#include "tests/bench/cuda/attention_cases.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "engine/base/ceil_div.h"

namespace ropeway {
namespace {

constexpr cuda::Element kElement = cuda::Element::kBF16;
constexpr int kManyStreams = 64;

// The last `tokens` positions of each of `streams` sequences of `context` positions.
struct AttentionWork {
  int streams = 1;
  int tokens = 1;
  int context = 1;
  bool in_bulk = true;  // copies, and warpgroups for prompts, where the device has them
};

cuda::KvPages KvOf(const BenchShape& shape) {
  return {.element = cuda::KvElement::kBF16,
          .num_kv_heads = shape.num_kv_heads,
          .head_dim = shape.head_dim,
          .value_dim = shape.head_dim};
}

cuda::AttentionPlan Plan(const cuda::AttentionShape& shape, const AttentionWork& work) {
  std::vector<int32_t> row_starts, positions;
  for (int stream = 0; stream < work.streams; ++stream) {
    row_starts.push_back(stream * work.tokens);
    for (int i = 0; i < work.tokens; ++i) positions.push_back(work.context - work.tokens + i);
  }
  row_starts.push_back(work.streams * work.tokens);
  cuda::AttentionPlan plan;
  cuda::PlanAttention(shape, row_starts, positions, /*window=*/0, plan);
  return plan;
}

template <typename T>
cuda::WorkList<T> UploadWork(BenchDevice& device, const std::vector<T>& items, int num_kv_heads, int blocks) {
  if (items.empty()) return {};
  const auto count = static_cast<int32_t>(items.size());
  return {.data = device.Upload(items),
          .count = device.Upload(std::vector<int32_t>{count}),
          .blocks = std::min(count * num_kv_heads, device.info().processors * blocks)};
}

BenchDevice::Call Prepare(const BenchShape& shape, const AttentionWork& work, BenchDevice& device) {
  cuda::AttentionShape plan_shape{.num_heads = shape.num_heads,
                                  .num_kv_heads = shape.num_kv_heads,
                                  .head_dim = shape.head_dim,
                                  .value_dim = shape.head_dim,
                                  .processors = device.info().processors,
                                  .warpgroups = work.in_bulk && cuda::HasWarpgroups(device.info())};
  const int tokens = work.streams * work.tokens;
  plan_shape.max_partials = cuda::BoundAttention(plan_shape, tokens, work.streams, work.context).partials;
  const cuda::AttentionPlan plan = Plan(plan_shape, work);
  const int max_pages = CeilDiv(work.context, kPageTokens);
  std::vector<int32_t> tables(static_cast<size_t>(work.streams) * max_pages);
  std::iota(tables.begin(), tables.end(), 0);
  cuda::KvPages kv = KvOf(shape);
  const int64_t kv_bytes = static_cast<int64_t>(tables.size()) * kv.page_bytes();
  const int64_t vectors_bytes = int64_t{tokens} * shape.num_heads * shape.head_dim * BytesOf(kElement);
  const cuda::AttentionArgs args{
      .element = kElement,
      .kv = kv,
      .num_heads = shape.num_heads,
      .scale = static_cast<float>(1 / std::sqrt(shape.head_dim)),
      .queries = device.Allocate(vectors_bytes),
      .out = device.Allocate(vectors_bytes),
      .page_tables = device.Upload(tables),
      .max_pages = max_pages,
      .narrow = UploadWork(device, plan.narrow, shape.num_kv_heads,
                           plan_shape.warpgroups ? cuda::kDecodeBlocks : cuda::kOtherBlocks),
      .wide = UploadWork(device, plan.wide, shape.num_kv_heads, cuda::kOtherBlocks),
      .merges = plan.merges.empty() ? nullptr : device.Upload(plan.merges),
      .arrivals = device.Upload(std::vector<int32_t>((plan.merges.size() + 1) * shape.num_kv_heads)),
      .workspace = static_cast<float*>(
          device.Allocate(4 * cuda::AttentionWorkspaceFloats(plan_shape, std::max(plan.num_partials, 1))))};
  const int64_t pages = static_cast<int64_t>(tables.size());
  return [args, kv_bytes, pages, warpgroups = plan_shape.warpgroups, &device](int64_t repeat) {
    cuda::AttentionArgs call = args;
    call.kv.data = device.FromPool(kv_bytes, repeat);
    cuda::KvMaps maps;
    if (warpgroups) {
      if (const cuda::ErrorCode error = cuda::MakeKvMaps(device.runtime(), call.kv, pages, &maps))
        return error;
      call.maps = &maps;
    }
    return device.kernels().attention(call, device.stream());
  };
}

// Decoded tokens are bound by the keys and values they read, prompts by the products of the causal half.
OpCase AttentionCase(const BenchShape& shape, const char* name, const AttentionWork& work) {
  const double kv_bytes = static_cast<double>(KvOf(shape).page_bytes()) / kPageTokens * work.context;
  const double vector_bytes = 4.0 * shape.num_heads * shape.head_dim * work.tokens;
  const double keys = work.context - (work.tokens - 1) / 2.0;  // that a token attends to, on average
  return {.operation = absl::StrCat("attention, ", name),
          .sizes = absl::StrCat("rows ", work.streams, ", context ", work.context),
          .bytes = work.streams * (kv_bytes + vector_bytes),
          .flops = work.tokens == 1
                       ? 0
                       : 4.0 * work.streams * shape.num_heads * shape.head_dim * keys * work.tokens,
          .prepare = [=](BenchDevice& device) { return Prepare(shape, work, device); }};
}

}  // namespace

void AddAttentionCases(const BenchShape& shape, std::vector<OpCase>& cases) {
  for (const bool in_bulk : {true, false}) {
    const auto add = [&](const AttentionWork& work) {
      const char* const prompt = in_bulk ? "prompt" : "prompt by mma.sync";
      const char* const decode = in_bulk ? "decode" : "decode by cp.async";
      cases.push_back(AttentionCase(shape, work.tokens > 1 ? prompt : decode, work));
    };
    for (const int context : shape.decode_contexts)
      for (const int streams : {1, kManyStreams})
        add({.streams = streams, .context = context, .in_bulk = in_bulk});
    add({.context = shape.long_context, .in_bulk = in_bulk});
    for (const int tokens : shape.prompts) add({.tokens = tokens, .context = tokens, .in_bulk = in_bulk});
  }
}

}  // namespace ropeway
