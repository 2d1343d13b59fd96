#include "engine/exec/cuda/attention_check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/ceil_div.h"
#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cuda/memory.h"
#include "engine/tensor/half.h"

namespace ropeway {
namespace {

// Chunks of keys, the last one cut off, and whole items of queries with a part of one.
constexpr int kContext = 2 * cuda::kChunkTokens + 77;
constexpr int kPairs = 2 * cuda::kWarpgroupPairs + 21;
constexpr int kWindow = 100;
constexpr int kBlocks = 2;
constexpr int kMaxPages = (kContext + kPageTokens - 1) / kPageTokens;
// Scores in units of their own spread, so that soft-max has much to tell apart.
constexpr float kSpread = 6;

// bf16 in [-1, 1).
std::vector<uint16_t> RandomNumbers(int64_t count, uint64_t seed) {
  std::vector<uint16_t> numbers(static_cast<size_t>(count));
  for (size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = FloatToBFloat16(static_cast<float>(2 * UnitInterval(seed, i) - 1));
  return numbers;
}

// The last tokens of a sequence, on the device.
class Prompt {
 public:
  Prompt(const cuda::AttentionShape& shape, cuda::Runtime& runtime, cuda::Stream stream)
      : runtime_(runtime), stream_(stream), shape_(shape) {
    shape_.num_heads = shape.num_heads / shape.num_kv_heads;
    shape_.num_kv_heads = 1;
    shape_.max_partials = 0;
    tokens_ = std::min<int>(kContext, static_cast<int>(CeilDiv(kPairs, shape_.num_heads)));
  }

  absl::Status Upload() {
    kv_ = {.element = cuda::KvElement::kBF16,
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
    RETURN_IF_ERROR(Put(RandomNumbers(int64_t{tokens_} * shape_.num_heads * shape_.head_dim, 1), queries_));
    RETURN_IF_ERROR(Put(RandomNumbers(kMaxPages * kv_.page_bytes() / 2, 2), kv_memory_));
    RETURN_IF_ERROR(Put(pages, pages_));
    RETURN_IF_ERROR(Put(counts, counts_));
    RETURN_IF_ERROR(Put(plan.wide, items_));
    kv_.data = kv_memory_.data();
    ASSIGN_OR_RETURN(out_, CudaMemory::Make(runtime_, MemoryKind::kDevice, OutBytes(), "a check"));
    ASSIGN_OR_RETURN(read_, CudaMemory::Make(runtime_, MemoryKind::kPinned, OutBytes(), "a check"));
    return absl::OkStatus();
  }

  // Why the kernel of warpgroups cannot be asked.
  absl::StatusOr<std::string> Map() { return MapKeysAndValues(runtime_, kv_, kMaxPages, maps_); }

  // What the kernel, whose code is the first result, leaves of an output that had other bytes before.
  absl::StatusOr<cuda::ErrorCode> Attend(const cuda::KernelTable& kernels, bool warpgroups, int window,
                                         std::vector<uint8_t>& bytes) {
    const auto* counts = reinterpret_cast<const int32_t*>(counts_.data());
    cuda::AttentionArgs args{
        .element = cuda::Element::kBF16,
        .kv = kv_,
        .num_heads = shape_.num_heads,
        .scale = kSpread / std::sqrt(static_cast<float>(shape_.head_dim)),
        .queries = queries_.data(),
        .out = out_.data(),
        .page_tables = reinterpret_cast<const int32_t*>(pages_.data()),
        .max_pages = kMaxPages,
        .wide = {reinterpret_cast<const cuda::AttentionItem*>(items_.data()), counts + 1, kBlocks},
        .maps = warpgroups ? &maps_ : nullptr};
    args.modifier.window = window;
    RETURN_IF_ERROR(Check(runtime_.Fill(out_.data(), warpgroups ? 0xFF : 0xFE, OutBytes(), stream_)));
    if (const cuda::ErrorCode error = kernels.attention(args, stream_)) return error;
    RETURN_IF_ERROR(
        Check(runtime_.Copy(read_.data(), out_.data(), OutBytes(), cuda::CopyKind::kDeviceToHost, stream_)));
    RETURN_IF_ERROR(Check(runtime_.Synchronize(stream_)));
    bytes.assign(read_.data(), read_.data() + OutBytes());
    return 0;
  }

  absl::Status Check(cuda::ErrorCode code) {
    return CudaStatus(runtime_, code, "checking attention by warpgroups, which --wgmma=off leaves out");
  }

 private:
  int64_t OutBytes() const { return int64_t{tokens_} * shape_.num_heads * shape_.value_dim * 2; }

  template <typename T>
  absl::Status Put(const std::vector<T>& values, CudaMemory& memory) {
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    ASSIGN_OR_RETURN(const CudaMemory pinned,
                     CudaMemory::Make(runtime_, MemoryKind::kPinned, bytes, "a check"));
    ASSIGN_OR_RETURN(memory, CudaMemory::Make(runtime_, MemoryKind::kDevice, bytes, "a check"));
    std::memcpy(pinned.data(), values.data(), static_cast<size_t>(bytes));
    RETURN_IF_ERROR(
        Check(runtime_.Copy(memory.data(), pinned.data(), bytes, cuda::CopyKind::kHostToDevice, stream_)));
    return Check(runtime_.Synchronize(stream_));
  }

  cuda::Runtime& runtime_;
  const cuda::Stream stream_;
  cuda::AttentionShape shape_;
  int tokens_ = 0;
  cuda::KvPages kv_;
  cuda::KvMaps maps_;
  CudaMemory queries_, kv_memory_, pages_, counts_, items_, out_, read_;
};

}  // namespace

absl::StatusOr<std::string> MapKeysAndValues(cuda::Runtime& runtime, const cuda::KvPages& kv,
                                             int64_t num_pages, cuda::KvMaps& maps) {
  const cuda::ErrorCode error = cuda::MakeKvMaps(runtime, kv, num_pages, &maps);
  if (error == 0) return std::string();
  if (runtime.IsFatal(error)) return CudaStatus(runtime, error, "mapping keys and values");
  return absl::StrCat("the driver maps no keys and values: ", runtime.Describe(error));
}

absl::StatusOr<std::string> WhyNoWarpgroups(const cuda::AttentionShape& shape,
                                            const cuda::KernelTable& kernels, cuda::Runtime& runtime,
                                            cuda::Stream stream) {
  Prompt prompt(shape, runtime, stream);
  RETURN_IF_ERROR(prompt.Upload());
  ASSIGN_OR_RETURN(std::string unmapped, prompt.Map());
  if (!unmapped.empty()) return unmapped;
  for (const int window : {0, kWindow}) {
    std::vector<uint8_t> expected, got;
    ASSIGN_OR_RETURN(const cuda::ErrorCode error, prompt.Attend(kernels, false, window, expected));
    RETURN_IF_ERROR(prompt.Check(error));
    ASSIGN_OR_RETURN(const cuda::ErrorCode refused, prompt.Attend(kernels, true, window, got));
    if (refused != 0 && !runtime.IsFatal(refused))
      return absl::StrCat("the device does not take wgmma's kernel: ", runtime.Describe(refused));
    RETURN_IF_ERROR(prompt.Check(refused));
    if (got != expected) return "wgmma gives other bytes";
  }
  return std::string();
}

}  // namespace ropeway
