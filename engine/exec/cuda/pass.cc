#include "engine/exec/cuda/pass.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace ropeway {
namespace {

// The norm of a row of the residual: where the model has none there, the row is converted only.
NormKind KindOf(const DecoderSpec& spec, const NormWeights<const float*>& norm) {
  return norm.weight == nullptr ? NormKind::kNone : spec.norm.kind;
}

// The most of each field.
LatentSpec WidestLatent(const DecoderSpec& spec) {
  LatentSpec widest;
  for (const LayerSpec& layer : spec.layers) {
    const LatentSpec& latent = layer.attention.latent;
    widest.query_rank = std::max(widest.query_rank, latent.query_rank);
    widest.kv_rank = std::max(widest.kv_rank, latent.kv_rank);
    widest.rotary_dim = std::max(widest.rotary_dim, latent.rotary_dim);
  }
  return widest;
}

// A row for each token, as wide as any, or for each choice.
cuda::Fp8Rows CarveQuantized(const DecoderSpec& spec, const CudaActivationsShape& shape, Carver& carver) {
  if (shape.widest_fp8.of_all == 0) return {};
  const int64_t tokens = shape.max_tokens, choices = tokens * spec.max_experts().per_token;
  const int64_t of_tokens =
      tokens * cuda::Fp8RowBytes(shape.widest_fp8.of_all) * (shape.fp8_warpgroups ? 2 : 1);
  const int64_t of_choices = choices * cuda::Fp8RowBytes(shape.widest_fp8.of_choices);
  return {carver.TakeBytes(std::max(of_tokens, of_choices)), carver.Take<float>(std::max(tokens, choices))};
}

bool NormsAllHeads(const DecoderSpec& spec) {
  return std::any_of(spec.layers.begin(), spec.layers.end(),
                     [](const LayerSpec& layer) { return layer.attention.head_norm.all_heads; });
}

}  // namespace

CudaActivations CarveActivations(const DecoderSpec& spec, const CudaActivationsShape& shape, Carver& carver) {
  const int64_t t = shape.max_tokens, s = shape.max_logit_rows, bytes = cuda::BytesOf(shape.element);
  CudaActivations a = {};
  a.residual = carver.Take<float>(t * spec.hidden_size);
  if (spec.embedding_size > 0) {
    a.embedded = carver.Take<float>(t * spec.embedding_size);
    a.narrow = carver.TakeBytes(std::max(t, s) * spec.embedding_size * bytes);
  }
  a.normed = carver.TakeBytes(t * spec.hidden_size * bytes);
  a.qkv = carver.TakeBytes(t * spec.qkv_size() * bytes);
  a.queries = carver.TakeBytes(t * spec.num_heads * spec.head_dim * bytes);
  a.squares = NormsAllHeads(spec) ? carver.Take<float>(2 * t) : nullptr;
  for (uint8_t** turned : {&a.previous_queries, &a.older_queries})
    *turned = spec.has_zones() ? carver.TakeBytes(t * spec.num_heads * spec.head_dim * bytes) : nullptr;
  const LatentSpec latent = WidestLatent(spec);
  if (latent.kv_rank > 0) {
    a.latent =
        carver.TakeBytes(t * (latent.query_rank + latent.kv_rank + int64_t{latent.rotary_dim}) * bytes);
    a.latent_query = carver.TakeBytes(t * latent.query_rank * bytes);
    a.latent_kv = carver.TakeBytes(t * latent.kv_rank * bytes);
  }
  a.attention = carver.TakeBytes(t * spec.num_heads * spec.value_dim * bytes);
  a.branch = carver.TakeBytes(t * spec.hidden_size * bytes);
  a.ffn_input = carver.TakeBytes(t * 2 * spec.max_ffn_size() * bytes);
  a.gated = carver.TakeBytes(t * spec.max_ffn_size() * bytes);
  a.experts = CarveExperts(spec, shape, carver);
  a.partials = carver.Take<float>(shape.partial_floats);
  a.arrivals = carver.Take<int32_t>(shape.arrivals);
  a.unpacked = {carver.TakeBytes(shape.unpacked_bytes), shape.unpacked_bytes};
  a.quantized = CarveQuantized(spec, shape, carver);
  a.chosen = carver.TakeBytes(s * spec.hidden_size * bytes);
  a.logits = carver.Take<float>(s * CudaLogitStride(spec.vocab_size));
  a.scratch = carver.Take<float>(s * spec.vocab_size);
  a.sample_states = carver.Take<cuda::SampleState>(s);
  return a;
}

absl::Status CudaPass::status() const {
  if (error_ < cuda::kFirstGemmError) return CudaStatus(context_.runtime, error_, what_);
  return absl::InternalError(absl::StrCat(what_, ": ", context_.gemm.Describe(error_)));
}

cuda::NormArgs CudaPass::NormArgsOf(const Vectors& norm, const NormedRows& normed) const {
  return {.kind = KindOf(context_.spec, norm),
          .element = normed.element,
          .num_rows = normed.count,
          .columns = context_.spec.hidden_size,
          .epsilon = context_.spec.norm.epsilon,
          .residual = context_.activations.residual,
          .weight = norm.weight,
          .bias = norm.bias,
          .rows = normed.rows,
          .out = normed.out};
}

cuda::NormArgs CudaPass::NormArgsOf(const Vectors& norm) const {
  return NormArgsOf(
      norm, {.element = context_.element, .count = shape_.tokens, .out = context_.activations.normed});
}

void CudaPass::Norm(const char* what, const Vectors& norm, const NormedRows& normed) {
  Try(what, [&] { return context_.kernels.norm(NormArgsOf(norm, normed), context_.stream); });
}

// normed = norm(residual)
void CudaPass::NormResidual(const Vectors& norm) {
  Try("normalising", [&] { return context_.kernels.norm(NormArgsOf(norm), context_.stream); });
}

// residual = norm(residual)
void CudaPass::NormResidualInPlace(const Vectors& norm) {
  Norm("normalising the residual", norm,
       {.element = cuda::Element::kF32, .count = shape_.tokens, .out = context_.activations.residual});
}

// normed = residual = norm(residual)
void CudaPass::NormStream(const Vectors& norm) {
  NormResidualInPlace(norm);
  NormResidual({});
}

cuda::NormArgs CudaPass::AddArgsOf(const CudaProjection& projection, const Vectors& post_norm) const {
  return {.kind = NormKind::kNone,
          .element = context_.element,
          .num_rows = shape_.tokens,
          .columns = context_.spec.hidden_size,
          .epsilon = context_.spec.norm.epsilon,
          .residual = context_.activations.residual,
          .branch = context_.activations.branch,
          .branch_bias = projection.bias,
          .post_kind = KindOf(context_.spec, post_norm),
          .post_weight = post_norm.weight,
          .post_bias = post_norm.bias,
          .branch_scale = context_.spec.block.residual_scale};
}

// The end of a block and the norm at the beginning of the next one, by the same kernel.
void CudaPass::AddBranch(const CudaProjection& projection, const Vectors& post_norm,
                         const Vectors* next_norm) {
  cuda::NormArgs args = AddArgsOf(projection, post_norm);
  if (next_norm != nullptr) {
    args.kind = KindOf(context_.spec, *next_norm);
    args.weight = next_norm->weight;
    args.bias = next_norm->bias;
    args.out = context_.activations.normed;
  }
  Try("adding to the residual", [&] { return context_.kernels.norm(args, context_.stream); });
}

void CudaPass::SumOverRanks() {
  if (context_.collective == nullptr) return;
  Try("adding up over ranks", [&] {
    return context_.collective->AllReduce(context_.activations.branch,
                                          int64_t{shape_.tokens} * context_.spec.hidden_size,
                                          context_.element, context_.stream);
  });
}

// residual = the projected rows of a narrow table, where scale and positions find them.
void CudaPass::EmbedNarrow() {
  const CudaActivations& a = context_.activations;
  const DecoderSpec& spec = context_.spec;
  Try("embedding tokens", [&] {
    return context_.kernels.embed({.table = context_.weights.embedding,
                                   .token_ids = arrays_.token_ids,
                                   .num_tokens = shape_.tokens,
                                   .scale = 1,
                                   .residual = a.embedded},
                                  context_.stream);
  });
  Try("converting embeddings", [&] {
    return context_.kernels.norm({.kind = NormKind::kNone,
                                  .element = context_.element,
                                  .num_rows = shape_.tokens,
                                  .columns = spec.embedding_size,
                                  .residual = a.embedded,
                                  .out = a.narrow},
                                 context_.stream);
  });
  Multiply(context_.weights.embedding_in, a.narrow, shape_.tokens, a.residual, spec.hidden_size,
           cuda::Element::kF32);
}

void CudaPass::Embed() {
  const bool is_narrow = context_.spec.embedding_size > 0;
  if (is_narrow) EmbedNarrow();
  const cuda::DeviceMatrix projected{.type = DType::kF32,
                                     .rows = shape_.tokens,
                                     .columns = context_.spec.hidden_size,
                                     .data = context_.activations.residual};
  Try("embedding tokens", [&] {
    return context_.kernels.embed({.table = is_narrow ? projected : context_.weights.embedding,
                                   .token_ids = is_narrow ? nullptr : arrays_.token_ids,
                                   .num_tokens = shape_.tokens,
                                   .scale = context_.spec.embedding_scale,
                                   .position_rows = context_.weights.input_positions,
                                   .positions = arrays_.positions,
                                   .residual = context_.activations.residual},
                                  context_.stream);
  });
  if (context_.spec.embedding_norm) NormResidualInPlace(context_.weights.embedding_norm);
  if (shape_.tokens > fusion(0).attention_norm)
    NormResidual(NormsStream() ? Vectors{} : context_.weights.layers[0].attention_norm);
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

void CudaPass::TakeTokens() {
  if (context_.sampled == nullptr) return;
  if (context_.collective != nullptr)
    Try("telling other ranks the tokens of the step before", [&] {
      return context_.collective->Broadcast(context_.sampled, context_.max_sampled, context_.stream);
    });
  Try("taking tokens of the step before", [&] {
    return context_.kernels.take_tokens({.token_ids = arrays_.token_ids,
                                         .sampled = context_.sampled,
                                         .num_tokens = shape_.tokens,
                                         .vocab_size = context_.spec.vocab_size},
                                        context_.stream);
  });
}

}  // namespace ropeway
