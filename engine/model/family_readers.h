// What one family alone has in its config.json: Family::read_more and Family::finish_layers.
#ifndef ROPEWAY_ENGINE_MODEL_FAMILY_READERS_H_
#define ROPEWAY_ENGINE_MODEL_FAMILY_READERS_H_

#include "absl/status/status.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/strict_json.h"

namespace ropeway::family_readers {

absl::Status ReadGemma(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadGemma2(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadGranite(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadInternLm3(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadOlmo(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadCohere(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadCohere2(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadPhi(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadPersimmon(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadStableLm(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadGptNeoX(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadPhi3(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadGpt2(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishGpt2(JsonFields& config, DecoderSpec& spec);
absl::Status ReadGptBigCode(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishGptNeo(JsonFields& config, DecoderSpec& spec);
absl::Status ReadGptJ(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadOpt(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadScaledEmbedding(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadBloom(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadFalcon(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadMpt(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishSmolLm3(JsonFields& config, DecoderSpec& spec);

// Families of experts: family_experts.cc.
absl::Status ReadMixtral(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadQwen2Moe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadQwen3Moe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishQwenMoe(JsonFields& config, DecoderSpec& spec);
absl::Status ReadOlmoe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadGraniteMoe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadGraniteMoeShared(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadGptOss(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadLlama4(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishLlama4(JsonFields& config, DecoderSpec& spec);

}  // namespace ropeway::family_readers

#endif  // ROPEWAY_ENGINE_MODEL_FAMILY_READERS_H_
