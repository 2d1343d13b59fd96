#include "engine/text/hf/folder.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "engine/text/hf/json_fields.h"
#include "engine/text/hf/json_vocabulary.h"
#include "engine/text/hf/sentencepiece_model.h"
#include "engine/text/hf/text_files.h"
#include "engine/text/hf/tiktoken_file.h"
#include "engine/text/hf/tokenizer_json.h"

namespace ropeway::hf {
namespace {

constexpr char kConfigFile[] = "tokenizer_config.json";

// Classes of transformers that put BOS and EOS around a text by their flags, BOS where nothing is said, and
// leave the post-processor of tokenizer.json alone.
constexpr std::string_view kFramedByFlags[] = {
    "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast",
    "GemmaTokenizer", "GemmaTokenizerFast", "CohereTokenizer",    "CohereTokenizerFast"};

// A token as "<s>" or {"content": "<s>", ...}; "" where the key is absent.
absl::StatusOr<std::string> TokenUnder(const JsonFields& fields, std::string_view key) {
  const Json* value = fields.Find(key);
  if (value == nullptr || value->is_string()) return fields.StringOr(key, "");
  ASSIGN_OR_RETURN(const JsonFields token, fields.Object(key));
  return token.String("content");
}

absl::StatusOr<std::optional<bool>> FlagUnder(const JsonFields& fields, std::string_view key) {
  if (fields.Find(key) == nullptr) return std::nullopt;
  ASSIGN_OR_RETURN(const bool flag, fields.BoolOr(key, false));
  return flag;
}

// An id under "bos_token_id", where `id` is none yet.
absl::Status AddBosId(const JsonFields& fields, std::optional<int64_t>& id) {
  constexpr char kKey[] = "bos_token_id";
  const Json* value = fields.Find(kKey);
  if (value == nullptr || id.has_value()) return absl::OkStatus();
  if (!value->is_number_integer()) return fields.Invalid(kKey, "must be an integer");
  id = value->get<int64_t>();
  return absl::OkStatus();
}

// An id or a list of ids under "eos_token_id".
absl::Status AddEndIds(const JsonFields& fields, std::vector<int64_t>& ids) {
  constexpr char kKey[] = "eos_token_id";
  const Json* value = fields.Find(kKey);
  if (value == nullptr) return absl::OkStatus();
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& id : list) {
    if (!id.is_number_integer()) return fields.Invalid(kKey, "must be an integer or a list of integers");
    ids.push_back(id.get<int64_t>());
  }
  return absl::OkStatus();
}

// The tokens and flags that stand beside the tokenizer itself. `config` is tokenizer_config.json.
absl::StatusOr<TokenizerSettings> ReadSettings(const std::string& folder, const JsonFields& config,
                                               const JsonFields& generation, int32_t vocab_size) {
  TokenizerSettings settings = {.rows = vocab_size};
  ASSIGN_OR_RETURN(const Json special_json, ReadJsonOrEmpty(folder, "special_tokens_map.json"));
  ASSIGN_OR_RETURN(const JsonFields special, JsonFields::Of(special_json, "special_tokens_map.json"));
  ASSIGN_OR_RETURN(settings.bos_token, TokenUnder(config, "bos_token"));
  ASSIGN_OR_RETURN(settings.eos_token, TokenUnder(config, "eos_token"));
  if (settings.bos_token.empty()) {
    ASSIGN_OR_RETURN(settings.bos_token, TokenUnder(special, "bos_token"));
  }
  if (settings.eos_token.empty()) {
    ASSIGN_OR_RETURN(settings.eos_token, TokenUnder(special, "eos_token"));
  }
  ASSIGN_OR_RETURN(settings.add_bos, FlagUnder(config, "add_bos_token"));
  ASSIGN_OR_RETURN(settings.add_eos, FlagUnder(config, "add_eos_token"));
  ASSIGN_OR_RETURN(const std::string tokenizer_class, config.StringOr("tokenizer_class", ""));
  settings.flags_frame = std::find(std::begin(kFramedByFlags), std::end(kFramedByFlags), tokenizer_class) !=
                         std::end(kFramedByFlags);
  if (settings.flags_frame && !settings.add_bos.has_value()) settings.add_bos = true;
  ASSIGN_OR_RETURN(const Json model_json, ReadJsonOrEmpty(folder, "config.json"));
  ASSIGN_OR_RETURN(const JsonFields model, JsonFields::Of(model_json, "config.json"));
  RETURN_IF_ERROR(AddEndIds(generation, settings.end_token_ids));
  if (settings.end_token_ids.empty()) RETURN_IF_ERROR(AddEndIds(model, settings.end_token_ids));
  if (settings.bos_token.empty()) {
    RETURN_IF_ERROR(AddBosId(generation, settings.bos_token_id));
    RETURN_IF_ERROR(AddBosId(model, settings.bos_token_id));
  }
  return settings;
}

// {"added_tokens_decoder": {"32000": {"content": ..., "special": ...}}}
absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const JsonFields& config, int32_t rows) {
  std::vector<AddedToken> added;
  if (config.Find("added_tokens_decoder") == nullptr) return added;
  ASSIGN_OR_RETURN(const JsonFields all, config.Object("added_tokens_decoder"));
  for (const auto& [key, value] : config.Find("added_tokens_decoder")->items()) {
    ASSIGN_OR_RETURN(const JsonFields fields, all.Object(key));
    AddedToken token;
    int32_t id = 0;
    if (!absl::SimpleAtoi(key, &id) || id < 0 || id >= (1 << 22)) {
      return all.Invalid(key, "must be an id in [0, 4194304)");
    }
    if (rows > 0 && id >= rows) continue;  // as in tokenizer.json
    token.id = id;
    ASSIGN_OR_RETURN(token.content, fields.String("content"));
    ASSIGN_OR_RETURN(token.special, fields.BoolOr("special", false));
    ASSIGN_OR_RETURN(token.traits.eats_left, fields.BoolOr("lstrip", false));
    ASSIGN_OR_RETURN(token.traits.eats_right, fields.BoolOr("rstrip", false));
    ASSIGN_OR_RETURN(token.traits.whole_word, fields.BoolOr("single_word", false));
    added.push_back(std::move(token));
  }
  return added;
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> ReadTiktokenFolder(const std::string& ranks,
                                                                    const JsonFields& config,
                                                                    const TokenizerSettings& settings) {
  ASSIGN_OR_RETURN(const std::string tokenizer_class, config.StringOr("tokenizer_class", ""));
  ASSIGN_OR_RETURN(const std::vector<AddedToken> added, ReadAddedTokens(config, settings.rows));
  ASSIGN_OR_RETURN(const Metadata metadata, ReadTiktoken(ranks, tokenizer_class, added, settings));
  return MakeTokenizer(metadata);
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> ReadTokenizer(const std::string& folder,
                                                               const JsonFields& config,
                                                               const TokenizerSettings& settings) {
  ASSIGN_OR_RETURN(const std::optional<std::string> json, ReadTextFile(folder, "tokenizer.json"));
  if (json.has_value()) return MakeTokenizerFromJson(*json, settings);
  ASSIGN_OR_RETURN(const std::optional<std::string> model, ReadTextFile(folder, "tokenizer.model"));
  ASSIGN_OR_RETURN(const std::string tokenizer_class, config.StringOr("tokenizer_class", ""));
  if (model.has_value() && LooksLikeTiktoken(*model)) return ReadTiktokenFolder(*model, config, settings);
  for (const std::string& name : NamesWith(folder, ".tiktoken")) {
    ASSIGN_OR_RETURN(const std::optional<std::string> ranks, ReadTextFile(folder, name));
    if (ranks.has_value()) return ReadTiktokenFolder(*ranks, config, settings);
  }
  const bool needs_code = config.Find("auto_map") != nullptr && !IsKnownSentencePieceClass(tokenizer_class);
  if (model.has_value() && !needs_code) {
    ASSIGN_OR_RETURN(const std::vector<AddedToken> added, ReadAddedTokens(config, settings.rows));
    ASSIGN_OR_RETURN(const Metadata metadata,
                     ReadSentencePieceModel(*model, tokenizer_class, added, settings));
    return MakeTokenizer(metadata);
  }
  if (config.Find("auto_map") != nullptr) {
    return config.Unsupported("auto_map", absl::StrCat("asks for code of the folder's own (",
                                                       Printable(tokenizer_class), "), which is never run"));
  }
  return absl::NotFoundError(
      "the folder has no tokenizer: neither tokenizer.json nor tokenizer.model nor a .tiktoken file");
}

// "chat_template": a text, or [{"name", "template"}].
absl::Status AddTemplates(const JsonFields& fields, std::vector<ChatTemplates::Source>& sources) {
  constexpr char kKey[] = "chat_template";
  const Json* value = fields.Find(kKey);
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_array()) {
    ASSIGN_OR_RETURN(std::string text, fields.String(kKey));
    sources.push_back({"default", std::move(text)});
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<JsonFields> all, fields.Objects(kKey));
  for (const JsonFields& one : all) {
    ASSIGN_OR_RETURN(std::string name, one.String("name"));
    ASSIGN_OR_RETURN(std::string text, one.String("template"));
    sources.push_back({std::move(name), std::move(text)});
  }
  return absl::OkStatus();
}

// Files of their own come before what tokenizer_config.json holds.
absl::StatusOr<ChatTemplates> ReadTemplates(const std::string& folder, const JsonFields& config) {
  constexpr char kExtension[] = ".jinja", kFolder[] = "additional_chat_templates";
  std::vector<ChatTemplates::Source> sources;
  ASSIGN_OR_RETURN(std::optional<std::string> text, ReadTextFile(folder, "chat_template.jinja"));
  if (text.has_value()) sources.push_back({"default", *std::move(text)});
  const std::string more = (std::filesystem::path(folder) / kFolder).string();
  for (const std::string& file : NamesWith(more, kExtension)) {
    ASSIGN_OR_RETURN(std::optional<std::string> one, ReadTextFile(more, file));
    if (one.has_value()) {
      sources.push_back({file.substr(0, file.size() - (sizeof(kExtension) - 1)), *std::move(one)});
    }
  }
  if (!sources.empty()) return ChatTemplates(std::move(sources));
  ASSIGN_OR_RETURN(const Json json, ReadJsonOrEmpty(folder, "chat_template.json"));
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(json, "chat_template.json"));
  RETURN_IF_ERROR(AddTemplates(fields, sources));
  if (sources.empty()) RETURN_IF_ERROR(AddTemplates(config, sources));
  return ChatTemplates(std::move(sources));
}

// Fields that change which tokens transformers chooses, and that no request can have here, each with the number that
// switches it off, where one does.
constexpr struct {
  std::string_view name;
  double off = std::numeric_limits<double>::quiet_NaN();
} kNotFollowed[] = {{"num_beams", 1},
                    {"num_beam_groups", 1},
                    {"diversity_penalty", 0},
                    {"penalty_alpha", 0},
                    {"typical_p", 1},
                    {"epsilon_cutoff", 0},
                    {"eta_cutoff", 0},
                    {"top_h"},
                    {"no_repeat_ngram_size", 0},
                    {"encoder_repetition_penalty", 1},
                    {"guidance_scale", 1},
                    {"bad_words_ids"},
                    {"suppress_tokens"},
                    {"begin_suppress_tokens"},
                    {"sequence_bias"},
                    {"forced_bos_token_id"},
                    {"forced_eos_token_id"},
                    {"exponential_decay_length_penalty"}};

void ReadNotFollowed(const JsonFields& generation, SamplingDefaults& sampling) {
  for (const auto& [name, off] : kNotFollowed) {
    const Json* value = generation.Find(name);
    if (value == nullptr || (value->is_number() && value->get<double>() == off)) continue;
    const bool is_long = value->is_structured() || value->is_string();
    sampling.not_followed.push_back(
        absl::StrCat(generation.PathOf(name), is_long ? "" : " = " + value->dump()));
  }
}

absl::StatusOr<SamplingDefaults> ReadSampling(const JsonFields& generation) {
  SamplingDefaults sampling;
  for (const SamplingField& field : SamplingFields()) {
    const Json* value = generation.Find(field.name);
    if (value == nullptr) continue;
    const double number = value->is_number() ? value->get<double>() : std::nan("");
    if (!field.Fits(number))
      return generation.Invalid(field.name, absl::StrCat("must be a number in ", field.range));
    sampling.*field.field = static_cast<float>(number);
  }
  ASSIGN_OR_RETURN(const int64_t top_k, generation.IntOr("top_k", 0));
  if (top_k < 0 || top_k > INT32_MAX) return generation.Invalid("top_k", "must be in [0, 2147483647]");
  if (generation.Find("top_k") != nullptr) sampling.top_k = static_cast<int32_t>(top_k);
  ASSIGN_OR_RETURN(const std::optional<bool> samples, FlagUnder(generation, "do_sample"));
  if (samples == false) sampling.temperature = 0;
  ReadNotFollowed(generation, sampling);
  return sampling;
}

}  // namespace

absl::StatusOr<FolderText> ReadFolderText(const std::string& folder, int32_t vocab_size) {
  ASSIGN_OR_RETURN(const Json config_json, ReadJsonOrEmpty(folder, kConfigFile));
  ASSIGN_OR_RETURN(const JsonFields config, JsonFields::Of(config_json, kConfigFile));
  ASSIGN_OR_RETURN(const Json generation_json, ReadJsonOrEmpty(folder, "generation_config.json"));
  ASSIGN_OR_RETURN(const JsonFields generation, JsonFields::Of(generation_json, "generation_config.json"));
  ASSIGN_OR_RETURN(const TokenizerSettings settings, ReadSettings(folder, config, generation, vocab_size));
  FolderText text;
  ASSIGN_OR_RETURN(text.tokenizer, ReadTokenizer(folder, config, settings));
  ASSIGN_OR_RETURN(text.chat_templates, ReadTemplates(folder, config));
  ASSIGN_OR_RETURN(text.sampling, ReadSampling(generation));
  return text;
}

}  // namespace ropeway::hf
