#include "engine/exec/cuda/pass.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace ropeway {
namespace {

// Blocks of attention per processor: enough to hide the latency of memory.
constexpr int kBlocksPerProcessor = 4;

cuda::GateKind GateKindOf(FfnActivation activation) {
  return activation == FfnActivation::kSilu ? cuda::GateKind::kSilu : cuda::GateKind::kGeluTanh;
}

int64_t QkvColumns(const DecoderSpec& spec) {
  return int64_t{spec.num_heads + spec.num_kv_heads} * spec.head_dim +
         int64_t{spec.num_kv_heads} * spec.value_dim;
}

}  // namespace

CudaActivations CarveActivations(const DecoderSpec& spec, const CudaActivationsShape& shape, Carver& carver) {
  const int64_t t = shape.max_tokens, s = shape.max_logit_rows, bytes = cuda::BytesOf(shape.element);
  CudaActivations a;
  a.residual = carver.Take<float>(t * spec.hidden_size);
  a.normed = carver.TakeBytes(t * spec.hidden_size * bytes);
  a.qkv = carver.TakeBytes(t * QkvColumns(spec) * bytes);
  a.queries = carver.TakeBytes(t * spec.num_heads * spec.head_dim * bytes);
  a.attention = carver.TakeBytes(t * spec.num_heads * spec.value_dim * bytes);
  a.branch = carver.TakeBytes(t * spec.hidden_size * bytes);
  a.gate_up = carver.TakeBytes(t * 2 * spec.ffn_size * bytes);
  a.gated = carver.TakeBytes(t * spec.ffn_size * bytes);
  a.partials = carver.Take<float>(shape.partial_floats);
  a.chosen = carver.TakeBytes(s * spec.hidden_size * bytes);
  a.logits = carver.Take<float>(s * CudaLogitStride(spec.vocab_size));
  a.scratch = carver.Take<float>(s * spec.vocab_size);
  return a;
}

absl::Status CudaPass::status() const {
  if (error_ < cuda::kFirstGemmError) return CudaStatus(context_.runtime, error_, what_);
  return absl::InternalError(absl::StrCat(what_, ": ", context_.gemm.Describe(error_)));
}

template <typename Function>
void CudaPass::Try(const char* what, const Function& launch) {
  if (error_ != 0) return;
  error_ = launch();
  if (error_ != 0) what_ = what;
}

void CudaPass::MultiplyPart(const cuda::DeviceMatrix& matrix, const uint8_t* x, int64_t tokens, void* y,
                            int64_t y_stride, cuda::Element out) {
  if (cuda::IsPacked(matrix.type)) {
    Try("multiplying packed weights", [&] {
      return context_.kernels.packed_matmul({.weights = matrix,
                                             .element = context_.element,
                                             .out = out,
                                             .num_tokens = tokens,
                                             .x = x,
                                             .y = y,
                                             .y_stride = y_stride},
                                            context_.stream);
    });
    return;
  }
  Try("multiplying matrices", [&] {
    return context_.gemm.Run({.tokens = tokens,
                              .outputs = matrix.rows,
                              .columns = matrix.columns,
                              .element = context_.element,
                              .out = out,
                              .x = x,
                              .x_stride = matrix.columns,
                              .weights = matrix.data,
                              .weight_stride = matrix.columns,
                              .y = y,
                              .y_stride = y_stride},
                             context_.stream);
  });
}

void CudaPass::Multiply(const CudaProjection& projection, const uint8_t* x, int64_t tokens, void* y,
                        int64_t y_stride, cuda::Element out) {
  for (const CudaProjection::Part& part : projection.parts) {
    uint8_t* outputs = static_cast<uint8_t*>(y) + part.first_output * cuda::BytesOf(out);
    MultiplyPart(part.matrix, x, tokens, outputs, y_stride, out);
  }
}

// normed = norm(residual)
void CudaPass::Norm(const float* weight) {
  Try("normalising", [&] {
    return context_.kernels.norm({.element = context_.element,
                                  .num_rows = shape_.tokens,
                                  .columns = context_.spec.hidden_size,
                                  .epsilon = context_.spec.norm_epsilon,
                                  .residual = context_.activations.residual,
                                  .weight = weight,
                                  .out = context_.activations.normed},
                                 context_.stream);
  });
}

// residual += branch, then the next block's norm, where there is one, in the same kernel.
void CudaPass::AddBranch(const float* bias, const float* post_norm, const float* next_norm) {
  const CudaActivations& a = context_.activations;
  Try("adding to the residual", [&] {
    return context_.kernels.norm({.element = context_.element,
                                  .num_rows = shape_.tokens,
                                  .columns = context_.spec.hidden_size,
                                  .epsilon = context_.spec.norm_epsilon,
                                  .residual = a.residual,
                                  .branch = a.branch,
                                  .branch_bias = bias,
                                  .post_weight = post_norm,
                                  .weight = next_norm,
                                  .out = next_norm == nullptr ? nullptr : a.normed},
                                 context_.stream);
  });
}

void CudaPass::SumOverRanks() {
  if (context_.collective == nullptr) return;
  Try("adding up over ranks", [&] {
    return context_.collective->AllReduce(context_.activations.branch,
                                          int64_t{shape_.tokens} * context_.spec.hidden_size,
                                          context_.element, context_.stream);
  });
}

cuda::KvPages CudaPass::KvOf(int layer) const {
  cuda::KvPages kv = context_.kv;
  kv.data += layer * context_.layer_kv_bytes;
  if (kv.scales != nullptr) kv.scales += layer * context_.layer_kv_scales;
  return kv;
}

// Blocks take a pair of an item and a KV head at a time.
int CudaPass::BlocksFor(int32_t items) const {
  const int64_t pairs = int64_t{items} * context_.spec.num_kv_heads;
  return static_cast<int>(std::min<int64_t>(pairs, context_.processors * kBlocksPerProcessor));
}

void CudaPass::Embed() {
  Try("embedding tokens", [&] {
    return context_.kernels.embed({.table = context_.weights.embedding,
                                   .token_ids = arrays_.token_ids,
                                   .num_tokens = shape_.tokens,
                                   .scale = context_.spec.embedding_scale,
                                   .residual = context_.activations.residual},
                                  context_.stream);
  });
  Norm(context_.weights.layers[0].attention_norm);
}

void CudaPass::ProjectQkv(int layer) {
  const CudaActivations& a = context_.activations;
  Multiply(context_.weights.layers[layer].qkv, a.normed, shape_.tokens, a.qkv, QkvColumns(context_.spec),
           context_.element);
}

void CudaPass::RotateAndStore(int layer) {
  const DecoderSpec& spec = context_.spec;
  const CudaLayer& weights = context_.weights.layers[layer];
  cuda::QkvArgs args{.element = context_.element,
                     .num_tokens = shape_.tokens,
                     .num_heads = spec.num_heads,
                     .qkv = context_.activations.qkv,
                     .bias = weights.qkv_bias,
                     .query_norm = weights.query_norm,
                     .key_norm = weights.key_norm,
                     .norm_epsilon = spec.norm_epsilon,
                     .positions = arrays_.positions,
                     .token_rows = arrays_.token_rows,
                     .page_tables = arrays_.page_tables,
                     .max_pages = shape_.max_pages,
                     .kv = KvOf(layer),
                     .queries = context_.activations.queries};
  if (const int rope = spec.layers[layer].rope; rope >= 0) {
    args.rotary_dim = spec.ropes[rope].rotary_dim;
    args.interleaved = spec.ropes[rope].pairing == RopePairing::kInterleaved;
    args.cosines = context_.weights.ropes[rope].cosines;
    args.sines = context_.weights.ropes[rope].sines;
  }
  Try("rotating queries and keys", [&] { return context_.kernels.qkv(args, context_.stream); });
}

void CudaPass::Attend(int layer) {
  const DecoderSpec& spec = context_.spec;
  const cuda::AttentionArgs args{
      .element = context_.element,
      .kv = KvOf(layer),
      .num_heads = spec.num_heads,
      .scale = spec.attention_scale,
      .modifier = {.softcap = spec.attention_softcap, .window = spec.layers[layer].window},
      .queries = context_.activations.queries,
      .out = context_.activations.attention,
      .page_tables = arrays_.page_tables,
      .max_pages = shape_.max_pages,
      .narrow = {arrays_.narrow, &arrays_.work_counts[0], BlocksFor(shape_.narrow)},
      .wide = {arrays_.wide, &arrays_.work_counts[1], BlocksFor(shape_.wide)},
      .merges = {arrays_.merges, &arrays_.work_counts[2], BlocksFor(shape_.merges)},
      .workspace = context_.activations.partials};
  Try("attention", [&] { return context_.kernels.attention(args, context_.stream); });
}

void CudaPass::AddAttention(int layer) {
  const CudaActivations& a = context_.activations;
  const CudaLayer& weights = context_.weights.layers[layer];
  Multiply(weights.attention_output, a.attention, shape_.tokens, a.branch, context_.spec.hidden_size,
           context_.element);
  SumOverRanks();
  AddBranch(weights.attention_output_bias, weights.attention_post_norm, weights.ffn_norm);
}

void CudaPass::ProjectGateUp(int layer) {
  const DecoderSpec& spec = context_.spec;
  const CudaActivations& a = context_.activations;
  const CudaLayer& weights = context_.weights.layers[layer];
  Multiply(weights.gate_up, a.normed, shape_.tokens, a.gate_up, 2 * int64_t{spec.ffn_size}, context_.element);
  Try("the gate of the feed-forward layer", [&] {
    return context_.kernels.gate({.kind = GateKindOf(spec.activation),
                                  .element = context_.element,
                                  .num_tokens = shape_.tokens,
                                  .columns = spec.ffn_size,
                                  .gate_up = a.gate_up,
                                  .bias = weights.gate_up_bias,
                                  .out = a.gated},
                                 context_.stream);
  });
}

void CudaPass::AddFeedForward(int layer) {
  const CudaActivations& a = context_.activations;
  const std::vector<CudaLayer>& layers = context_.weights.layers;
  const CudaLayer& weights = layers[layer];
  Multiply(weights.down, a.gated, shape_.tokens, a.branch, context_.spec.hidden_size, context_.element);
  SumOverRanks();
  const bool last = layer + 1 == context_.spec.num_layers();
  AddBranch(weights.down_bias, weights.ffn_post_norm, last ? nullptr : layers[layer + 1].attention_norm);
}

void CudaPass::ChooseLogitRows(int32_t first, int32_t count) {
  first_logit_row_ = first;
  num_logit_rows_ = count;
}

void CudaPass::NormOutput() {
  Try("normalising the output", [&] {
    return context_.kernels.norm({.element = context_.element,
                                  .num_rows = num_logit_rows_,
                                  .columns = context_.spec.hidden_size,
                                  .epsilon = context_.spec.norm_epsilon,
                                  .residual = context_.activations.residual,
                                  .weight = context_.weights.output_norm,
                                  .rows = arrays_.logit_tokens + first_logit_row_,
                                  .out = context_.activations.chosen},
                                 context_.stream);
  });
}

void CudaPass::ProjectOutput() {
  const CudaActivations& a = context_.activations;
  Multiply(context_.weights.output, a.chosen, num_logit_rows_, a.logits,
           CudaLogitStride(context_.spec.vocab_size), cuda::Element::kF32);
}

void CudaPass::SoftcapLogits() {
  Try("capping logits", [&] {
    return context_.kernels.softcap(context_.activations.logits,
                                    num_logit_rows_ * CudaLogitStride(context_.spec.vocab_size),
                                    context_.spec.final_softcap, context_.stream);
  });
}

void CudaPass::CopyPages() {
  if (shape_.copies == 0) return;
  Try("copying pages", [&] {
    return context_.kernels.copy_pages({.kv = context_.kv,
                                        .layer_bytes = context_.layer_kv_bytes,
                                        .layer_scales = context_.layer_kv_scales,
                                        .num_layers = context_.spec.num_layers(),
                                        .from = arrays_.copy_from,
                                        .to = arrays_.copy_to,
                                        .count = shape_.copies},
                                       context_.stream);
  });
}

void CudaPass::Sample(const LogitRound& round, int32_t max_top, const CudaResultArrays& results) {
  if (round.num_samples == 0) return;
  const int64_t first = round.first_sample;
  Try("sampling", [&] {
    return context_.kernels.sample({.logits = context_.activations.logits,
                                    .logit_stride = CudaLogitStride(context_.spec.vocab_size),
                                    .vocab_size = context_.spec.vocab_size,
                                    .rows = arrays_.samples + first,
                                    .changes = arrays_.changes,
                                    .num_rows = round.num_samples,
                                    .scratch = context_.activations.scratch,
                                    .tokens = results.tokens + first,
                                    .logprobs = results.logprobs + first,
                                    .top_tokens = results.top_tokens + first * max_top,
                                    .top_logprobs = results.top_logprobs + first * max_top,
                                    .max_top = max_top},
                                   context_.stream);
  });
}

void CudaPass::Score(const LogitRound& round, int32_t max_top, const CudaResultArrays& results) {
  if (round.num_scores == 0) return;
  const int64_t first = int64_t{shape_.samples} + round.first_score;
  Try("scoring", [&] {
    return context_.kernels.score({.logits = context_.activations.logits,
                                   .logit_stride = CudaLogitStride(context_.spec.vocab_size),
                                   .vocab_size = context_.spec.vocab_size,
                                   .rows = arrays_.scores + round.first_score,
                                   .num_rows = round.num_scores,
                                   .logprobs = results.logprobs + first,
                                   .top_tokens = results.top_tokens + first * max_top,
                                   .top_logprobs = results.top_logprobs + first * max_top,
                                   .max_top = max_top},
                                  context_.stream);
  });
}

}  // namespace ropeway
