// What one family alone has in its config.json: Family::read_more and Family::finish_layers.
#ifndef ROPEWAY_ENGINE_MODEL_FAMILY_READERS_H_
#define ROPEWAY_ENGINE_MODEL_FAMILY_READERS_H_

#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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
absl::Status ReadApertus(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadMinistral3(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
inline constexpr absl::string_view kMinistralRopeFields[] = {"llama_4_scaling_beta",
                                                             "max_position_embeddings"};

// "rope_parameters" or "rope_scaling", whichever a config has, by its name; INVALID_ARGUMENT where it has
// neither.
struct RopeObject {
  const nlohmann::json* object;
  std::string name;
};
absl::StatusOr<RopeObject> RequireRope(JsonFields& config);

// Families of latent attention: family_latent.cc.
absl::Status ReadDeepSeekV2(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadDeepSeekV3(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadGlm4Moe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishDeepSeek(JsonFields& config, DecoderSpec& spec);
absl::Status FinishDeepSeekV3(JsonFields& config, DecoderSpec& spec);
absl::Status ReadMiniCpm3(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);

// Families of experts: family_experts.cc. The first name is the one that errors tell.
absl::Status ReadExpertCounts(JsonFields& config, std::initializer_list<const char*> count,
                              std::initializer_list<const char*> per_token, ExpertsSpec& experts);
absl::Status ReadMixtral(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadQwen2Moe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadQwen3Moe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishQwenMoe(JsonFields& config, DecoderSpec& spec);
absl::Status ReadOlmoe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadGraniteMoe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadGraniteMoeShared(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadErnieMoe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishErnieMoe(JsonFields& config, DecoderSpec& spec);
absl::Status ReadHunyuanMoe(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadGptOss(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status ReadLlama4(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
absl::Status FinishLlama4(JsonFields& config, DecoderSpec& spec);

}  // namespace ropeway::family_readers

#endif  // ROPEWAY_ENGINE_MODEL_FAMILY_READERS_H_
