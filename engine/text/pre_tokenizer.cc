#include "engine/text/pre_tokenizer.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

// GPT-2; contractions in lower case only.
constexpr char kGpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

// Llama 3 and its kin are the same but for what is said here.
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SIGNS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define BLANKS "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
constexpr char kLlama3[] = CONTRACTION "|" WORD "|\\p{N}{1,3}|" SIGNS "|" BLANKS;
// Digits one by one.
constexpr char kQwen2[] = CONTRACTION "|" WORD "|\\p{N}|" SIGNS "|" BLANKS;
// Behind a stage that takes digits by threes.
constexpr char kMiniCpm5[] = CONTRACTION "|" WORD "|\\p{N}+|" SIGNS "|" BLANKS;
// Marks join letters.
constexpr char kQwen35[] =
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" BLANKS;
// Line ends do not join signs.
constexpr char kSeedCoder[] = CONTRACTION "|" WORD "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" BLANKS;
// Words may go on over single spaces.
constexpr char kExaoneMoe[] = CONTRACTION
    "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|"
    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
// Possessive where the others give back.
constexpr char kBailing[] =
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
// White space in runs of powers of two.
constexpr char kJais2[] = CONTRACTION
    "|" WORD "|\\p{N}{1,3}|" SIGNS
    "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|"
    "\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}";

// Tekken and GPT-4o: a change from lower to upper case ends a word.
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define OPENING "[^\\r\\n\\p{L}\\p{N}]?"
#define SIGNS_OF_PATHS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"
constexpr char kTekken[] =
    OPENING UPPER "*" LOWER "+|" OPENING UPPER "+" LOWER "*|\\p{N}|" SIGNS_OF_PATHS "|" BLANKS;
constexpr char kGpt4o[] = OPENING UPPER "*" LOWER "+" CONTRACTION "?|" OPENING UPPER "+" LOWER "*" CONTRACTION
                                        "?|\\p{N}{1,3}|" SIGNS_OF_PATHS "|" BLANKS;
constexpr char kYoutu[] = OPENING UPPER "*" LOWER "+" CONTRACTION "?|" OPENING UPPER "+" LOWER "*" CONTRACTION
                                        "?|\\p{N}|" SIGNS_OF_PATHS "|" BLANKS;
// Kimi: runs of Han are pieces of their own, and no part of words.
#define NO_HAN(SET) "(?:(?!\\p{Han})" SET ")"
constexpr char kKimi[] =
    "\\p{Han}+|" OPENING NO_HAN(UPPER) "*" NO_HAN(LOWER) "+" CONTRACTION "?|" OPENING NO_HAN(
        UPPER) "+" NO_HAN(LOWER) "*" CONTRACTION "?|\\p{N}{1,3}|" SIGNS "|" BLANKS;
#undef NO_HAN
constexpr char kYoutuScripts[] =
    "[\\x{AC00}-\\x{D7A3}\\x{3131}-\\x{318E}]+|[\\x{FF01}\\x{2026}\\x{201C}\\x{201D}\\x{2018}\\x{2019}\\x{"
    "2014}"
    "\\x{FF1A}\\x{FF1B}\\x{FF0C}\\x{3001}-\\x{303F}\\x{FE30}-\\x{FE4F}]+|[\\x{3105}-\\x{312F}]+|"
    "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+";

#undef CONTRACTION
#undef WORD
#undef SIGNS
#undef BLANKS
#undef UPPER
#undef LOWER
#undef OPENING
#undef SIGNS_OF_PATHS

// BLOOM: whatever stands between blanks and stops, with the space in front.
constexpr char kBloom[] = " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+";

constexpr char kDigit[] = "\\p{N}";
constexpr char kLines[] = "[^\\n]+|[\\n]+";

// Falcon: runs of punctuation first; after GPT-2's split, digits among the characters that stand for bytes,
// where six bytes beyond ASCII look numeric, then digits by threes.
constexpr char kFalconPunctuation[] = "[\\p{P}!-/:-@\\[-`{-~]+";
constexpr char kFalconNumeric[] = "[0-9\\xB2\\xB3\\xB9\\xBC\\xBD\\xBE]+";
constexpr char kFalconThrees[] = "[0-9][0-9][0-9]";

constexpr char kLineEnd[] = "[\\r\\n]";
constexpr char kDeepSeekLatin[] =
    "\\s?["
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-"
    "\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}"
    "\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}"
    "\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-"
    "\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}"
    "\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-"
    "\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-"
    "\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-"
    "\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}"
    "\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}"
    "\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-"
    "\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-"
    "\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-"
    "\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-"
    "\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-"
    "\\x{118DF}\\x{1E900}-\\x{1E943}"
    "]+";
constexpr char kDeepSeekPunctuation[] =
    "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+";
constexpr char kDeepSeekCjk[] = "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+";
constexpr char kTrailingSpace[] = "\\s+\\z";
constexpr char kSpaceAndLetters[] = "\\s?\\p{L}+";
constexpr char kSpaceAndPunctuation[] = "\\s?\\p{P}+";

// DeepSeek V3.
constexpr char kThreeDigits[] = "\\p{N}{1,3}";
constexpr char kHanAndKana[] = "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+";
#define DEEPSEEK_WORDS \
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
constexpr char kDeepSeekV3[] = DEEPSEEK_WORDS " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr char kSpark[] = DEEPSEEK_WORDS " ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+";
#undef DEEPSEEK_WORDS

struct Stage {
  const char* pattern;
  bool bytes = false;  // the pattern is about bytes, not code points
};

struct Scheme {
  std::vector<std::string_view> names;
  std::vector<Stage> stages;
  PreTokenizerTraits traits;
};

// Those whose behaviour is known from the models' own tokenizers. Names that stand together have the same
// one.
std::vector<Scheme> Schemes() {
  const std::vector<Stage> gpt2 = {{kGpt2}}, digits_gpt2 = {{kDigit}, {kGpt2}};
  const std::vector<Stage> deepseek_v3 = {{kThreeDigits}, {kHanAndKana}, {kDeepSeekV3}};
  return {
      {{"gpt-2", "phi-2", "jais", "gigachat", "a.x-4.0", "mellum", "exaone4", "trillion", "granite-docling"},
       gpt2,
       {}},
      // Made from GPT-NeoX's vocabulary.
      {{"mpt", "olmo"}, gpt2, {.nfc = true}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
       {{kLlama3}},
       {.ignore_merges = true, .add_bos = true}},
      {{"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, {{kLlama3}}, {}},
      {{"jais-2"}, {{kJais2}}, {}},
      {{"qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez"}, {{kQwen2}}, {.nfc = true}},
      {{"stablelm2", "hunyuan", "solar-open", "grok-2"}, {{kQwen2}}, {}},
      {{"minicpm5"}, {{kThreeDigits}, {kMiniCpm5}}, {.ignore_merges = true}},
      {{"laguna"}, {{kLines}, {kQwen2}}, {}},
      {{"qwen35"}, {{kQwen35}}, {.nfc = true}},
      {{"seed-coder"}, {{kSeedCoder}}, {}},
      {{"exaone-moe"}, {{kExaoneMoe}}, {}},
      {{"bailingmoe", "bailingmoe2", "llada-moe"}, {{kBailing}}, {}},
      {{"tekken"}, {{kTekken}}, {.ignore_merges = true, .add_bos = true}},
      {{"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"}, {{kGpt4o}}, {}},
      // As tiktoken does, from whose vocabularies these files are made.
      {{"kimi-k2"}, {{kKimi}}, {.ignore_merges = true}},
      {{"youtu"}, {{kYoutuScripts}, {kYoutu}}, {.ignore_merges = true}},
      {{"starcoder", "refact", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"}, digits_gpt2, {}},
      {{"command-r"}, digits_gpt2, {.nfc = true}},
      {{"bloom", "poro-chat", "gpt3-finnish"}, {{kBloom}}, {}},
      {{"viking"}, {{kBloom}, {kDigit}}, {}},
      {{"falcon"}, {{kFalconPunctuation}, {kGpt2}, {kFalconNumeric, true}, {kFalconThrees, true}}, {}},
      {{"deepseek-llm"},
       {{kLineEnd}, {kDeepSeekLatin}, {kDeepSeekPunctuation}, {kTrailingSpace}, {kDeepSeekCjk}, {kDigit}},
       {}},
      {{"deepseek-coder"},
       {{kLineEnd}, {kSpaceAndLetters}, {kSpaceAndPunctuation}, {kDeepSeekCjk}, {kDigit}},
       {}},
      {{"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"}, deepseek_v3, {}},
      {{"spark2_5"}, {{kThreeDigits}, {kHanAndKana}, {kSpark}, {kDigit}}, {}},
  };
}

// Why `name` is not one of Schemes().
absl::Status Unknown(std::string_view name, const std::vector<std::string_view>& known) {
  std::string what = absl::StrCat("is '", Printable(name), "', which is not supported");
  // Converters of old wrote these; how the model's own tokenizer splits texts was lost.
  if (name.empty()) what = "is missing, so that the file does not say how texts are split";
  if (name == "default") what = "is 'default', which does not say how texts are split";
  return absl::UnimplementedError(absl::StrCat(
      "metadata key 'tokenizer.ggml.pre' ", what, "; supported are ",
      absl::StrJoin(known, ", ", [](std::string* out, std::string_view one) { out->append(one); })));
}

// Cuts `piece` at the borders of every match.
absl::Status SplitAtMatches(const Regex& pattern, std::string_view piece,
                            std::vector<std::string_view>& out) {
  size_t gap = 0;
  RETURN_IF_ERROR(pattern.ForEachMatch(piece, [&](size_t begin, size_t end) {
    if (gap < begin) out.push_back(piece.substr(gap, begin - gap));
    out.push_back(piece.substr(begin, end - begin));
    gap = end;
  }));
  if (gap < piece.size()) out.push_back(piece.substr(gap));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Make(std::string_view name) {
  std::vector<std::string_view> known;
  for (const Scheme& scheme : Schemes()) {
    known.insert(known.end(), scheme.names.begin(), scheme.names.end());
    if (std::find(scheme.names.begin(), scheme.names.end(), name) == scheme.names.end()) continue;
    PreTokenizer pre_tokenizer;
    pre_tokenizer.traits_ = scheme.traits;
    for (const Stage& stage : scheme.stages) {
      // Every pattern backtracks at most once over a run of characters: time is bounded without a limit.
      ASSIGN_OR_RETURN(Regex pattern,
                       Regex::Compile(stage.pattern, {.bytes = stage.bytes, .max_steps = UINT32_MAX}));
      pre_tokenizer.stages_.push_back(std::move(pattern));
    }
    return pre_tokenizer;
  }
  return Unknown(name, known);
}

std::vector<std::string> PreTokenizer::Names() {
  std::vector<std::string> names;
  for (const Scheme& scheme : Schemes()) names.insert(names.end(), scheme.names.begin(), scheme.names.end());
  return names;
}

absl::Status PreTokenizer::Split(std::string_view text, std::vector<std::string_view>& pieces) const {
  pieces.assign(1, text);
  std::vector<std::string_view> finer;
  for (const Regex& stage : stages_) {
    finer.clear();
    for (std::string_view piece : pieces) RETURN_IF_ERROR(SplitAtMatches(stage, piece, finer));
    pieces.swap(finer);
  }
  return absl::OkStatus();
}

}  // namespace ropeway
