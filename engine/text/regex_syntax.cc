// From Oniguruma's syntax to PCRE2's. Where the two write the same differently, the pattern is rewritten;
// where they read the same differently, it is rewritten or refused.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "engine/text/regex.h"

namespace ropeway {
namespace {

// Unicode's White_Space, which is not PCRE2's \s; and all else.
constexpr char kSpace[] =
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";
constexpr char kNotSpace[] =
    "\\x{0}-\\x{8}\\x{E}-\\x{1F}!-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{"
    "2027}"
    "\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}";
constexpr char kWord[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
// Outside of sets Oniguruma has a table of its own for Latin-1, where superscripts and fractions are of words, too.
constexpr char kWordAlone[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";
constexpr char kHexDigit[] = "0-9A-Fa-f";

// Members of [:NAME:]. [:graph:] and [:print:] say what is assigned, which every version of Unicode changes.
constexpr std::pair<absl::string_view, absl::string_view> kPosixSets[] = {{"alpha", "\\p{Alphabetic}"},
                                                                          {"alnum", "\\p{Alphabetic}\\p{Nd}"},
                                                                          {"ascii", "\\x{0}-\\x{7F}"},
                                                                          {"blank", "\\t\\p{Zs}"},
                                                                          {"cntrl", "\\p{Cc}"},
                                                                          {"digit", "\\p{Nd}"},
                                                                          {"lower", "\\p{Lowercase}"},
                                                                          {"punct", "\\p{P}\\p{S}"},
                                                                          {"space", kSpace},
                                                                          {"upper", "\\p{Uppercase}"},
                                                                          {"word", kWord},
                                                                          {"xdigit", kHexDigit}};

// Whether PCRE2 knows it as the name of a script.
bool IsScript(std::string_view name) {
  const std::string pattern = absl::StrCat("\\p{sc:", std::string(name), "}");
  int error = 0;
  size_t offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF,
                                   &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (i_ < pattern_.size()) {
      const char c = pattern_[i_];
      if (c == '\\') {
        RETURN_IF_ERROR(Escape(/*in_set=*/false));
      } else if (c == '[') {
        RETURN_IF_ERROR(Set());
      } else if (c == '(') {
        RETURN_IF_ERROR(Group());
      } else if (c == '{') {
        RETURN_IF_ERROR(Interval());
      } else {
        out_ += c;
        ++i_;
        if (c == '|') branch_begin_ = i_;
      }
    }
    return std::move(out_);
  }

 private:
  std::string_view Rest() const { return pattern_.substr(i_); }

  absl::Status Refuse(std::string_view what) const {
    return absl::UnimplementedError(
        absl::StrCat("the regular expression's ", std::string(what), " at byte ", i_, " is not supported"));
  }

  absl::Status Escape(bool in_set) {
    if (i_ + 1 == pattern_.size()) return absl::InvalidArgumentError("the regular expression ends with a \\");
    const char c = pattern_[i_ + 1];
    const auto set = [&](std::string_view members, bool negated) {
      out_ += in_set ? std::string(members) : absl::StrCat(negated ? "[^" : "[", std::string(members), "]");
      i_ += 2;
      return absl::OkStatus();
    };
    if (c == 's') return set(kSpace, false);
    if (c == 'S') return in_set ? set(kNotSpace, false) : set(kSpace, true);
    if (c == 'w') return set(in_set ? kWord : kWordAlone, false);
    if (c == 'W' && !in_set) return set(kWordAlone, true);
    if (c == 'h') return set(kHexDigit, false);
    if (c == 'H' && !in_set) return set(kHexDigit, true);
    if ((c == 'b' || c == 'B') && !in_set) return WordBorder(/*negated=*/c == 'B');
    if (c == 'd') return set("\\p{Nd}", false);
    if (c == 'D') return set("\\P{Nd}", false);
    if (c == 'u') return UnicodeEscape();
    if (c == 'p' || c == 'P') return Property();
    constexpr std::string_view kSame = "nrtfvaex";
    constexpr std::string_view kAnchors = "AzZ";
    const bool is_letter = absl::ascii_isalnum(static_cast<unsigned char>(c));
    if (is_letter && kSame.find(c) == kSame.npos && (in_set || kAnchors.find(c) == kAnchors.npos)) {
      return Refuse(absl::StrCat("\\", std::string(1, c)));
    }
    // What follows in braces goes along: \x{3000}.
    const size_t end =
        Rest().size() > 2 && is_letter && Rest()[2] == '{' ? Rest().find('}') : std::string_view::npos;
    const size_t bytes = end == std::string_view::npos ? 2 : end + 1;
    out_ += Rest().substr(0, bytes);
    i_ += bytes;
    return absl::OkStatus();
  }

  // \p{L}, \p{^L}, \p{Greek}. A script is that of a character, not those that it may stand in, which PCRE2 would take.
  absl::Status Property() {
    const size_t end = Rest().size() > 2 && Rest()[2] == '{' ? Rest().find('}') : std::string_view::npos;
    if (end == std::string_view::npos)
      return Refuse(absl::StrCat("\\", std::string(1, Rest()[1]), " without a name in braces"));
    std::string_view name = Rest().substr(3, end - 3);
    const bool negated = !name.empty() && name.front() == '^';
    if (negated) name.remove_prefix(1);
    if (name.empty() || !std::all_of(name.begin(), name.end(), [](char c) {
          return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
        })) {
      return Refuse(absl::StrCat("property '", Printable(name, 32), "'"));
    }
    absl::StrAppend(&out_, std::string(Rest().substr(0, 2)), "{", negated ? "^" : "",
                    IsScript(name) ? "sc:" : "", std::string(name), "}");
    i_ += end + 1;
    return absl::OkStatus();
  }

  // \b and \B
  absl::Status WordBorder(bool negated) {
    const auto looks = [](bool word_before, bool word_behind) {
      return absl::StrCat(word_before ? "(?<=[" : "(?<![", kWordAlone, word_behind ? "])(?=[" : "])(?![",
                          kWordAlone, "])");
    };
    absl::StrAppend(&out_, "(?:", looks(true, negated), "|", looks(false, !negated), ")");
    i_ += 2;
    return absl::OkStatus();
  }

  // \uHHHH
  absl::Status UnicodeEscape() {
    const std::string_view digits = Rest().substr(2, 4);
    for (const char c : digits) {
      if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return Refuse("\\u");
    }
    if (digits.size() != 4) return Refuse("\\u");
    absl::StrAppend(&out_, "\\x{", std::string(digits), "}");
    i_ += 6;
    return absl::OkStatus();
  }

  // [...], where sets inside of the set add their members to it.
  absl::Status Set() {
    const size_t begin = out_.size();
    out_ += '[';
    ++i_;
    if (absl::StartsWith(AbslRest(), "^")) {
      out_ += '^';
      ++i_;
    }
    int depth = 1;
    for (bool first = true; i_ < pattern_.size(); first = false) {
      const char c = pattern_[i_];
      if (c == '\\') {
        RETURN_IF_ERROR(Escape(/*in_set=*/true));
        continue;
      }
      if (absl::StartsWith(AbslRest(), "&&")) {
        if (depth > 1 || out_[begin + 1] == '^')
          return Refuse("intersection && inside of a set that is more");
        return Intersection(begin);
      }
      if (c == '[') {
        if (absl::StartsWith(AbslRest(), "[:")) {
          RETURN_IF_ERROR(PosixSet());
          continue;
        }
        if (absl::StartsWith(AbslRest(), "[^")) return Refuse("[^ inside of a set");
        if (++depth > 8) return Refuse("nesting of sets");
        ++i_;
        continue;
      }
      if (c == ']' && first) return Refuse("] at the beginning of a set");
      ++i_;
      if (c == ']' && --depth > 0) continue;
      out_ += c;
      if (c == ']') return absl::OkStatus();
    }
    return absl::InvalidArgumentError("the regular expression has a set that is not closed");
  }

  // Behind the A of [A&&[B]], which began at `begin` of what is written: a character of B that is one of A, too.
  absl::Status Intersection(size_t begin) {
    const absl::string_view behind = AbslRest().substr(2);
    if (out_.size() == begin + 1 || !absl::StartsWith(behind, "[") || absl::StartsWith(behind, "[:")) {
      return Refuse("intersection && with what is no set");
    }
    const std::string left = absl::StrCat(out_.substr(begin), "]");
    out_.resize(begin);
    absl::StrAppend(&out_, "(?:(?=", left, ")");
    i_ += 2;
    RETURN_IF_ERROR(Set());
    if (!absl::StartsWith(AbslRest(), "]")) return Refuse("set behind an intersection &&");
    out_ += ')';
    ++i_;
    return absl::OkStatus();
  }

  // [:alpha:]
  absl::Status PosixSet() {
    for (const auto& [name, members] : kPosixSets) {
      const std::string spelling = absl::StrCat("[:", name, ":]");
      if (!absl::StartsWith(AbslRest(), spelling)) continue;
      absl::StrAppend(&out_, members);
      i_ += spelling.size();
      return absl::OkStatus();
    }
    return Refuse("[: inside of a set");
  }

  absl::Status Group() {
    if (absl::StartsWith(AbslRest(), "(*")) return Refuse("(*");
    if (absl::StartsWith(AbslRest(), "(?")) {
      constexpr absl::string_view kKnown[] = {
          "(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?i)", "(?-i:"};
      for (const absl::string_view opening : kKnown) {
        if (!absl::StartsWith(AbslRest(), opening)) continue;
        // Behind something else, one dialect has a group begin here that reaches over all branches to come.
        if (opening == "(?i)" && i_ != branch_begin_) return Refuse("(?i) within a branch");
        return Open(opening);
      }
      return Refuse("kind of group");
    }
    return Open("(");
  }

  absl::Status Open(absl::string_view opening) {
    absl::StrAppend(&out_, opening);
    i_ += opening.size();
    branch_begin_ = i_;
    return absl::OkStatus();
  }

  // {n,m}: with a + behind it, one dialect repeats it and the other never gives back; {n} with a ? is optional in one alone.
  // {,m} is {0,m}.
  absl::Status Interval() {
    const size_t end = Rest().find('}');
    const std::string_view inside = Rest().substr(1, end == std::string_view::npos ? 0 : end - 1);
    const bool is_interval = !inside.empty() && inside.find_first_not_of("0123456789,") == inside.npos;
    if (!is_interval) {
      out_ += '{';
      ++i_;
      return absl::OkStatus();
    }
    const char behind = end + 1 < Rest().size() ? Rest()[end + 1] : '\0';
    if (behind == '+') return Refuse("{...}+");
    if (behind == '?' && inside.find(',') == inside.npos) return Refuse("{n}?");
    absl::StrAppend(&out_, "{", inside[0] == ',' ? "0" : "", std::string(inside), "}");
    i_ += end + 1;
    return absl::OkStatus();
  }

  absl::string_view AbslRest() const { return {pattern_.data() + i_, pattern_.size() - i_}; }

  const std::string_view pattern_;
  size_t i_ = 0;
  size_t branch_begin_ = 0;  // of the innermost one
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> TranslatePattern(std::string_view pattern) { return Translator(pattern).Run(); }

}  // namespace ropeway
