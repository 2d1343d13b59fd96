#include "client/connection.h"

#include <grpcpp/create_channel.h>

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace ropeway::client {
namespace {

constexpr char kRetryHintKey[] = "grpc-retry-pushback-ms";
constexpr int kConnectTimeoutMs = 10'000;
// What gRPC says where the other side is gone.
constexpr char kSocketClosed[] = "Socket closed";

// What the transport says where a message is beyond a limit: "... message larger than max (SIZE vs. LIMIT)".
// nullopt for every other message. The same message is refused again, so it is no RESOURCE_EXHAUSTED here.
std::optional<absl::Status> ExplainTooLarge(const Attempt& made) {
  constexpr absl::string_view kBefore = "essage larger than max (";
  const std::string message = made.status.error_message();
  absl::string_view rest = message;
  const size_t found = rest.find(kBefore);
  if (found == absl::string_view::npos) return std::nullopt;
  rest.remove_prefix(found + kBefore.size());
  const std::vector<absl::string_view> numbers =
      absl::StrSplit(rest.substr(0, rest.find(')')), absl::MaxSplits(" vs. ", 1));
  int64_t size = 0, limit = 0;
  if (numbers.size() != 2 || !absl::SimpleAtoi(numbers[0], &size) || !absl::SimpleAtoi(numbers[1], &limit))
    return std::nullopt;
  if (size == static_cast<int64_t>(made.request_bytes)) {
    return absl::InvalidArgumentError(absl::StrCat("the request must have at most ", limit,
                                                   " bytes (the server's max_request_bytes), has ", size));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the answer has ", size, " bytes, of which this client takes at most ", limit));
}

absl::Status CheckOptions(const ClientOptions& options) {
  if (absl::Status status = CheckAddress(options.server); !status.ok()) return status;
  // Neither is quoted: both are secrets.
  if (!std::all_of(options.api_key.begin(), options.api_key.end(), absl::ascii_isgraph))
    return absl::InvalidArgumentError("the API key must be printable ASCII without blanks");
  if (!options.tls) return absl::OkStatus();
  if (options.tls->certificate.empty() != options.tls->key.empty())
    return absl::InvalidArgumentError("a client's certificate needs its key, and a key its certificate");
  const auto is_pem = [](const std::string& text, absl::string_view what) {
    return text.empty() || (absl::StrContains(text, "-----BEGIN ") && absl::StrContains(text, what));
  };
  if (!is_pem(options.tls->authorities, "CERTIFICATE-----"))
    return absl::InvalidArgumentError("the authorities must be certificates in PEM");
  if (!is_pem(options.tls->certificate, "CERTIFICATE-----"))
    return absl::InvalidArgumentError("the client's certificate must be in PEM");
  if (!is_pem(options.tls->key, "PRIVATE KEY-----"))
    return absl::InvalidArgumentError("the client's key must be a private key in PEM");
  return absl::OkStatus();
}

// gRPC would ask a proxy for servers on this machine, too, and knows proxies of http:// only.
std::optional<Proxy> FindGrpcProxy(const std::string& server) {
  const std::optional<Proxy> proxy =
      FindProxy(HostOf(server), {"grpc_proxy", "https_proxy", "http_proxy"}, std::getenv);
  return proxy && absl::StartsWith(proxy->url, "http://") ? proxy : std::nullopt;
}

std::shared_ptr<grpc::ChannelCredentials> Credentials(const ClientOptions& options) {
  if (!options.tls) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials({.pem_root_certs = options.tls->authorities,
                               .pem_private_key = options.tls->key,
                               .pem_cert_chain = options.tls->certificate});
}

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options, const std::optional<Proxy>& proxy) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, proxy ? 1 : 0);
  if (proxy) arguments.SetString(GRPC_ARG_HTTP_PROXY, proxy->url);
  arguments.SetMaxReceiveMessageSize(options.max_message_bytes);
  // A server that starts is found soon after.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // gRPC gives each attempt to connect at least this long, its handshakes included.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Retries are made here, where the caller can see them.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  return grpc::CreateCustomChannel(options.server, Credentials(options), arguments);
}

}  // namespace

Connection::Connection(const ClientOptions& options)
    : options_(options),
      options_status_(CheckOptions(options)),
      proxy_(FindGrpcProxy(options.server)),
      channel_(MakeChannel(options, proxy_)) {}

RetryHint Connection::HintOf(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find(kRetryHintKey);
  if (found == metadata.end()) return {};
  return ParseRetryHint(std::string(found->second.data(), found->second.size()));
}

void Connection::Authorize(grpc::ClientContext& context) const {
  if (!options_.api_key.empty())
    context.AddMetadata("authorization", absl::StrCat("Bearer ", options_.api_key));
}

// No server, no answer from it, or one that it did not finish.
absl::Status Connection::ExplainUnavailable(const Attempt& made, const RetryHint& hint) const {
  const std::string& message = made.status.error_message();
  // A server that gives up says when to come again; what gRPC says of its own accord brings nothing along.
  const bool is_from_server = hint.forbidden || hint.wait || !made.status.error_details().empty();
  if (is_from_server && !made.delivered) return absl::UnavailableError(message);
  if (is_from_server)
    return absl::UnavailableError(
        absl::StrCat(options_.server, " broke off its answer: ", message, "; ask again, or another server"));
  if (made.delivered || message == kSocketClosed)
    return absl::UnavailableError(
        absl::StrCat("the connection to ", options_.server, " was lost: ", message));
  if (absl::StrContains(message, "DNS resolution failed")) return CannotConnect("the name is not known");
  if (absl::StrContains(message, "http1")) return CannotConnect("this port speaks HTTP/1 and not gRPC");
  if (absl::StrContains(message, "handshake failed"))
    return CannotConnect("the TLS handshake failed: it speaks no TLS, or one side does not trust the other");
  if (absl::StrContains(message, "failed to connect")) return CannotConnect("is ropeway_server running?");
  return absl::UnavailableError(message);
}

// The status in words that say what to do.
absl::Status Connection::Explain(const Attempt& made, const RetryHint& hint) const {
  const auto code = static_cast<absl::StatusCode>(made.status.error_code());
  const std::string& message = made.status.error_message();
  if (const std::optional<absl::Status> too_large = ExplainTooLarge(made)) return *too_large;
  if (code == absl::StatusCode::kUnavailable) return ExplainUnavailable(made, hint);
  if (code == absl::StatusCode::kUnauthenticated)
    return absl::UnauthenticatedError(
        absl::StrCat(options_.server, " asks for a key that it knows (ROPEWAY_API_KEY): ", message));
  // What gRPC says of its own accord.
  if (code == absl::StatusCode::kDeadlineExceeded && message == "Deadline Exceeded")
    return absl::DeadlineExceededError("the timeout of the call passed");
  if (code == absl::StatusCode::kCancelled && message == "CANCELLED")
    return absl::CancelledError("the call was cancelled");
  if (code == absl::StatusCode::kUnimplemented)
    return absl::UnimplementedError(
        absl::StrCat(options_.server, " is no Ropeway server, or an older one: ", message));
  return absl::Status(code, message);
}

absl::Status Connection::CannotConnect(absl::string_view why) const {
  if (!proxy_) return absl::UnavailableError(absl::StrCat("cannot connect to ", options_.server, ": ", why));
  return absl::UnavailableError(absl::StrCat("cannot connect to ", options_.server, " through the proxy ",
                                             proxy_->Description(),
                                             "; hosts that need none are listed in no_proxy"));
}

double Connection::Jitter() {
  absl::BitGen generator;
  return absl::Uniform(generator, 0.0, 1.0);
}

}  // namespace ropeway::client
