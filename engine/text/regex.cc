#include "engine/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/base/utf8.h"

namespace ropeway {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using CompileContext = std::unique_ptr<pcre2_compile_context, Freer<&pcre2_compile_context_free_8>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freer<&pcre2_match_context_free_8>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freer<&pcre2_match_data_free_8>>;

}  // namespace

struct Regex::Code {
  std::unique_ptr<pcre2_code, Freer<&pcre2_code_free_8>> code;
  uint32_t max_steps;
  bool bytes;
  bool may_match_nothing;  // at some place, as a look-ahead alone does
};

Regex::Regex(std::unique_ptr<const Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern, const Options& options) {
  if (pattern.empty() || pattern.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a regular expression must have 1 to ", kMaxPatternBytes,
                                                   " bytes, has ", pattern.size()));
  }
  std::string text(pattern);
  if (!options.bytes) {
    ASSIGN_OR_RETURN(text, TranslatePattern(pattern));
  }
  const CompileContext context(pcre2_compile_context_create(nullptr));
  // Oniguruma's line ends are \n alone, and ^ and $ are about lines.
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 64);
  const uint32_t flags = options.bytes ? 0 : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE;
  int error = 0;
  size_t offset = 0;
  auto code = std::make_unique<Code>();
  code->max_steps = options.max_steps;
  code->bytes = options.bytes;
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), flags, &error,
                                 &offset, context.get()));
  if (code->code == nullptr) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    return absl::InvalidArgumentError(
        absl::StrCat("not a regular expression: ", reinterpret_cast<const char*>(message)));
  }
  uint32_t may_match_nothing = 0;
  pcre2_pattern_info(code->code.get(), PCRE2_INFO_MATCHEMPTY, &may_match_nothing);
  code->may_match_nothing = may_match_nothing != 0;
  // Where the machine forbids generated code, matching is interpreted: slower, with the same result.
  pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE);
  return Regex(std::move(code));
}

absl::StatusOr<Regex> Regex::Literal(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (absl::ascii_ispunct(static_cast<unsigned char>(c))) pattern += '\\';
    pattern += c;
  }
  return Compile(pattern);
}

absl::Status Regex::ForEachMatch(std::string_view text, absl::FunctionRef<void(size_t, size_t)> visit) const {
  const MatchData data(pcre2_match_data_create_from_pattern(code_->code.get(), nullptr));
  const MatchContext context(pcre2_match_context_create(nullptr));
  const uint64_t by_text = std::min<uint64_t>(kMinSteps + kStepsPerByte * text.size(), UINT32_MAX);
  const uint32_t max_steps = code_->max_steps != 0 ? code_->max_steps : static_cast<uint32_t>(by_text);
  pcre2_set_match_limit(context.get(), max_steps);
  constexpr uint32_t kFlags = PCRE2_NO_UTF_CHECK;
  const size_t last_place = text.size() + (code_->may_match_nothing ? 1 : 0);
  size_t last_end = std::string_view::npos;
  for (size_t at = 0; at < last_place;) {
    const auto match = [&](uint32_t flags) {
      return pcre2_match(code_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, flags,
                         data.get(), context.get());
    };
    int found = match(kFlags);
    // The interpreter takes its stack from the heap.
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match(kFlags | PCRE2_NO_JIT);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found == PCRE2_ERROR_MATCHLIMIT) {
      return absl::ResourceExhaustedError(
          absl::StrCat("splitting the text takes more than ", max_steps, " steps"));
    }
    if (found < 0)
      return absl::InternalError(absl::StrCat("splitting a text failed with PCRE2's error ", found));
    const size_t* ends = pcre2_get_ovector_pointer(data.get());
    if (ends[0] < at || ends[1] < ends[0])
      return absl::InternalError("a pattern's match ends before it begins");
    if (ends[0] == ends[1] && ends[1] == last_end) {
      // Nothing, right behind a match: searching goes on one character later.
      at += at < text.size() && !code_->bytes ? Utf8Length(text[at]) : 1;
      continue;
    }
    visit(ends[0], ends[1]);
    at = last_end = ends[1];
  }
  return absl::OkStatus();
}

}  // namespace ropeway
