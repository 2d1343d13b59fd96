// The weights of a decoder in the layout of one kernel table, ready to multiply.
//
// Immutable after loading; const methods are thread-safe.
#ifndef ROPEWAY_ENGINE_EXEC_CPU_WEIGHTS_H_
#define ROPEWAY_ENGINE_EXEC_CPU_WEIGHTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/kernels/ops.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

// y = Wx + b, where W may be several matrices one below the other, since types may differ between them.
struct Projection {
  struct Part {
    kernels::PackedMatrix matrix;
    int64_t first_output = 0;  // where its rows begin in y
  };
  std::vector<Part> parts;
  std::vector<float> bias;  // [outputs], or empty
  int64_t outputs = 0;
};

struct LayerWeights {
  std::vector<float> attention_norm;        // [D], as all norms with the offset added
  Projection qkv;                           // [H E + G E + G Ev, D]
  std::vector<float> query_norm, key_norm;  // [E], or empty
  Projection attention_output;              // [D, H Ev]
  std::vector<float> attention_post_norm;   // [D], or empty
  std::vector<float> ffn_norm;              // [D]
  Projection gate_up;                       // [2 F, D], interleaved: outputs are F
  Projection down;                          // [D, F]
  std::vector<float> ffn_post_norm;         // [D], or empty
};

class DecoderWeights {
 public:
  // Called with the number of layers read so far.
  using Progress = std::function<void(int layers_done)>;

  // Reads and repacks everything. `tensors` is kept, since embeddings are looked up where they lie.
  static absl::StatusOr<DecoderWeights> Load(const DecoderSpec& spec,
                                             std::shared_ptr<const TensorSource> tensors,
                                             const kernels::KernelTable& table,
                                             const Progress& progress = {});

  const std::vector<LayerWeights>& layers() const { return layers_; }
  const std::vector<float>& output_norm() const { return output_norm_; }  // [D]
  const Projection& output() const { return output_; }                    // [V, D]

  // The embedding of a token, unscaled: D floats. REQUIRES: 0 <= token < V.
  void Embed(int32_t token, float* out) const;

  // Bytes that the packed matrices take.
  int64_t packed_bytes() const { return packed_bytes_; }

 private:
  std::shared_ptr<const TensorSource> tensors_;
  TensorView embedding_;
  std::vector<LayerWeights> layers_;
  std::vector<float> output_norm_;
  Projection output_;
  int64_t packed_bytes_ = 0;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CPU_WEIGHTS_H_
