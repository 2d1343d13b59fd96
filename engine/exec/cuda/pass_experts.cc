// A feed-forward layer of experts, on the stream of one device. Nothing waits for the host: who goes where is
// decided, and found, in device memory.
#include "engine/exec/cuda/pass.h"

namespace ropeway {
namespace {

cuda::ExpertScore ScoreOf(RouterScore score) {
  switch (score) {
    case RouterScore::kSoftmax:
      return cuda::ExpertScore::kSoftmax;
    case RouterScore::kSoftmaxChosen:
      return cuda::ExpertScore::kSoftmaxChosen;
    case RouterScore::kSigmoid:
      break;
  }
  return cuda::ExpertScore::kSigmoid;
}

// Where matrices of a layer differ, packed ones decide: tiles that are too small cost them most.
cuda::ExpertWeights ExpertWeightsOf(const CudaExperts& experts) {
  bool packed = false, fp8 = false;
  for (const CudaExpertMatrices* matrices : {&experts.input, &experts.down})
    for (const CudaExpertMatrices::Part& part : matrices->parts) {
      fp8 = fp8 || part.is_fp8;
      packed = packed || (!part.is_fp8 && cuda::IsPacked(part.shape.type));
    }
  if (packed) return cuda::ExpertWeights::kPacked;
  return fp8 ? cuda::ExpertWeights::kFp8 : cuda::ExpertWeights::kDense;
}

}  // namespace

int64_t CudaRouterStride(int32_t num_experts) { return (int64_t{num_experts} + 1 + 3) / 4 * 4; }

CudaExpertActivations CarveExperts(const DecoderSpec& spec, const CudaActivationsShape& shape,
                                   Carver& carver) {
  CudaExpertActivations a = {};
  const ExpertsSize most = spec.max_experts();
  if (most.count == 0) return a;
  const int64_t bytes = cuda::BytesOf(shape.element), slots = int64_t{shape.max_tokens} * most.per_token;
  a.z = carver.Take<float>(shape.max_tokens * CudaRouterStride(most.count));
  a.slots.experts = carver.Take<int32_t>(slots);
  a.slots.weights = carver.Take<float>(slots);
  a.slots.slots = carver.Take<int32_t>(slots);
  a.slots.slot_choices = carver.Take<int32_t>(slots);
  a.slots.slot_experts = carver.Take<int32_t>(slots);
  a.slots.tiles =
      carver.Take<cuda::ExpertTile>(cuda::MaxExpertTiles(slots, most.count, cuda::kFewExpertSlots));
  a.slots.num_tiles = carver.Take<int32_t>(1);
  a.input = carver.TakeBytes(slots * shape.widest_split_input * bytes);
  a.gated = carver.TakeBytes(slots * most.ffn_size * bytes);
  a.results = carver.TakeBytes(slots * spec.hidden_size * bytes);
  return a;
}

cuda::ExpertSlots CudaPass::SlotsOf(int layer) const {
  const ExpertsSpec& experts = context_.spec.layers[layer].ffn.experts;
  cuda::ExpertSlots slots = context_.activations.experts.slots;
  slots.tile_slots = cuda::ExpertTileSlots(int64_t{shape_.tokens} * experts.per_token, experts.count,
                                           ExpertWeightsOf(context_.weights.experts[layer]));
  return slots;
}

void CudaPass::RouteTokens(int layer) {
  const ExpertsSpec& experts = context_.spec.layers[layer].ffn.experts;
  const CudaLayer& weights = context_.weights.layers[layer];
  const CudaExpertActivations& a = context_.activations.experts;
  const int64_t stride = CudaRouterStride(experts.count);
  Multiply(weights.router, context_.activations.normed, shape_.tokens, a.z, stride, cuda::Element::kF32);
  Try("choosing experts", [&] {
    return context_.kernels.route({.score = ScoreOf(experts.score),
                                   .normalised = experts.normalised,
                                   .groups = experts.groups,
                                   .chosen_groups = experts.chosen_groups,
                                   .group_best = experts.group_best,
                                   .least_sum = experts.least_sum,
                                   .scale = experts.scale,
                                   .num_experts = experts.count,
                                   .per_token = experts.per_token,
                                   .num_tokens = shape_.tokens,
                                   .z = a.z,
                                   .bias = weights.router.bias,
                                   .correction = weights.router_correction,
                                   .z_stride = stride,
                                   .slots = SlotsOf(layer)},
                                  context_.stream);
  });
}

cuda::ExpertMatMulArgs CudaPass::ArgsOf(int layer, const CudaExpertMatrices& matrices,
                                        const CudaExpertMatrices::Part& part,
                                        const ExpertProduct& product) const {
  const ExpertsSpec& experts = context_.spec.layers[layer].ffn.experts;
  return {.weights = part.shape,
          .matrices = part.matrices,
          .element = context_.element,
          .num_experts = experts.count,
          .num_slots = shape_.tokens * experts.per_token,
          .per_token = product.of_tokens ? experts.per_token : 0,
          .scales = product.of_tokens && experts.scales_input,
          .processors = context_.processors,
          .bulk_copies = context_.bulk_copies,
          .slots = SlotsOf(layer),
          .x = product.x,
          .y = product.y + part.first_output * cuda::BytesOf(context_.element),
          .y_stride = matrices.outputs,
          .gate = product.gate};
}

// Once for all parts, and for all experts that a row goes to.
void CudaPass::QuantizeForExperts(const cuda::ExpertMatMulArgs& args) {
  Try("making activations fp8", [&] {
    return context_.fp8_kernels->quantize(
        {.element = args.element,
         .num_tokens = args.per_token > 0 ? args.num_slots / args.per_token : args.num_slots,
         .columns = static_cast<int>(args.weights.columns),
         .x = args.x,
         .out = context_.activations.quantized},
        context_.stream);
  });
}

void CudaPass::MultiplyExperts(int layer, const CudaExpertMatrices& matrices, const ExpertProduct& product) {
  bool is_quantized = false;
  for (const CudaExpertMatrices::Part& part : matrices.parts) {
    const cuda::ExpertMatMulArgs args = ArgsOf(layer, matrices, part, product);
    if (part.is_fp8 && !is_quantized) QuantizeForExperts(args);
    is_quantized = is_quantized || part.is_fp8;
    Try("multiplying by experts", [&] {
      if (!part.is_fp8) return context_.kernels.expert_matmul(args, context_.stream);
      return context_.fp8_kernels->expert_matmul({.product = args, .x = context_.activations.quantized},
                                                 context_.stream);
    });
  }
}

cuda::GateArgs CudaPass::ExpertGateArgsOf(int layer) const {
  const FfnSpec& ffn = context_.spec.layers[layer].ffn;
  const CudaExpertMatrices& input = context_.weights.experts[layer].input;
  const CudaExpertActivations& a = context_.activations.experts;
  return {.activation = ffn.activation,
          .gated = ffn.gated,
          .element = context_.element,
          .num_tokens = shape_.tokens * ffn.experts.per_token,
          .columns = ffn.size,
          .gate_up = a.input,
          .expert_biases = input.biases,
          .experts = input.biases == nullptr ? nullptr : a.slots.slot_experts,
          .numbers = context_.weights.layers[layer].numbers,
          .out = a.gated};
}

void CudaPass::ProjectExperts(int layer) {
  const CudaExpertMatrices& input = context_.weights.experts[layer].input;
  const cuda::GateArgs gate = ExpertGateArgsOf(layer);
  ExpertProduct product = {
      .x = context_.activations.normed, .y = context_.activations.experts.input, .of_tokens = true};
  if (input.parts.size() == 1) product.gate = gate;
  RouteTokens(layer);
  MultiplyExperts(layer, input, product);
  if (product.gate) return;
  Try("the activation of experts", [&] { return context_.kernels.gate(gate, context_.stream); });
}

void CudaPass::AddExperts(int layer, bool to_residual) {
  const ExpertsSpec& experts = context_.spec.layers[layer].ffn.experts;
  const CudaExperts& weights = context_.weights.experts[layer];
  const CudaExpertActivations& a = context_.activations.experts;
  MultiplyExperts(layer, weights.down, {.x = a.gated, .y = a.results});
  cuda::CombineArgs args = {.element = context_.element,
                            .num_tokens = shape_.tokens,
                            .per_token = experts.per_token,
                            .columns = context_.spec.hidden_size,
                            .weighted = !experts.scales_input,
                            .slots = a.slots,
                            .results = a.results,
                            .biases = weights.down.biases,
                            .has_shared = experts.shared_size > 0,
                            .shared_z = experts.shared_gate ? a.z + experts.count : nullptr,
                            .z_stride = CudaRouterStride(experts.count),
                            .out = context_.activations.branch};
  if (to_residual) {
    const cuda::NormArgs add = AddArgsOf(context_.weights.layers[layer].down, {});
    args.residual = add.residual;
    args.branch_bias = add.branch_bias;
    args.branch_scale = add.branch_scale;
  }
  Try("adding up experts", [&] { return context_.kernels.combine(args, context_.stream); });
}

}  // namespace ropeway
