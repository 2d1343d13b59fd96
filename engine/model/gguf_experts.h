// What keys and tensors of a GGUF file say about experts and latent attention.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_MODEL_GGUF_EXPERTS_H_
#define ROPEWAY_ENGINE_MODEL_GGUF_EXPERTS_H_

#include "absl/status/status.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/gguf_family.h"
#include "engine/model/gguf_file.h"
#include "engine/model/gguf_keys.h"

namespace ropeway {

// The experts that layers have, where they have any, and the size of those that have none. `layer` is what all layers
// have alike, its feed-forward layer of the size that "feed_forward_length" says.
absl::Status ReadGgufExperts(GgufKeys& keys, const GgufContent& content, const GgufFamily& family,
                             LayerSpec& layer);

// Layers that have no router in the file become ordinary ones, of `dense_size`.
absl::Status FinishGgufExperts(GgufKeys& keys, const GgufContent& content, int32_t dense_size,
                               DecoderSpec& spec);

// GgufFamily::read_more and ::finish_layers of the architectures that have experts or latent attention, or whose
// activation has numbers of its own.
namespace gguf_readers {

absl::Status ReadGptOss(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishGptOss(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec);
absl::Status ReadLlama4(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishLlama4(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec);
absl::Status ReadDeepSeek2(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishDeepSeek2(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec);
absl::Status ReadMiniCpm3(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishMistral3(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec);
absl::Status ReadMistral3(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishApertus(GgufKeys& keys, const GgufContent& content, DecoderSpec& spec);

}  // namespace gguf_readers

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_GGUF_EXPERTS_H_
