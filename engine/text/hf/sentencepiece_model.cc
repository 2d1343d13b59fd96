// ModelProto = { pieces(1): SentencePiece*, trainer_spec(2), normalizer_spec(3) }, each field a varint key
// (number << 3 | wire type) and its value:
//   SentencePiece  { piece(1): text, score(2): float, type(3): 1 to 6, as GGUF numbers them }
//   TrainerSpec    { model_type(3): 1 unigram, 2 BPE, 3 word, 4 char; treat_whitespace_as_suffix(24); unk_id(40),
//                    bos_id(41), eos_id(42) }
//   NormalizerSpec { precompiled_charsmap(2): bytes, add_dummy_prefix(3), remove_extra_whitespaces(4),
//                    escape_whitespaces(5) }
#include "engine/text/hf/sentencepiece_model.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "engine/text/sentencepiece_normalizer.h"

namespace ropeway::hf {
namespace {

constexpr char kFile[] = "tokenizer.model";

// What the code of a class, which folders bring along, adds to what the library does.
struct TokenizerClass {
  std::string_view name;
  std::vector<std::string_view> behind = {};    // control tokens behind the pieces of the model
  std::vector<std::string_view> in_front = {};  // tokens that every text begins with
};

// By "tokenizer_class"; null where the class is not known.
const TokenizerClass* ClassOf(std::string_view name) {
  static const auto& classes = *new std::vector<TokenizerClass>{
      {"InternLMTokenizer"},
      {"InternLM2Tokenizer"},
      {"InternLM3Tokenizer"},
      {"BaichuanTokenizer"},
      {"YiTokenizer"},
      {"OrionTokenizer"},
      // The last four are those of the third generation; the second has rows for them and no use.
      {"ChatGLMTokenizer",
       {"[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>",
        "<|observation|>"},
       {"[gMASK]", "sop"}}};
  for (const TokenizerClass& known : classes)
    if (known.name == name) return &known;
  return nullptr;
}

struct Field {
  uint64_t number = 0;
  uint64_t value = 0;      // of a varint or a fixed number
  std::string_view bytes;  // of a length-delimited value
};

// Goes through the fields of a message.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  // nullopt at the end.
  absl::StatusOr<std::optional<Field>> Next() {
    if (rest_.empty()) return std::nullopt;
    Field field;
    ASSIGN_OR_RETURN(const uint64_t key, Varint());
    field.number = key >> 3;
    switch (key & 7) {
      case 0: {
        ASSIGN_OR_RETURN(field.value, Varint());
        return field;
      }
      case 1: {
        ASSIGN_OR_RETURN(field.value, Fixed(8));
        return field;
      }
      case 2: {
        ASSIGN_OR_RETURN(const uint64_t size, Varint());
        if (size > rest_.size()) return Cut();
        field.bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return field;
      }
      case 5: {
        ASSIGN_OR_RETURN(field.value, Fixed(4));
        return field;
      }
      default:
        return Cut();
    }
  }

 private:
  static absl::Status Cut() {
    return absl::InvalidArgumentError(absl::StrCat(kFile, ": not a SentencePiece model"));
  }

  absl::StatusOr<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    return Cut();
  }

  absl::StatusOr<uint64_t> Fixed(size_t bytes) {
    if (rest_.size() < bytes) return Cut();
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i) value |= uint64_t{static_cast<unsigned char>(rest_[i])} << (8 * i);
    rest_.remove_prefix(bytes);
    return value;
  }

  std::string_view rest_;
};

struct Model {
  std::vector<std::string> tokens;
  std::vector<int64_t> types;
  std::vector<double> scores;
  uint64_t model_type = 1;
  int64_t unknown = 0, bos = 1, eos = 2;
  bool add_dummy_prefix = true, remove_extra_spaces = true, escape_spaces = true;
  bool spaces_are_suffixes = false;
  std::string charsmap;
};

absl::Status ReadPiece(std::string_view bytes, Model& model) {
  std::string text;
  uint64_t type = 1;
  float score = 0;
  Reader reader(bytes);
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<Field> field, reader.Next());
    if (!field.has_value()) break;
    if (field->number == 1) text = std::string(field->bytes);
    if (field->number == 2) score = std::bit_cast<float>(static_cast<uint32_t>(field->value));
    if (field->number == 3) type = field->value;
  }
  if (type < 1 || type > 6) {
    return absl::InvalidArgumentError(absl::StrCat(kFile, ": piece ", model.tokens.size(),
                                                   " has a type that must be in [1, 6], is ", type));
  }
  model.tokens.push_back(std::move(text));
  model.types.push_back(static_cast<int64_t>(type));
  model.scores.push_back(score);
  return absl::OkStatus();
}

absl::Status ReadTrainer(std::string_view bytes, Model& model) {
  Reader reader(bytes);
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<Field> field, reader.Next());
    if (!field.has_value()) return absl::OkStatus();
    const auto id = static_cast<int64_t>(static_cast<int32_t>(field->value));
    if (field->number == 3) model.model_type = field->value;
    if (field->number == 24) model.spaces_are_suffixes = field->value != 0;
    if (field->number == 40) model.unknown = id;
    if (field->number == 41) model.bos = id;
    if (field->number == 42) model.eos = id;
  }
}

absl::Status ReadNormalizer(std::string_view bytes, Model& model) {
  Reader reader(bytes);
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<Field> field, reader.Next());
    if (!field.has_value()) return absl::OkStatus();
    if (field->number == 2) model.charsmap = std::string(field->bytes);
    if (field->number == 3) model.add_dummy_prefix = field->value != 0;
    if (field->number == 4) model.remove_extra_spaces = field->value != 0;
    if (field->number == 5) model.escape_spaces = field->value != 0;
  }
}

absl::StatusOr<Model> ReadModel(std::string_view bytes) {
  Model model;
  Reader reader(bytes);
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<Field> field, reader.Next());
    if (!field.has_value()) break;
    if (field->number == 1) RETURN_IF_ERROR(ReadPiece(field->bytes, model));
    if (field->number == 2) RETURN_IF_ERROR(ReadTrainer(field->bytes, model));
    if (field->number == 3) RETURN_IF_ERROR(ReadNormalizer(field->bytes, model));
  }
  if (model.tokens.empty()) return absl::InvalidArgumentError(absl::StrCat(kFile, ": has no pieces"));
  return model;
}

absl::Status CheckSupported(const Model& model) {
  const auto refuse = [](const char* what) {
    return absl::UnimplementedError(absl::StrCat(kFile, ": ", what, " is not supported"));
  };
  if (model.model_type != 1 && model.model_type != 2) return refuse("a model of words or characters");
  if (model.spaces_are_suffixes) return refuse("trainer_spec.treat_whitespace_as_suffix = true");
  if (!model.escape_spaces) return refuse("normalizer_spec.escape_whitespaces = false");
  return absl::OkStatus();
}

// Tokens of the class's own, as far as the embedding matrix has rows for them (`rows`; 0: any).
void AddBehind(const TokenizerClass& known, int32_t rows, Model& model) {
  for (const std::string_view text : known.behind) {
    if (rows > 0 && model.tokens.size() >= static_cast<size_t>(rows)) return;
    model.tokens.emplace_back(text);
    model.types.push_back(static_cast<int64_t>(TokenType::kControl));
    model.scores.push_back(0);
  }
}

// What other files add; rows without a token pad the embedding matrix.
void Extend(const std::vector<AddedToken>& added, int32_t min_size, Model& model) {
  size_t size = std::max<size_t>(model.tokens.size(), static_cast<size_t>(std::max(min_size, 0)));
  for (const AddedToken& token : added) size = std::max(size, static_cast<size_t>(token.id) + 1);
  for (size_t id = model.tokens.size(); id < size; ++id)
    model.tokens.push_back(absl::StrCat("[PAD", id, "]"));
  model.types.resize(size, static_cast<int64_t>(TokenType::kUnused));
  model.scores.resize(size, 0);
  for (const AddedToken& token : added) {
    const auto place = static_cast<size_t>(token.id);
    model.tokens[place] = token.content;
    // The pieces of the model itself keep their types, so that the unknown piece and bytes stay what they
    // are.
    const int64_t type = model.types[place];
    const bool plain = type == static_cast<int64_t>(TokenType::kNormal) ||
                       type == static_cast<int64_t>(TokenType::kUnused) ||
                       type == static_cast<int64_t>(TokenType::kUserDefined);
    if (plain)
      model.types[place] =
          static_cast<int64_t>(token.special ? TokenType::kControl : TokenType::kUserDefined);
  }
}

// The id of a token that a configuration names, or the model's own.
absl::StatusOr<int64_t> IdOf(const std::string& spelling, int64_t own, const Model& model) {
  if (spelling.empty()) return own < static_cast<int64_t>(model.tokens.size()) ? own : kNoToken;
  for (size_t id = 0; id < model.tokens.size(); ++id) {
    if (model.tokens[id] == spelling) return static_cast<int64_t>(id);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("tokenizer_config.json: '", Printable(spelling), "' is not in the vocabulary"));
}

}  // namespace

bool IsKnownSentencePieceClass(std::string_view tokenizer_class) {
  return ClassOf(tokenizer_class) != nullptr;
}

absl::StatusOr<Metadata> ReadSentencePieceModel(std::string_view bytes, std::string_view tokenizer_class,
                                                const std::vector<AddedToken>& added,
                                                const TokenizerSettings& settings) {
  ASSIGN_OR_RETURN(Model model, ReadModel(bytes));
  RETURN_IF_ERROR(CheckSupported(model));
  const TokenizerClass* known = ClassOf(tokenizer_class);
  if (known != nullptr) AddBehind(*known, settings.rows, model);
  Extend(added, settings.rows, model);
  ASSIGN_OR_RETURN(const int64_t bos, IdOf(settings.bos_token, model.bos, model));
  ASSIGN_OR_RETURN(const int64_t eos, IdOf(settings.eos_token, model.eos, model));
  std::vector<int64_t> in_front;
  for (const std::string_view text : known == nullptr ? std::vector<std::string_view>() : known->in_front) {
    ASSIGN_OR_RETURN(const int64_t id, IdOf(std::string(text), kNoToken, model));
    in_front.push_back(id);
  }
  const bool is_unigram = model.model_type == 1;
  std::vector<int64_t> eats_left, eats_right, whole_words;
  for (const AddedToken& token : added) {
    if (token.traits.eats_left) eats_left.push_back(token.id);
    if (token.traits.eats_right) eats_right.push_back(token.id);
    if (token.traits.whole_word) whole_words.push_back(token.id);
  }
  Metadata metadata;
  if (!in_front.empty()) RETURN_IF_ERROR(metadata.Add(kTokensInFrontKey, std::move(in_front)));
  RETURN_IF_ERROR(metadata.Add(kEatsLeftKey, std::move(eats_left)));
  RETURN_IF_ERROR(metadata.Add(kEatsRightKey, std::move(eats_right)));
  RETURN_IF_ERROR(metadata.Add(kWholeWordKey, std::move(whole_words)));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.model", std::string(is_unigram ? "t5" : "llama")));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.tokens", std::move(model.tokens)));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.token_type", std::move(model.types)));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.scores", std::move(model.scores)));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.unknown_token_id", model.unknown));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.bos_token_id", bos));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.eos_token_id", eos));
  RETURN_IF_ERROR(metadata.Add(kEndTokensKey, settings.end_token_ids));
  RETURN_IF_ERROR(metadata.Add(kSpacePrefixKey, model.add_dummy_prefix));
  RETURN_IF_ERROR(metadata.Add(kExtraSpacesKey, model.remove_extra_spaces));
  if (!model.charsmap.empty()) {
    RETURN_IF_ERROR(
        metadata.Add(kCharsmapKey, std::vector<int64_t>(model.charsmap.begin(), model.charsmap.end())));
  }
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.add_bos_token", settings.add_bos.value_or(!is_unigram)));
  RETURN_IF_ERROR(metadata.Add("tokenizer.ggml.add_eos_token", settings.add_eos.value_or(is_unigram)));
  return metadata;
}

}  // namespace ropeway::hf
