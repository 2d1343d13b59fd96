#include "server/net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/base/status_macros.h"

namespace ropeway::server {
namespace {

constexpr int kMaxPort = 65535;
constexpr size_t kMaxHostBytes = 253;  // of a name in the DNS

absl::Status Wrong(absl::string_view what) { return absl::InvalidArgumentError(what); }

// Without the zone behind a '%', which the system looks at.
bool IsIpv6(absl::string_view host) {
  in6_addr ignored;
  return inet_pton(AF_INET6, std::string(host.substr(0, host.find('%'))).c_str(), &ignored) == 1;
}

absl::StatusOr<int> ParsePort(absl::string_view text) {
  if (text.empty()) return Wrong("it has no port");
  if (!std::all_of(text.begin(), text.end(), absl::ascii_isdigit)) {
    return Wrong(absl::StrCat("the port must be a decimal number in [0, ", kMaxPort, "], is \"",
                              absl::CHexEscape(text), "\""));
  }
  int port = 0;
  if (!absl::SimpleAtoi(text, &port) || port > kMaxPort)
    return Wrong(absl::StrCat("the port must be in [0, ", kMaxPort, "], is ", text));
  return port;
}

// "[" has been taken off.
absl::StatusOr<Address> ParseBracketed(absl::string_view text) {
  const size_t end = text.find(']');
  if (end == absl::string_view::npos) return Wrong("the bracket is not closed");
  Address address = {.host = std::string(text.substr(0, end))};
  if (!IsIpv6(address.host)) return Wrong("what stands in brackets is no IPv6 address");
  text.remove_prefix(end + 1);
  if (text.empty()) return Wrong("it has no port");
  if (!absl::ConsumePrefix(&text, ":")) return Wrong("a colon and the port must follow the bracket");
  ASSIGN_OR_RETURN(address.port, ParsePort(text));
  return address;
}

absl::Status CheckHost(absl::string_view host) {
  if (host.empty()) return Wrong("it has no host; 0.0.0.0 and [::] listen everywhere");
  if (host.size() > kMaxHostBytes) return Wrong(absl::StrCat("a host has at most ", kMaxHostBytes, " bytes"));
  if (absl::StrContains(host, ']')) return Wrong("the bracket is not opened");
  for (const char c : host) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '-' && c != '_')
      return Wrong(absl::StrCat("a host has no \"", absl::CHexEscape(absl::string_view(&c, 1)), "\""));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Address> ParseAddress(absl::string_view text) {
  if (const size_t scheme = text.find("://"); scheme != absl::string_view::npos)
    return Wrong(absl::StrCat("leave away \"", absl::CHexEscape(text.substr(0, scheme + 3)), "\""));
  if (absl::ConsumePrefix(&text, "[")) return ParseBracketed(text);
  if (IsIpv6(text)) return Wrong("an IPv6 address stands in brackets before the port: [::1]:80");
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return Wrong("it has no port");
  const absl::string_view host = text.substr(0, colon);
  if (absl::StrContains(host, ':') && !absl::StrContains(host, ']'))
    return Wrong("an IPv6 address stands in brackets before the port: [::1]:80");
  RETURN_IF_ERROR(CheckHost(host));
  ASSIGN_OR_RETURN(const int port, ParsePort(text.substr(colon + 1)));
  return Address{.host = std::string(host), .port = port};
}

}  // namespace ropeway::server
