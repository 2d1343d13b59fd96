// The weights of a decoder in the layout of one kernel table, ready to multiply.
//
// Immutable after loading; const methods are thread-safe.
#ifndef ROPEWAY_ENGINE_EXEC_CPU_WEIGHTS_H_
#define ROPEWAY_ENGINE_EXEC_CPU_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/machine.h"
#include "engine/base/thread_pool.h"
#include "engine/exec/cpu/pack_cache.h"
#include "engine/exec/score_modifiers.h"
#include "engine/kernels/ops.h"
#include "engine/model/load_decoder.h"

namespace ropeway {

// y = Wx + b, where W may be several matrices one below the other, since types may differ between them.
struct CpuProjection {
  struct Part {
    kernels::PackedMatrix matrix;
    int64_t first_output = 0;  // where its rows begin in y
  };
  std::vector<Part> parts;  // gate and up are one interleaved matrix
  std::vector<float> bias;  // [outputs], or empty
  int64_t outputs = 0;
};

using CpuLayer = LayerWeights<CpuProjection, std::vector<float>>;

struct CpuEmbedding {
  TensorView view;
  std::shared_ptr<const void> bytes;  // what the view sees
};

struct CpuWeights : DecoderWeights<CpuProjection, std::vector<float>, CpuEmbedding> {
  std::vector<kernels::ModifierTables> modifiers;  // [L]
  PackCacheOutcome pack_cache;
  std::string placement;  // of WeightPlacement

  // The embedding of a token, unscaled: D floats. REQUIRES: 0 <= token < V.
  void Embed(int32_t token, float* out) const;
};

struct LoadOptions {
  int32_t max_model_len = 0;    // positions are [0, max_model_len)
  std::string pack_cache = "";  // folder of packed matrices (pack_cache.h); empty: none
  LoadProgress progress = {};
  UsableMachine machine = LookAtMachine();
};

// Reads and repacks everything, on all threads of the pool; nothing of `tensors` is needed afterwards.
absl::StatusOr<CpuWeights> LoadCpuWeights(const DecoderSpec& spec,
                                          std::shared_ptr<const TensorSource> tensors,
                                          const kernels::KernelTable& table, ThreadPool& pool,
                                          const LoadOptions& options);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CPU_WEIGHTS_H_
