// A decoder as data: everything that differs between model families, and nothing else.
//
// Filled in by the weight readers from a file's metadata, validated once, then immutable. No kernel and no
// forward code asks for a model's name.
#ifndef ROPEWAY_ENGINE_MODEL_DECODER_SPEC_H_
#define ROPEWAY_ENGINE_MODEL_DECODER_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/position/rope.h"

namespace ropeway {

enum class FfnActivation {
  kSilu,      // SwiGLU: silu(gate) * up
  kGeluTanh,  // GeGLU with the tanh form of GELU
};

struct LayerSpec {
  int32_t window = 0;  // a token sees the last `window` positions, itself included; 0: all
  int rope = -1;       // index into DecoderSpec::ropes; -1: not rotated

  bool operator==(const LayerSpec&) const = default;
};

struct DecoderSpec {
  std::string architecture;  // for messages and reports only
  int32_t vocab_size = 0;
  int32_t hidden_size = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t value_dim = 0;
  int32_t ffn_size = 0;
  int32_t context_length = 0;  // positions the model was made for

  float norm_epsilon = 1e-5f;
  float norm_offset = 0;  // 1 where files hold w and the model multiplies by 1 + w
  bool sandwich_norms =
      false;  // norms after attention and after the feed-forward layer, before the residual is added
  bool qk_norm = false;         // RMS norm of every query and key head, before the rotation
  float attention_scale = 0;    // multiplies q . k
  float attention_softcap = 0;  // cap * tanh(score / cap); 0: none
  float final_softcap = 0;      // the same for logits
  float embedding_scale = 1;    // multiplies embeddings
  bool tied_output = false;     // the output layer is the embedding
  bool qkv_bias = false;        // biases of the query, key and value projections
  bool attention_output_bias = false;
  bool ffn_bias = false;  // biases of gate, up and down
  FfnActivation activation = FfnActivation::kSilu;

  std::vector<RopeSpec> ropes;
  std::vector<LayerSpec> layers;

  int32_t num_layers() const { return static_cast<int32_t>(layers.size()); }
  int32_t heads_per_kv_head() const { return num_heads / num_kv_heads; }

  // INVALID_ARGUMENT naming the field, its bound and its value.
  absl::Status Validate() const;

  bool operator==(const DecoderSpec&) const = default;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_DECODER_SPEC_H_
