// What one family alone has in its config.json: Family::read_more and Family::finish_layers.
#ifndef ROPEWAY_ENGINE_MODEL_FAMILY_READERS_H_
#define ROPEWAY_ENGINE_MODEL_FAMILY_READERS_H_

#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/family.h"
#include "engine/model/strict_json.h"

namespace ropeway::family_readers {

ReadMore ReadGemma, ReadGemma1, ReadGemma2, ReadGranite, ReadInternLm3, ReadOlmo, ReadCohere, ReadCohere2,
    ReadPhi, ReadPersimmon, ReadStableLm, ReadGptNeoX, ReadGpt2, ReadGptBigCode, ReadGptJ, ReadOpt,
    ReadScaledEmbedding, ReadBioGpt, ReadBloom, ReadFalcon, ReadMpt, ReadApertus, ReadMinistral3;
FinishLayers FinishGpt2, FinishGptNeo, FinishSmolLm3;
inline constexpr absl::string_view kMinistralRopeFields[] = {"llama_4_scaling_beta",
                                                             "max_position_embeddings"};

// UNIMPLEMENTED unless the field has this value or is absent.
absl::Status OnlyFalse(JsonFields& config, const char* name);
absl::Status OnlyTrue(JsonFields& config, const char* name);

// "rope_parameters" or "rope_scaling", whichever a config has, by its name; INVALID_ARGUMENT where it has
// neither.
struct RopeObject {
  const nlohmann::json* object;
  std::string name;
};
absl::StatusOr<RopeObject> RequireRope(JsonFields& config);

// Families whose folders bring their code along: family_folder_code.cc.
ReadMore ReadBaichuan, ReadChatGlm, ReadQwen;
FinishLayers FinishChatGlm, FinishQwen;

// Families of latent attention: family_latent.cc.
ReadMore ReadDeepSeekV2, ReadDeepSeekV3, ReadGlm4Moe, ReadMiniCpm3;
FinishLayers FinishDeepSeek, FinishDeepSeekV3;

// Families of experts: family_experts.cc. The first name is the one that errors tell.
absl::Status ReadExpertCounts(JsonFields& config, std::initializer_list<const char*> count,
                              std::initializer_list<const char*> per_token, ExpertsSpec& experts);
ReadMore ReadMixtral, ReadQwen2Moe, ReadQwen3Moe, ReadOlmoe, ReadGraniteMoe, ReadGraniteMoeShared,
    ReadErnieMoe, ReadHunyuanMoe, ReadGptOss, ReadLlama4;
FinishLayers FinishQwenMoe, FinishErnieMoe, FinishLlama4;

}  // namespace ropeway::family_readers

#endif  // ROPEWAY_ENGINE_MODEL_FAMILY_READERS_H_
