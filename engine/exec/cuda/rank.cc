#include "engine/exec/cuda/rank.h"

#include <algorithm>
#include <climits>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/model/decoder_phases.h"

namespace ropeway {
namespace {

// bf16 and cp.async.
constexpr int kMinMajor = 8;

// Rows of logits that are computed at a time, and the largest batch that becomes a graph.
constexpr int32_t kMaxLogitRows = 128;

// As many rows as may change every logit (penalties, biases) before a step fills its array of changes twice.
constexpr int32_t kChangedRows = 4;

int32_t PagesOf(int32_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

int32_t LargestWindow(const DecoderSpec& spec) {
  int32_t largest = 0;
  for (const LayerSpec& layer : spec.layers) {
    if (layer.window == 0) return 0;
    largest = std::max(largest, layer.window);
  }
  return largest;
}

const char* NameOf(cuda::Element element) {
  return element == cuda::Element::kF32 ? "f32" : element == cuda::Element::kF16 ? "f16" : "bf16";
}

const char* NameOf(cuda::KvElement element) {
  switch (element) {
    case cuda::KvElement::kF32:
      return "f32";
    case cuda::KvElement::kF16:
      return "f16";
    case cuda::KvElement::kBF16:
      return "bf16";
    case cuda::KvElement::kFp8E4M3:
      return "fp8";
    case cuda::KvElement::kInt8:
      return "int8";
  }
  return "?";
}

absl::Status CheckDevice(const cuda::DeviceInfo& device) {
  if (device.major >= kMinMajor) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("compute capability must be at least ", kMinMajor, ".0, is ",
                                               device.major, ".", device.minor, " (", device.name, ")"));
}

}  // namespace

CudaRank::CudaRank(CudaRankParts parts, const CudaRankOptions& options)
    : parts_(std::move(parts)), options_(options), spec_(ShardOf(options.model->spec, options.shard.size)) {}

CudaRank::~CudaRank() {
  parts_.runtime->Bind();
  if (stream_.native == nullptr) return;
  parts_.runtime->Synchronize(stream_);
  DropGraphs();
  parts_.runtime->DestroyStream(stream_);
}

absl::Status CudaRank::Check(cuda::ErrorCode code, absl::string_view what) {
  if (code != 0 && parts_.runtime->IsFatal(code)) lost_ = true;
  return CudaStatus(*parts_.runtime, code, what);
}

absl::StatusOr<std::unique_ptr<CudaRank>> CudaRank::Make(CudaRankParts parts,
                                                         const CudaRankOptions& options) {
  std::unique_ptr<CudaRank> rank(new CudaRank(std::move(parts), options));
  RETURN_IF_ERROR(rank->Check(rank->parts_.runtime->Bind(), "choosing the device"));
  RETURN_IF_ERROR(rank->Check(rank->parts_.runtime->Info(&rank->device_), "asking for the device"));
  RETURN_IF_ERROR(CheckDevice(rank->device_));
  RETURN_IF_ERROR(rank->PlanMemory());
  return rank;
}

absl::Status CudaRank::PlanMemory() {
  cuda::AttentionShape attention{.num_heads = spec_.num_heads,
                                 .num_kv_heads = spec_.num_kv_heads,
                                 .head_dim = spec_.head_dim,
                                 .value_dim = spec_.value_dim,
                                 .processors = device_.processors};
  if (const char* supported = cuda::AttentionUnsupported(attention, options_.element, options_.kv_element)) {
    return absl::UnimplementedError(absl::StrCat("no attention kernel for head_dim ", spec_.head_dim,
                                                 ", value_dim ", spec_.value_dim, ", activations of ",
                                                 NameOf(options_.element), " and keys and values of ",
                                                 NameOf(options_.kv_element), ": ", supported));
  }
  if (spec_.vocab_size > cuda::kMaxVocabulary) {
    return absl::UnimplementedError(absl::StrCat("no sampling kernel for a vocabulary of ", spec_.vocab_size,
                                                 " tokens: it takes at most ", cuda::kMaxVocabulary));
  }
  bounds_ = cuda::BoundAttention(attention, options_.max_tokens, options_.max_rows, options_.max_model_len);
  attention.max_partials = bounds_.partials;
  const int32_t max_logit_rows = std::min(kMaxLogitRows, std::max(options_.max_tokens, options_.max_rows));
  const bool narrow_decode = spec_.heads_per_kv_head() <= cuda::kNarrowPairs;
  step_options_ = {.attention = attention,
                   .window = LargestWindow(spec_),
                   .max_logit_rows = max_logit_rows,
                   .max_changes = kChangedRows * spec_.vocab_size,
                   .max_bucket = options_.use_graphs && narrow_decode
                                     ? std::min({max_logit_rows, options_.max_tokens})
                                     : 0,
                   .max_model_pages = PagesOf(options_.max_model_len)};
  ASSIGN_OR_RETURN(weight_bytes_, CountCudaWeights({.spec = options_.model->spec,
                                                    .tensors = *options_.model->tensors,
                                                    .element = options_.element,
                                                    .shard = options_.shard,
                                                    .max_model_len = options_.max_model_len}));
  Carver activations(nullptr), inputs(nullptr), results(nullptr);
  CarveActivations(ActivationsShape(), activations);
  CarveStep(LargestStep(), inputs);
  if (options_.shard.rank == 0) CarveResults(options_.max_rows, options_.max_tokens, max_top(), results);
  activation_bytes_ = activations.used();
  input_bytes_ = inputs.used();
  result_bytes_ = results.used();
  return PlanPages();
}

// Keys and values get what weights and workspace leave.
absl::Status CudaRank::PlanPages() {
  const int64_t working_bytes = activation_bytes_ + input_bytes_ + result_bytes_;
  const cuda::KvPages kv = Kv();
  const int64_t page_bytes =
      (kv.page_bytes() + kv.page_scales() * static_cast<int64_t>(sizeof(float))) * spec_.num_layers();
  const int64_t allowed =
      static_cast<int64_t>(static_cast<double>(device_.free_bytes) * options_.memory_fraction);
  const int64_t needed = weight_bytes_ + working_bytes + std::max(page_bytes, options_.kv_cache_bytes);
  if (needed > allowed) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the model needs ", needed, " bytes of device memory (weights ", weight_bytes_, ", workspace ",
        working_bytes, ", keys and values ", std::max(page_bytes, options_.kv_cache_bytes), "), may take ",
        allowed, " of ", device_.free_bytes, " that are free on ", device_.name));
  }
  const int64_t for_pages =
      options_.kv_cache_bytes > 0 ? options_.kv_cache_bytes : allowed - weight_bytes_ - working_bytes;
  num_pages_ = static_cast<int32_t>(std::clamp<int64_t>(for_pages / page_bytes, 1, INT32_MAX));
  return absl::OkStatus();
}

// No array of any step has more elements.
CudaStepShape CudaRank::LargestStep() const {
  const int32_t max_bucket = step_options_.max_bucket;
  return {
      .tokens = options_.max_tokens,
      .rows = std::max(options_.max_rows, max_bucket),
      .max_pages = step_options_.max_model_pages,
      .logit_rows = options_.max_tokens + options_.max_rows,
      .narrow = bounds_.items + max_bucket * (1 + options_.max_model_len / cuda::kChunkTokens),
      .wide = bounds_.items,
      .merges = std::max(bounds_.merges, max_bucket),
      .samples = options_.max_rows,
      .changes = step_options_.max_changes,
      .scores = options_.max_tokens,
      .copies = options_.max_rows,
  };
}

CudaActivationsShape CudaRank::ActivationsShape() const {
  return {.spec = spec_,
          .element = options_.element,
          .max_tokens = options_.max_tokens,
          .max_logit_rows = step_options_.max_logit_rows,
          .partial_floats = cuda::AttentionWorkspaceFloats(step_options_.attention, bounds_.partials)};
}

cuda::KvPages CudaRank::Kv() const {
  return {.element = options_.kv_element,
          .num_kv_heads = spec_.num_kv_heads,
          .head_dim = spec_.head_dim,
          .value_dim = spec_.value_dim,
          .data = kv_memory_.data(),
          .scales = reinterpret_cast<float*>(kv_scale_memory_.data())};
}

absl::Status CudaRank::Load(int32_t num_pages) {
  cuda::Runtime& runtime = *parts_.runtime;
  num_pages_ = num_pages;
  RETURN_IF_ERROR(Check(runtime.Bind(), "choosing the device"));
  RETURN_IF_ERROR(Check(runtime.CreateStream(&stream_), "creating a stream"));
  ASSIGN_OR_RETURN(weight_memory_,
                   CudaMemory::Make(runtime, MemoryKind::kDevice, weight_bytes_, "the weights"));
  RETURN_IF_ERROR(AllocateWorkspace());
  RETURN_IF_ERROR(AllocatePages());
  ASSIGN_OR_RETURN(weights_, LoadCudaWeights({.spec = options_.model->spec,
                                              .tensors = *options_.model->tensors,
                                              .element = options_.element,
                                              .shard = options_.shard,
                                              .max_model_len = options_.max_model_len,
                                              .progress = options_.progress},
                                             runtime, stream_, weight_memory_));
  options_.model = nullptr;
  return absl::OkStatus();
}

absl::Status CudaRank::AllocateWorkspace() {
  cuda::Runtime& runtime = *parts_.runtime;
  ASSIGN_OR_RETURN(working_memory_,
                   CudaMemory::Make(runtime, MemoryKind::kDevice, activation_bytes_, "the workspace"));
  Carver carver(working_memory_.data());
  activations_ = CarveActivations(ActivationsShape(), carver);
  ASSIGN_OR_RETURN(host_inputs_, CudaMemory::Make(runtime, MemoryKind::kPinned, input_bytes_, "inputs"));
  ASSIGN_OR_RETURN(device_inputs_, CudaMemory::Make(runtime, MemoryKind::kDevice, input_bytes_, "inputs"));
  if (options_.shard.rank > 0) return absl::OkStatus();  // one of them samples
  ASSIGN_OR_RETURN(host_results_, CudaMemory::Make(runtime, MemoryKind::kPinned, result_bytes_, "results"));
  ASSIGN_OR_RETURN(device_results_, CudaMemory::Make(runtime, MemoryKind::kDevice, result_bytes_, "results"));
  return absl::OkStatus();
}

absl::Status CudaRank::AllocatePages() {
  cuda::Runtime& runtime = *parts_.runtime;
  const cuda::KvPages kv = Kv();
  ASSIGN_OR_RETURN(kv_memory_,
                   CudaMemory::Make(runtime, MemoryKind::kDevice,
                                    kv.page_bytes() * num_pages_ * spec_.num_layers(), "keys and values"));
  if (kv.page_scales() > 0) {
    const int64_t floats = kv.page_scales() * num_pages_ * spec_.num_layers();
    ASSIGN_OR_RETURN(kv_scale_memory_, CudaMemory::Make(runtime, MemoryKind::kDevice,
                                                        floats * static_cast<int64_t>(sizeof(float)),
                                                        "scales of keys and values"));
  }
  return absl::OkStatus();
}

absl::Status CudaRank::StatusOf(const CudaPass& pass) {
  if (pass.error() != 0 && parts_.runtime->IsFatal(pass.error())) lost_ = true;
  return pass.status();
}

CudaPassContext CudaRank::Context() const {
  const cuda::KvPages kv = Kv();
  return {.spec = spec_,
          .weights = weights_,
          .activations = activations_,
          .kv = kv,
          .layer_kv_bytes = kv.page_bytes() * num_pages_,
          .layer_kv_scales = kv.page_scales() * num_pages_,
          .element = options_.element,
          .processors = device_.processors,
          .kernels = *parts_.kernels,
          .runtime = *parts_.runtime,
          .gemm = *parts_.gemm,
          .collective = parts_.collective.get(),
          .stream = stream_};
}

absl::Status CudaRank::Run(const CudaStep& step) {
  RETURN_IF_ERROR(Check(parts_.runtime->Bind(), "choosing the device"));
  absl::Status status = RunOn(step);
  // The next step writes to the pinned memory that what was launched may still read.
  if (!status.ok()) Check(parts_.runtime->Synchronize(stream_), "waiting for the device").IgnoreError();
  return status;
}

absl::Status CudaRank::RunOn(const CudaStep& step) {
  Carver host(host_inputs_.data()), device(device_inputs_.data());
  const CudaStepArrays inputs = CarveStep(step.shape, host);
  ROPEWAY_CHECK(host.used() <= input_bytes_);
  WriteStep(step, inputs);
  RETURN_IF_ERROR(Check(parts_.runtime->Copy(device_inputs_.data(), host_inputs_.data(), host.used(),
                                             cuda::CopyKind::kHostToDevice, stream_),
                        "copying a step to the device"));
  const CudaPassContext context = Context();
  CudaPass pass(context, step.shape, CarveStep(step.shape, device));
  RETURN_IF_ERROR(Compute(step, pass));
  return FetchResults(step);
}

absl::Status CudaRank::Compute(const CudaStep& step, CudaPass& pass) {
  const bool samples = options_.shard.rank == 0;
  const CudaResultArrays results = samples ? ResultsIn(step, device_results_.data()) : CudaResultArrays{};
  pass.CopyPages();
  const auto graph = step.is_bucket ? graphs_.find({step.shape.rows, step.shape.max_pages}) : graphs_.end();
  const bool replayed = graph != graphs_.end();
  if (replayed) {
    RETURN_IF_ERROR(Check(parts_.runtime->Launch(graph->second, stream_), "launching a graph"));
  } else {
    RunDecoder(spec_, pass);
  }
  for (const LogitRound& round : step.rounds) {
    if (!samples) break;
    if (!replayed) {
      pass.ChooseLogitRows(round.first, round.count);
      RunLogits(spec_, pass);
    }
    RETURN_IF_ERROR(Sample(step, round, results, pass));
    pass.Score(round, step.shape.samples, max_top(), results);
  }
  RETURN_IF_ERROR(StatusOf(pass));
  return step.is_bucket && !replayed ? Capture(step, pass) : absl::OkStatus();
}

absl::Status CudaRank::Sample(const CudaStep& step, const LogitRound& round, const CudaResultArrays& results,
                              CudaPass& pass) {
  for (int32_t i = round.first_batch; i < round.first_batch + round.num_batches; ++i) {
    const int32_t window = step.batches[i].window;
    if (i > 0 && window != step.batches[i - 1].window)
      RETURN_IF_ERROR(UploadChanges(step, step.windows[window]));
    pass.Sample(step.batches[i], max_top(), results);
  }
  return absl::OkStatus();
}

// Waits for the tokens that are chosen by the window before.
absl::Status CudaRank::UploadChanges(const CudaStep& step, const ChangeWindow& window) {
  RETURN_IF_ERROR(Check(parts_.runtime->Synchronize(stream_), "computing a part of a step"));
  Carver host(host_inputs_.data()), device(device_inputs_.data());
  LogitChange* const from = CarveStep(step.shape, host).changes;
  LogitChange* const to = CarveStep(step.shape, device).changes;
  std::copy_n(step.changes.begin() + window.first, window.count, from);
  return Check(parts_.runtime->Copy(to, from, window.count * sizeof(LogitChange),
                                    cuda::CopyKind::kHostToDevice, stream_),
               "copying changes of logits to the device");
}

absl::Status CudaRank::Capture(const CudaStep& step, CudaPass& pass) {
  RETURN_IF_ERROR(Check(parts_.runtime->BeginCapture(stream_), "capturing a graph"));
  RunDecoder(spec_, pass);
  if (options_.shard.rank == 0) RunLogits(spec_, pass);
  cuda::Graph graph;
  const cuda::ErrorCode code = parts_.runtime->EndCapture(stream_, &graph);
  absl::Status status = StatusOf(pass);
  if (!status.ok() && code == 0) parts_.runtime->DestroyGraph(graph);  // of a part of the decoder
  status.Update(Check(code, "capturing a graph"));
  if (status.ok()) graphs_[{step.shape.rows, step.shape.max_pages}] = graph;
  return status;
}

absl::Status CudaRank::FetchResults(const CudaStep& step) {
  Carver used(nullptr);
  CarveResults(step.shape.samples, step.shape.scores, max_top(), used);
  if (options_.shard.rank == 0 && used.used() > 0) {
    RETURN_IF_ERROR(Check(parts_.runtime->Copy(host_results_.data(), device_results_.data(), used.used(),
                                               cuda::CopyKind::kDeviceToHost, stream_),
                          "copying results from the device"));
  }
  return Check(parts_.runtime->Synchronize(stream_), "computing a step");
}

CudaResultArrays CudaRank::ResultsIn(const CudaStep& step, uint8_t* block) const {
  Carver carver(block);
  return CarveResults(step.shape.samples, step.shape.scores, max_top(), carver);
}

CudaResultArrays CudaRank::results(const CudaStep& step) const {
  return ResultsIn(step, host_results_.data());
}

void CudaRank::AbortGroup() {
  if (parts_.collective == nullptr) return;
  parts_.collective->Abort();
  lost_ = true;
}

void CudaRank::DropGraphs() {
  for (const auto& [key, graph] : graphs_) parts_.runtime->DestroyGraph(graph);
  graphs_.clear();
}

}  // namespace ropeway
