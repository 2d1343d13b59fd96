#include "engine/exec/cuda/rank.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/check.h"
#include "engine/base/exhaustion.h"
#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "engine/exec/score_modifiers.h"
#include "engine/kernels/cuda/stream_matmul.h"
#include "engine/model/decoder_phases.h"

namespace ropeway {
namespace {

// Graphs that are kept: about as many as there are batch sizes, three times over for lengths of sequences.
constexpr size_t kMaxGraphs = 128;

// What a kernel copies: the copy engine begins 7 us after the kernel in front of it, and the kernel behind it 7 us later
// (H100, 2026-11-27), in which the host's bus brings as much.
constexpr int64_t kFewBytes = 128 << 10;

GraphKey GraphKeyOf(const CudaStep& step) {
  return {.rows = step.shape.rows, .max_pages = step.shape.max_pages};
}

// Whether the host waits in the middle of the step (UploadChanges).
bool WaitsBetweenRounds(const CudaStep& step) {
  for (size_t i = 1; i < step.rounds.size(); ++i)
    if (step.rounds[i].upload > 0) return true;
  return false;
}

}  // namespace

CudaRank::CudaRank(CudaRankParts parts, const CudaRankOptions& options)
    : parts_(std::move(parts)),
      options_(options),
      spec_(ShardOf(options.model->spec, options.shard.size)),
      choices_(options.clock),
      graphs_(*parts_.runtime, kMaxGraphs) {}

CudaRank::~CudaRank() {
  parts_.runtime->Bind();
  if (stream_.native == nullptr) return;
  parts_.runtime->Synchronize(stream_);
  graphs_.Clear();
  for (const Slot& slot : slots_)
    if (slot.done.native != nullptr) parts_.runtime->DestroyEvent(slot.done);
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
  RETURN_IF_ERROR(CheckSupported(rank->spec_, options.memory, rank->device_));
  const WeightReader reader(options.model->spec, *options.model->tensors,
                            {.shard = options.shard, .max_model_len = options.memory.max_model_len});
  ASSIGN_OR_RETURN(rank->modifiers_, MakeModifiers(reader));
  ASSIGN_OR_RETURN(const CudaWeightsCount weights, CountCudaWeights(rank->WeightsRequest()));
  if (options.memory.fp8_weights && weights.widest_fp8.of_all == 0) {
    return absl::InvalidArgumentError(
        "fp8 weights: the layers must have a matrix that is not packed, have none");
  }
  rank->fp8_numbers_ = weights.fp8_numbers;
  CudaMemoryOptions memory = options.memory;
  memory.widest_fp8 = weights.widest_fp8;
  memory.widest_split_input = weights.widest_split_input;
  ASSIGN_OR_RETURN(rank->plan_, PlanMemory(rank->spec_, memory, rank->device_, weights.bytes));
  return rank;
}

CudaWeightsRequest CudaRank::WeightsRequest() const {
  return {.spec = options_.model->spec,
          .tensors = *options_.model->tensors,
          .element = options_.memory.element,
          .fp8 = options_.memory.fp8_weights,
          .shard = options_.shard,
          .max_model_len = options_.memory.max_model_len,
          .modifiers = modifiers_,
          .progress = options_.progress};
}

cuda::KvPages CudaRank::Kv() const {
  cuda::KvPages kv = KvPagesOf(spec_, options_.memory.kv_element);
  kv.data = kv_memory_.data();
  kv.scales = reinterpret_cast<float*>(kv_scale_memory_.data());
  return kv;
}

absl::Status CudaRank::Load(int32_t num_pages) {
  cuda::Runtime& runtime = *parts_.runtime;
  num_pages_ = num_pages;
  RETURN_IF_ERROR(Check(runtime.Bind(), "choosing the device"));
  RETURN_IF_ERROR(Check(runtime.CreateStream(&stream_), "creating a stream"));
  ASSIGN_OR_RETURN(weight_memory_,
                   CudaMemory::Make(runtime, MemoryKind::kDevice, plan_.weight_bytes, "the weights"));
  RETURN_IF_ERROR(AllocateWorkspace());
  const absl::Time began_at = absl::Now();
  ASSIGN_OR_RETURN(weights_, LoadCudaWeights(WeightsRequest(), runtime, weight_memory_));
  upload_ = {.bytes = plan_.weight_bytes, .duration = absl::Now() - began_at};
  modifiers_.clear();
  options_.model = nullptr;
  // Before pages take the rest of the memory: some is needed meanwhile.
  RETURN_IF_ERROR(checked_.Check(Wanted(), *parts_.kernels, parts_.fp8_kernels, runtime, stream_));
  RETURN_IF_ERROR(PrepareProducts());
  RETURN_IF_ERROR(AllocatePages());
  return checked_.MapPages(Kv(), num_pages_, spec_.num_layers(), runtime);
}

// Whoever measures nothing takes no products by warpgroups.
WantedKernels CudaRank::Wanted() const {
  const cuda::Element element = options_.memory.element;
  const bool has_16_bits = element != cuda::Element::kF32;
  WantedKernels wanted = {
      .element = element,
      .attention = plan_.step.attention,
      .fp8_warpgroups = plan_.activations.fp8_warpgroups,
      .bulk_copies = options_.use_bulk_copies && cuda::HasBulkCopies(device_) && has_16_bits};
  if (options_.clock != nullptr && options_.memory.use_wgmma && cuda::HasWarpgroups(device_) && has_16_bits) {
    wanted.product_types = options_.packed_types;
    wanted.product_types.push_back(cuda::DenseType(element));
  }
  return wanted;
}

std::vector<std::string> CudaRank::products() const {
  std::vector<std::string> products = parts_.gemm->Choices();
  for (const std::vector<std::string>& lines : {choices_.Lines(), checked_.Lines()})
    products.insert(products.end(), lines.begin(), lines.end());
  return products;
}

// Finite numbers of either type, as different as a step's: products of numbers that are alike take less power, and other
// algorithms are the fastest of them (on an H100 905 TFLOP/s, where steps have 716).
absl::Status CudaRank::FillWithNumbers() {
  constexpr int64_t kBlockBytes = int64_t{1} << 20;
  constexpr uint64_t kMantissasAndSigns = 0x83FF83FF83FF83FF, kExponents = 0x3C003C003C003C00;
  ASSIGN_OR_RETURN(const CudaMemory block,
                   CudaMemory::Make(*parts_.runtime, MemoryKind::kPinned, kBlockBytes, "numbers"));
  for (int64_t i = 0; i < kBlockBytes / int64_t{sizeof(uint64_t)}; ++i) {
    const uint64_t numbers = (RandomBits(0, i) & kMantissasAndSigns) | kExponents;
    std::memcpy(block.data() + i * sizeof(numbers), &numbers, sizeof(numbers));
  }
  for (int64_t at = 0; at < plan_.activation_bytes; at += kBlockBytes)
    RETURN_IF_ERROR(Check(parts_.runtime->Copy(working_memory_.data() + at, block.data(),
                                               std::min(kBlockBytes, plan_.activation_bytes - at),
                                               cuda::CopyKind::kHostToDevice, stream_),
                          "filling the workspace"));
  return Check(parts_.runtime->Synchronize(stream_), "filling the workspace");
}

// Numbers in; fresh memory's out, so that a step that reads what it has not written still shows in tests.
absl::Status CudaRank::PrepareProducts() {
  constexpr int kFresh = 0xFF;
  RETURN_IF_ERROR(FillWithNumbers());
  const CudaPassContext context = Context();
  CudaPass pass(context, {}, {});
  pass.PrepareProducts(plan_.activations.max_tokens,
                       options_.memory.samples ? plan_.activations.max_logit_rows : 0);
  RETURN_IF_ERROR(StatusOf(pass));
  fusions_ = pass.PlanFusions();
  RETURN_IF_ERROR(Check(parts_.runtime->Fill(working_memory_.data(), kFresh, plan_.activation_bytes, stream_),
                        "filling the workspace"));
  if (plan_.activations.arrivals == 0) return absl::OkStatus();
  const int64_t bytes = plan_.activations.arrivals * static_cast<int64_t>(sizeof(int32_t));
  return Check(parts_.runtime->Fill(activations_.arrivals, 0, bytes, stream_), "filling the workspace");
}

absl::Status CudaRank::AllocateWorkspace() {
  cuda::Runtime& runtime = *parts_.runtime;
  ASSIGN_OR_RETURN(working_memory_,
                   CudaMemory::Make(runtime, MemoryKind::kDevice, plan_.activation_bytes, "the workspace"));
  Carver carver(working_memory_.data());
  activations_ = CarveActivations(spec_, plan_.activations, carver);
  slots_.resize(options_.steps_in_flight);
  for (Slot& slot : slots_) {
    RETURN_IF_ERROR(Check(runtime.CreateEvent(&slot.done), "creating an event"));
    ASSIGN_OR_RETURN(slot.inputs,
                     CudaMemory::Make(runtime, MemoryKind::kPinned, plan_.input_bytes, "inputs"));
    if (!options_.memory.samples) continue;
    ASSIGN_OR_RETURN(slot.results,
                     CudaMemory::Make(runtime, MemoryKind::kPinned, plan_.result_bytes, "results"));
  }
  ASSIGN_OR_RETURN(device_inputs_,
                   CudaMemory::Make(runtime, MemoryKind::kDevice, plan_.input_bytes, "inputs"));
  ASSIGN_OR_RETURN(device_results_,
                   CudaMemory::Make(runtime, MemoryKind::kDevice, plan_.result_bytes, "results"));
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

// Results begin with the tokens, however many there are.
int32_t* CudaRank::Sampled() const {
  if (slots_.size() <= 1) return nullptr;
  Carver carver(device_results_.data());
  return CarveResults(1, 0, 0, carver).tokens;
}

CudaPassContext CudaRank::Context() {
  const cuda::KvPages kv = Kv();
  return {.spec = spec_,
          .weights = weights_,
          .activations = activations_,
          .fusions = fusions_,
          .kv = kv,
          .layer_kv_bytes = kv.page_bytes() * num_pages_,
          .layer_kv_scales = kv.page_scales() * num_pages_,
          .element = options_.memory.element,
          .processors = device_.processors,
          .kernels = *parts_.kernels,
          .fp8_kernels = parts_.fp8_kernels,
          .runtime = *parts_.runtime,
          .gemm = *parts_.gemm,
          .choices = choices_,
          .collective = parts_.collective.get(),
          .ranks = options_.shard.size,
          .stream = stream_,
          .sampled = Sampled(),
          .max_sampled = plan_.largest_step.samples,
          .kv_maps = checked_.kv_maps(),
          .fp8_warpgroups = checked_.fp8_warpgroups(),
          .bulk_copies = checked_.bulk_copies(),
          .warpgroups = checked_.product_warpgroups()};
}

absl::Status CudaRank::VisitLogits(
    absl::Span<const int32_t> tokens,
    const std::function<void(int32_t token, absl::Span<const float> logits)>& visit) {
  RETURN_IF_ERROR(Check(parts_.runtime->Bind(), "choosing the device"));
  const CudaStepShape shape{.logit_rows = static_cast<int32_t>(tokens.size())};
  const CudaMemory& inputs = slots_[0].inputs;
  Carver host(inputs.data()), device(device_inputs_.data());
  std::copy(tokens.begin(), tokens.end(), CarveStep(shape, host).logit_tokens);
  RETURN_IF_ERROR(Check(parts_.runtime->Copy(device_inputs_.data(), inputs.data(), host.used(),
                                             cuda::CopyKind::kHostToDevice, stream_),
                        "copying a step to the device"));
  const CudaPassContext context = Context();
  CudaPass pass(context, shape, CarveStep(shape, device));
  pass.ChooseLogitRows(0, shape.logit_rows);
  RunLogits(pass);
  RETURN_IF_ERROR(StatusOf(pass));
  const int64_t stride = CudaLogitStride(spec_.vocab_size);
  const int64_t bytes = stride * shape.logit_rows * static_cast<int64_t>(sizeof(float));
  ASSIGN_OR_RETURN(const CudaMemory pinned,
                   CudaMemory::Make(*parts_.runtime, MemoryKind::kPinned, bytes, "logits"));
  RETURN_IF_ERROR(Check(
      parts_.runtime->Copy(pinned.data(), activations_.logits, bytes, cuda::CopyKind::kDeviceToHost, stream_),
      "copying logits from the device"));
  RETURN_IF_ERROR(Check(parts_.runtime->Synchronize(stream_), "copying logits from the device"));
  const float* logits = reinterpret_cast<const float*>(pinned.data());
  for (size_t row = 0; row < tokens.size(); ++row)
    visit(tokens[row], {logits + row * stride, static_cast<size_t>(spec_.vocab_size)});
  return absl::OkStatus();
}

absl::Status CudaRank::Submit(const CudaStep& step, int slot) {
  capture_status_ = absl::OkStatus();
  RETURN_IF_ERROR(Check(parts_.runtime->Bind(), "choosing the device"));
  absl::Status status = CatchExhaustion([&] { return Launch(step, slot); });
  if (!status.ok()) Settle();
  return status;
}

absl::Status CudaRank::Wait(int slot) {
  RETURN_IF_ERROR(Check(parts_.runtime->Bind(), "choosing the device"));
  absl::Status status = Check(parts_.runtime->Wait(slots_[slot].done), "computing a step");
  if (!status.ok()) Settle();
  return status;
}

// Whoever uses the slot next writes to the pinned memory that what was launched may still read. What waits for other
// ranks, which may wait for this one, would not end by itself.
void CudaRank::Settle() {
  AbortGroup();
  Check(parts_.runtime->Synchronize(stream_), "waiting for the device").IgnoreError();
}

absl::Status CudaRank::Launch(const CudaStep& step, int slot) {
  if (graphs_.closed() && graphs_.size() > 0) {
    RETURN_IF_ERROR(Check(parts_.runtime->Synchronize(stream_), "waiting for the device"));
    graphs_.Clear();
  }
  const CudaMemory& pinned = slots_[slot].inputs;
  Carver host(pinned.data()), device(device_inputs_.data());
  const CudaStepArrays inputs = CarveStep(step.shape, host);
  ROPEWAY_CHECK(host.used() <= plan_.input_bytes);
  WriteStep(step, inputs);
  RETURN_IF_ERROR(
      Check(Copy(device_inputs_.data(), pinned.data(), host.used(), cuda::CopyKind::kHostToDevice),
            "copying a step to the device"));
  RETURN_IF_ERROR(Compute(step, slot, Context(), CarveStep(step.shape, device)));
  return FetchResults(step, slot);
}

cuda::ErrorCode CudaRank::Copy(uint8_t* to, const uint8_t* from, int64_t bytes, cuda::CopyKind kind) {
  return bytes <= kFewBytes ? parts_.kernels->copy_bytes({.to = to, .from = from, .bytes = bytes}, stream_)
                            : parts_.runtime->Copy(to, from, static_cast<size_t>(bytes), kind, stream_);
}

absl::Status CudaRank::Compute(const CudaStep& step, int slot, const CudaPassContext& context,
                               const CudaStepArrays& arrays) {
  CudaPass pass(context, step.shape, arrays);
  pass.CopyPages();
  const cuda::Graph* graph = step.is_bucket ? graphs_.Find(GraphKeyOf(step)) : nullptr;
  if (graph != nullptr) {
    RETURN_IF_ERROR(Check(parts_.runtime->Launch(*graph, stream_), "launching a graph"));
  } else {
    pass.TakeTokens();
    RunDecoder(spec_, pass);
  }
  if (options_.memory.samples) {
    RETURN_IF_ERROR(RunRounds(step, slot, graph == nullptr, pass));
  } else if (WaitsBetweenRounds(step)) {
    // The rank that samples waits for its stream, and that for this one's part of the sums.
    RETURN_IF_ERROR(Check(parts_.runtime->Synchronize(stream_), "computing a part of a step"));
  }
  RETURN_IF_ERROR(StatusOf(pass));
  if (!step.is_bucket || graph != nullptr || graphs_.closed()) return absl::OkStatus();
  return Capture(step, context, arrays);
}

absl::Status CudaRank::RunRounds(const CudaStep& step, int slot, bool with_logits, CudaPass& pass) {
  const CudaResultArrays results = ResultsIn(step, device_results_.data());
  for (const LogitRound& round : step.rounds) {
    if (with_logits) {
      pass.ChooseLogitRows(round.first_row, round.num_rows);
      RunLogits(pass);
    }
    if (&round != &step.rounds.front() && round.upload > 0) RETURN_IF_ERROR(UploadChanges(step, slot, round));
    pass.Sample(round, plan_.max_top, results);
    pass.Score(round, plan_.max_top, results);
  }
  return absl::OkStatus();
}

// Of a step with more changes than there is room for: waits for the tokens of the rounds before, which had
// theirs at the same place.
absl::Status CudaRank::UploadChanges(const CudaStep& step, int slot, const LogitRound& round) {
  RETURN_IF_ERROR(Check(parts_.runtime->Synchronize(stream_), "computing a part of a step"));
  Carver host(slots_[slot].inputs.data()), device(device_inputs_.data());
  LogitChange* const from = CarveStep(step.shape, host).changes;
  LogitChange* const to = CarveStep(step.shape, device).changes;
  std::copy_n(step.changes.begin() + round.first_change, round.upload, from);
  return Check(parts_.runtime->Copy(to, from, round.upload * sizeof(LogitChange),
                                    cuda::CopyKind::kHostToDevice, stream_),
               "copying changes of logits to the device");
}

// The step itself was launched: where it cannot be captured, that is no error of the step.
absl::Status CudaRank::Capture(const CudaStep& step, const CudaPassContext& context,
                               const CudaStepArrays& arrays) {
  CudaPass pass(context, step.shape, arrays);
  capture_status_ = CatchExhaustion([&]() -> absl::Status {
    cuda::Graph graph;
    RETURN_IF_ERROR(CaptureGraph(step, pass, &graph));
    graphs_.Insert(GraphKeyOf(step), graph);
    return absl::OkStatus();
  });
  return lost_ ? capture_status_ : absl::OkStatus();
}

// The capture ends whatever comes in between: until then the stream takes nothing else.
absl::Status CudaRank::CaptureGraph(const CudaStep& step, CudaPass& pass, cuda::Graph* graph) {
  RETURN_IF_ERROR(Check(parts_.runtime->BeginCapture(stream_), "capturing a graph"));
  const absl::Status recorded = CatchExhaustion([&] {
    pass.TakeTokens();
    RunDecoder(spec_, pass);
    if (options_.memory.samples) {
      pass.ChooseLogitRows(0, step.shape.rows);
      RunLogits(pass);
    }
    return StatusOf(pass);
  });
  const cuda::ErrorCode code = parts_.runtime->EndCapture(stream_, graph);
  if (recorded.ok()) return Check(code, "capturing a graph");
  if (code == 0) parts_.runtime->DestroyGraph(*graph);  // of a part of the decoder
  return recorded;
}

absl::Status CudaRank::FetchResults(const CudaStep& step, int slot) {
  Carver used(nullptr);
  CarveResults(step.shape.samples, step.shape.scores, plan_.max_top, used);
  if (options_.memory.samples && used.used() > 0) {
    RETURN_IF_ERROR(Check(
        Copy(slots_[slot].results.data(), device_results_.data(), used.used(), cuda::CopyKind::kDeviceToHost),
        "copying results from the device"));
  }
  return Check(parts_.runtime->Record(slots_[slot].done, stream_), "computing a step");
}

CudaResultArrays CudaRank::ResultsIn(const CudaStep& step, uint8_t* block) const {
  Carver carver(block);
  return CarveResults(step.shape.samples, step.shape.scores, plan_.max_top, carver);
}

CudaResultArrays CudaRank::results(const CudaStep& step, int slot) const {
  return ResultsIn(step, slots_[slot].results.data());
}

void CudaRank::AbortGroup() {
  if (parts_.collective == nullptr) return;
  parts_.collective->Abort();
  lost_ = true;
}

}  // namespace ropeway
