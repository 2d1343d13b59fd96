#include "engine/inspect/sequence_runner.h"

#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cpu/weights.h"
#include "engine/model/tensor_source.h"

namespace ropeway {
namespace {

// Tokens of one pass, and logits that are computed at once.
constexpr int kChunkTokens = 256;
constexpr int kLogitRows = 32;

constexpr int kMaxThreads = 1024;

int64_t PhysicalMemory() { return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE); }

kernels::KvType DefaultKvType(std::string_view kernels_name) {
  return kernels_name == "ref" ? kernels::KvType::kF32 : kernels::KvType::kBF16;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SequenceRunner>> SequenceRunner::Open(const SequenceRunnerOptions& options) {
  const kernels::KernelTable* table = kernels::SelectKernels(options.kernels.c_str());
  if (table == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("kernels: '", options.kernels,
                                                   "' is unknown or this processor lacks its instructions; "
                                                   "known are auto, ref, avx2, avx512"));
  if (options.threads < 0 || options.threads > kMaxThreads)
    return absl::InvalidArgumentError(
        absl::StrCat("threads: must be in [0, ", kMaxThreads, "], is ", options.threads));
  ASSIGN_OR_RETURN(OpenedModel model, OpenModel(options.model));
  ASSIGN_OR_RETURN(DecoderWeights weights,
                   DecoderWeights::Load(model.spec, std::move(model.tensors), *table));
  const kernels::KvLayout kv =
      kernels::MakeKvLayout(options.kv_type.value_or(DefaultKvType(table->name)), model.spec.num_kv_heads,
                            model.spec.head_dim, model.spec.value_dim);
  const int threads = options.threads == 0 ? NumUsableProcessors() : options.threads;
  auto decoder = std::make_unique<const Decoder>(std::move(model.spec), std::move(weights), *table);
  return std::unique_ptr<SequenceRunner>(
      new SequenceRunner(std::move(decoder), std::move(model.metadata), kv, threads));
}

SequenceRunner::SequenceRunner(std::unique_ptr<const Decoder> decoder, Metadata metadata,
                               const kernels::KvLayout& kv, int threads)
    : decoder_(std::move(decoder)),
      metadata_(std::move(metadata)),
      kv_(kv),
      pool_(ThreadPool::Make({.threads = threads}).value()),
      workspace_(decoder_->spec(), decoder_->table(), kv, threads, kChunkTokens, kLogitRows) {}

absl::Status SequenceRunner::Start(int64_t capacity) {
  if (capacity > spec().context_length)
    return absl::InvalidArgumentError(absl::StrCat(
        "a sequence of ", capacity, " tokens is longer than the model's context of ", spec().context_length));
  length_ = 0;
  const int64_t num_pages = (capacity + kPageTokens - 1) / kPageTokens;
  if (num_pages <= static_cast<int64_t>(pages_.size())) return absl::OkStatus();
  const int64_t bytes = spec().num_layers() * num_pages * kv_.page_bytes, most = PhysicalMemory() / 2;
  if (bytes > most)
    return absl::ResourceExhaustedError(absl::StrCat("the KV cache of ", capacity, " tokens needs ", bytes,
                                                     " bytes; at most ", most,
                                                     ", half of the memory, may be used"));
  cache_ = AlignedBuffer();  // Freed before more is taken.
  cache_ = AlignedBuffer(bytes);
  pages_.resize(num_pages);
  std::iota(pages_.begin(), pages_.end(), 0);
  return absl::OkStatus();
}

void SequenceRunner::Append(absl::Span<const TokenId> ids, int32_t first_visited, const Visitor& visit) {
  ROPEWAY_CHECK(length_ + ids.size() <= pages_.size() * kPageTokens);
  for (; !ids.empty(); ids.remove_prefix(std::min<size_t>(ids.size(), kChunkTokens)))
    AppendChunk(ids.subspan(0, kChunkTokens), first_visited, visit);
}

void SequenceRunner::AppendChunk(absl::Span<const TokenId> ids, int32_t first_visited, const Visitor& visit) {
  const int32_t count = static_cast<int32_t>(ids.size());
  std::vector<int32_t> positions(count);
  std::iota(positions.begin(), positions.end(), length_);
  const int32_t row_starts[] = {0, count};
  const absl::Span<const int32_t> page_tables[] = {pages_};
  const TokenBatch batch{ids, positions, row_starts, page_tables};
  const KvCache cache{kv_, cache_.data(), static_cast<int64_t>(pages_.size()) * kv_.page_bytes};
  pool_->RunPhases([&](Team& team) { decoder_->Forward(batch, cache, workspace_, team); });

  std::vector<int32_t> indices;
  for (int32_t first = std::clamp(first_visited - length_, 0, count); first < count; first += kLogitRows) {
    indices.resize(std::min(kLogitRows, count - first));
    std::iota(indices.begin(), indices.end(), first);
    pool_->RunPhases([&](Team& team) { decoder_->Logits(indices, workspace_, team); });
    for (size_t i = 0; i < indices.size(); ++i)
      visit(length_ + indices[i],
            absl::MakeConstSpan(workspace_.logits(static_cast<int>(i)), spec().vocab_size));
  }
  length_ += count;
}

}  // namespace ropeway
