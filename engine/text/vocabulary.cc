#include "engine/text/vocabulary.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/base/status_macros.h"
#include "engine/base/utf8.h"

namespace ropeway {
namespace {

constexpr size_t kMaxTokens = 1 << 22;
constexpr size_t kMaxTokenBytes = 1 << 16;

// Control tokens by which models of the common families end a turn or a text, beside the file's eos.
constexpr std::string_view kEndSpellings[] = {
    "<|eot_id|>",    "<|im_end|>", "<|end|>",         "<end_of_turn>",         "<turn|>",
    "<|endoftext|>", "<|eom_id|>", "<|end_of_text|>", "<|END_OF_TURN_TOKEN|>", "<EOT>",
    "</s>",
};

// How texts are split in the files of architectures that had one vocabulary alone, from the times when converters did
// not say it or said "default".
constexpr std::pair<std::string_view, std::string_view> kPreOfArchitecture[] = {
    {"bloom", "bloom"},         {"command-r", "command-r"}, {"exaone", "exaone"}, {"falcon", "falcon"},
    {"gpt2", "gpt-2"},          {"gptneox", "olmo"},        {"mpt", "mpt"},       {"olmo", "olmo"},
    {"phi2", "phi-2"},          {"qwen", "qwen2"},          {"qwen2", "qwen2"},   {"starcoder", "starcoder"},
    {"starcoder2", "starcoder"}};

// What "tokenizer.ggml.pre" says or, where it does not say anything, what the architecture implies.
absl::StatusOr<std::string> ReadPre(const Metadata& metadata) {
  ASSIGN_OR_RETURN(std::string pre, ValueOr<std::string>(metadata.GetString("tokenizer.ggml.pre"), ""));
  if (!pre.empty() && pre != "default") return pre;
  ASSIGN_OR_RETURN(const std::string architecture,
                   ValueOr<std::string>(metadata.GetString("general.architecture"), ""));
  for (const auto& [name, implied] : kPreOfArchitecture)
    if (architecture == name) return std::string(implied);
  return pre;
}

// Keys that name a token which ends a generation, beside that of eos.
constexpr std::string_view kEndKeys[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};

absl::StatusOr<TokenId> IdUnder(const Metadata& metadata, std::string_view key, int32_t size) {
  ASSIGN_OR_RETURN(const int64_t id, ValueOr<int64_t>(metadata.GetInt(key), kNoToken));
  // Files of old write the largest 32-bit number for "none".
  if (id == kNoToken || id == UINT32_MAX) return kNoToken;
  if (id < 0 || id >= size)
    return absl::InvalidArgumentError(absl::StrCat("metadata key '",
                                                   absl::string_view(key.data(), key.size()),
                                                   "' must be in [0, ", size, "), is ", id));
  return static_cast<TokenId>(id);
}

absl::Status CheckLength(absl::string_view key, size_t length, size_t expected) {
  if (length == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "metadata key '", key, "' must have one element for each of ", expected, " tokens, has ", length));
}

absl::Status ReadTokens(const Metadata& metadata, VocabularyParts& parts) {
  ASSIGN_OR_RETURN(const auto* tokens, metadata.GetStrings("tokenizer.ggml.tokens"));
  const size_t size = tokens->size();
  if (size == 0 || size > kMaxTokens)
    return absl::InvalidArgumentError(absl::StrCat("metadata key 'tokenizer.ggml.tokens' must have 1 to ",
                                                   kMaxTokens, " elements, has ", size));
  parts.tokens = *tokens;
  if (metadata.Has("tokenizer.ggml.token_type")) {
    ASSIGN_OR_RETURN(const auto* types, metadata.GetInts("tokenizer.ggml.token_type"));
    RETURN_IF_ERROR(CheckLength("tokenizer.ggml.token_type", types->size(), size));
    for (size_t i = 0; i < types->size(); ++i) {
      if ((*types)[i] < 1 || (*types)[i] > 6)
        return absl::InvalidArgumentError(
            absl::StrCat("tokenizer.ggml.token_type of token ", i, " must be in [1, 6], is ", (*types)[i]));
      parts.types.push_back(static_cast<TokenType>((*types)[i]));
    }
  }
  if (metadata.Has("tokenizer.ggml.scores")) {
    ASSIGN_OR_RETURN(const auto* scores, metadata.GetDoubles("tokenizer.ggml.scores"));
    RETURN_IF_ERROR(CheckLength("tokenizer.ggml.scores", scores->size(), size));
    for (size_t i = 0; i < scores->size(); ++i) {
      const double score = (*scores)[i];
      if (!(std::abs(score) <= FLT_MAX))
        return absl::InvalidArgumentError(
            absl::StrCat("tokenizer.ggml.scores of token ", i, " must be finite as a float, is ", score));
      parts.scores.push_back(static_cast<float>(score));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadSpecialIds(const Metadata& metadata, VocabularyParts& parts) {
  const auto size = static_cast<int32_t>(parts.tokens.size());
  ASSIGN_OR_RETURN(parts.bos, IdUnder(metadata, "tokenizer.ggml.bos_token_id", size));
  ASSIGN_OR_RETURN(parts.eos, IdUnder(metadata, "tokenizer.ggml.eos_token_id", size));
  ASSIGN_OR_RETURN(parts.unknown, IdUnder(metadata, "tokenizer.ggml.unknown_token_id", size));
  for (std::string_view key : kEndKeys) {
    ASSIGN_OR_RETURN(const TokenId id, IdUnder(metadata, key, size));
    if (id != kNoToken) parts.end_of_generation.push_back(id);
  }
  if (!metadata.Has(kEndTokensKey)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<int64_t>* ends, metadata.GetInts(kEndTokensKey));
  for (const int64_t id : *ends) {
    if (id < 0 || id >= size)
      return absl::InvalidArgumentError(absl::StrCat("eos_token_id must be in [0, ", size, "), is ", id));
    parts.end_of_generation.push_back(static_cast<TokenId>(id));
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<uint8_t> ByteOf(std::string_view text) {
  absl::string_view spelling(text.data(), text.size());
  if (spelling.size() != 6 || !absl::ConsumePrefix(&spelling, "<0x") || !absl::ConsumeSuffix(&spelling, ">"))
    return std::nullopt;
  uint8_t byte = 0;
  for (const char digit : spelling) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(digit))) return std::nullopt;
    const int value =
        absl::ascii_isdigit(static_cast<unsigned char>(digit)) ? digit - '0' : (digit | 0x20) - 'a' + 10;
    byte = static_cast<uint8_t>(byte << 4 | value);
  }
  return byte;
}

absl::StatusOr<Vocabulary> Vocabulary::Read(const Metadata& metadata) {
  VocabularyParts parts;
  ASSIGN_OR_RETURN(parts.model, metadata.GetString("tokenizer.ggml.model"));
  ASSIGN_OR_RETURN(parts.pre, ReadPre(metadata));
  ASSIGN_OR_RETURN(parts.model_name, ValueOr<std::string>(metadata.GetString("general.name"), ""));
  RETURN_IF_ERROR(ReadTokens(metadata, parts));
  RETURN_IF_ERROR(ReadSpecialIds(metadata, parts));
  return Make(std::move(parts));
}

absl::StatusOr<Vocabulary> Vocabulary::Make(VocabularyParts parts) {
  Vocabulary vocabulary;
  vocabulary.model_ = std::move(parts.model);
  vocabulary.pre_ = std::move(parts.pre);
  vocabulary.model_name_ = std::move(parts.model_name);
  vocabulary.tokens_ = std::move(parts.tokens);
  vocabulary.types_ = std::move(parts.types);
  vocabulary.scores_ = std::move(parts.scores);
  vocabulary.bos_ = parts.bos;
  vocabulary.eos_ = parts.eos;
  vocabulary.unknown_ = parts.unknown;
  vocabulary.end_of_generation_ = std::move(parts.end_of_generation);
  vocabulary.beside_the_model_.insert(parts.beside_the_model.begin(), parts.beside_the_model.end());
  RETURN_IF_ERROR(vocabulary.IndexTokens());
  vocabulary.FindEnds();
  return vocabulary;
}

absl::Status Vocabulary::IndexTokens() {
  if (tokens_.empty() || tokens_.size() > kMaxTokens)
    return absl::InvalidArgumentError(
        absl::StrCat("a vocabulary must have 1 to ", kMaxTokens, " tokens, has ", tokens_.size()));
  types_.resize(tokens_.size(), TokenType::kNormal);
  scores_.resize(tokens_.size(), 0);
  ids_.reserve(tokens_.size());
  for (TokenId id = 0; id < size(); ++id) {
    if (tokens_[id].size() > kMaxTokenBytes)
      return absl::InvalidArgumentError(absl::StrCat("token ", id, " may have at most ", kMaxTokenBytes,
                                                     " bytes, has ", tokens_[id].size()));
    if (FindInvalidUtf8(tokens_[id]) != std::string_view::npos)
      return absl::InvalidArgumentError(absl::StrCat("token ", id, " is not valid UTF-8"));
    ids_.emplace(tokens_[id], id);
    if (types_[id] == TokenType::kByte)
      if (const std::optional<uint8_t> byte = ByteOf(tokens_[id])) byte_tokens_[*byte] = id;
  }
  return absl::OkStatus();
}

void Vocabulary::FindEnds() {
  if (eos_ != kNoToken) end_of_generation_.push_back(eos_);
  for (std::string_view spelling : kEndSpellings) {
    const TokenId id = Find(spelling);
    if (id != kNoToken && type(id) == TokenType::kControl) end_of_generation_.push_back(id);
  }
  std::sort(end_of_generation_.begin(), end_of_generation_.end());
}

bool Vocabulary::IsFiller(TokenId id) const { return tokens_[id] == absl::StrCat("[PAD", id, "]"); }

TokenId Vocabulary::Find(std::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? kNoToken : found->second;
}

bool Vocabulary::IsEndOfGeneration(TokenId id) const {
  return std::binary_search(end_of_generation_.begin(), end_of_generation_.end(), id);
}

}  // namespace ropeway
