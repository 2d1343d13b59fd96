// The client library: talks to one Ropeway server in plain structs.
//
//   auto client = Client::Create({.server = "127.0.0.1:50051"});
//   Answer answer = client->Generate({.prompt = TextPrompt{.text = "Once upon a time"}}, {},
//                                    [](const Delta& delta) { std::cout << delta.text << std::flush; });
//   if (!answer.status.ok()) ...
//
// Calls that end with UNAVAILABLE or RESOURCE_EXHAUSTED are made again as RetryPolicy and the server's hint
// say, as long as nothing of an answer was delivered. Errors say what to do about them; a message that is
// larger than one side takes is INVALID_ARGUMENT.
//
// The variables grpc_proxy, https_proxy and http_proxy (the first that is set) name a proxy to the server,
// except to one on this machine and to hosts of no_proxy.
#ifndef ROPEWAY_CLIENT_ROPEWAY_CLIENT_H_
#define ROPEWAY_CLIENT_ROPEWAY_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "client/retry.h"
#include "client/types.h"

namespace ropeway::client {

// What TLS needs besides the protocol, as PEM.
struct TlsOptions {
  // Who may have signed the server's certificate. Empty: the authorities that this machine trusts.
  std::string authorities;
  // Of the client, for servers that ask for one: both or neither.
  std::string certificate;
  std::string key;
};

// Options that contradict the comments make every call INVALID_ARGUMENT.
struct ClientOptions {
  // HOST:PORT, [IPV6]:PORT or unix:PATH.
  std::string server = "127.0.0.1:50051";
  // None: plain text.
  std::optional<TlsOptions> tls;
  // Printable ASCII without blanks, sent with each call as "authorization: Bearer KEY". Empty: none.
  std::string api_key;
  RetryPolicy retry;
  // Of one message of an answer.
  int32_t max_message_bytes = 64 << 20;
};

// Thread-safe: any number of calls may run at a time over the one connection.
class Client {
 public:
  // Called on the thread that called Generate, in order.
  using OnDelta = std::function<void(const Delta&)>;

  // Does not connect yet; the first call does.
  static std::unique_ptr<Client> Create(const ClientOptions& options);
  ~Client();

  // Blocks until the answer ended. `on_delta` may be empty; it may use the Cancellation.
  Answer Generate(const Request& request, const CallOptions& options = {}, const OnDelta& on_delta = nullptr,
                  Cancellation* cancellation = nullptr);

  // What would become of `request` if its call had `deadline`. Nothing is generated.
  absl::StatusOr<Estimate> EstimateRequest(const Request& request,
                                           absl::Duration deadline = absl::InfiniteDuration(),
                                           const CallOptions& options = {});

  absl::StatusOr<Tokens> Tokenize(const TextPrompt& prompt, const CallOptions& options = {});
  absl::StatusOr<Tokens> Tokenize(const ChatPrompt& prompt, const CallOptions& options = {});
  absl::StatusOr<std::string> Detokenize(const std::vector<int32_t>& ids, bool show_special,
                                         const CallOptions& options = {});
  absl::StatusOr<std::string> RenderChat(const ChatPrompt& prompt, const CallOptions& options = {});
  absl::StatusOr<ModelInfo> GetModelInfo(const CallOptions& options = {});
  absl::StatusOr<ServerInfo> GetServerInfo(const CallOptions& options = {});

  // Ends a living request; returns whether there was one.
  absl::StatusOr<bool> Abort(const std::string& request_id, const std::string& tenant,
                             const CallOptions& options = {});

  // OK where the health service of the server (grpc.health.v1) says SERVING.
  absl::Status CheckHealth(const CallOptions& options = {});

  // Asks the health service, each time with `options`, until it says SERVING or `patience` has passed; once
  // where that is zero. Returns the last answer.
  absl::Status WaitUntilServing(absl::Duration patience, const CallOptions& options = {});

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_ROPEWAY_CLIENT_H_
