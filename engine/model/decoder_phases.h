// The forward function of a decoder: the order of its phases, the same on every device.
//
// A pass is what carries the phases out: Decoder::Pass on CPU threads (engine/exec/cpu/pass.cc), CudaPass
// by launches on a stream (engine/exec/cuda/pass.h). Where a device does better to compute the norm at the
// beginning of a phase at the end of the one before, it may.
#ifndef ROPEWAY_ENGINE_MODEL_DECODER_PHASES_H_
#define ROPEWAY_ENGINE_MODEL_DECODER_PHASES_H_

#include <concepts>

#include "engine/model/decoder_spec.h"

namespace ropeway {

template <typename Pass>
concept DecoderPass = requires(Pass pass, int layer) {
  { pass.Embed() } -> std::same_as<void>;                // x = norm(scale * embedding + positions)
  { pass.ProjectQkv(layer) } -> std::same_as<void>;      // q, k, v = QKV norm(x)
  { pass.RotateAndStore(layer) } -> std::same_as<void>;  // q, k = rotate(norm(q, k)); k and v to the cache
  { pass.Attend(layer) } -> std::same_as<void>;          // a = attention(q, cache)
  { pass.AddAttention(layer) } -> std::same_as<void>;    // x += O a
  { pass.ProjectFfn(layer) } -> std::same_as<void>;      // f = activation(gate norm(x)) * up norm(x)
  { pass.AddFeedForward(layer) } -> std::same_as<void>;  // x += down f
};

// Where the model has biases, post-norms, scales or no gate, decoder_spec.h says what is computed.
//
// The hidden states x of all tokens of a step; their keys and values go to the cache.
template <DecoderPass Pass>
void RunDecoder(const DecoderSpec& spec, Pass& pass) {
  pass.Embed();
  for (int layer = 0; layer < spec.num_layers(); ++layer) {
    pass.ProjectQkv(layer);
    pass.RotateAndStore(layer);
    pass.Attend(layer);
    // In a parallel block both branches see what x was before it.
    const bool parallel = spec.block.kind != BlockKind::kSequential;
    if (parallel) pass.ProjectFfn(layer);
    pass.AddAttention(layer);
    if (!parallel) pass.ProjectFfn(layer);
    pass.AddFeedForward(layer);
  }
}

template <typename Pass>
concept LogitsPass = requires(Pass pass) {
  { pass.NormOutput() } -> std::same_as<void>;     // n = logit_scale * norm(x) of the chosen tokens
  { pass.ProjectOutput() } -> std::same_as<void>;  // logits = output n
  { pass.FinishLogits() } -> std::same_as<void>;   // softcap(logits + bias)
};

// Logits of chosen tokens after RunDecoder.
template <LogitsPass Pass>
void RunLogits(Pass& pass) {
  pass.NormOutput();
  pass.ProjectOutput();
  pass.FinishLogits();
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_DECODER_PHASES_H_
