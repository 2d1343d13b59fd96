// Products of weights and activations, by themselves or with their neighbours.
#include "engine/exec/cuda/pass.h"

namespace ropeway {

ProductTools CudaPass::Tools() const {
  return {.kernels = context_.kernels,
          .gemm = context_.gemm,
          .slice = context_.activations.unpacked,
          .stream = context_.stream,
          .fp8 = context_.fp8_kernels,
          .quantized = context_.activations.quantized,
          .fp8_warpgroups = context_.fp8_warpgroups,
          .warpgroups = context_.warpgroups};
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
          .y_stride = y_stride,
          .bulk_copies = context_.bulk_copies};
}

void CudaPass::Multiply(const CudaProjection& projection, const uint8_t* x, int64_t tokens, void* y,
                        int64_t y_stride, cuda::Element out) {
  for (const CudaProjection::Part& part : projection.parts)
    Try("multiplying matrices", [&] {
      const cuda::MatMulArgs args = ArgsOf(part, x, tokens, y, y_stride, out);
      return part.is_fp8 ? MultiplyFp8OnCuda(args, Tools())
                         : MultiplyOnCuda(args, Tools(), context_.choices.KernelFor(args));
    });
}

void CudaPass::MultiplyWith(const CudaProjection& projection, const uint8_t* x, uint8_t* y,
                            cuda::FusedMatMulArgs args) {
  if (!args.norm && !args.add && !args.gate && !args.qkv)
    return Multiply(projection, x, shape_.tokens, y, projection.outputs, context_.element);
  const CudaProjection::Part& part = projection.parts[0];
  args.product = ArgsOf(part, x, shape_.tokens, y, projection.outputs, context_.element);
  args.product.warpgroups =
      !part.is_fp8 && context_.choices.KernelFor(args.product) == ProductKernel::kWarpgroups;
  Try("multiplying matrices between their neighbours", [&] {
    return part.is_fp8 ? MultiplyFp8OnCuda(args.product, Tools(), args.gate)
                       : context_.kernels.fused_matmul(args, context_.stream);
  });
}

void CudaPass::PrepareProduct(const CudaProjection& projection, const uint8_t* x, int64_t tokens, void* y,
                              int64_t y_stride, cuda::Element out) {
  for (const CudaProjection::Part& part : projection.parts) {
    if (part.is_fp8) continue;  // which no library multiplies
    Try("preparing products of matrices",
        [&] { return context_.choices.Prepare(ArgsOf(part, x, tokens, y, y_stride, out), Tools()); });
  }
}

void CudaPass::PrepareProducts(int32_t max_tokens, int32_t max_logit_rows) {
  PrepareLayers(max_tokens);
  PrepareEnds(max_tokens, max_logit_rows);
  Try("measuring products of matrices", [&] { return context_.choices.Measure(Tools(), context_.runtime); });
}

void CudaPass::PrepareLayers(int32_t max_tokens) {
  const CudaActivations& a = context_.activations;
  const DecoderSpec& spec = context_.spec;
  const cuda::Element element = context_.element;
  for (const CudaLayer& layer : context_.weights.layers) {
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
}

void CudaPass::PrepareEnds(int32_t max_tokens, int32_t max_logit_rows) {
  const CudaActivations& a = context_.activations;
  const DecoderSpec& spec = context_.spec;
  const cuda::Element element = context_.element;
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

}  // namespace ropeway
