#include "client/address.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"

namespace ropeway::client {
namespace {

constexpr uint32_t kMaxPort = 65535;
constexpr absl::string_view kUnixSchemes[] = {"unix:", "unix-abstract:"};
constexpr absl::string_view kHostSchemes[] = {"dns:", "ipv4:", "ipv6:"};

bool StartsWithAny(absl::string_view text, absl::Span<const absl::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [text](absl::string_view prefix) { return absl::StartsWith(text, prefix); });
}

// What is wrong with HOST:PORT or [IPV6]:PORT; empty where nothing is.
absl::string_view FindFault(absl::string_view address) {
  if (absl::StrContains(address, "://")) return "no scheme such as http:// belongs in front";
  if (std::any_of(address.begin(), address.end(), [](char c) { return !absl::ascii_isgraph(c); }))
    return "blanks and control characters belong in no address";
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return "its port is missing";
  const absl::string_view host = address.substr(0, colon);
  if (host.empty()) return "its host is missing";
  const bool opens = host.front() == '[', closes = host.back() == ']';
  if (opens != closes) return "a bracket is missing";
  if (!opens && absl::StrContains(host, ':')) return "an IPv6 address stands in brackets: [::1]:50051";
  uint32_t port = 0;
  const absl::string_view digits = address.substr(colon + 1);
  const bool decimal = !digits.empty() && std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit);
  if (!decimal || !absl::SimpleAtoi(digits, &port) || port == 0 || port > kMaxPort)
    return "its port must be a number in [1, 65535]";
  return "";
}

// `address` without "dns:", "ipv4:" or "ipv6:" and the slashes and the name of a resolver after it, and
// without "http://" and a path.
absl::string_view HostAndPort(absl::string_view address) {
  for (const absl::string_view scheme : kHostSchemes) {
    if (!absl::ConsumePrefix(&address, scheme)) continue;
    if (absl::ConsumePrefix(&address, "//"))
      address.remove_prefix(std::min(address.find('/'), address.size()));
    return absl::StripPrefix(address, "/");
  }
  if (const size_t scheme = address.find("://"); scheme != absl::string_view::npos)
    address.remove_prefix(scheme + 3);
  return address.substr(0, address.find('/'));
}

bool FitsNoProxy(absl::string_view host, absl::string_view list) {
  const std::string lower = absl::AsciiStrToLower(host);
  for (const absl::string_view part : absl::StrSplit(list, ',')) {
    const std::string entry = absl::AsciiStrToLower(absl::StripAsciiWhitespace(part));
    if (entry == "*" || (!entry.empty() && absl::EndsWith(lower, entry))) return true;
  }
  return false;
}

}  // namespace

absl::Status CheckAddress(absl::string_view address) {
  if (StartsWithAny(address, kUnixSchemes) || StartsWithAny(address, kHostSchemes)) return absl::OkStatus();
  const absl::string_view fault = FindFault(address);
  if (fault.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the server's address must be HOST:PORT, is '",
                                                 absl::Utf8SafeCEscape(address), "': ", fault));
}

std::string HostOf(absl::string_view address) {
  if (StartsWithAny(address, kUnixSchemes)) return "";
  absl::string_view host = HostAndPort(address);
  if (absl::ConsumePrefix(&host, "[")) return std::string(host.substr(0, host.find(']')));
  const size_t colon = host.rfind(':');
  const bool has_port = colon != absl::string_view::npos && host.find(':') == colon;
  return std::string(has_port ? host.substr(0, colon) : host);
}

bool IsLoopback(absl::string_view host) {
  const std::string lower = absl::AsciiStrToLower(absl::StripSuffix(host, "."));
  absl::string_view address = lower;
  if (address == "localhost" || absl::EndsWith(address, ".localhost")) return true;
  // The unspecified addresses reach this machine, too.
  for (const absl::string_view own : {"::1", "0:0:0:0:0:0:0:1", "::", "0.0.0.0", "::ffff:0.0.0.0"})
    if (address == own) return true;
  absl::ConsumePrefix(&address, "::ffff:");
  const bool numeric =
      std::all_of(address.begin(), address.end(), [](char c) { return absl::ascii_isdigit(c) || c == '.'; });
  return numeric && absl::StartsWith(address, "127.");
}

std::string Proxy::Description() const {
  absl::string_view shown = HostAndPort(url);
  if (const size_t at = shown.rfind('@'); at != absl::string_view::npos) shown.remove_prefix(at + 1);
  return absl::StrCat(absl::Utf8SafeCEscape(shown), " (", variable, ")");
}

std::optional<Proxy> FindProxy(absl::string_view host, const std::vector<const char*>& variables,
                               const Environment& environment) {
  if (host.empty() || IsLoopback(host)) return std::nullopt;
  for (const char* variable : {"no_grpc_proxy", "no_proxy", "NO_PROXY"}) {
    const char* const list = environment(variable);
    if (list != nullptr && FitsNoProxy(host, list)) return std::nullopt;
  }
  for (const char* variable : variables) {
    const char* const url = environment(variable);
    if (url == nullptr || *url == '\0') continue;
    const absl::string_view scheme = absl::StrContains(url, "://") ? "" : "http://";
    return Proxy{.variable = variable, .url = absl::StrCat(scheme, url)};
  }
  return std::nullopt;
}

}  // namespace ropeway::client
