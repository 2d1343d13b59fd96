#include "engine/exec/cuda/pass.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace ropeway {
namespace {

// Blocks of attention per processor: enough to hide the latency of memory.
constexpr int kBlocksPerProcessor = 4;

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
  a.chosen = carver.TakeBytes(s * spec.hidden_size * bytes);
  a.logits = carver.Take<float>(s * CudaLogitStride(spec.vocab_size));
  a.scratch = carver.Take<float>(s * spec.vocab_size);
  return a;
}

absl::Status CudaPass::status() const {
  if (error_ < cuda::kFirstGemmError) return CudaStatus(context_.runtime, error_, what_);
  return absl::InternalError(absl::StrCat(what_, ": ", context_.gemm.Describe(error_)));
}

ProductTools CudaPass::Tools() const {
  return {.kernels = context_.kernels,
          .gemm = context_.gemm,
          .slice = context_.activations.unpacked,
          .stream = context_.stream};
}

cuda::MatMulArgs CudaPass::ArgsOf(const CudaProjection::Part& part, const uint8_t* x, int64_t tokens, void* y,
                                  int64_t y_stride, cuda::Element out) const {
  return {.weights = part.matrix,
          .element = context_.element,
          .out = out,
          .num_tokens = tokens,
          .processors = context_.processors,
          .x = x,
          .y = static_cast<uint8_t*>(y) + part.first_output * cuda::BytesOf(out),
          .y_stride = y_stride};
}

void CudaPass::Multiply(const CudaProjection& projection, const uint8_t* x, int64_t tokens, void* y,
                        int64_t y_stride, cuda::Element out) {
  for (const CudaProjection::Part& part : projection.parts)
    Try("multiplying matrices",
        [&] { return MultiplyOnCuda(ArgsOf(part, x, tokens, y, y_stride, out), Tools()); });
}

void CudaPass::MultiplyWith(const CudaProjection& projection, const uint8_t* x, uint8_t* y,
                            cuda::FusedMatMulArgs args) {
  if (!args.norm && !args.add && !args.gate && !args.qkv)
    return Multiply(projection, x, shape_.tokens, y, projection.outputs, context_.element);
  args.product = ArgsOf(projection.parts[0], x, shape_.tokens, y, projection.outputs, context_.element);
  Try("multiplying matrices between their neighbours",
      [&] { return context_.kernels.fused_matmul(args, context_.stream); });
}

void CudaPass::PrepareProduct(const CudaProjection& projection, const uint8_t* x, int64_t tokens, void* y,
                              int64_t y_stride, cuda::Element out) {
  for (const CudaProjection::Part& part : projection.parts)
    Try("preparing products of matrices",
        [&] { return PrepareOnCuda(ArgsOf(part, x, tokens, y, y_stride, out), Tools()); });
}

void CudaPass::PrepareProducts(int32_t max_tokens, int32_t max_logit_rows) {
  const CudaActivations& a = context_.activations;
  const DecoderSpec& spec = context_.spec;
  const cuda::Element element = context_.element;
  for (const CudaLayer& layer : context_.weights.layers) {  // of one shape the first is measured
    PrepareProduct(layer.latent, a.normed, max_tokens, a.latent, layer.latent.outputs, element);
    PrepareProduct(layer.latent_kv, a.latent_kv, max_tokens,
                   a.qkv + int64_t{spec.num_heads} * spec.head_dim * cuda::BytesOf(element), spec.qkv_size(),
                   element);
    PrepareProduct(layer.qkv, layer.latent_query_norm == nullptr ? a.normed : a.latent_query, max_tokens,
                   a.qkv, spec.qkv_size(), element);
    PrepareProduct(layer.attention_output, a.attention, max_tokens, a.branch, spec.hidden_size, element);
    PrepareProduct(layer.ffn_input, a.normed, max_tokens, a.ffn_input, layer.ffn_input.outputs, element);
    if (!layer.router.parts.empty())
      PrepareProduct(layer.router, a.normed, max_tokens, a.experts.z,
                     CudaRouterStride(static_cast<int32_t>(layer.experts.size())), cuda::Element::kF32);
    PrepareProduct(layer.down, a.gated, max_tokens, a.branch, spec.hidden_size, element);
  }
  const bool is_narrow = spec.embedding_size > 0;
  if (is_narrow)
    PrepareProduct(context_.weights.embedding_in, a.narrow, max_tokens, a.residual, spec.hidden_size,
                   cuda::Element::kF32);
  if (max_logit_rows == 0) return;
  if (is_narrow)
    PrepareProduct(context_.weights.embedding_out, a.chosen, max_logit_rows, a.narrow, spec.embedding_size,
                   element);
  PrepareProduct(context_.weights.output, is_narrow ? a.narrow : a.chosen, max_logit_rows, a.logits,
                 CudaLogitStride(spec.vocab_size), cuda::Element::kF32);
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

void CudaPass::ProjectQkv(int layer) {
  const CudaActivations& a = context_.activations;
  const CudaLayer& weights = context_.weights.layers[layer];
  if (context_.spec.block.norms_stream) NormStream(weights.attention_norm);
  if (context_.spec.layers[layer].attention.is_latent()) return ProjectLatent(layer);
  cuda::FusedMatMulArgs neighbours;
  if (shape_.tokens <= fusion(layer).attention_norm) neighbours.norm = NormArgsOf(weights.attention_norm);
  if (shape_.tokens <= fusion(layer).heads) neighbours.qkv = QkvArgsOf(layer);
  MultiplyWith(weights.qkv, a.normed, a.qkv, neighbours);
}

// Queries, keys and values of all heads, from narrow rows; the rotated columns of keys are left to qkv.
void CudaPass::ProjectLatent(int layer) {
  const DecoderSpec& spec = context_.spec;
  const CudaActivations& a = context_.activations;
  const CudaLayer& weights = context_.weights.layers[layer];
  const LatentSpec& latent = spec.layers[layer].attention.latent;
  const int64_t bytes = cuda::BytesOf(context_.element), stride = weights.latent.outputs;
  Multiply(weights.latent, a.normed, shape_.tokens, a.latent, stride, context_.element);
  const float* bias = weights.latent.bias;
  const auto norm = [&](int64_t first, int columns, const float* weight, uint8_t* out) {
    Try("normalising latent rows", [&] {
      return context_.kernels.norm_columns({.element = context_.element,
                                            .num_tokens = shape_.tokens,
                                            .columns = columns,
                                            .epsilon = latent.epsilon,
                                            .x = a.latent + first * bytes,
                                            .x_stride = stride,
                                            .bias = bias == nullptr ? nullptr : bias + first,
                                            .weight = weight,
                                            .out = out},
                                           context_.stream);
    });
  };
  const bool is_narrow = latent.query_rank > 0;
  if (is_narrow) norm(0, latent.query_rank, weights.latent_query_norm, a.latent_query);
  norm(latent.query_rank, latent.kv_rank, weights.latent_kv_norm, a.latent_kv);
  Multiply(weights.qkv, is_narrow ? a.latent_query : a.normed, shape_.tokens, a.qkv, spec.qkv_size(),
           context_.element);
  Multiply(weights.latent_kv, a.latent_kv, shape_.tokens,
           a.qkv + int64_t{spec.num_heads} * spec.head_dim * bytes, spec.qkv_size(), context_.element);
}

void CudaPass::SetRotation(int layer, cuda::QkvArgs& args) const {
  const int index = context_.weights.layer_rotaries[layer];
  if (index < 0) return;
  const CudaRotary& rotary = context_.weights.rotaries[index];
  args.rotary_dim = rotary.rotary_dim;
  args.interleaved = rotary.interleaved;
  args.cosines = rotary.angles.cosines;
  args.sines = rotary.angles.sines;
  if (args.cosines == nullptr) {
    args.angle_rows = arrays_.angle_rows;
    args.cosines = arrays_.angles + rotary.request_floats * shape_.tokens;
    args.sines = args.cosines + int64_t{rotary.rotary_dim / 2} * shape_.tokens;
  }
  if (rotary.previous.cosines == nullptr) return;
  const CudaActivations& a = context_.activations;
  args.previous = {rotary.previous.cosines, rotary.previous.sines, a.previous_queries};
  args.older = {rotary.older.cosines, rotary.older.sines, a.older_queries};
}

// Norms over all heads need what other ranks have of them.
void CudaPass::SumSquaresOverRanks(cuda::QkvArgs& args) {
  float* const squares = context_.activations.squares;
  Try("summing up squares of heads",
      [&] { return context_.kernels.head_squares({.qkv = args, .out = squares}, context_.stream); });
  Try("adding up squares over ranks", [&] {
    return context_.collective->AllReduce(squares, int64_t{2} * shape_.tokens, cuda::Element::kF32,
                                          context_.stream);
  });
  args.norms.squares = squares;
  args.norms.devices = context_.ranks;
}

void CudaPass::RotateAndStore(int layer) {
  if (shape_.tokens <= fusion(layer).heads) return;  // ProjectQkv did
  cuda::QkvArgs args = QkvArgsOf(layer);
  if (args.norms.all_heads && context_.collective != nullptr) SumSquaresOverRanks(args);
  Try("rotating queries and keys", [&] { return context_.kernels.qkv(args, context_.stream); });
}

cuda::QkvArgs CudaPass::QkvArgsOf(int layer) const {
  const DecoderSpec& spec = context_.spec;
  const CudaLayer& weights = context_.weights.layers[layer];
  const AttentionSpec& attention = spec.layers[layer].attention;
  const HeadNormSpec& norm = attention.head_norm;
  cuda::QkvArgs args{.element = context_.element,
                     .num_tokens = shape_.tokens,
                     .num_heads = spec.num_heads,
                     .qkv = context_.activations.qkv,
                     .bias = weights.qkv.bias,
                     .clip = attention.clip,
                     .clip_after_norm = attention.clip_after_norm,
                     .norms = {.kind = norm.kind,
                               .all_heads = norm.all_heads,
                               .after_rotation = norm.after_rotation,
                               .epsilon = norm.epsilon,
                               .query_weight = weights.query_norm.weight,
                               .query_bias = weights.query_norm.bias,
                               .key_weight = weights.key_norm.weight,
                               .key_bias = weights.key_norm.bias},
                     .query_scales = weights.query_factors,
                     .positions = arrays_.positions,
                     .token_rows = arrays_.token_rows,
                     .page_tables = arrays_.page_tables,
                     .max_pages = shape_.max_pages,
                     .kv = KvOf(layer),
                     .queries = context_.activations.queries};
  if (const LatentSpec& latent = attention.latent; latent.kv_rank > 0) {
    const int64_t first = int64_t{latent.query_rank} + latent.kv_rank;
    args.shared_keys = context_.activations.latent + first * cuda::BytesOf(context_.element);
    args.shared_stride = weights.latent.outputs;
    args.shared_columns = latent.rotary_dim;
    if (weights.latent.bias != nullptr) args.shared_bias = weights.latent.bias + first;
  }
  SetRotation(layer, args);
  return args;
}

void CudaPass::Attend(int layer) {
  const DecoderSpec& spec = context_.spec;
  const cuda::AttentionArgs args{
      .element = context_.element,
      .kv = KvOf(layer),
      .num_heads = spec.num_heads,
      .scale = spec.layers[layer].attention.scale,
      .modifier = context_.weights.modifiers[layer],
      .queries = context_.activations.queries,
      .previous_queries = context_.activations.previous_queries,
      .older_queries = context_.activations.older_queries,
      .out = context_.activations.attention,
      .page_tables = arrays_.page_tables,
      .max_pages = shape_.max_pages,
      .narrow = {arrays_.narrow, &arrays_.work_counts[0], BlocksFor(shape_.narrow)},
      .wide = {arrays_.wide, &arrays_.work_counts[1], BlocksFor(shape_.wide)},
      .merges = arrays_.merges,
      .arrivals = context_.activations.arrivals,
      .workspace = context_.activations.partials};
  Try("attention", [&] { return context_.kernels.attention(args, context_.stream); });
}

void CudaPass::AddAttention(int layer) {
  const CudaActivations& a = context_.activations;
  const CudaLayer& weights = context_.weights.layers[layer];
  if (shape_.tokens <= fusion(layer).attention_add)
    return MultiplyWith(
        weights.attention_output, a.attention, a.branch,
        {.product = {}, .norm = {}, .add = AddArgsOf(weights.attention_output, {}), .gate = {}, .qkv = {}});
  Multiply(weights.attention_output, a.attention, shape_.tokens, a.branch, context_.spec.hidden_size,
           context_.element);
  SumOverRanks();
  // A parallel block has read the residual for both branches already.
  const bool sequential = context_.spec.block.kind == BlockKind::kSequential;
  AddBranch(
      weights.attention_output, weights.attention_post_norm,
      sequential && !NormsStream() && shape_.tokens > fusion(layer).ffn_norm ? &weights.ffn_norm : nullptr);
  if (context_.spec.block.norms_sum) NormStream(weights.attention_norm);
}

cuda::GateArgs CudaPass::GateArgsOf(int layer) const {
  const FfnSpec& ffn = context_.spec.layers[layer].ffn;
  const CudaLayer& weights = context_.weights.layers[layer];
  return {.activation = ffn.activation,
          .gated = ffn.gated,
          .element = context_.element,
          .num_tokens = shape_.tokens,
          .columns = ffn.has_experts() ? ffn.experts.shared_size : ffn.size,
          .gate_up = context_.activations.ffn_input,
          .bias = weights.ffn_input.bias,
          .numbers = weights.numbers,
          .out = context_.activations.gated};
}

void CudaPass::ProjectFfn(int layer) {
  const CudaActivations& a = context_.activations;
  const CudaLayer& weights = context_.weights.layers[layer];
  const bool norms = shape_.tokens <= fusion(layer).ffn_norm;
  const bool activates = shape_.tokens <= fusion(layer).activation;
  if (context_.spec.block.kind == BlockKind::kParallelTwoNorms && !norms) NormResidual(weights.ffn_norm);
  if (context_.spec.block.norms_stream) NormStream(weights.ffn_norm);
  if (context_.spec.layers[layer].ffn.has_experts()) ProjectExperts(layer);
  if (weights.ffn_input.parts.empty()) return;  // no expert that all tokens go to
  cuda::FusedMatMulArgs neighbours;
  if (norms) neighbours.norm = NormArgsOf(weights.ffn_norm);
  if (activates) neighbours.gate = GateArgsOf(layer);
  MultiplyWith(weights.ffn_input, a.normed, a.ffn_input, neighbours);
  if (activates) return;
  Try("the activation of the feed-forward layer",
      [&] { return context_.kernels.gate(GateArgsOf(layer), context_.stream); });
}

void CudaPass::AddFeedForward(int layer) {
  const CudaActivations& a = context_.activations;
  const std::vector<CudaLayer>& layers = context_.weights.layers;
  const CudaLayer& weights = layers[layer];
  if (shape_.tokens <= fusion(layer).ffn_add)
    return MultiplyWith(
        weights.down, a.gated, a.branch,
        {.product = {}, .norm = {}, .add = AddArgsOf(weights.down, {}), .gate = {}, .qkv = {}});
  Multiply(weights.down, a.gated, shape_.tokens, a.branch, context_.spec.hidden_size, context_.element);
  if (context_.spec.layers[layer].ffn.has_experts()) AddExperts(layer);
  SumOverRanks();
  const bool last = layer + 1 == context_.spec.num_layers();
  const bool norms = !last && !NormsStream() && shape_.tokens > fusion(layer + 1).attention_norm;
  AddBranch(weights.down, weights.ffn_post_norm, norms ? &layers[layer + 1].attention_norm : nullptr);
  if (context_.spec.block.norms_sum) NormStream(weights.ffn_norm);
}

void CudaPass::ChooseLogitRows(int32_t first, int32_t count) {
  first_logit_row_ = first;
  num_logit_rows_ = count;
}

void CudaPass::NormOutput() {
  Norm("normalising the output", context_.weights.output_norm,
       {.element = context_.element,
        .count = num_logit_rows_,
        .rows = arrays_.logit_tokens + first_logit_row_,
        .out = context_.activations.chosen});
}

void CudaPass::ProjectOutput() {
  const CudaActivations& a = context_.activations;
  const DecoderSpec& spec = context_.spec;
  const bool is_narrow = spec.embedding_size > 0;
  if (is_narrow)
    Multiply(context_.weights.embedding_out, a.chosen, num_logit_rows_, a.narrow, spec.embedding_size,
             context_.element);
  Multiply(context_.weights.output, is_narrow ? a.narrow : a.chosen, num_logit_rows_, a.logits,
           CudaLogitStride(spec.vocab_size), cuda::Element::kF32);
}

void CudaPass::FinishLogits() {
  const float* bias = context_.weights.output.bias;
  if (bias == nullptr && context_.spec.logit_softcap == 0) return;
  Try("finishing logits", [&] {
    return context_.kernels.finish_logits({.logits = context_.activations.logits,
                                           .stride = CudaLogitStride(context_.spec.vocab_size),
                                           .num_rows = num_logit_rows_,
                                           .vocab_size = context_.spec.vocab_size,
                                           .bias = bias,
                                           .softcap = context_.spec.logit_softcap},
                                          context_.stream);
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

void CudaPass::TakeTokens() {
  if (context_.sampled == nullptr) return;
  Try("taking tokens of the step before", [&] {
    return context_.kernels.take_tokens({.token_ids = arrays_.token_ids,
                                         .sampled = context_.sampled,
                                         .num_tokens = shape_.tokens,
                                         .vocab_size = context_.spec.vocab_size},
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
                                    .changes = arrays_.changes + round.change_place,
                                    .token_ids = arrays_.token_ids,
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
