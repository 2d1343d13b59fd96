#include "engine/exec/cuda/memory_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/kernels/cuda/fp8.h"
#include "engine/kernels/cuda/sampling.h"
#include "engine/kernels/cuda/shared_bytes.h"

namespace ropeway {
namespace {

// bf16 and cp.async.
constexpr int kMinMajor = 8;

// The largest window or chunk of all layers; 0 where one has neither.
int32_t LargestWindow(const DecoderSpec& spec) {
  int32_t largest = 0;
  for (const LayerSpec& layer : spec.layers) {
    const int32_t seen = std::max(layer.position.window, layer.position.chunk);
    if (seen == 0) return 0;
    largest = std::max(largest, seen);
  }
  return largest;
}

cuda::AttentionShape AttentionShapeOf(const DecoderSpec& spec, const CudaMemoryOptions& options,
                                      const cuda::DeviceInfo& device) {
  const bool warpgroups =
      options.use_wgmma && cuda::HasWarpgroups(device) && spec.max_mixer_width() == 0 &&
      cuda::WarpgroupsFit(options.element, options.kv_element, spec.head_dim, spec.value_dim);
  return {.num_heads = spec.num_heads,
          .num_kv_heads = spec.num_kv_heads,
          .head_dim = spec.head_dim,
          .value_dim = spec.value_dim,
          .mixer_width = spec.max_mixer_width(),
          .processors = device.processors,
          .warpgroups = warpgroups};
}

// A row changes each logit at most once.
int32_t MaxChanges(const DecoderSpec& spec, const CudaMemoryOptions& options) {
  const int64_t all = int64_t{spec.vocab_size} * options.max_rows;
  return static_cast<int32_t>(
      std::max<int64_t>(spec.vocab_size, std::min<int64_t>(all, options.max_changes)));
}

CudaStepOptions StepOptionsOf(const DecoderSpec& spec, const CudaMemoryOptions& options,
                              const cuda::AttentionShape& attention) {
  const int32_t max_logit_rows = std::min(kMaxLogitRows, std::max(options.max_tokens, options.max_rows));
  const bool narrow_decode = spec.heads_per_kv_head() <= cuda::kNarrowPairs;
  return {
      .attention = attention,
      .window = LargestWindow(spec),
      .max_logit_rows = max_logit_rows,
      .max_changes = MaxChanges(spec, options),
      .max_bucket = options.use_graphs && narrow_decode ? std::min(max_logit_rows, options.max_tokens) : 0,
      .max_model_pages = PagesFor(options.max_model_len),
      .ropes = RequestRopes(spec)};
}

// Of the slices that packed weights are unpacked in.
int64_t UnpackedBytes(const CudaMemoryOptions& options) {
  const bool unpacks = options.element != cuda::Element::kF32 && options.max_tokens > kFewRowsPackedTokens;
  const int64_t matrix = options.largest_packed_matrix * cuda::BytesOf(options.element);
  return unpacks ? std::min(matrix, kMaxSliceBytes) : 0;
}

CudaStepShape LargestStepOf(const CudaMemoryOptions& options, const CudaStepOptions& step,
                            const cuda::AttentionBounds& bounds) {
  return {.tokens = options.max_tokens,
          .rows = std::max(options.max_rows, step.max_bucket),
          .max_pages = step.max_model_pages,
          .logit_rows = options.max_tokens + options.max_rows,
          .angles = options.max_tokens * RequestAngleFloats(step.ropes),
          .narrow = bounds.items + step.max_bucket * (1 + options.max_model_len / cuda::kChunkTokens),
          .wide = bounds.items,
          .merges = std::max(bounds.merges, step.max_bucket),
          .samples = options.max_rows,
          .scores = options.max_tokens,
          .changes = step.max_changes,
          .copies = options.max_rows};
}

absl::Status PlanPages(const CudaMemoryOptions& options, const cuda::DeviceInfo& device,
                       CudaMemoryPlan& plan) {
  const int64_t allowed =
      static_cast<int64_t>(static_cast<double>(device.free_bytes) * options.memory_fraction);
  const int64_t least_for_pages = std::max(plan.page_bytes, options.kv_cache_bytes);
  const int64_t needed = plan.weight_bytes + plan.working_bytes() + least_for_pages;
  if (needed > allowed) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the model needs ", needed, " bytes of device memory (weights ", plan.weight_bytes,
                     ", workspace ", plan.working_bytes(), ", keys and values ", least_for_pages,
                     "), may take ", allowed, " of ", device.free_bytes, " that are free on ", device.name));
  }
  const int64_t for_pages = options.kv_cache_bytes > 0 ? options.kv_cache_bytes
                                                       : allowed - plan.weight_bytes - plan.working_bytes();
  plan.num_pages = static_cast<int32_t>(std::clamp<int64_t>(for_pages / plan.page_bytes, 1, INT32_MAX));
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSupported(const DecoderSpec& spec, const CudaMemoryOptions& options,
                            const cuda::DeviceInfo& device) {
  if (device.major < kMinMajor) {
    return absl::UnimplementedError(absl::StrCat("compute capability must be at least ", kMinMajor, ".0, is ",
                                                 device.major, ".", device.minor, " (", device.name, ")"));
  }
  if (options.fp8_weights && !cuda::HasFp8(device.major, device.minor)) {
    return absl::UnimplementedError(absl::StrCat("fp8 weights: compute capability must be at least ",
                                                 cuda::kFp8Major, ".", cuda::kFp8Minor, ", is ", device.major,
                                                 ".", device.minor, " (", device.name, ")"));
  }
  const cuda::AttentionShape attention = AttentionShapeOf(spec, options, device);
  if (const char* supported = cuda::AttentionUnsupported(attention, options.element, options.kv_element)) {
    return absl::UnimplementedError(absl::StrCat("no attention kernel for head_dim ", spec.head_dim,
                                                 ", value_dim ", spec.value_dim, ", activations of ",
                                                 NameOf(options.element), " and keys and values of ",
                                                 NameOf(options.kv_element), ": ", supported));
  }
  if (const int32_t widest = std::max(spec.hidden_size, spec.embedding_size);
      widest > cuda::kMostNormColumns) {
    return absl::UnimplementedError(absl::StrCat("no norm kernel for rows of ", widest,
                                                 " columns: it takes at most ", cuda::kMostNormColumns));
  }
  if (spec.vocab_size > cuda::kMaxVocabulary) {
    return absl::UnimplementedError(absl::StrCat("no sampling kernel for a vocabulary of ", spec.vocab_size,
                                                 " tokens: it takes at most ", cuda::kMaxVocabulary));
  }
  return absl::OkStatus();
}

absl::StatusOr<CudaMemoryPlan> PlanMemory(const DecoderSpec& spec, const CudaMemoryOptions& options,
                                          const cuda::DeviceInfo& device, int64_t weight_bytes) {
  cuda::AttentionShape attention = AttentionShapeOf(spec, options, device);
  const cuda::AttentionBounds bounds =
      cuda::BoundAttention(attention, options.max_tokens, options.max_rows, options.max_model_len);
  attention.max_partials = bounds.partials;
  CudaMemoryPlan plan{.step = StepOptionsOf(spec, options, attention),
                      .max_top = std::max(options.max_logprobs, 1),
                      .weight_bytes = weight_bytes};
  plan.largest_step = LargestStepOf(options, plan.step, bounds);
  plan.activations = {.element = options.element,
                      .max_tokens = options.max_tokens,
                      .max_logit_rows = plan.step.max_logit_rows,
                      .partial_floats = cuda::AttentionWorkspaceFloats(attention, bounds.partials),
                      .arrivals = int64_t{plan.largest_step.merges} * spec.num_kv_heads,
                      .unpacked_bytes = UnpackedBytes(options),
                      .widest_fp8 = options.widest_fp8,
                      .fp8_warpgroups = options.use_wgmma && cuda::HasWarpgroups(device) &&
                                        options.widest_fp8.of_all > 0 && options.max_tokens > kFp8MmaTokens,
                      .widest_split_input = options.widest_split_input};
  Carver activations(nullptr), inputs(nullptr), results(nullptr);
  CarveActivations(spec, plan.activations, activations);
  CarveStep(plan.largest_step, inputs);
  if (options.samples)
    CarveResults(plan.largest_step.samples, plan.largest_step.scores, plan.max_top, results);
  else
    CarveResults(plan.largest_step.samples, 0, 0, results);  // tokens that the other rank tells
  plan.activation_bytes = activations.used();
  plan.input_bytes = inputs.used();
  plan.result_bytes = results.used();
  const cuda::KvPages kv = KvPagesOf(spec, options.kv_element);
  plan.page_bytes =
      (kv.page_bytes() + kv.page_scales() * static_cast<int64_t>(sizeof(float))) * spec.num_layers();
  RETURN_IF_ERROR(PlanPages(options, device, plan));
  return plan;
}

cuda::KvPages KvPagesOf(const DecoderSpec& spec, cuda::KvElement element) {
  return {.element = element,
          .num_kv_heads = spec.num_kv_heads,
          .head_dim = spec.head_dim,
          .value_dim = spec.value_dim};
}

const char* NameOf(cuda::Element element) {
  switch (element) {
    case cuda::Element::kF32:
      return "f32";
    case cuda::Element::kF16:
      return "f16";
    case cuda::Element::kBF16:
      return "bf16";
  }
  return "?";
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

}  // namespace ropeway
