// The weights of a decoder in the memory of one device, whole or the part of one rank of a tensor-parallel
// group (engine/model/weight_reader.h).
//
// Immutable after loading.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_WEIGHTS_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/exec/cuda/memory.h"
#include "engine/exec/score_modifiers.h"
#include "engine/kernels/cuda/device_matrix.h"
#include "engine/kernels/cuda/runtime.h"
#include "engine/model/load_decoder.h"

namespace ropeway {

// y = Wx, where W may be several matrices one below the other, since types may differ between them. The bias
// is added by the kernel that reads y.
struct CudaProjection {
  struct Part {
    cuda::DeviceMatrix matrix;
    int64_t first_output = 0;  // where its rows begin in y
    bool is_fp8 = false;       // `matrix` has its data as Fp8Layout says, whatever its type
  };
  std::vector<Part> parts;  // gate, then up
  int64_t outputs = 0;
  const float* bias = nullptr;  // [outputs], or null
};

// Vectors are float32 in device memory; null where the model has none.
using CudaLayer = LayerWeights<CudaProjection, const float*>;

struct CudaAngles {
  const float* cosines = nullptr;  // [max_model_len, rotary_dim / 2], by position
  const float* sines = nullptr;
};

// What queries and keys of some layers are turned by.
struct CudaRotary {
  int rotary_dim = 0;
  bool interleaved = false;
  CudaAngles angles;           // null where they come with the step: RequestAngles
  int64_t request_floats = 0;  // then: what others before it take there for each token
  CudaAngles previous, older;  // of queries for keys of other zones: kernels::ScoreModifier::zone
};

// Of all experts of a layer: several matrices one below the other, as CudaProjection has them. Those of one part
// are of one type and shape.
struct CudaExpertMatrices {
  struct Part {
    cuda::DeviceMatrix shape;               // its data is null
    const void* const* matrices = nullptr;  // [X] in device memory, as what they point to
    int64_t first_output = 0;               // where its rows begin in y
    bool is_fp8 = false;                    // as in CudaProjection
  };
  std::vector<Part> parts;
  int64_t outputs = 0;
  const float* const* biases = nullptr;  // [X] of [outputs], likewise in device memory; or null
};

struct CudaExperts {
  CudaExpertMatrices input;  // gate, then up
  CudaExpertMatrices down;
};

// Columns of the widest matrix of fp8, and of the widest that is multiplied by a row for each choice of a token instead of
// one for each token (kernels/cuda/experts.h); 0: there is none.
struct Fp8Widths {
  int64_t of_all = 0, of_choices = 0;
};

struct CudaWeights : DecoderWeights<CudaProjection, const float*, cuda::DeviceMatrix> {
  std::vector<CudaExperts> experts;               // [L]; of nothing where a layer has none
  std::vector<kernels::ScoreModifier> modifiers;  // [L]
  std::vector<CudaRotary> rotaries;               // of spec.Rotaries()
  std::vector<int> layer_rotaries;                // [L] index into rotaries; -1: none
  Fp8Widths widest_fp8;
  int64_t fp8_numbers = 0;  // weights that are fp8
  // Outputs of the widest input product of experts that is of several parts, so that no gate can end it; 0: none is.
  int64_t widest_split_input = 0;
};

// How weights came to a device, for the log.
struct CudaUpload {
  int64_t bytes = 0;
  absl::Duration duration;
};

struct CudaWeightsRequest {
  const DecoderSpec& spec;  // whole
  const TensorSource& tensors;
  cuda::Element element = cuda::Element::kBF16;
  // Matrices of layers, but routers, that would be dense here become fp8 (kernels/cuda/fp8.h).
  bool fp8 = false;
  Shard shard;
  int32_t max_model_len = 0;
  const std::vector<kernels::ModifierTables>& modifiers;  // of MakeModifiers, for the same shard and length
  LoadProgress progress = {};
  int64_t buffer_bytes = int64_t{8} << 20;  // of a pinned buffer of the upload
};

struct CudaWeightsCount {
  int64_t bytes = 0;  // of device memory that LoadCudaWeights takes
  // As in CudaWeights.
  Fp8Widths widest_fp8;
  int64_t fp8_numbers = 0;
  int64_t widest_split_input = 0;
};
absl::StatusOr<CudaWeightsCount> CountCudaWeights(const CudaWeightsRequest& request);

// Uploads everything into `memory`, which holds as many bytes as were counted, and waits for it. Several threads read
// and convert (upload_ring.h); the calling one alone speaks to the device.
absl::StatusOr<CudaWeights> LoadCudaWeights(const CudaWeightsRequest& request, cuda::Runtime& runtime,
                                            const CudaMemory& memory);

// Numbers of the largest matrix of a model that stays packed on the device; 0: none does.
int64_t LargestPackedMatrix(const OpenedModel& model);
// The types of those that do, each once.
std::vector<DType> PackedTypes(const OpenedModel& model);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_WEIGHTS_H_
