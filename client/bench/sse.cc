#include "client/bench/sse.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace ropeway::client {

absl::Status SseParser::Feed(absl::string_view bytes) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const absl::string_view piece = bytes.substr(0, end);
    if (line_.size() + piece.size() > kMaxLineBytes)
      return absl::InvalidArgumentError(absl::StrCat("a line of more than ", kMaxLineBytes, " bytes"));
    line_.append(piece.data(), piece.size());
    if (end == absl::string_view::npos) return absl::OkStatus();
    bytes.remove_prefix(end + 1);
    absl::string_view data = absl::StripSuffix(line_, "\r");
    if (absl::ConsumePrefix(&data, "data:")) on_data_(absl::StripPrefix(data, " "));
    line_.clear();
  }
  return absl::OkStatus();
}

}  // namespace ropeway::client
