// How GGUF files call and lay out the tensors of each role.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_MODEL_GGUF_NAMES_H_
#define ROPEWAY_ENGINE_MODEL_GGUF_NAMES_H_

#include "absl/strings/string_view.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/gguf_file.h"
#include "engine/model/named_tensors.h"

namespace ropeway {

// Roles are called as weight_roles.cc has it, but where the tensors of the first layer tell another way: queries, keys
// and values in one tensor, gate and up in one, the norm before the feed-forward layer named by what stands before it.
NamedTensors::Naming GgufNaming(const GgufContent& content, const DecoderSpec& spec);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_GGUF_NAMES_H_
