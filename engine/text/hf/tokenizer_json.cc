#include "engine/text/hf/tokenizer_json.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/hf/bpe_model.h"
#include "engine/text/hf/framing.h"
#include "engine/text/hf/json_fields.h"
#include "engine/text/hf/json_vocabulary.h"
#include "engine/text/hf/normalizers.h"
#include "engine/text/hf/pre_tokenizers.h"
#include "engine/text/unigram_model.h"

namespace ropeway::hf {
namespace {

// Normalise, find added tokens that are looked for in normalised text, cut, encode each piece.
class PipelineTokenizer final : public TextTokenizer {
 public:
  PipelineTokenizer(Vocabulary vocabulary, Setup setup, Normalizer normalizer, PieceSplitter splitter,
                    SpecialTokens normalized)
      : TextTokenizer(std::move(vocabulary), std::move(setup)),
        normalizer_(std::move(normalizer)),
        splitter_(std::move(splitter)),
        normalized_(std::move(normalized)) {}

  absl::Status ReadModel(const JsonFields& fields) {
    if (vocabulary().model() == "Unigram") {
      model_.emplace<UnigramModel>(vocabulary());
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(BpeModel model, BpeModel::Read(fields, vocabulary()));
    model_.emplace<BpeModel>(std::move(model));
    return absl::OkStatus();
  }

 private:
  absl::Status EncodeFragment(std::string_view fragment, bool at_start,
                              std::vector<TokenId>& ids) const override {
    std::string text(fragment);
    if (normalizer_ != nullptr) RETURN_IF_ERROR(normalizer_(text));
    size_t start = 0;
    for (const Special& special : FindSpecial(normalized_, text, /*control_limits=*/{})) {
      RETURN_IF_ERROR(EncodePieces(text.substr(start, special.begin - start), at_start && start == 0, ids));
      ids.push_back(special.id);
      start = special.end;
    }
    return EncodePieces(text.substr(start), at_start && start == 0, ids);
  }

  absl::Status EncodePieces(std::string text, bool at_start, std::vector<TokenId>& ids) const {
    if (text.empty()) return absl::OkStatus();
    std::vector<Piece> pieces;
    pieces.push_back({std::move(text), at_start});
    if (splitter_ != nullptr) RETURN_IF_ERROR(splitter_(pieces));
    for (const Piece& piece : pieces) {
      if (const auto* bpe = std::get_if<BpeModel>(&model_)) bpe->Encode(piece.text, ids);
      if (const auto* unigram = std::get_if<UnigramModel>(&model_)) unigram->Encode(piece.text, ids);
    }
    return absl::OkStatus();
  }

  const Normalizer normalizer_;   // null: none
  const PieceSplitter splitter_;  // null: the text is one piece
  const SpecialTokens normalized_;
  std::variant<std::monostate, BpeModel, UnigramModel> model_;
};

// Added tokens by where they are looked for: in the text as it is given, or in what stands between those, as it is
// normalised. Control tokens are found as they are spelt, whatever the normalizer would make of them.
struct Searched {
  SpecialTokens raw, normalized;
};

absl::StatusOr<Searched> SearchFor(const std::vector<AddedToken>& added, const Normalizer& normalizer) {
  Searched searched;
  for (const AddedToken& token : added) {
    if (!token.normalized || token.special) {
      searched.raw.Add(token.content, token.id, token.special);
      continue;
    }
    std::string content = token.content;
    if (normalizer != nullptr) RETURN_IF_ERROR(normalizer(content));
    if (!content.empty()) searched.normalized.Add(content, token.id, /*control=*/false);
  }
  return searched;
}

// What tokenizer_config.json says counts where the post-processor adds nothing, or always.
void AddSettings(const TokenizerSettings& settings, const Vocabulary& vocabulary, Frame& frame) {
  if (settings.flags_frame) frame = Frame();
  if (!frame.prefix.empty() || !frame.suffix.empty()) return;
  if (settings.add_bos.value_or(false) && vocabulary.bos() != kNoToken) frame.prefix = {vocabulary.bos()};
  if (settings.add_eos.value_or(false) && vocabulary.eos() != kNoToken) frame.suffix = {vocabulary.eos()};
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> MakeTokenizerFromJson(std::string_view tokenizer_json,
                                                                       const TokenizerSettings& settings) {
  ASSIGN_OR_RETURN(const Json json, ParseJsonFile(tokenizer_json, "tokenizer.json"));
  ASSIGN_OR_RETURN(const JsonFields document, JsonFields::Of(json, "tokenizer.json"));
  ASSIGN_OR_RETURN(Normalizer normalizer, ReadNormalizer(document));
  ASSIGN_OR_RETURN(PieceSplitter splitter, ReadPreTokenizer(document));
  ASSIGN_OR_RETURN(JsonVocabulary read, ReadVocabulary(document, settings));
  ASSIGN_OR_RETURN(Searched searched, SearchFor(read.added, normalizer));
  ASSIGN_OR_RETURN(Frame frame, ReadPostProcessor(document, read.vocabulary));
  ASSIGN_OR_RETURN(const Spelling spelling, ReadDecoder(document));
  AddSettings(settings, read.vocabulary, frame);
  TextTokenizer::Setup setup;
  setup.bytes = TokenBytesOf(read.vocabulary, read.added, spelling.kind);
  setup.prefix = std::move(frame.prefix);
  setup.suffix = std::move(frame.suffix);
  setup.strips_leading_space = spelling.strips_leading_space;
  for (const AddedToken& token : read.added) setup.traits[token.id] = token.traits;
  setup.special = std::move(searched.raw);
  auto tokenizer =
      std::make_unique<PipelineTokenizer>(std::move(read.vocabulary), std::move(setup), std::move(normalizer),
                                          std::move(splitter), std::move(searched.normalized));
  ASSIGN_OR_RETURN(const JsonFields model, document.Object("model"));
  RETURN_IF_ERROR(tokenizer->ReadModel(model));
  return std::unique_ptr<const Tokenizer>(std::move(tokenizer));
}

}  // namespace ropeway::hf
