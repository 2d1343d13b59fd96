#include "server/net/first_words.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace ropeway::server {
namespace {

constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// A record of TLS: its type, two bytes of version, two of length, and as many bytes.
constexpr size_t kRecordHeader = 5;
constexpr unsigned char kHandshake = 22;

bool HasRecord(absl::string_view received) {
  if (received.empty()) return false;
  const auto byte = [&received](size_t i) { return static_cast<unsigned char>(received[i]); };
  if (byte(0) != kHandshake) return true;
  if (received.size() < kRecordHeader) return false;
  const size_t length = size_t{byte(3)} << 8 | byte(4);
  return received.size() >= std::min(kRecordHeader + length, kMaxFirstWordsBytes);
}

}  // namespace

bool HasFirstWords(absl::string_view received, bool tls) {
  if (tls) return HasRecord(received);
  return received.size() >= kPreface.size() || !absl::StartsWith(kPreface, received);
}

}  // namespace ropeway::server
