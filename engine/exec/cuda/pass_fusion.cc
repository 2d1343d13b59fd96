// Which neighbours the products of a layer take into their kernels.
#include <algorithm>
#include <climits>
#include <vector>

#include "engine/exec/cuda/pass.h"
#include "engine/kernels/cuda/fused_matmul.h"

namespace ropeway {
namespace {

// With more what is between products is little beside them.
constexpr int kMostFusedTokens = 1024;

}  // namespace

int CudaPass::FusedTokensOf(const CudaProjection& projection, cuda::FusedMatMulArgs args) const {
  if (projection.parts.size() != 1) return 0;
  if (projection.parts[0].is_fp8) return args.gate ? INT_MAX : 0;
  // As many as the kernels that were chosen for them, and for fewer, take.
  for (int tokens = 1; tokens <= kMostFusedTokens; ++tokens) {
    args.product =
        ArgsOf(projection.parts[0], nullptr, tokens, nullptr, projection.outputs, context_.element);
    const ProductKernel kernel = context_.choices.KernelFor(args.product);
    args.product.warpgroups = kernel == ProductKernel::kWarpgroups;
    const bool is_own = kernel != ProductKernel::kUnpack && kernel != ProductKernel::kGemm;
    if (!is_own || tokens > cuda::FusedTokens(args)) return tokens - 1;
  }
  return kMostFusedTokens;
}

LayerFusion CudaPass::FusionOf(int layer) const {
  const CudaLayer& weights = context_.weights.layers[layer];
  const LayerSpec& spec = context_.spec.layers[layer];
  const BlockSpec& block = context_.spec.block;
  const bool latent = spec.attention.is_latent(), experts = spec.ffn.has_experts();
  // What the branches of all ranks come to is added up first.
  const bool adds = context_.collective == nullptr && !block.post_norm && !NormsStream();
  const auto with_norm = [&](const CudaProjection& projection, const Vectors& norm) {
    cuda::FusedMatMulArgs args;
    args.norm = NormArgsOf(norm);
    return NormsStream() ? 0 : FusedTokensOf(projection, args);
  };
  const auto with_add = [&](const CudaProjection& projection) {
    cuda::FusedMatMulArgs args;
    args.add = AddArgsOf(projection, {});
    return adds ? FusedTokensOf(projection, args) : 0;
  };
  LayerFusion fusion;
  cuda::FusedMatMulArgs heads, activation;
  heads.qkv = QkvArgsOf(layer);
  activation.gate = GateArgsOf(layer);
  fusion.attention_norm = latent ? 0 : with_norm(weights.qkv, weights.attention_norm);
  fusion.heads = latent ? 0 : FusedTokensOf(weights.qkv, heads);
  fusion.attention_add = with_add(weights.attention_output);
  // The router wants the normed rows, too.
  fusion.ffn_norm = experts ? 0 : with_norm(weights.ffn_input, weights.ffn_norm);
  fusion.activation = FusedTokensOf(weights.ffn_input, activation);
  // What adds up experts may always add to the residual.
  fusion.ffn_add = !experts ? with_add(weights.down) : adds ? INT_MAX : 0;
  return fusion;
}

// A norm is made in front of a product where what comes before is added behind one: else both are made by the
// kernel that adds.
std::vector<LayerFusion> CudaPass::PlanFusions() const {
  std::vector<LayerFusion> fusions;
  for (int layer = 0; layer < context_.spec.num_layers(); ++layer) fusions.push_back(FusionOf(layer));
  const auto pair = [](int& one, int& other) { one = other = std::min(one, other); };
  const BlockKind kind = context_.spec.block.kind;
  for (size_t layer = 0; layer < fusions.size(); ++layer) {
    LayerFusion& own = fusions[layer];
    if (kind == BlockKind::kSequential) pair(own.attention_add, own.ffn_norm);
    if (kind == BlockKind::kParallel) pair(own.attention_norm, own.ffn_norm);  // one norm for both
    if (layer > 0) pair(fusions[layer - 1].ffn_add, own.attention_norm);
    if (kind == BlockKind::kParallel) own.ffn_norm = own.attention_norm;
  }
  return fusions;
}

}  // namespace ropeway
