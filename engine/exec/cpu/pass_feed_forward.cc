// The feed-forward layer of a step, whole or of experts, and the end of a block.
#include <algorithm>

#include "engine/exec/cpu/pass_phases.h"

namespace ropeway {

using kernels::Epilogue;

void Decoder::Pass::ProjectFfn(int index) {
  const CpuLayer& layer = weights_.layers[index];
  const FfnSpec& ffn = spec_.layers[index].ffn;
  if (spec_.block.norms_stream) NormStream(layer.ffn_norm);
  if (ffn.has_experts()) ProjectExperts(index);
  if (layer.ffn_input.parts.empty()) return;
  Multiply(FromStream(layer.ffn_norm), layer.ffn_input,
           {workspace_.ffn_.as<float>(), workspace_.ffn_stride_,
            ffn.gated ? Epilogue::kGate : Epilogue::kActivate, ffn.activation, layer.numbers},
           &layer.down);
}

ExpertsPass Decoder::Pass::Experts(int index) {
  return ExpertsPass({spec_.layers[index].ffn, weights_.layers[index], spec_.hidden_size}, table_,
                     num_tokens(), workspace_.experts_, team_);
}

void Decoder::Pass::ProjectExperts(int index) {
  const Input input = FromStream(weights_.layers[index].ffn_norm);
  Multiply(input, weights_.layers[index].router,
           {workspace_.experts_.logits(0), workspace_.experts_.logit_stride()}, nullptr);
  ExpertsPass experts = Experts(index);
  experts.Route();
  experts.Project([&](int64_t token, float* x) {
    if (input.norm == nullptr || input.norm->weight.empty())
      std::copy_n(Hidden(token), spec_.hidden_size, x);
    else
      NormRow(*input.norm, Hidden(token), x);
  });
}

// What the experts of each token give is added to what the expert of all tokens gives, where there is one.
void Decoder::Pass::AddExperts(int index, const CpuProjection* next) {
  const CpuLayer& layer = weights_.layers[index];
  ExpertsPass experts = Experts(index);
  experts.ProjectBack();
  const bool has_shared = !layer.down.parts.empty();
  if (has_shared)
    Multiply({workspace_.ffn_.as<float>(), workspace_.ffn_stride_, num_tokens()}, layer.down,
             {Branch(0), workspace_.hidden_stride_}, next);
  const ExpertsSpec& spec = spec_.layers[index].ffn.experts;
  ForEachToken(team_, num_tokens(), [&](int64_t t) {
    float* branch = Branch(t);
    if (!has_shared) std::fill_n(branch, spec_.hidden_size, 0.f);
    if (spec.shared_gate) {
      const float weight = SharedExpertWeight(workspace_.experts_.logits(t)[spec.count]);
      for (int64_t i = 0; i < spec_.hidden_size; ++i) branch[i] *= weight;
    }
    experts.Add(t, branch);
    AddBranch(layer.ffn_post_norm, t);
  });
}

void Decoder::Pass::AddFeedForward(int index) {
  const CpuLayer& layer = weights_.layers[index];
  const CpuProjection* next = NextOf(index);
  if (spec_.layers[index].ffn.has_experts())
    AddExperts(index, next);
  else
    AddToHidden({workspace_.ffn_.as<float>(), workspace_.ffn_stride_, num_tokens()}, layer.down,
                layer.ffn_post_norm, next);
  if (spec_.block.norms_sum) NormStream(layer.ffn_norm);
}

// What is multiplied by after a layer.
const CpuProjection* Decoder::Pass::NextOf(int index) const {
  if (index + 1 == spec_.num_layers())
    return spec_.embedding_size > 0 ? &weights_.embedding_out : &weights_.output;
  const CpuLayer& next = weights_.layers[index + 1];
  return next.latent.parts.empty() ? &next.qkv : &next.latent;
}

// The end of a block: hidden += scale * projection, or hidden += scale * norm(projection).
void Decoder::Pass::AddToHidden(const Input& input, const CpuProjection& projection, const Vectors& post_norm,
                                const CpuProjection* next) {
  const BlockSpec& block = spec_.block;
  if (!block.post_norm && block.residual_scale == 1) {
    Multiply(input, projection, {Hidden(0), workspace_.hidden_stride_, Epilogue::kAdd}, next);
    return;
  }
  Multiply(input, projection, {Branch(0), workspace_.hidden_stride_}, next);
  ForEachToken(team_, input.num_tokens, [&](int64_t t) { AddBranch(post_norm, t); });
}

void Decoder::Pass::AddBranch(const Vectors& post_norm, int64_t token) {
  if (spec_.block.post_norm) NormRow(post_norm, Branch(token), Branch(token));
  table_.add(Branch(token), spec_.block.residual_scale, spec_.hidden_size, Hidden(token));
}

}  // namespace ropeway
