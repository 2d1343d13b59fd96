// The second half of a block.
#include <vector>

#include "engine/exec/cuda/pass.h"

namespace ropeway {

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
  const bool has_experts = context_.spec.layers[layer].ffn.has_experts();
  const bool adds = shape_.tokens <= fusion(layer).ffn_add;
  if (adds && !has_experts)
    return MultiplyWith(
        weights.down, a.gated, a.branch,
        {.product = {}, .norm = {}, .add = AddArgsOf(weights.down, {}), .gate = {}, .qkv = {}});
  Multiply(weights.down, a.gated, shape_.tokens, a.branch, context_.spec.hidden_size, context_.element);
  if (has_experts) AddExperts(layer, adds);
  if (adds) return;
  SumOverRanks();
  const bool last = layer + 1 == context_.spec.num_layers();
  const bool norms = !last && !NormsStream() && shape_.tokens > fusion(layer + 1).attention_norm;
  AddBranch(weights.down, weights.ffn_post_norm, norms ? &layers[layer + 1].attention_norm : nullptr);
  if (context_.spec.block.norms_sum) NormStream(weights.ffn_norm);
}

}  // namespace ropeway
