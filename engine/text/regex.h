// Regular expressions as tokenizers use them: Oniguruma's syntax over Unicode, run by PCRE2.
//
// Immutable after it was compiled; matching is thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_REGEX_H_
#define ROPEWAY_ENGINE_TEXT_REGEX_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ropeway {

class Regex {
 public:
  // What patterns of tokenizers stay far below: they backtrack a few times over a run of characters.
  static constexpr uint64_t kMinSteps = 10'000, kStepsPerByte = 64;

  struct Options {
    // The pattern is about bytes, not code points, and is PCRE2's own syntax.
    bool bytes = false;
    // Steps that one search may take: patterns from files may be made to take for ever. 0: kMinSteps, and
    // kStepsPerByte for each byte of the text.
    uint32_t max_steps = 0;
  };

  // INVALID_ARGUMENT for what does not parse, UNIMPLEMENTED naming the construct that reads differently in
  // the two dialects and is not translated.
  static absl::StatusOr<Regex> Compile(std::string_view pattern, const Options& options);
  static absl::StatusOr<Regex> Compile(std::string_view pattern) { return Compile(pattern, {}); }
  // Of a text that stands for itself.
  static absl::StatusOr<Regex> Literal(std::string_view text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Calls `visit(begin, end)` for every match, from left to right, none overlapping. One of nothing (a look-ahead alone has
  // such) counts but right behind another match.
  // REQUIRES: valid UTF-8, unless compiled for bytes. RESOURCE_EXHAUSTED when max_steps is passed.
  absl::Status ForEachMatch(std::string_view text, absl::FunctionRef<void(size_t, size_t)> visit) const;

 private:
  struct Code;
  Regex(std::unique_ptr<const Code> code);

  std::unique_ptr<const Code> code_;
};

// `pattern` in PCRE2's syntax: \s, \d, \w, \b, \h and [:alpha:] as Oniguruma has them, sets inside of sets flattened.
absl::StatusOr<std::string> TranslatePattern(std::string_view pattern);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_REGEX_H_
