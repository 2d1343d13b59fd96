// The client library: talks to one Ropeway server in plain structs.
//
//   auto client = Client::Create({.server = "127.0.0.1:50051"});
//   Answer answer = client->Generate({.prompt = TextPrompt{.text = "Once upon a time"}}, {},
//                                    [](const Delta& delta) { std::cout << delta.text << std::flush; });
//   if (!answer.status.ok()) ...
//
// Calls that end with UNAVAILABLE or RESOURCE_EXHAUSTED are made again as RetryPolicy and the server's hint
// say, as long as nothing of an answer was delivered. Errors say what to do about them.
#ifndef ROPEWAY_CLIENT_ROPEWAY_CLIENT_H_
#define ROPEWAY_CLIENT_ROPEWAY_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "client/retry.h"
#include "client/types.h"

namespace ropeway::client {

struct ClientOptions {
  std::string server = "127.0.0.1:50051";  // as gRPC reads it: host:port, [v6]:port, unix:PATH
  RetryPolicy retry;
  int32_t max_message_bytes = 64 << 20;  // of one answer; larger ones are RESOURCE_EXHAUSTED
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

  // Asks the health service until it says SERVING; the last failure where `timeout` passes before.
  absl::Status WaitUntilServing(absl::Duration timeout);

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_ROPEWAY_CLIENT_H_
