#include "engine/exec/cuda/executor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/decimals.h"
#include "engine/base/exhaustion.h"
#include "engine/base/in_range.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cuda/element_choice.h"
#include "engine/exec/cuda/warm_up.h"
#include "engine/kernels/cuda/sampling.h"

namespace ropeway {
namespace {

constexpr int32_t kMaxTokensPerStep = 1 << 16;
constexpr int32_t kMaxChanges = 1 << 26;

absl::Status CheckOptions(const DecoderSpec& spec, const CudaExecutorOptions& options) {
  RETURN_IF_ERROR(InRange("max_tokens_per_step", options.max_tokens_per_step, 1, kMaxTokensPerStep));
  RETURN_IF_ERROR(InRange("max_rows_per_step", options.max_rows_per_step, 1, options.max_tokens_per_step));
  RETURN_IF_ERROR(InRange("max_model_len", options.max_model_len, 0, spec.context_length));
  RETURN_IF_ERROR(InRange("max_logprobs", options.max_logprobs, 0, cuda::kMaxTop));
  RETURN_IF_ERROR(InRange("kv_cache_bytes", options.kv_cache_bytes, 0, INT64_MAX));
  RETURN_IF_ERROR(InRange("max_changes", options.max_changes, 1, kMaxChanges));
  RETURN_IF_ERROR(InRange("max_steps_in_flight", options.max_steps_in_flight, 1, kMaxStepsInFlight));
  if (!(options.memory_fraction > 0 && options.memory_fraction <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu_memory_fraction must be in (0, 1], is ", Decimals(options.memory_fraction)));
  }
  return CheckTensorParallel(spec, options.tensor_parallel);
}

absl::Status Unavailable(absl::string_view what, const char* error) {
  return absl::UnavailableError(
      absl::StrCat(what, error == nullptr ? "" : ": ", error == nullptr ? "" : error));
}

absl::Status CheckDevices(const cuda::Backend& backend, int wanted) {
  if (backend.version != cuda::kBackendVersion) {
    return absl::UnavailableError(absl::StrCat("libropeway_cuda.so is of another build: its version must be ",
                                               cuda::kBackendVersion, ", is ", backend.version));
  }
  const char* error = nullptr;
  const int devices = backend.device_count(&error);
  if (devices == 0) return Unavailable("no usable CUDA device", error);
  if (wanted <= devices) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor_parallel must be at most the number of CUDA devices, ", devices, "; is ", wanted));
}

absl::StatusOr<std::vector<CudaRankParts>> MakeParts(const cuda::Backend& backend,
                                                     const CudaExecutorOptions& options) {
  std::vector<CudaRankParts> parts(options.tensor_parallel);
  std::vector<int> devices;
  for (size_t i = 0; i < parts.size(); ++i) {
    const char* error = nullptr;
    devices.push_back(static_cast<int>(i));
    parts[i].kernels = backend.kernels;
    parts[i].fp8_kernels = backend.fp8_kernels;
    parts[i].runtime.reset(backend.make_runtime(devices.back(), &error));
    if (parts[i].runtime == nullptr) return Unavailable(absl::StrCat("CUDA device ", i), error);
    if (parts[i].runtime->Bind() != 0) return Unavailable(absl::StrCat("CUDA device ", i), nullptr);
    parts[i].gemm.reset(backend.make_gemm(
        *parts[i].runtime, {.search = options.gemm_search, .cache_path = options.gemm_cache}, &error));
    if (parts[i].gemm == nullptr) return Unavailable(absl::StrCat("cuBLASLt on CUDA device ", i), error);
  }
  if (parts.size() == 1) return parts;
  std::vector<cuda::Collective*> collectives(parts.size());
  const char* error = nullptr;
  if (!backend.make_collectives(options.tensor_parallel, devices.data(), collectives.data(), &error))
    return Unavailable("NCCL", error);
  for (size_t i = 0; i < parts.size(); ++i) parts[i].collective.reset(collectives[i]);
  return parts;
}

cuda::KvElement KvElementFor(cuda::Element element) {
  switch (element) {
    case cuda::Element::kF32:
      return cuda::KvElement::kF32;
    case cuda::Element::kF16:
      return cuda::KvElement::kF16;
    case cuda::Element::kBF16:
      return cuda::KvElement::kBF16;
  }
  ROPEWAY_CHECK(false);
}

CudaMemoryOptions MemoryOptions(const OpenedModel& model, cuda::Element element,
                                const CudaExecutorOptions& options) {
  return {.element = element,
          .kv_element = options.kv_element.value_or(KvElementFor(element)),
          .use_graphs = options.use_graphs,
          .use_wgmma = options.use_wgmma,
          .max_model_len = options.max_model_len > 0 ? options.max_model_len : model.spec.context_length,
          .max_tokens = options.max_tokens_per_step,
          .max_rows = options.max_rows_per_step,
          .max_logprobs = options.max_logprobs,
          .largest_packed_matrix = LargestPackedMatrix(model),
          .fp8_weights = options.fp8_weights,
          .max_changes = options.max_changes,
          .memory_fraction = options.memory_fraction,
          .kv_cache_bytes = options.kv_cache_bytes};
}

CudaRankOptions RankOptions(const OpenedModel& model, cuda::Element element,
                            const CudaExecutorOptions& options) {
  return {.model = &model,
          .memory = MemoryOptions(model, element, options),
          .steps_in_flight = options.max_steps_in_flight,
          .use_bulk_copies = options.use_bulk_copies,
          .clock = options.gemm_search ? options.clock : nullptr,
          .packed_types = PackedTypes(model),
          .progress = options.progress};
}

std::string Describe(const cuda::DeviceInfo& device, const ElementChoice& element, bool fp8_weights,
                     size_t ranks) {
  return absl::StrCat(ranks > 1 ? absl::StrCat(ranks, " x ") : "", device.name, ", ", element.Describe(),
                      fp8_weights ? ", fp8 weights" : "");
}

// The first error that is one: a rank that fails makes others fail in the sums they wait for.
absl::Status FirstError(const std::vector<absl::Status>& statuses) {
  for (const absl::Status& status : statuses)
    if (!status.ok()) return status;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaExecutor>> CudaExecutor::Make(const OpenedModel& model,
                                                                 const cuda::Backend& backend,
                                                                 const CudaExecutorOptions& options) {
  RETURN_IF_ERROR(CheckOptions(model.spec, options));
  RETURN_IF_ERROR(CheckDevices(backend, options.tensor_parallel));
  ASSIGN_OR_RETURN(std::vector<CudaRankParts> parts, MakeParts(backend, options));
  const ElementChoice element = ChooseElement(model, options.element);
  CudaRankOptions rank_options = RankOptions(model, element.element, options);
  std::vector<std::unique_ptr<CudaRank>> ranks;
  int32_t num_pages = INT32_MAX;
  for (int i = 0; i < options.tensor_parallel; ++i) {
    rank_options.shard = {i, options.tensor_parallel};
    rank_options.memory.samples = i == 0;
    ASSIGN_OR_RETURN(std::unique_ptr<CudaRank> rank, CudaRank::Make(std::move(parts[i]), rank_options));
    num_pages = std::min(num_pages, rank->plan().num_pages);
    rank_options.progress = nullptr;  // one of them tells
    ranks.push_back(std::move(rank));
  }
  for (const auto& rank : ranks) RETURN_IF_ERROR(rank->Load(num_pages));
  const ExecutorLimits limits{.num_pages = num_pages,
                              .max_tokens_per_step = options.max_tokens_per_step,
                              .max_rows_per_step = options.max_rows_per_step,
                              .max_model_len = static_cast<int32_t>(std::min<int64_t>(
                                  rank_options.memory.max_model_len, int64_t{num_pages} * kPageTokens)),
                              .vocab_size = model.spec.vocab_size,
                              .max_steps_in_flight = rank_options.steps_in_flight};
  std::string description = Describe(ranks[0]->device(), element, options.fp8_weights, ranks.size());
  ASSIGN_OR_RETURN(std::unique_ptr<ThreadPool> pool,
                   ThreadPool::Make({.threads = static_cast<int>(ranks.size())}));
  std::unique_ptr<CudaExecutor> executor(
      new CudaExecutor(model.spec, std::move(ranks), std::move(pool), limits, std::move(description)));
  if (options.warm_up) RETURN_IF_ERROR(executor->WarmUpDevice());
  return executor;
}

CudaExecutor::CudaExecutor(const DecoderSpec& spec, std::vector<std::unique_ptr<CudaRank>> ranks,
                           std::unique_ptr<ThreadPool> pool, const ExecutorLimits& limits,
                           std::string description)
    : spec_(spec),
      ranks_(std::move(ranks)),
      limits_(limits),
      description_(std::move(description)),
      pool_(std::move(pool)),
      statuses_(ranks_.size()),
      slots_(limits.max_steps_in_flight) {}

void CudaExecutor::Submit(const StepPlan& plan) {
  ROPEWAY_CHECK(num_in_flight_ < limits_.max_steps_in_flight);
  const int slot = (oldest_ + num_in_flight_) % limits_.max_steps_in_flight;
  slots_[slot].submitted = CatchExhaustion([&] { return Launch(plan, slot); });
  ++num_in_flight_;
}

absl::StatusOr<StepResult> CudaExecutor::Collect() {
  ROPEWAY_CHECK(num_in_flight_ > 0);
  const int slot = std::exchange(oldest_, (oldest_ + 1) % limits_.max_steps_in_flight);
  --num_in_flight_;
  RETURN_IF_ERROR(slots_[slot].submitted);
  absl::StatusOr<StepResult> result = CatchExhaustion([&] { return Finish(slot); });
  // A rank that failed in a later step ended the sums of all, of this one perhaps before they were complete.
  if (result.ok() && ranks_.size() > 1 && lost())
    return absl::InternalError("the group of devices failed while the step was in flight");
  if (result.ok()) result->warning = std::exchange(warning_, "");
  return result;
}

std::vector<double> CudaExecutor::RotationChoices(const AdmittedLengths& lengths) const {
  return RotationChoicesOf(spec_, lengths);
}

absl::Status CudaExecutor::WarmUpDevice() {
  const WarmUp warm_up(limits_, ranks_[0]->plan().step.max_bucket);
  for (const StepPlan& plan : warm_up.plans()) {
    RETURN_IF_ERROR(Launch(plan, 0));
    RETURN_IF_ERROR(Finish(0).status());
  }
  return absl::OkStatus();
}

absl::Status CudaExecutor::Launch(const StepPlan& plan, int slot) {
  if (lost()) return absl::InternalError("the device was lost in an earlier step");
  ROPEWAY_CHECK(plan.num_tokens() <= limits_.max_tokens_per_step);
  ROPEWAY_CHECK(plan.num_rows() <= limits_.max_rows_per_step);
  const int before = (slot + limits_.max_steps_in_flight - 1) % limits_.max_steps_in_flight;
  CudaStep& step = slots_[slot].step;
  PrepareStep(plan, ranks_[0]->plan().step, slots_[before].step.sample_places, step);
  RETURN_IF_ERROR(OnAllRanks([&](CudaRank& rank) { return rank.Submit(step, slot); }));
  StopCapturingWhereOneFailed();
  return absl::OkStatus();
}

absl::StatusOr<StepResult> CudaExecutor::Finish(int slot) {
  RETURN_IF_ERROR(OnAllRanks([&](CudaRank& rank) { return rank.Wait(slot); }));
  const CudaStep& step = slots_[slot].step;
  return ReadResults(step, ranks_[0]->results(step, slot), ranks_[0]->plan().max_top);
}

void CudaExecutor::StopCapturingWhereOneFailed() {
  const auto failed = std::find_if(ranks_.begin(), ranks_.end(),
                                   [](const auto& rank) { return !rank->capture_status().ok(); });
  if (failed == ranks_.end()) return;
  for (const auto& rank : ranks_) rank->StopCapturing();
  warning_ = absl::StrCat("decode steps run without graphs from now on, which is slower: ",
                          (*failed)->capture_status().message());
}

// Logits of chosen tokens are computed from the hidden states that a step leaves behind.
absl::Status CudaExecutor::VisitLogits(
    const StepPlan& plan, absl::Span<const int32_t> indices,
    const std::function<void(int32_t index, absl::Span<const float> logits)>& visit) {
  StepPlan hidden = plan;
  hidden.sample_rows.clear();
  hidden.score_rows.clear();
  RETURN_IF_ERROR(Step(hidden).status());
  const size_t most = ranks_[0]->plan().step.max_logit_rows;
  for (; !indices.empty(); indices.remove_prefix(std::min(most, indices.size())))
    RETURN_IF_ERROR(ranks_[0]->VisitLogits(indices.subspan(0, most), visit));
  return absl::OkStatus();
}

absl::Status CudaExecutor::OnAllRanks(absl::FunctionRef<absl::Status(CudaRank&)> run) {
  pool_->Run([&](Team& team) {
    CudaRank& rank = *ranks_[team.index()];
    statuses_[team.index()] = run(rank);
    if (!statuses_[team.index()].ok()) rank.AbortGroup();
  });
  for (const auto& rank : ranks_)
    if (rank->lost()) lost_.store(true, std::memory_order_release);
  return FirstError(statuses_);
}

int64_t CudaExecutor::fp8_numbers() const {
  int64_t all = 0;
  for (const auto& rank : ranks_) all += rank->fp8_numbers();
  return all;
}

CudaUpload CudaExecutor::upload() const {
  CudaUpload all;
  for (const auto& rank : ranks_) {
    all.bytes += rank->upload().bytes;
    all.duration += rank->upload().duration;
  }
  return all;
}

}  // namespace ropeway
