// From Oniguruma's syntax to PCRE2's. Where the two write the same differently, the pattern is rewritten;
// where they read the same differently, it is rewritten or refused.
#include <cctype>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
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
constexpr char kWord[] = "\\p{L}\\p{M}\\p{N}\\p{Pc}";

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
    if (c == 'w') return set(kWord, false);
    if (c == 'W' && !in_set) return set(kWord, true);
    if (c == 'd') return set("\\p{Nd}", false);
    if (c == 'D') return set("\\P{Nd}", false);
    if (c == 'u') return UnicodeEscape();
    constexpr std::string_view kSame = "nrtfvaexpP";
    constexpr std::string_view kAnchors = "AzZ";
    const bool is_letter = absl::ascii_isalnum(static_cast<unsigned char>(c));
    if (is_letter && kSame.find(c) == kSame.npos && (in_set || kAnchors.find(c) == kAnchors.npos)) {
      return Refuse(absl::StrCat("\\", std::string(1, c)));
    }
    // What follows in braces goes along: \p{L}, \x{3000}.
    const size_t end =
        Rest().size() > 2 && is_letter && Rest()[2] == '{' ? Rest().find('}') : std::string_view::npos;
    const size_t bytes = end == std::string_view::npos ? 2 : end + 1;
    out_ += Rest().substr(0, bytes);
    i_ += bytes;
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
      if (absl::StartsWith(AbslRest(), "&&")) return Refuse("intersection &&");
      if (c == '[') {
        if (absl::StartsWith(AbslRest(), "[:") || absl::StartsWith(AbslRest(), "[^")) {
          return Refuse("[: or [^ inside of a set");
        }
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

  absl::Status Group() {
    if (absl::StartsWith(AbslRest(), "(*")) return Refuse("(*");
    if (absl::StartsWith(AbslRest(), "(?")) {
      constexpr absl::string_view kKnown[] = {
          "(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?i)", "(?-i:"};
      bool known = false;
      for (const absl::string_view opening : kKnown) known = known || absl::StartsWith(AbslRest(), opening);
      if (!known) return Refuse("kind of group");
    }
    out_ += '(';
    ++i_;
    return absl::OkStatus();
  }

  // {n,m}: with a + behind it, one dialect repeats it and the other never gives back. {,m} is {0,m}.
  absl::Status Interval() {
    const size_t end = Rest().find('}');
    const std::string_view inside = Rest().substr(1, end == std::string_view::npos ? 0 : end - 1);
    const bool is_interval = !inside.empty() && inside.find_first_not_of("0123456789,") == inside.npos;
    if (!is_interval) {
      out_ += '{';
      ++i_;
      return absl::OkStatus();
    }
    if (end + 1 < Rest().size() && Rest()[end + 1] == '+') return Refuse("{...}+");
    absl::StrAppend(&out_, "{", inside[0] == ',' ? "0" : "", std::string(inside), "}");
    i_ += end + 1;
    return absl::OkStatus();
  }

  absl::string_view AbslRest() const { return {pattern_.data() + i_, pattern_.size() - i_}; }

  const std::string_view pattern_;
  size_t i_ = 0;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> TranslatePattern(std::string_view pattern) { return Translator(pattern).Run(); }

}  // namespace ropeway
