#include "engine/text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/text/white_space.h"

namespace ropeway {
namespace {

// In the patterns below, \s inside and outside of brackets is written <S>, since PCRE2's differs: see
// white_space.h.

// GPT-2; contractions in lower case only.
constexpr char kGpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^<S>\\p{L}\\p{N}]+|[<S>]+(?![^<S>])|[<S>]+";

// Llama 3; Qwen 2 takes digits one by one; Qwen 3.5 lets marks join letters.
constexpr char kLlama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^<S>\\p{L}\\p{N}]+[\\r\\n]*|"
    "[<S>]*[\\r\\n]+|[<S>]+(?![^<S>])|[<S>]+";
constexpr char kQwen2[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^<S>\\p{L}\\p{N}]+[\\r\\n]*|"
    "[<S>]*[\\r\\n]+|[<S>]+(?![^<S>])|[<S>]+";
constexpr char kQwen35[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"
    " ?[^<S>\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|[<S>]*[\\r\\n]+|[<S>]+(?![^<S>])|[<S>]+";

constexpr char kDigit[] = "\\p{N}";

// Falcon: runs of punctuation first; after GPT-2's split, digits among the characters that stand for bytes,
// where six bytes beyond ASCII look numeric, then digits by threes.
constexpr char kFalconPunctuation[] = "[\\p{P}!-/:-@\\[-`{-~]+";
constexpr char kFalconNumeric[] = "[0-9\\xB2\\xB3\\xB9\\xBC\\xBD\\xBE]+";
constexpr char kFalconThrees[] = "[0-9][0-9][0-9]";

constexpr char kLineEnd[] = "[\\r\\n]";
constexpr char kDeepSeekLatin[] =
    "[<S>]?["
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
    "[<S>]?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+";
constexpr char kDeepSeekCjk[] = "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+";
constexpr char kTrailingSpace[] = "[<S>]+\\z";
constexpr char kSpaceAndLetters[] = "[<S>]?\\p{L}+";
constexpr char kSpaceAndPunctuation[] = "[<S>]?\\p{P}+";

struct Stage {
  const char* pattern;
  bool bytes = false;  // the pattern is about bytes, not code points
};

struct Scheme {
  const char* name;
  std::vector<Stage> stages;
  PreTokenizerTraits traits;
};

// Those whose behaviour is known from the models' own tokenizers.
std::vector<Scheme> Schemes() {
  const std::vector<Stage> gpt2 = {{kGpt2}}, digits_gpt2 = {{kDigit}, {kGpt2}};
  return {
      {"gpt-2", gpt2, {}},
      {"mpt", gpt2, {.nfc = true}},
      {"llama-bpe", {{kLlama3}}, {.ignore_merges = true, .add_bos = true}},
      {"qwen2", {{kQwen2}}, {.nfc = true}},
      {"qwen35", {{kQwen35}}, {.nfc = true}},
      {"starcoder", digits_gpt2, {}},
      {"refact", digits_gpt2, {}},
      {"smollm", digits_gpt2, {}},
      {"command-r", digits_gpt2, {.nfc = true}},
      {"falcon", {{kFalconPunctuation}, {kGpt2}, {kFalconNumeric, true}, {kFalconThrees, true}}, {}},
      {"deepseek-llm",
       {{kLineEnd}, {kDeepSeekLatin}, {kDeepSeekPunctuation}, {kTrailingSpace}, {kDeepSeekCjk}, {kDigit}},
       {}},
      {"deepseek-coder",
       {{kLineEnd}, {kSpaceAndLetters}, {kSpaceAndPunctuation}, {kDeepSeekCjk}, {kDigit}},
       {}},
  };
}

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using MatchContext = std::unique_ptr<pcre2_match_context, Freer<&pcre2_match_context_free_8>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freer<&pcre2_match_data_free_8>>;

}  // namespace

// A compiled pattern. Matching is thread-safe: what it changes lives on the caller's stack or heap.
class PreTokenizer::Pattern {
 public:
  static Pattern Compile(const Stage& stage) {
    const std::string text = absl::StrReplaceAll(
        stage.pattern,
        {{"[<S>]",
          absl::StrCat("[", absl::string_view(kWhiteSpaceClass.data(), kWhiteSpaceClass.size()), "]")},
         {"<S>", absl::string_view(kWhiteSpaceClass.data(), kWhiteSpaceClass.size())}});
    const uint32_t options = stage.bytes ? 0 : PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK;
    int error = 0;
    size_t offset = 0;
    Pattern pattern;
    pattern.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), options, &error,
                                      &offset, nullptr));
    ROPEWAY_CHECK(pattern.code_ != nullptr);
    // Where the machine forbids generated code, matching is interpreted: slower, with the same result.
    pcre2_jit_compile(pattern.code_.get(), PCRE2_JIT_COMPLETE);
    return pattern;
  }

  // Cuts `piece` at the borders of every match.
  absl::Status Split(std::string_view piece, std::vector<std::string_view>& out) const {
    const MatchData data(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    const MatchContext context(pcre2_match_context_create(nullptr));
    // Every pattern backtracks at most once over a run of characters: the time is bounded without a limit on
    // steps.
    pcre2_set_match_limit(context.get(), UINT32_MAX);
    size_t gap = 0, at = 0;
    while (at < piece.size()) {
      const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(piece.data()), piece.size(), at,
                                    PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, data.get(), context.get());
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0)
        return absl::InternalError(absl::StrCat("splitting a text failed with PCRE2's error ", found));
      const size_t* ends = pcre2_get_ovector_pointer(data.get());
      if (gap < ends[0]) out.push_back(piece.substr(gap, ends[0] - gap));
      out.push_back(piece.substr(ends[0], ends[1] - ends[0]));
      gap = at = ends[1];
    }
    if (gap < piece.size()) out.push_back(piece.substr(gap));
    return absl::OkStatus();
  }

 private:
  std::unique_ptr<pcre2_code, Freer<&pcre2_code_free_8>> code_;
};

absl::StatusOr<PreTokenizer> PreTokenizer::Make(std::string_view name) {
  std::vector<std::string> names;
  for (const Scheme& scheme : Schemes()) {
    names.push_back(scheme.name);
    if (name != scheme.name) continue;
    PreTokenizer pre_tokenizer;
    pre_tokenizer.traits_ = scheme.traits;
    for (const Stage& stage : scheme.stages) pre_tokenizer.stages_.push_back(Pattern::Compile(stage));
    return pre_tokenizer;
  }
  return absl::UnimplementedError(
      absl::StrCat("metadata key 'tokenizer.ggml.pre' is '", absl::string_view(name.data(), name.size()),
                   "', which is not supported; supported are ", absl::StrJoin(names, ", ")));
}

PreTokenizer::PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

absl::Status PreTokenizer::Split(std::string_view text, std::vector<std::string_view>& pieces) const {
  pieces.assign(1, text);
  std::vector<std::string_view> finer;
  for (const Pattern& stage : stages_) {
    finer.clear();
    for (std::string_view piece : pieces) RETURN_IF_ERROR(stage.Split(piece, finer));
    pieces.swap(finer);
  }
  return absl::OkStatus();
}

}  // namespace ropeway
