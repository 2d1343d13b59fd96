#include "tests/engine/text/hf/twin_tokenizer_json.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "nlohmann/json.hpp"

namespace ropeway::testing {
namespace {

using Json = nlohmann::ordered_json;

Json Split(const std::string& pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}
Json ByteLevel(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}
Json Digits(bool individual) { return {{"type", "Digits"}, {"individual_digits", individual}}; }

constexpr char kLlama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr char kQwen2[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr char kQwen35[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr char kDeepSeekLatin[] =
    "\\s?["
    "A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF\u0370-"
    "\u0373\u0376\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5\u03F7-"
    "\u0481\u048A-\u052F\u0531-\u0556\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF"
    "\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-"
    "\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC"
    "\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC\u2102\u2107\u210A-\u2113\u2115"
    "\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139\u213C-\u213F\u2145-\u2149\u214E"
    "\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D\uA680-\uA69B\uA722-"
    "\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A\uFF41-\uFF5A"
    "\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2\U00010CC0-"
    "\U00010CF2\U000118A0-\U000118DF\U0001E900-\U0001E943"
    "]+";
constexpr char kDeepSeekPunctuation[] = "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+";
constexpr char kDeepSeekCjk[] = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";

Json StagesOf(const std::string& pre) {
  const Json bytes = ByteLevel(false);
  if (pre == "gpt-2" || pre == "mpt") return Json::array({ByteLevel(true)});
  if (pre == "llama-bpe") return {Split(kLlama3), bytes};
  if (pre == "qwen2") return {Split(kQwen2), bytes};
  if (pre == "qwen35") return {Split(kQwen35), bytes};
  if (pre == "falcon") {
    const Json punctuation = {{"type", "Punctuation"}, {"behavior", "Contiguous"}};
    return {punctuation, ByteLevel(true), Digits(false), Split("[0-9][0-9][0-9]")};
  }
  if (pre == "deepseek-llm") {
    return {Split("[\r\n]"),
            Split(kDeepSeekLatin),
            Split(kDeepSeekPunctuation),
            Split("\\s+$"),
            Split(kDeepSeekCjk),
            Digits(true),
            bytes};
  }
  if (pre == "deepseek-coder") {
    return {Split("[\r\n]"),     Split("\\s?\\p{L}+"), Split("\\s?\\p{P}+"),
            Split(kDeepSeekCjk), Digits(true),         bytes};
  }
  return {Digits(true), ByteLevel(true)};
}

// What the file of a vocabulary says, by id.
struct Source {
  explicit Source(const Metadata& metadata)
      : tokens(**metadata.GetStrings("tokenizer.ggml.tokens")),
        types(**metadata.GetInts("tokenizer.ggml.token_type")),
        model(*metadata.GetString("tokenizer.ggml.model")),
        pre(ValueOr<std::string>(metadata.GetString("tokenizer.ggml.pre"), "").value()) {
    const std::string name =
        absl::AsciiStrToLower(ValueOr<std::string>(metadata.GetString("general.name"), "").value());
    is_phi3 = absl::StrContains(name, "phi-3") || absl::StrContains(name, "phi3");
    space_prefix = ValueOr<bool>(metadata.GetBool("tokenizer.ggml.add_space_prefix"), true).value();
    unknown = ValueOr<int64_t>(metadata.GetInt("tokenizer.ggml.unknown_token_id"), 0).value();
  }

  const std::vector<std::string>& tokens;
  const std::vector<int64_t>& types;
  const std::string model, pre;
  bool is_phi3 = false, space_prefix = true;
  int64_t unknown = 0;
};

// The merges by which plain BPE follows SentencePiece's scores.
Json MergesFromScores(const Source& source, const std::vector<double>& scores) {
  absl::flat_hash_map<std::string_view, size_t> ids;
  for (size_t i = 0; i < source.tokens.size(); ++i) {
    if (source.types[i] == 1) ids[source.tokens[i]] = i;
  }
  struct Row {
    double rank;
    size_t left, right;
  };
  std::vector<Row> rows;
  for (size_t i = 0; i < source.tokens.size(); ++i) {
    const std::string_view token = source.tokens[i];
    const auto self = ids.find(token);
    if (self == ids.end() || self->second != i) continue;
    std::vector<std::pair<size_t, size_t>> parts;
    for (size_t k = 1; k < token.size(); ++k) {
      const auto left = ids.find(token.substr(0, k)), right = ids.find(token.substr(k));
      if (left != ids.end() && right != ids.end()) parts.emplace_back(left->second, right->second);
    }
    std::sort(parts.begin(), parts.end());
    for (const auto& [left, right] : parts) rows.push_back({-scores[i], left, right});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.rank < b.rank; });
  Json merges = Json::array();
  for (const Row& row : rows) merges.push_back({source.tokens[row.left], source.tokens[row.right]});
  return merges;
}

Json MergesOf(const Source& source, const Metadata& metadata) {
  if (source.model == "llama")
    return MergesFromScores(source, **metadata.GetDoubles("tokenizer.ggml.scores"));
  Json merges = Json::array();
  for (const std::string& line : **metadata.GetStrings("tokenizer.ggml.merges")) {
    const size_t space = line.find(' ', 1);
    merges.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  return merges;
}

Json AddedTokensOf(const Source& source) {
  const bool byte_level = source.model == "gpt2";
  Json added = Json::array();
  for (size_t i = 0; i < source.tokens.size(); ++i) {
    const std::string& token = source.tokens[i];
    const bool control = source.types[i] == 3 || (source.model == "llama" && source.types[i] == 2);
    if (!control && source.types[i] != 4) continue;
    if (token == "[PAD" + std::to_string(i) + "]") continue;
    const bool eats = source.is_phi3 && token != "<unk>" && token != "<s>" && token != "<|endoftext|>";
    const bool normalized = !control && (byte_level || source.model == "gemma4");
    added.push_back({{"id", i},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", eats},
                     {"normalized", normalized},
                     {"special", control}});
  }
  return added;
}

Json NormalizerOf(const Source& source) {
  const bool nfc =
      source.pre == "mpt" || source.pre == "qwen2" || source.pre == "qwen35" || source.pre == "command-r";
  if (source.model == "gpt2") return nfc ? Json({{"type", "NFC"}}) : Json();
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  if (source.model == "gemma4") return replace;
  Json steps = Json::array();
  if (source.space_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", "\u2581"}});
  steps.push_back(replace);
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

Json DecoderOf(const Source& source) {
  if (source.model == "gpt2") return ByteLevel(true);
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
  Json steps = Json::array({replace, Json({{"type", "ByteFallback"}}), Json({{"type", "Fuse"}})});
  if (source.model == "llama" && source.space_prefix) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", steps}};
}

}  // namespace

std::string TwinTokenizerJson(const Metadata& metadata) {
  const Source source(metadata);
  const bool byte_level = source.model == "gpt2";
  std::map<std::string, size_t> vocab;
  for (size_t i = 0; i < source.tokens.size(); ++i) vocab.try_emplace(source.tokens[i], i);
  Json model = {{"type", "BPE"},
                {"unk_token", byte_level ? Json() : Json(source.tokens[static_cast<size_t>(source.unknown)])},
                {"fuse_unk", !byte_level},
                {"byte_fallback", !byte_level},
                {"ignore_merges", source.pre == "llama-bpe"}};
  // A plain JSON object: ordered ones search for every key that is added.
  model["vocab"] = nlohmann::json(vocab);
  model["merges"] = MergesOf(source, metadata);
  const Json document = {
      {"version", "1.0"},
      {"added_tokens", AddedTokensOf(source)},
      {"normalizer", NormalizerOf(source)},
      {"pre_tokenizer",
       byte_level ? Json({{"type", "Sequence"}, {"pretokenizers", StagesOf(source.pre)}}) : Json()},
      {"post_processor", nullptr},
      {"decoder", DecoderOf(source)},
      {"model", std::move(model)}};
  return document.dump();
}

}  // namespace ropeway::testing
