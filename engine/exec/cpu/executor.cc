#include "engine/exec/cpu/executor.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/exhaustion.h"
#include "engine/base/in_range.h"
#include "engine/base/machine.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

// Rows of logits that are computed at a time: a page of them is large (V floats each).
constexpr int kMaxLogitRows = 64;

constexpr int kMaxThreads = 1024;
constexpr int32_t kMaxTokensPerStep = 1 << 16;

absl::StatusOr<ExecutorLimits> LimitsFor(const DecoderSpec& spec, const kernels::KvLayout& kv,
                                         const CpuExecutorOptions& options) {
  RETURN_IF_ERROR(InRange("threads", options.threads, 0, kMaxThreads));
  RETURN_IF_ERROR(InRange("max_tokens_per_step", options.max_tokens_per_step, 1, kMaxTokensPerStep));
  RETURN_IF_ERROR(InRange("max_rows_per_step", options.max_rows_per_step, 1, options.max_tokens_per_step));
  RETURN_IF_ERROR(InRange("max_model_len", options.max_model_len, 0, spec.context_length));
  const int64_t bytes_per_page = kv.page_bytes * spec.num_layers();
  const int32_t max_model_len = options.max_model_len > 0 ? options.max_model_len : spec.context_length;
  if (options.kv_cache_bytes < bytes_per_page)
    return absl::InvalidArgumentError(absl::StrCat("kv_cache_bytes must hold at least one page of ",
                                                   bytes_per_page, " bytes, is ", options.kv_cache_bytes));
  if (const int64_t memory = LookAtMachine().memory_bytes; options.kv_cache_bytes > memory)
    return absl::ResourceExhaustedError(absl::StrCat("kv_cache_bytes must fit into the ", memory,
                                                     " bytes of memory that may be used, is ",
                                                     options.kv_cache_bytes));
  const int64_t pages = std::min<int64_t>(options.kv_cache_bytes / bytes_per_page, INT32_MAX);
  return ExecutorLimits{
      .num_pages = static_cast<int32_t>(pages),
      .max_tokens_per_step = options.max_tokens_per_step,
      .max_rows_per_step = options.max_rows_per_step,
      .max_model_len = static_cast<int32_t>(std::min<int64_t>(max_model_len, pages * kPageTokens)),
      .vocab_size = spec.vocab_size};
}

TokenBatch BatchOf(const StepPlan& plan) {
  return {.token_ids = plan.token_ids,
          .positions = plan.positions,
          .row_starts = plan.row_starts,
          .page_tables = plan.page_tables,
          .lengths = plan.lengths};
}

}  // namespace

absl::StatusOr<std::unique_ptr<CpuExecutor>> CpuExecutor::Make(OpenedModel model,
                                                               const CpuExecutorOptions& options) {
  const kernels::KernelTable* table = kernels::SelectKernels(options.kernels.c_str());
  if (table == nullptr)
    return absl::InvalidArgumentError(
        absl::StrCat("kernels must be one of auto, ref, avx2, avx512 that this processor can run, is '",
                     options.kernels, "'"));
  const DecoderSpec& spec = model.spec;
  const kernels::KvLayout kv =
      kernels::MakeKvLayout(options.kv_type, spec.num_kv_heads, spec.head_dim, spec.value_dim);
  ASSIGN_OR_RETURN(const ExecutorLimits limits, LimitsFor(spec, kv, options));
  ASSIGN_OR_RETURN(std::unique_ptr<ThreadPool> pool,
                   ThreadPool::Make({.threads = options.threads > 0 ? options.threads : NumUsableProcessors(),
                                     .delay = options.delay}));
  ASSIGN_OR_RETURN(CpuWeights weights, LoadCpuWeights(spec, std::move(model.tensors), *table, *pool,
                                                      {.max_model_len = limits.max_model_len,
                                                       .pack_cache = options.pack_cache,
                                                       .progress = options.progress}));
  return std::unique_ptr<CpuExecutor>(new CpuExecutor(
      Decoder(std::move(model.spec), std::move(weights), *table), std::move(pool), kv, limits));
}

CpuExecutor::CpuExecutor(Decoder decoder, std::unique_ptr<ThreadPool> pool, const kernels::KvLayout& kv,
                         ExecutorLimits limits)
    : decoder_(std::move(decoder)),
      limits_(limits),
      pool_(std::move(pool)),
      pages_(kv.quad_bytes * kernels::NumQuads(limits.num_pages) * decoder_.spec().num_layers()),
      cache_{.kv = kv,
             .data = pages_.data(),
             .layer_stride = kv.quad_bytes * kernels::NumQuads(limits.num_pages)},
      workspace_(decoder_.spec(), decoder_.table(), kv, pool_->size(), limits.max_tokens_per_step,
                 kMaxLogitRows, limits.max_model_len),
      samplers_(pool_->size()) {}

void CpuExecutor::CopyPages(absl::Span<const PageCopy> copies) {
  for (const PageCopy& copy : copies)
    for (int layer = 0; layer < decoder_.spec().num_layers(); ++layer)
      kernels::CopyPage(cache_.kv, cache_.data + layer * cache_.layer_stride, copy.from, copy.to);
}

void CpuExecutor::Run(const StepPlan& plan, absl::Span<const int32_t> indices,
                      const std::function<void(int, size_t, absl::Span<const float>)>& visit) {
  ROPEWAY_CHECK(plan.num_tokens() <= limits_.max_tokens_per_step);
  CopyPages(plan.page_copies);
  const size_t vocabulary = decoder_.spec().vocab_size;
  const TokenBatch batch = BatchOf(plan);
  pool_->RunPhases([&](Team& team) {
    decoder_.Forward(batch, cache_, workspace_, team);
    for (size_t first = 0; first < indices.size(); first += kMaxLogitRows) {
      const auto some = indices.subspan(first, kMaxLogitRows);
      decoder_.Logits(some, workspace_, team);
      team.ForEach(some.size(), [&](int64_t i) {
        visit(team.index(), first + i, {workspace_.logits(static_cast<int>(i)), vocabulary});
      });
    }
  });
}

std::vector<double> CpuExecutor::RotationChoices(const AdmittedLengths& lengths) const {
  return RotationChoicesOf(decoder_.spec(), lengths);
}

void CpuExecutor::Submit(const StepPlan& plan) {
  ROPEWAY_CHECK(!result_.has_value());
  result_ = CatchExhaustion([&] { return Compute(plan); });
}

absl::StatusOr<StepResult> CpuExecutor::Collect() {
  ROPEWAY_CHECK(result_.has_value());
  return *std::exchange(result_, std::nullopt);
}

absl::StatusOr<StepResult> CpuExecutor::Compute(const StepPlan& plan) {
  StepResult result;
  result.samples.resize(plan.sample_rows.size());
  for (const ScoreRow& row : plan.score_rows) result.scores.emplace_back(row.next_tokens.size());
  CollectLogitRequests(plan, requests_);
  Run(plan, requests_.token_indices, [&](int member, size_t i, absl::Span<const float> logits) {
    for (const LogitRequest& request : requests_.Of(i)) {
      if (request.is_sample) {
        result.samples[request.index] = samplers_[member].Sample(logits, plan.sample_rows[request.index]);
      } else {
        const ScoreRow& row = plan.score_rows[request.index];
        result.scores[request.index][request.position] =
            ScoreToken(logits, row.next_tokens[request.position], row.top);
      }
    }
  });
  return result;
}

void CpuExecutor::VisitLogits(const StepPlan& plan, absl::Span<const int32_t> indices,
                              const std::function<void(int32_t, absl::Span<const float>)>& visit) {
  std::mutex mutex;  // visitors of tools need not be thread-safe
  Run(plan, indices, [&](int, size_t i, absl::Span<const float> logits) {
    std::lock_guard lock(mutex);
    visit(indices[i], logits);
  });
}

}  // namespace ropeway
