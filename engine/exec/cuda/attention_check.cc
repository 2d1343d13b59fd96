#include "engine/exec/cuda/attention_check.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/ceil_div.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cuda/kernel_check.h"

namespace ropeway {
namespace {

// Chunks of keys, the last one cut off, and whole items of queries with a part of one.
constexpr int kContext = 2 * cuda::kChunkTokens + 77;
constexpr int kPairs = 2 * cuda::kWarpgroupPairs + 21;
// A decoded token's.
constexpr int kFewPairs = 1;
constexpr int kWindow = 100;
constexpr int kBlocks = 2;
constexpr int kMaxPages = (kContext + kPageTokens - 1) / kPageTokens;
// Scores in units of their own spread, so that soft-max has much to tell apart.
constexpr float kSpread = 6;

// The last tokens of a sequence, on the device.
class Prompt {
 public:
  Prompt(const cuda::AttentionShape& shape, cuda::Element element, int pairs, cuda::Runtime& runtime,
         cuda::Stream stream)
      : runtime_(runtime),
        element_(element),
        check_(runtime, stream, "checking attention by warpgroups, which --wgmma=off leaves out"),
        shape_(shape) {
    shape_.num_heads = shape.num_heads / shape.num_kv_heads;
    shape_.num_kv_heads = 1;
    shape_.max_partials = 0;
    tokens_ = std::min<int>(kContext, static_cast<int>(CeilDiv(pairs, shape_.num_heads)));
  }

  const KernelCheck& check() const { return check_; }

  absl::Status Upload() {
    kv_ = {.element = element_ == cuda::Element::kF16 ? cuda::KvElement::kF16 : cuda::KvElement::kBF16,
           .num_kv_heads = 1,
           .head_dim = shape_.head_dim,
           .value_dim = shape_.value_dim};
    std::vector<int32_t> pages(kMaxPages);
    std::iota(pages.rbegin(), pages.rend(), 0);
    std::vector<int32_t> positions(tokens_);
    std::iota(positions.begin(), positions.end(), kContext - tokens_);
    const std::vector<int32_t> row_starts = {0, tokens_};
    cuda::AttentionPlan plan;
    cuda::PlanAttention(shape_, row_starts, positions, /*window=*/0, plan);
    const std::vector<int32_t> counts = {static_cast<int32_t>(plan.narrow.size()),
                                         static_cast<int32_t>(plan.wide.size())};
    ASSIGN_OR_RETURN(queries_,
                     check_.Put(RandomNumbers(int64_t{tokens_} * shape_.num_heads * shape_.head_dim, 1)));
    ASSIGN_OR_RETURN(kv_memory_, check_.Put(RandomNumbers(kMaxPages * kv_.page_bytes() / 2, 2)));
    ASSIGN_OR_RETURN(pages_, check_.Put(pages));
    ASSIGN_OR_RETURN(counts_, check_.Put(counts));
    num_narrow_ = static_cast<int>(plan.narrow.size());
    std::vector<cuda::AttentionItem> items = std::move(plan.narrow);
    items.insert(items.end(), plan.wide.begin(), plan.wide.end());
    ASSIGN_OR_RETURN(items_, check_.Put(items));
    kv_.data = kv_memory_.data();
    return check_.MakeOutput(int64_t{tokens_} * shape_.num_heads * shape_.value_dim * 2);
  }

  // Why the kernel of warpgroups cannot be asked.
  absl::StatusOr<std::string> Map() { return MapKeysAndValues(runtime_, kv_, kMaxPages, maps_); }

  // What the kernel, whose code is the first result, leaves of an output that had other bytes before.
  absl::StatusOr<cuda::ErrorCode> Attend(const cuda::KernelTable& kernels, bool warpgroups, int window,
                                         std::vector<uint8_t>& bytes) {
    const auto* counts = reinterpret_cast<const int32_t*>(counts_.data());
    const auto* items = reinterpret_cast<const cuda::AttentionItem*>(items_.data());
    cuda::AttentionArgs args{.element = element_,
                             .kv = kv_,
                             .num_heads = shape_.num_heads,
                             .scale = kSpread / std::sqrt(static_cast<float>(shape_.head_dim)),
                             .queries = queries_.data(),
                             .out = check_.output(),
                             .page_tables = reinterpret_cast<const int32_t*>(pages_.data()),
                             .max_pages = kMaxPages,
                             .narrow = {items, counts, num_narrow_ > 0 ? kBlocks : 0},
                             .wide = {items + num_narrow_, counts + 1, kBlocks},
                             .maps = warpgroups ? &maps_ : nullptr};
    args.modifier.window = window;
    RETURN_IF_ERROR(check_.FillOutput(warpgroups ? 0xFF : 0xFE));
    if (const cuda::ErrorCode error = kernels.attention(args, check_.stream())) return error;
    ASSIGN_OR_RETURN(bytes, check_.ReadOutput());
    return 0;
  }

 private:
  std::vector<uint16_t> RandomNumbers(int64_t count, uint64_t seed) const {
    return Rounded(element_, EvenNumbers(count, seed));
  }

  cuda::Runtime& runtime_;
  const cuda::Element element_;
  KernelCheck check_;
  cuda::AttentionShape shape_;
  int tokens_ = 0, num_narrow_ = 0;
  cuda::KvPages kv_;
  cuda::KvMaps maps_;
  CudaMemory queries_, kv_memory_, pages_, counts_, items_;
};

}  // namespace

absl::StatusOr<std::string> MapKeysAndValues(cuda::Runtime& runtime, const cuda::KvPages& kv,
                                             int64_t num_pages, cuda::KvMaps& maps) {
  const cuda::ErrorCode error = cuda::MakeKvMaps(runtime, kv, num_pages, &maps);
  if (error == 0) return std::string();
  if (runtime.IsFatal(error)) return CudaStatus(runtime, error, "mapping keys and values");
  return absl::StrCat("the driver maps no keys and values: ", runtime.Describe(error));
}

namespace {

absl::StatusOr<std::string> WhyNotFor(Prompt& prompt, const cuda::KernelTable& kernels,
                                      cuda::Runtime& runtime) {
  RETURN_IF_ERROR(prompt.Upload());
  ASSIGN_OR_RETURN(std::string unmapped, prompt.Map());
  if (!unmapped.empty()) return unmapped;
  for (const int window : {0, kWindow}) {
    std::vector<uint8_t> expected, got;
    ASSIGN_OR_RETURN(const cuda::ErrorCode error, prompt.Attend(kernels, false, window, expected));
    RETURN_IF_ERROR(prompt.check().Check(error));
    ASSIGN_OR_RETURN(const cuda::ErrorCode refused, prompt.Attend(kernels, true, window, got));
    if (refused != 0 && !runtime.IsFatal(refused))
      return absl::StrCat("the device does not take wgmma's kernel: ", runtime.Describe(refused));
    RETURN_IF_ERROR(prompt.check().Check(refused));
    if (got != expected) return "wgmma gives other bytes";
  }
  return std::string();
}

}  // namespace

absl::StatusOr<std::string> WhyNoWarpgroups(const cuda::AttentionShape& shape, cuda::Element element,
                                            const cuda::KernelTable& kernels, cuda::Runtime& runtime,
                                            cuda::Stream stream) {
  for (const int pairs : {kPairs, kFewPairs}) {
    Prompt prompt(shape, element, pairs, runtime, stream);
    ASSIGN_OR_RETURN(std::string why, WhyNotFor(prompt, kernels, runtime));
    if (!why.empty()) return why;
  }
  return std::string();
}

}  // namespace ropeway
