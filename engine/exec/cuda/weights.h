// The weights of a decoder in the memory of one device, whole or the part of one rank of a tensor-parallel
// group.
//
// Rank r of n holds heads [r H / n, (r + 1) H / n), their keys and values, and the same part of the
// feed-forward layer: rows of QKV, gate and up, columns of the attention output and of down, whose products
// are then sums over ranks. Norms, embedding and output layer are whole.
//
// Immutable after loading.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_WEIGHTS_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_WEIGHTS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/exec/cuda/memory.h"
#include "engine/kernels/cuda/device_matrix.h"
#include "engine/kernels/cuda/runtime.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

struct Shard {
  int rank = 0, size = 1;
};

// INVALID_ARGUMENT naming what a group of `size` ranks does not divide.
absl::Status CheckTensorParallel(const DecoderSpec& spec, int size);

// The spec of one rank: fewer heads, KV heads and feed-forward columns.
DecoderSpec ShardOf(const DecoderSpec& spec, int size);

// y = Wx, where W may be several matrices one below the other, since types may differ between them.
struct CudaProjection {
  struct Part {
    cuda::DeviceMatrix matrix;
    int64_t first_output = 0;  // where its rows begin in y
  };
  std::vector<Part> parts;
  int64_t outputs = 0;
};

// Vectors are float32 in device memory; null where the model has none. Norms have the offset added.
struct CudaLayer {
  const float* attention_norm = nullptr;  // [D]
  CudaProjection qkv;                     // [H E + G E + G Ev, D]
  const float* qkv_bias = nullptr;
  const float* query_norm = nullptr;  // [E]
  const float* key_norm = nullptr;    // [E]
  CudaProjection attention_output;    // [D, H Ev]
  const float* attention_output_bias = nullptr;
  const float* attention_post_norm = nullptr;  // [D]
  const float* ffn_norm = nullptr;             // [D]
  CudaProjection gate_up;                      // [2 F, D]: gate, then up
  const float* gate_up_bias = nullptr;
  CudaProjection down;  // [D, F]
  const float* down_bias = nullptr;
  const float* ffn_post_norm = nullptr;  // [D]
};

// By position: [max_model_len, rotary_dim / 2].
struct CudaRopeTable {
  const float* cosines = nullptr;
  const float* sines = nullptr;
};

struct CudaWeights {
  cuda::DeviceMatrix embedding;  // [V, D]
  std::vector<CudaLayer> layers;
  const float* output_norm = nullptr;  // [D]
  CudaProjection output;               // [V, D]
  std::vector<CudaRopeTable> ropes;
};

struct CudaWeightsRequest {
  const DecoderSpec& spec;  // whole
  const TensorSource& tensors;
  cuda::Element element = cuda::Element::kBF16;
  Shard shard;
  int32_t max_model_len = 0;
  std::function<void(int layers_done)> progress;  // may be null
};

// Bytes of device memory that LoadCudaWeights takes.
absl::StatusOr<int64_t> CountCudaWeights(const CudaWeightsRequest& request);

// Uploads everything into `memory`, which holds as many bytes as were counted.
absl::StatusOr<CudaWeights> LoadCudaWeights(const CudaWeightsRequest& request, cuda::Runtime& runtime,
                                            cuda::Stream stream, const CudaMemory& memory);

// The type of most of a model's dense weights decides: F16 files compute in f16, all others in bf16.
cuda::Element AutomaticElement(const TensorSource& tensors, int num_layers);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_WEIGHTS_H_
