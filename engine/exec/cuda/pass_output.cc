// Logits of chosen tokens, and what is wanted of them.
#include "engine/exec/cuda/pass.h"

namespace ropeway {

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
                                           .softcap = static_cast<float>(context_.spec.logit_softcap)},
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
                                    .processors = context_.processors,
                                    .scratch = context_.activations.scratch,
                                    .states = context_.activations.sample_states,
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
