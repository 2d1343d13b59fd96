// Model families as facts: what a family's name implies, whatever the form of its files.
//
// The readers add what a file says: gguf_spec.cc by the keys of GGUF, whose architectures are a table of their own
// (gguf_family.cc), hf_config.cc by the fields of config.json. A new family is an entry of the table (family.cc); where
// it has a setting that no other has, a function beside it reads that one.
#ifndef ROPEWAY_ENGINE_MODEL_FAMILY_H_
#define ROPEWAY_ENGINE_MODEL_FAMILY_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/hf_names.h"
#include "engine/model/strict_json.h"

namespace ropeway {

// How a family places tokens; what is beside it are its parameters.
enum class FamilyPositions : uint8_t { kRope, kLearned, kSinusoidal, kAlibi };

// Which layers see a window only.
enum class Windows : uint8_t {
  kNone,
  kAll,             // all, where there is a window
  kFromLayer,       // from some layer on, where windows are switched on
  kAllButEveryNth,  // all but every n-th
  kAllWhereUsed,    // all, where windows are switched on
  kEvenBelowLayer,  // every second one from the first on, below some layer, where windows are switched on
};

// Names of fields of config.json, where families differ; null: there is no such field.
struct HfFields {
  const char* vocab_size = "vocab_size";
  const char* hidden_size = "hidden_size";
  const char* layers = "num_hidden_layers";
  const char* heads = "num_attention_heads";
  const char* kv_heads = "num_key_value_heads";
  const char* head_dim = "head_dim";
  const char* ffn_size = "intermediate_size";
  const char* context = "max_position_embeddings";
  const char* epsilon = "rms_norm_eps";
  const char* activation = "hidden_act";
  const char* attention_bias = nullptr;  // of queries, keys, values and, where it says so, of the output
  bool attention_bias_is_output_too = true;
  const char* output_bias = nullptr;  // of the attention's output
  const char* ffn_bias = nullptr;
  const char* window = "sliding_window";
  const char* partial = "partial_rotary_factor";  // beside "rope_parameters", in
                                                  // the older spelling
  const char* older_base = nullptr;               // what "rope_theta" was called before
};

// Reads what a family alone has; `layer` is what all layers have alike.
using ReadMore = absl::Status(JsonFields& config, DecoderSpec& spec, LayerSpec& layer);
// Changes layers one by one, after they were made.
using FinishLayers = absl::Status(JsonFields& config, DecoderSpec& spec);

struct Family {
  const char* hf_type = nullptr;  // "model_type" of config.json

  // The formulas. Numbers in them are those of a config.json that says nothing.
  NormSpec norm{.epsilon = 1e-6f};
  BlockSpec block;
  AttentionSpec attention;
  FfnSpec ffn;
  bool tied_output = false;
  bool output_bias = false;
  bool embedding_norm = false;
  bool scaled_embedding = false;  // by sqrt(D)
  bool wide_range = false;        // as DecoderSpec has it; who saw it stands beside the families

  FamilyPositions positions = FamilyPositions::kRope;
  RopePairing hf_pairing = RopePairing::kHalves;  // in folders
  double rope_base = 10000;
  std::optional<double> local_rope_base;   // of layers with a window, where they
                                           // have a rope of their own
  bool local_base_is_base = false;         // the same but for the scaling, in the older spelling
  double rotated = 1;                      // part of a head that is rotated
  bool rotated_may_differ = false;         // the config may say another
  const char* rotary_dim_field = nullptr;  // where the config says this one and no more about rotation
  bool rope_alpha = false;                 // "dynamic" with "alpha": a fixed NTK factor (Hunyuan)
  int32_t original_context = 0;            // of scalings whose config does not say it; 0: the context
  bool older_longrope = false;             // "su" and "yarn" are older names of LongRoPE (Phi-3)
  absl::Span<const absl::string_view> not_of_ropes;  // fields beside a scaling that read_more takes
  bool rope_in_windows_only = false;                 // layers that see all positions are not rotated
  bool rope_without_windows = false;                 // but all are where the config has no window
  int32_t position_offset = 0;                       // of learned and sinusoidal positions

  Windows windows = Windows::kNone;
  int32_t default_window = 0;  // where the field is absent
  int32_t window_pattern = 0;  // every n-th layer sees all positions
  const char* window_pattern_field = nullptr;
  const char* older_hidden_size = "";  // what the width was called before (BLOOM)
  bool has_layer_types = false;

  HfFields fields;
  int32_t kv_heads = 0;        // of a config that says nothing; 0: as many as heads
  int32_t head_dim = 0;        // likewise; 0: hidden_size / heads
  int32_t context_length = 0;  // likewise
  int32_t ffn_factor = 0;      // likewise: F / D; 0: the field must be there
  // The field that says how many layers stand behind those of the decoder, which guess tokens ahead and are not
  // read.
  const char* extra_layers_field = nullptr;
  absl::Span<const HfName> names;               // where folders call tensors otherwise than Llama's do
  absl::Span<const HfName> names_of_two_norms;  // instead, in parallel blocks with two norms
  // Instead, where the config says how weights are packed ("quantization_config"), which read_more then reads.
  absl::Span<const HfName> names_where_packed;

  ReadMore* read_more = nullptr;
  FinishLayers* finish_layers = nullptr;
};

absl::Span<const Family> AllFamilies();

// Those of experts or of latent attention among them.
absl::Span<const Family> FamiliesOfExperts();

// Those whose folders bring the code of their models along ("auto_map"). It is never run: what it computes is known here.
absl::Span<const Family> FamiliesOfFolderCode();

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_FAMILY_H_
