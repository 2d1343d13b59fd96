#include "client/cli/print_answer.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/stubs/common.h"

namespace ropeway::client {
namespace {

constexpr int kTokenWidth = 20;

// In quotes, with escapes for control characters and for bytes that are only a part of a code point.
std::string Spelt(const std::string& token) {
  const bool whole =
      google::protobuf::internal::IsStructurallyValidUTF8(token.data(), static_cast<int>(token.size()));
  const std::string escaped = whole ? absl::Utf8SafeCHexEscape(token) : absl::CHexEscape(token);
  // An apostrophe needs no escape between these quotes.
  return absl::StrCat("\"", absl::StrReplaceAll(escaped, {{"\\'", "'"}}), "\"");
}

void AppendLikely(std::string* out, const TokenLogprob& likely) {
  absl::StrAppendFormat(out, "%s %.4f", Spelt(likely.token), likely.logprob);
}

}  // namespace

void EndLine(const std::string& text, Terminal& terminal) {
  if (text.empty() || text.back() != '\n') terminal.out << '\n';
  terminal.out.flush();
}

void PrintLogprobs(const std::string& of_what, const std::vector<TokenLogprobs>& logprobs,
                   Terminal& terminal) {
  if (logprobs.empty()) return;
  terminal.out << "--- log-probabilities of " << of_what << " ---\n";
  for (const TokenLogprobs& place : logprobs) {
    const std::string token = Spelt(place.chosen.token);
    if (place.top.empty()) {
      terminal.out << absl::StrFormat("%10.4f  %s\n", place.chosen.logprob, token);
    } else {
      terminal.out << absl::StrFormat("%10.4f  %-*s  likeliest: %s\n", place.chosen.logprob, kTokenWidth,
                                      token, absl::StrJoin(place.top, ", ", AppendLikely));
    }
  }
  terminal.out.flush();
}

}  // namespace ropeway::client
