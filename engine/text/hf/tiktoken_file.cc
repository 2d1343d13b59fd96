#include "engine/text/hf/tiktoken_file.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "engine/text/byte_spelling.h"
#include "engine/text/text_tokenizer.h"

namespace ropeway::hf {
namespace {

constexpr int32_t kMaxRank = 1 << 22;

// What the code of a tokenizer says beside its file.
struct Family {
  std::string_view tokenizer_class;
  std::string_view pre;  // whose split it has
  int num_extras =
      -1;  // control tokens <|endoftext|>, <|im_start|>, <|im_end|>, <|extra_N|>; -1: none of these
  std::vector<std::string_view> in_front = {};  // tokens that every text begins with
};

// By "tokenizer_class"; null where the class is not known.
const Family* FamilyOf(std::string_view tokenizer_class) {
  static const auto& families = *new std::vector<Family>{
      {"QWenTokenizer", "qwen2", 205}, {"ChatGLM4Tokenizer", "chatglm-bpe", -1, {"[gMASK]", "<sop>"}}};
  for (const Family& family : families)
    if (family.tokenizer_class == tokenizer_class) return &family;
  return nullptr;
}

absl::Status WrongLine(size_t line, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("tiktoken file, line ", line, ": ", std::string(what)));
}

// Bytes of the tokens, by rank.
absl::StatusOr<std::vector<std::string>> ReadRanks(std::string_view text) {
  std::vector<std::string> tokens;
  size_t number = 0;
  for (const absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    if (line.empty()) continue;
    const std::vector<absl::string_view> parts = absl::StrSplit(line, ' ');
    std::string bytes;
    int32_t rank = 0;
    if (parts.size() != 2 || !absl::Base64Unescape(parts[0], &bytes) || bytes.empty())
      return WrongLine(number, "must be a token in base64 and a rank");
    if (!absl::SimpleAtoi(parts[1], &rank) || rank < 0 || rank >= kMaxRank)
      return WrongLine(number, absl::StrCat("the rank must be in [0, ", kMaxRank, ")"));
    if (static_cast<size_t>(rank) >= tokens.size()) tokens.resize(static_cast<size_t>(rank) + 1);
    if (!tokens[static_cast<size_t>(rank)].empty()) return WrongLine(number, "the rank occurs twice");
    tokens[static_cast<size_t>(rank)] = std::move(bytes);
  }
  if (tokens.empty()) return WrongLine(1, "there are no tokens");
  return tokens;
}

struct Tokens {
  std::vector<std::string> texts;
  std::vector<int64_t> types;

  absl::Status Set(size_t id, const std::string& text, TokenType type) {
    if (id >= static_cast<size_t>(kMaxRank))
      return absl::InvalidArgumentError("tiktoken file: too many tokens");
    for (size_t i = texts.size(); i <= id; ++i) {
      texts.push_back(absl::StrCat("[PAD", i, "]"));
      types.push_back(static_cast<int64_t>(TokenType::kUnused));
    }
    texts[id] = text;
    types[id] = static_cast<int64_t>(type);
    return absl::OkStatus();
  }

  // kNoToken where there is none.
  int64_t Find(std::string_view text) const {
    const auto found = std::find(texts.begin(), texts.end(), text);
    return text.empty() || found == texts.end() ? kNoToken : found - texts.begin();
  }
};

absl::StatusOr<Tokens> TokensOf(const std::vector<std::string>& ranked, const Family& family,
                                const std::vector<AddedToken>& added, int32_t min_size) {
  Tokens tokens;
  for (size_t id = 0; id < ranked.size(); ++id) {
    if (!ranked[id].empty()) RETURN_IF_ERROR(tokens.Set(id, SpellBytes(ranked[id]), TokenType::kNormal));
  }
  if (family.num_extras >= 0) {
    size_t next = ranked.size();
    for (const char* text : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
      RETURN_IF_ERROR(tokens.Set(next++, text, TokenType::kControl));
    }
    for (int i = 0; i < family.num_extras; ++i) {
      RETURN_IF_ERROR(tokens.Set(next++, absl::StrCat("<|extra_", i, "|>"), TokenType::kControl));
    }
  }
  for (const AddedToken& token : added) {
    RETURN_IF_ERROR(tokens.Set(static_cast<size_t>(token.id), token.content,
                               token.special ? TokenType::kControl : TokenType::kUserDefined));
  }
  const size_t size = tokens.texts.size();
  if (min_size > 0 && static_cast<size_t>(min_size) > size) {
    const auto last = static_cast<size_t>(min_size) - 1;
    RETURN_IF_ERROR(tokens.Set(last, absl::StrCat("[PAD", last, "]"), TokenType::kUnused));
  }
  return tokens;
}

}  // namespace

bool LooksLikeTiktoken(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  const size_t space = line.find(' ');
  std::string bytes;
  int32_t rank = 0;
  return space != line.npos && absl::Base64Unescape(absl::string_view(line.data(), space), &bytes) &&
         absl::SimpleAtoi(absl::string_view(line.data() + space + 1, line.size() - space - 1), &rank);
}

absl::StatusOr<Metadata> ReadTiktoken(std::string_view text, std::string_view tokenizer_class,
                                      const std::vector<AddedToken>& added,
                                      const TokenizerSettings& settings) {
  const Family* family = FamilyOf(tokenizer_class);
  if (family == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("tokenizer_config.json: tokenizer_class is '", Printable(tokenizer_class),
                     "'; with a tiktoken file QWenTokenizer and ChatGLM4Tokenizer are supported"));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> ranked, ReadRanks(text));
  ASSIGN_OR_RETURN(Tokens tokens, TokensOf(ranked, *family, added, settings.rows));
  const int64_t bos = tokens.Find(settings.bos_token);
  const int64_t eos = tokens.Find(settings.eos_token.empty() ? "<|endoftext|>" : settings.eos_token);
  std::vector<int64_t> in_front;
  for (const std::string_view token : family->in_front) {
    in_front.push_back(tokens.Find(token));
    if (in_front.back() == kNoToken)
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer_config.json: added_tokens_decoder must have '", std::string(token),
                       "', which every text of a ", std::string(tokenizer_class), " begins with"));
  }
  Metadata metadata;
  if (!in_front.empty()) RETURN_IF_ERROR(metadata.Add(kTokensInFrontKey, std::move(in_front)));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.model", std::string("tiktoken")));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.pre", std::string(family->pre)));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.tokens", std::move(tokens.texts)));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.token_type", std::move(tokens.types)));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.bos_token_id", bos));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.eos_token_id", eos));
  RETURN_IF_ERROR(metadata.Add(kEndTokensKey, settings.end_token_ids));
  return metadata;
}

}  // namespace ropeway::hf
