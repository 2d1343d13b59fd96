// The rotary embedding of GGUF files: keys of its scaling, and lists of factors among the tensors.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_MODEL_GGUF_ROPE_H_
#define ROPEWAY_ENGINE_MODEL_GGUF_ROPE_H_

#include "absl/status/statusor.h"
#include "engine/model/gguf_file.h"
#include "engine/model/gguf_keys.h"
#include "engine/position/rope.h"

namespace ropeway {

// Tensors with factors of frequencies.
inline constexpr char kRopeDivisors[] = "rope_freqs.weight";
inline constexpr char kLongFactors[] = "rope_factors_long.weight";
inline constexpr char kShortFactors[] = "rope_factors_short.weight";

// `defaults` has pairing, base and width, of which the file may say the latter two otherwise. `context_length` is the
// model's.
absl::StatusOr<RopeSpec> ReadGgufRope(GgufKeys& keys, const GgufContent& content, int32_t context_length,
                                      const RopeSpec& defaults);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_GGUF_ROPE_H_
