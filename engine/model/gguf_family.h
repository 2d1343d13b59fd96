// What GGUF files of each architecture hold: which family's formulas they follow, and what their keys and tensors say
// about them.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_MODEL_GGUF_FAMILY_H_
#define ROPEWAY_ENGINE_MODEL_GGUF_FAMILY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/family.h"
#include "engine/model/gguf_file.h"
#include "engine/model/gguf_keys.h"

namespace ropeway {

struct GgufFamily {
  const char* architecture;  // "general.architecture"
  const char* like;          // "model_type" of the family (family.cc) whose formulas it has
  // Pairs of rotated columns. Converters bring the rows of some families' queries and keys into another order than that
  // of their folders.
  RopePairing pairing = RopePairing::kHalves;

  bool windows = false;                     // "attention.sliding_window" may be there
  bool needs_windows = false;               // and must be positive
  int32_t default_window = 0;               // where it is absent
  const char* like_with_windows = nullptr;  // instead of `like`, where it is there
  int32_t layers_scaled_by_stream = 0;  // of the model whose queries are scaled by the width of the stream

  // What its experts have in common beside what the file says; none: it has no experts.
  std::optional<ExpertsSpec> experts = std::nullopt;
  bool is_latent = false;            // attention, whose scores a key scales beside the usual ones
  bool has_yarn_multiplier = false;  // kYarnMultiplierKey may be there

  bool tells_parallel = false;  // "use_parallel_residual" may be there
  // "block_count" may count layers that guess tokens ahead, which stand behind the others and are not read.
  bool has_extra_layers = false;

  // Reads what the architecture alone has; may be null. `layer` is what all layers have alike.
  absl::Status (*read_more)(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec,
                            LayerSpec& layer) = nullptr;
  // Changes layers one by one, after they were made; may be null.
  absl::Status (*finish_layers)(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec) = nullptr;
};

// UNIMPLEMENTED for another architecture, listing those that are supported.
absl::StatusOr<const GgufFamily*> GgufFamilyOf(const std::string& architecture);

// The key, behind the architecture and a dot, that tells how many layers of "block_count" guess tokens ahead.
inline constexpr char kExtraLayersKey[] = "nextn_predict_layers";

// A key that tells how much of YaRN's magnitude rotated columns do not get.
inline constexpr char kYarnMultiplierKey[] = "rope.scaling.yarn_log_multiplier";

// The formulas of a file, which has windows or not.
const Family& FormulasOf(const GgufFamily& family, bool has_windows);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_GGUF_FAMILY_H_
