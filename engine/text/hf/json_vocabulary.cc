#include "engine/text/hf/json_vocabulary.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"

namespace ropeway::hf {
namespace {

constexpr int64_t kMaxTokens = 1 << 22;

// Fills VocabularyParts, by id in any order.
class Builder {
 public:
  absl::Status Set(const JsonFields& fields, std::string_view key, std::string token, int64_t id,
                   TokenType type, float score) {
    if (id < 0 || id >= kMaxTokens) {
      return fields.Invalid(key, absl::StrCat("has an id that must be in [0, ", kMaxTokens, "), is ", id));
    }
    const auto place = static_cast<size_t>(id);
    if (place >= parts_.tokens.size()) {
      parts_.tokens.resize(place + 1);
      parts_.types.resize(place + 1, TokenType::kUnused);
      parts_.scores.resize(place + 1, 0);
      named_.resize(place + 1, false);
    }
    if (named_[place] && parts_.tokens[place] != token) {
      return fields.Invalid(key, absl::StrCat("gives id ", id, " to '", Printable(token), "', which '",
                                              Printable(parts_.tokens[place]), "' has"));
    }
    const auto [known, fresh] = ids_.try_emplace(token, static_cast<TokenId>(id));
    if (!fresh && known->second != id) {
      return fields.Invalid(
          key, absl::StrCat("gives '", Printable(token), "' the id ", id, ", it has ", known->second));
    }
    parts_.tokens[place] = std::move(token);
    parts_.types[place] = type;
    parts_.scores[place] = score;
    named_[place] = true;
    return absl::OkStatus();
  }

  TokenId Find(const std::string& token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? kNoToken : found->second;
  }

  // Rows without a token pad the embedding matrix.
  VocabularyParts Take(int32_t min_size) {
    const size_t size = std::max<size_t>(parts_.tokens.size(), std::max(min_size, 0));
    parts_.tokens.resize(size);
    parts_.types.resize(size, TokenType::kUnused);
    parts_.scores.resize(size, 0);
    named_.resize(size, false);
    for (size_t id = 0; id < size; ++id) {
      if (!named_[id]) parts_.tokens[id] = absl::StrCat("[PAD", id, "]");
    }
    return std::move(parts_);
  }

  VocabularyParts& parts() { return parts_; }

 private:
  VocabularyParts parts_;
  std::vector<bool> named_;
  absl::flat_hash_map<std::string, TokenId> ids_;
};

// {"token": id, ...}
absl::Status ReadBpeTokens(const JsonFields& model, bool byte_fallback, Builder& builder) {
  ASSIGN_OR_RETURN(const JsonFields vocab, model.Object("vocab"));
  for (const auto& [token, id] : model.Find("vocab")->items()) {
    if (!id.is_number_integer() || id.is_number_float()) return vocab.Invalid(token, "must be an integer");
    const bool is_byte = byte_fallback && ByteOf(token).has_value();
    RETURN_IF_ERROR(builder.Set(model, "vocab", token, id.get<int64_t>(),
                                is_byte ? TokenType::kByte : TokenType::kNormal, 0));
  }
  return absl::OkStatus();
}

// [[token, score], ...], the id is the place.
absl::Status ReadUnigramTokens(const JsonFields& model, bool byte_fallback, Builder& builder) {
  ASSIGN_OR_RETURN(const Json* vocab, model.Array("vocab"));
  for (size_t i = 0; i < vocab->size(); ++i) {
    const Json& entry = (*vocab)[i];
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      return model.Invalid("vocab", absl::StrCat("must hold pairs of a token and a score, does not at ", i));
    }
    const std::string& token = entry[0].get_ref<const std::string&>();
    const auto score = entry[1].get<double>();
    if (!(std::abs(score) <= FLT_MAX))
      return model.Invalid(
          "vocab", absl::StrCat("must have scores that are finite as floats, has ", score, " at ", i));
    const bool is_byte = byte_fallback && ByteOf(token).has_value();
    RETURN_IF_ERROR(builder.Set(model, "vocab", token, static_cast<int64_t>(i),
                                is_byte ? TokenType::kByte : TokenType::kNormal, static_cast<float>(score)));
  }
  return absl::OkStatus();
}

absl::Status ReadUnknown(const JsonFields& model, const std::string& type, Builder& builder) {
  TokenId unknown = kNoToken;
  if (type == "BPE") {
    ASSIGN_OR_RETURN(const std::string token, model.StringOr("unk_token", ""));
    unknown = token.empty() ? kNoToken : builder.Find(token);
    if (!token.empty() && unknown == kNoToken) {
      return model.Invalid("unk_token", absl::StrCat("'", Printable(token), "' is not in the vocabulary"));
    }
  } else {
    ASSIGN_OR_RETURN(const int64_t id, model.IntOr("unk_id", kNoToken));
    const auto size = static_cast<int64_t>(builder.parts().tokens.size());
    if (id != kNoToken && (id < 0 || id >= size)) {
      return model.Invalid("unk_id", absl::StrCat("must be in [0, ", size, "), is ", id));
    }
    unknown = static_cast<TokenId>(id);
    // Its score takes no part in the segmentation.
    if (unknown != kNoToken) builder.parts().types[static_cast<size_t>(unknown)] = TokenType::kUnknown;
  }
  builder.parts().unknown = unknown;
  return absl::OkStatus();
}

absl::Status CheckId(std::string_view name, int64_t id, int64_t size) {
  if (id >= 0 && id < size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(std::string(name), " must be in [0, ", size, "), is ", id));
}

absl::StatusOr<AddedToken> ReadAdded(const JsonFields& fields) {
  AddedToken token;
  ASSIGN_OR_RETURN(token.content, fields.String("content"));
  if (token.content.empty()) return fields.Invalid("content", "must not be empty");
  if (fields.Find("id") == nullptr) return fields.Invalid("id", "is missing");
  ASSIGN_OR_RETURN(const int64_t id, fields.IntOr("id", 0));
  if (id < 0 || id >= kMaxTokens) {
    return fields.Invalid("id", absl::StrCat("must be in [0, ", kMaxTokens, "), is ", id));
  }
  token.id = static_cast<TokenId>(id);
  ASSIGN_OR_RETURN(token.special, fields.BoolOr("special", false));
  ASSIGN_OR_RETURN(token.normalized, fields.BoolOr("normalized", !token.special));
  ASSIGN_OR_RETURN(token.traits.eats_left, fields.BoolOr("lstrip", false));
  ASSIGN_OR_RETURN(token.traits.eats_right, fields.BoolOr("rstrip", false));
  ASSIGN_OR_RETURN(token.traits.whole_word, fields.BoolOr("single_word", false));
  return token;
}

absl::StatusOr<std::vector<AddedToken>> ReadAllAdded(const JsonFields& document, int32_t rows,
                                                     Builder& builder) {
  std::vector<AddedToken> added;
  if (document.Find("added_tokens") == nullptr) return added;
  ASSIGN_OR_RETURN(const std::vector<JsonFields> all, document.Objects("added_tokens"));
  for (const JsonFields& fields : all) {
    ASSIGN_OR_RETURN(AddedToken token, ReadAdded(fields));
    // Gemma 3 names a token for images that its text models have no row for.
    if (rows > 0 && token.id >= rows) continue;
    if (builder.Find(token.content) == kNoToken) builder.parts().beside_the_model.push_back(token.id);
    const auto place = static_cast<size_t>(token.id);
    const float score = place < builder.parts().scores.size() ? builder.parts().scores[place] : 0;
    RETURN_IF_ERROR(builder.Set(fields, "content", token.content, token.id,
                                token.special ? TokenType::kControl : TokenType::kUserDefined, score));
    added.push_back(std::move(token));
  }
  return added;
}

// The id of a token that another file names by its spelling.
absl::StatusOr<TokenId> Named(const Builder& builder, std::string_view what, const std::string& spelling) {
  if (spelling.empty()) return kNoToken;
  const TokenId id = builder.Find(spelling);
  if (id != kNoToken) return id;
  return absl::InvalidArgumentError(absl::StrCat(std::string(what), " '", Printable(spelling),
                                                 "' is not in the vocabulary of tokenizer.json"));
}

}  // namespace

absl::StatusOr<JsonVocabulary> ReadVocabulary(const JsonFields& document, const TokenizerSettings& settings) {
  ASSIGN_OR_RETURN(const JsonFields model, document.Object("model"));
  ASSIGN_OR_RETURN(const std::string type, model.StringOr("type", "BPE"));
  ASSIGN_OR_RETURN(const bool byte_fallback, model.BoolOr("byte_fallback", false));
  Builder builder;
  if (type == "BPE") {
    RETURN_IF_ERROR(ReadBpeTokens(model, byte_fallback, builder));
  } else if (type == "Unigram") {
    RETURN_IF_ERROR(ReadUnigramTokens(model, byte_fallback, builder));
  } else {
    return model.UnknownValue("type", type, "BPE, Unigram");
  }
  RETURN_IF_ERROR(ReadUnknown(model, type, builder));
  ASSIGN_OR_RETURN(std::vector<AddedToken> added, ReadAllAdded(document, settings.rows, builder));
  ASSIGN_OR_RETURN(const TokenId bos, Named(builder, "bos_token", settings.bos_token));
  ASSIGN_OR_RETURN(const TokenId eos, Named(builder, "eos_token", settings.eos_token));
  VocabularyParts parts = builder.Take(settings.rows);
  parts.model = type;
  parts.bos = bos;
  parts.eos = eos;
  const auto size = static_cast<int64_t>(parts.tokens.size());
  for (const int64_t id : settings.end_token_ids) {
    RETURN_IF_ERROR(CheckId("eos_token_id", id, size));
    parts.end_of_generation.push_back(static_cast<TokenId>(id));
  }
  if (bos == kNoToken && settings.bos_token_id.has_value()) {
    RETURN_IF_ERROR(CheckId("bos_token_id", *settings.bos_token_id, size));
    parts.bos = static_cast<TokenId>(*settings.bos_token_id);
  }
  ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Make(std::move(parts)));
  return JsonVocabulary{std::move(vocabulary), std::move(added)};
}

}  // namespace ropeway::hf
