// The first half of a block: queries, keys and values, attention, and what it adds.
#include <algorithm>

#include "engine/exec/cuda/pass.h"

namespace ropeway {

cuda::KvPages CudaPass::KvOf(int layer) const {
  cuda::KvPages kv = context_.kv;
  kv.data += layer * context_.layer_kv_bytes;
  if (kv.scales != nullptr) kv.scales += layer * context_.layer_kv_scales;
  return kv;
}

// Blocks take a pair of an item and a KV head at a time.
int CudaPass::BlocksFor(int32_t items, int blocks_of_a_processor) const {
  const int64_t pairs = int64_t{items} * context_.spec.num_kv_heads;
  return static_cast<int>(std::min<int64_t>(pairs, int64_t{context_.processors} * blocks_of_a_processor));
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
  cuda::AttentionArgs args{.element = context_.element,
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
                           .narrow = {arrays_.narrow, &arrays_.work_counts[0]},
                           .wide = {arrays_.wide, &arrays_.work_counts[1]},
                           .maps = context_.kv_maps.empty() ? nullptr : &context_.kv_maps[layer],
                           .merges = arrays_.merges,
                           .arrivals = context_.activations.arrivals,
                           .workspace = context_.activations.partials};
  args.narrow.blocks =
      BlocksFor(shape_.narrow, cuda::CopiesInBulk(args) ? cuda::kDecodeBlocks : cuda::kOtherBlocks);
  args.wide.blocks = BlocksFor(shape_.wide, cuda::kOtherBlocks);
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

}  // namespace ropeway
