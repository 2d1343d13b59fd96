#include "server/obs/http_answer.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace ropeway::server {
namespace {

constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";

struct Answer {
  absl::string_view status;  // "200 OK"
  std::string body;
  absl::string_view more_headers = "";
};

std::string Encode(const Answer& answer, bool with_body) {
  return absl::StrCat("HTTP/1.1 ", answer.status, "\r\nContent-Type: ", kMetricsType,
                      "\r\nContent-Length: ", answer.body.size(), "\r\nConnection: close\r\n",
                      answer.more_headers, "\r\n", with_body ? absl::string_view(answer.body) : "");
}

// The value of a header that stands there once; "" where it stands there more often, which fits nothing.
std::optional<std::string> FindHeader(absl::string_view head, absl::string_view name) {
  std::optional<std::string> value;
  for (absl::string_view line : absl::StrSplit(head, '\n')) {
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos || !absl::EqualsIgnoreCase(line.substr(0, colon), name)) continue;
    value = value ? "" : std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return value;
}

// Before anything else is told.
std::optional<Answer> Refuse(absl::string_view head, const HttpPage& page, absl::string_view peer) {
  if (page.guard == nullptr) return std::nullopt;
  const absl::Status admitted = page.guard(FindHeader(head, "authorization"), peer);
  if (admitted.ok()) return std::nullopt;
  if (absl::IsPermissionDenied(admitted)) return Answer{"403 Forbidden", "not permitted\n"};
  return Answer{"401 Unauthorized", "not authenticated\n", "WWW-Authenticate: Bearer\r\n"};
}

Answer Dispatch(absl::string_view method, absl::string_view target, const HttpPage& page) {
  const absl::string_view path = target.substr(0, target.find('?'));
  if (path != "/metrics") return {"404 Not Found", "there is only /metrics\n"};
  if (method == "GET" || method == "HEAD") return {"200 OK", page.metrics()};
  return {"405 Method Not Allowed", "only GET and HEAD\n", "Allow: GET, HEAD\r\n"};
}

// Where the header ends; npos where it has not come to its end.
size_t HeaderEnd(absl::string_view received) {
  const size_t crlf = received.find("\r\n\r\n"), lf = received.find("\n\n");
  return std::min(crlf, lf);
}

}  // namespace

std::optional<std::string> AnswerHttp(absl::string_view received, const HttpPage& page,
                                      absl::string_view peer) {
  const size_t end = HeaderEnd(received.substr(0, kMaxHttpHeaderBytes));
  if (end == absl::string_view::npos) {
    if (received.size() < kMaxHttpHeaderBytes) return std::nullopt;
    return Encode({"431 Request Header Fields Too Large",
                   absl::StrCat("a header has at most ", kMaxHttpHeaderBytes, " bytes\n")},
                  /*with_body=*/true);
  }
  absl::string_view line = received.substr(0, received.find('\n'));
  absl::ConsumeSuffix(&line, "\r");
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  if (words.size() != 3 || !absl::StartsWith(words[2], "HTTP/1."))
    return Encode({"400 Bad Request", "not a request of HTTP/1\n"}, /*with_body=*/true);
  const std::optional<Answer> refusal = Refuse(received.substr(0, end), page, peer);
  return Encode(refusal ? *refusal : Dispatch(words[0], words[1], page), words[0] != "HEAD");
}

}  // namespace ropeway::server
