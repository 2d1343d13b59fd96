#include "engine/text/hf/framing.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status_macros.h"
#include "engine/text/byte_spelling.h"
#include "engine/text/text_tokenizer.h"

namespace ropeway::hf {
namespace {

constexpr char kSpaceMark[] = "\u2581";

absl::StatusOr<TokenId> IdIn(const JsonFields& fields, std::string_view key, const Json& id,
                             const Vocabulary& vocabulary) {
  const bool fits = id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(vocabulary.size());
  if (!fits) return fields.Invalid(key, absl::StrCat("must hold ids in [0, ", vocabulary.size(), ")"));
  return static_cast<TokenId>(id.get<uint64_t>());
}

// {"single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}], "special_tokens": {"<s>":
// {"ids"}}}
absl::StatusOr<Frame> ReadTemplate(const JsonFields& fields, const Vocabulary& vocabulary) {
  Frame frame;
  ASSIGN_OR_RETURN(const std::vector<JsonFields> parts, fields.Objects("single"));
  bool behind = false;
  for (const JsonFields& part : parts) {
    if (part.Find("Sequence") != nullptr) {
      if (std::exchange(behind, true)) return part.Invalid("Sequence", "must occur once");
      continue;
    }
    ASSIGN_OR_RETURN(const JsonFields special, part.Object("SpecialToken"));
    ASSIGN_OR_RETURN(const std::string name, special.String("id"));
    ASSIGN_OR_RETURN(const JsonFields all, fields.Object("special_tokens"));
    ASSIGN_OR_RETURN(const JsonFields token, all.Object(name));
    ASSIGN_OR_RETURN(const Json* ids, token.Array("ids"));
    for (const Json& id : *ids) {
      ASSIGN_OR_RETURN(const TokenId value, IdIn(token, "ids", id, vocabulary));
      (behind ? frame.suffix : frame.prefix).push_back(value);
    }
  }
  if (!behind) return fields.Invalid("single", "must hold a Sequence");
  return frame;
}

// ["<s>", 1]
absl::StatusOr<TokenId> ReadPair(const JsonFields& fields, std::string_view key,
                                 const Vocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const Json* pair, fields.Array(key));
  if (pair->size() != 2) return fields.Invalid(key, "must be a token and its id");
  return IdIn(fields, key, (*pair)[1], vocabulary);
}

absl::StatusOr<Frame> ReadProcessor(const JsonFields& fields, const Vocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  Frame frame;
  // It is about offsets only.
  if (type == "ByteLevel") return frame;
  if (type == "TemplateProcessing") return ReadTemplate(fields, vocabulary);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    ASSIGN_OR_RETURN(const TokenId first, ReadPair(fields, "cls", vocabulary));
    ASSIGN_OR_RETURN(const TokenId last, ReadPair(fields, "sep", vocabulary));
    return Frame{.prefix = {first}, .suffix = {last}};
  }
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const std::vector<JsonFields> members, fields.Objects("processors"));
    for (const JsonFields& member : members) {
      ASSIGN_OR_RETURN(const Frame outer, ReadProcessor(member, vocabulary));
      frame.prefix.insert(frame.prefix.begin(), outer.prefix.begin(), outer.prefix.end());
      frame.suffix.insert(frame.suffix.end(), outer.suffix.begin(), outer.suffix.end());
    }
    return frame;
  }
  return fields.UnknownValue("type", type,
                             "Sequence, ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing");
}

// One step of a SentencePiece decoder; whether it is the one that takes off a leading space.
absl::StatusOr<bool> ReadSentencePieceStep(const JsonFields& fields, const std::string& type) {
  if (type == "ByteFallback" || type == "Fuse") return false;
  if (type == "Replace") {
    ASSIGN_OR_RETURN(const JsonFields pattern, fields.Object("pattern"));
    ASSIGN_OR_RETURN(const std::string mark, pattern.String("String"));
    ASSIGN_OR_RETURN(const std::string content, fields.String("content"));
    if (mark == kSpaceMark && content == " ") return false;
    return fields.Unsupported("pattern", "must be U+2581 for a space; nothing else is supported");
  }
  if (type == "Strip") {
    ASSIGN_OR_RETURN(const std::string content, fields.StringOr("content", " "));
    ASSIGN_OR_RETURN(const int64_t start, fields.IntOr("start", 0));
    ASSIGN_OR_RETURN(const int64_t stop, fields.IntOr("stop", 0));
    if (content == " " && stop == 0 && (start == 0 || start == 1)) return start == 1;
    return fields.Unsupported("", "must take off one leading space; nothing else is supported");
  }
  if (type == "Metaspace") {
    ASSIGN_OR_RETURN(const std::string mark, fields.StringOr("replacement", kSpaceMark));
    if (mark != kSpaceMark) return fields.Unsupported("replacement", "must be U+2581");
    ASSIGN_OR_RETURN(const bool old_prefix, fields.BoolOr("add_prefix_space", true));
    ASSIGN_OR_RETURN(const std::string scheme,
                     fields.StringOr("prepend_scheme", old_prefix ? "always" : "never"));
    return scheme != "never";
  }
  return fields.UnknownValue("type", type,
                             "Sequence, ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip");
}

}  // namespace

absl::StatusOr<Frame> ReadPostProcessor(const JsonFields& document, const Vocabulary& vocabulary) {
  if (document.Find("post_processor") == nullptr) return Frame();
  ASSIGN_OR_RETURN(const JsonFields fields, document.Object("post_processor"));
  return ReadProcessor(fields, vocabulary);
}

absl::StatusOr<Spelling> ReadDecoder(const JsonFields& document) {
  ASSIGN_OR_RETURN(const JsonFields fields, document.Object("decoder"));
  ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  if (type == "ByteLevel") return Spelling();
  std::vector<JsonFields> steps = {fields};
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(steps, fields.Objects("decoders"));
  }
  Spelling spelling = {.kind = Spelling::Kind::kSentencePiece};
  bool byte_level = false;
  for (const JsonFields& step : steps) {
    ASSIGN_OR_RETURN(const std::string kind, step.String("type"));
    if (kind == "ByteLevel") {
      byte_level = true;
      continue;
    }
    ASSIGN_OR_RETURN(const bool strips, ReadSentencePieceStep(step, kind));
    spelling.strips_leading_space = spelling.strips_leading_space || strips;
  }
  // A sequence with ByteLevel in it has nothing else that does anything to its tokens.
  if (byte_level) spelling.kind = Spelling::Kind::kByteLevel;
  return spelling;
}

std::vector<std::string> TokenBytesOf(const Vocabulary& vocabulary, const std::vector<AddedToken>& added,
                                      Spelling::Kind kind) {
  std::vector<std::string> bytes;
  bytes.reserve(static_cast<size_t>(vocabulary.size()));
  std::vector<char> byte_of(static_cast<size_t>(vocabulary.size()), 0);
  for (int byte = 0; byte < 256; ++byte) {
    const TokenId id = vocabulary.byte_token(static_cast<uint8_t>(byte));
    if (id != kNoToken) byte_of[static_cast<size_t>(id)] = static_cast<char>(byte);
  }
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string& text = vocabulary.text(id);
    if (kind == Spelling::Kind::kByteLevel) {
      bytes.push_back(BytesSpelt(text));
    } else if (vocabulary.type(id) == TokenType::kByte) {
      bytes.emplace_back(1, byte_of[static_cast<size_t>(id)]);
    } else {
      bytes.push_back(absl::StrReplaceAll(text, {{kSpaceMark, " "}}));
    }
  }
  // Added tokens are spelt as they are.
  for (const AddedToken& token : added) bytes[static_cast<size_t>(token.id)] = token.content;
  return bytes;
}

}  // namespace ropeway::hf
