#include "client/ropeway_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/address.h"
#include "client/convert.h"
#include "google/protobuf/empty.pb.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"

namespace ropeway::client {
namespace {

constexpr char kRetryHintKey[] = "grpc-retry-pushback-ms";
constexpr char kHealthCheckMethod[] = "/grpc.health.v1.Health/Check";
constexpr uint64_t kHealthServing = 1;  // grpc.health.v1.HealthCheckResponse.SERVING
constexpr absl::Duration kHealthPollInterval = absl::Milliseconds(100);

// What one attempt came to.
struct Attempt {
  grpc::Status status;
  // A part of the answer was handed out: trying again would deliver it twice.
  bool delivered = false;
  size_t request_bytes = 0;
};

RetryHint HintOf(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find(kRetryHintKey);
  if (found == metadata.end()) return {};
  return ParseRetryHint(std::string(found->second.data(), found->second.size()));
}

// The limit on `sample` in an answer to `request`.
int32_t NumSamples(const Request& request) { return std::max(1, request.output.num_samples.value_or(1)); }

void Append(const Delta& delta, Sample& sample) {
  sample.text += delta.text;
  sample.token_ids.insert(sample.token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
  sample.logprobs.insert(sample.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
  if (delta.finish) sample.finish = *delta.finish;
}

// Takes what the chunk says about the request as a whole.
void TakeHeader(const v1::GenerateChunk& chunk, Answer& answer) {
  if (!chunk.request_id().empty()) answer.request_id = chunk.request_id();
  if (chunk.has_usage()) answer.usage = FromWire(chunk.usage());
  if (chunk.has_receipt()) answer.receipt = FromWire(chunk.receipt());
}

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

absl::StatusOr<Tokens> TokensOf(absl::StatusOr<v1::TokenizeResponse> response) {
  if (!response.ok()) return response.status();
  return Tokens{.ids = {response->ids().begin(), response->ids().end()},
                .tokens = {response->tokens().begin(), response->tokens().end()}};
}

}  // namespace

class Client::Impl {
 public:
  explicit Impl(const ClientOptions& options)
      : options_(options),
        options_status_(CheckOptions(options)),
        proxy_(FindGrpcProxy(options.server)),
        channel_(MakeChannel(options, proxy_)),
        stub_(v1::Ropeway::NewStub(channel_)) {}

  // Runs `attempt(context)` until it succeeds or should not be tried again. Explains its status to people.
  template <typename Function>
  absl::Status Call(const CallOptions& options, Cancellation* cancellation, int32_t& attempts,
                    Function attempt) {
    if (!options_status_.ok()) return options_status_;
    if (options.timeout < absl::ZeroDuration()) {
      return absl::InvalidArgumentError(
          absl::StrCat("timeout must be in [0, inf], is ", absl::FormatDuration(options.timeout)));
    }
    const absl::Time deadline = absl::Now() + options.timeout;
    for (;;) {
      ++attempts;
      grpc::ClientContext context;
      Authorize(context);
      if (deadline != absl::InfiniteFuture()) context.set_deadline(absl::ToChronoTime(deadline));
      if (cancellation != nullptr) cancellation->Attach([&context] { context.TryCancel(); });
      const Attempt made = attempt(context);
      if (cancellation != nullptr) cancellation->Detach();
      if (made.status.ok()) return absl::OkStatus();
      const absl::Status status = Explain(made);
      if (made.delivered) return status;
      const std::optional<absl::Duration> wait = WaitBeforeRetry(
          options_.retry, status.code(), HintOf(context), attempts, deadline - absl::Now(), Jitter());
      if (!wait) return status;
      if (cancellation == nullptr) {
        absl::SleepFor(*wait);
      } else if (cancellation->WaitFor(*wait)) {
        return absl::CancelledError("cancelled while waiting to try again");
      }
    }
  }

  // A unary method of the service.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Unary(grpc::Status (v1::Ropeway::Stub::*method)(grpc::ClientContext*,
                                                                           const Request&, Response*),
                                 const Request& request, const CallOptions& options) {
    Response response;
    int32_t attempts = 0;
    const absl::Status status =
        Call(options, nullptr, attempts, [&](grpc::ClientContext& context) -> Attempt {
          response.Clear();
          return {.status = (stub_.get()->*method)(&context, request, &response),
                  .request_bytes = request.ByteSizeLong()};
        });
    if (!status.ok()) return status;
    return response;
  }

  // One attempt of Generate: adds what arrives to `answer`.
  Attempt Stream(grpc::ClientContext& context, const v1::GenerateRequest& request, const OnDelta& on_delta,
                 Answer& answer) {
    Attempt made{.request_bytes = request.ByteSizeLong()};
    const auto reader = stub_->Generate(&context, request);
    v1::GenerateChunk chunk;
    while (reader->Read(&chunk)) {
      if (chunk.sample() < 0 || chunk.sample() >= answer.samples.size()) {
        context.TryCancel();
        reader->Finish();
        made.status = grpc::Status(grpc::StatusCode::INTERNAL,
                                   absl::StrCat("the server sent sample ", chunk.sample(), " of ",
                                                answer.samples.size(), " asked for"));
        return made;
      }
      made.delivered = true;
      TakeHeader(chunk, answer);
      const Delta delta = FromWire(chunk);
      if (delta.prompt) answer.prompt = *delta.prompt;
      Append(delta, answer.samples[delta.sample]);
      if (on_delta) on_delta(delta);
    }
    made.status = reader->Finish();
    return made;
  }

  absl::Status CheckHealth(const CallOptions& options) {
    int32_t attempts = 0;
    return Call(options, nullptr, attempts,
                [this](grpc::ClientContext& context) -> Attempt { return {.status = AskHealth(context)}; });
  }

 private:
  // Both messages of the health service are known without their definition: the request for the whole server
  // is empty, and field 1 of the response is the state.
  grpc::Status AskHealth(grpc::ClientContext& context) {
    grpc::TemplatedGenericStub<google::protobuf::Empty, google::protobuf::Empty> stub(channel_);
    google::protobuf::Empty request, response;
    grpc::Status answer;
    absl::Notification done;
    stub.UnaryCall(&context, kHealthCheckMethod, {}, &request, &response, [&](grpc::Status status) {
      answer = std::move(status);
      done.Notify();
    });
    done.WaitForNotification();
    if (!answer.ok()) return answer;
    const google::protobuf::UnknownFieldSet& fields = response.GetReflection()->GetUnknownFields(response);
    for (int i = 0; i < fields.field_count(); ++i) {
      const google::protobuf::UnknownField& field = fields.field(i);
      if (field.number() == 1 && field.type() == google::protobuf::UnknownField::TYPE_VARINT &&
          field.varint() == kHealthServing)
        return grpc::Status::OK;
    }
    return {grpc::StatusCode::UNAVAILABLE,
            absl::StrCat(options_.server, " is not serving: it loads its model or drains")};
  }

  // gRPC would ask a proxy for servers on this machine, too, and knows proxies of http:// only.
  static std::optional<Proxy> FindGrpcProxy(const std::string& server) {
    const std::optional<Proxy> proxy =
        FindProxy(HostOf(server), {"grpc_proxy", "https_proxy", "http_proxy"}, std::getenv);
    return proxy && absl::StartsWith(proxy->url, "http://") ? proxy : std::nullopt;
  }

  static std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options,
                                                    const std::optional<Proxy>& proxy) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, proxy ? 1 : 0);
    if (proxy) arguments.SetString(GRPC_ARG_HTTP_PROXY, proxy->url);
    arguments.SetMaxReceiveMessageSize(options.max_message_bytes);
    // A server that starts is found soon after.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
    // Retries are made here, where the caller can see them.
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    return grpc::CreateCustomChannel(options.server, Credentials(options), arguments);
  }

  static std::shared_ptr<grpc::ChannelCredentials> Credentials(const ClientOptions& options) {
    if (!options.tls) return grpc::InsecureChannelCredentials();
    return grpc::SslCredentials({.pem_root_certs = options.tls->authorities,
                                 .pem_private_key = options.tls->key,
                                 .pem_cert_chain = options.tls->certificate});
  }

  void Authorize(grpc::ClientContext& context) const {
    if (!options_.api_key.empty())
      context.AddMetadata("authorization", absl::StrCat("Bearer ", options_.api_key));
  }

  // The status in words that say what to do.
  absl::Status Explain(const Attempt& made) const {
    const auto code = static_cast<absl::StatusCode>(made.status.error_code());
    const std::string& message = made.status.error_message();
    if (const std::optional<absl::Status> too_large = ExplainTooLarge(made)) return *too_large;
    if (code == absl::StatusCode::kUnavailable && !made.delivered) {
      if (absl::StrContains(message, "DNS resolution failed")) return CannotConnect("the name is not known");
      if (absl::StrContains(message, "http1")) return CannotConnect("this port speaks HTTP/1 and not gRPC");
      if (absl::StrContains(message, "handshake failed"))
        return CannotConnect(
            "the TLS handshake failed: it speaks no TLS, or one side does not trust the other");
      if (absl::StrContains(message, "failed to connect")) return CannotConnect("is ropeway_server running?");
    }
    // What gRPC says of its own accord.
    if (code == absl::StatusCode::kDeadlineExceeded && message == "Deadline Exceeded")
      return absl::DeadlineExceededError("the timeout of the call passed");
    if (code == absl::StatusCode::kCancelled && message == "CANCELLED")
      return absl::CancelledError("the call was cancelled");
    if (code == absl::StatusCode::kUnavailable && made.delivered)
      return absl::UnavailableError(
          absl::StrCat("the connection to ", options_.server, " was lost: ", message));
    if (code == absl::StatusCode::kUnimplemented)
      return absl::UnimplementedError(
          absl::StrCat(options_.server, " is no Ropeway server, or an older one: ", message));
    return absl::Status(code, message);
  }

  absl::Status CannotConnect(absl::string_view why) const {
    if (!proxy_)
      return absl::UnavailableError(absl::StrCat("cannot connect to ", options_.server, ": ", why));
    return absl::UnavailableError(absl::StrCat("cannot connect to ", options_.server, " through the proxy ",
                                               proxy_->Description(),
                                               "; hosts that need none are listed in no_proxy"));
  }

  static double Jitter() {
    absl::BitGen generator;
    return absl::Uniform(generator, 0.0, 1.0);
  }

  const ClientOptions options_;
  const absl::Status options_status_;
  const std::optional<Proxy> proxy_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Ropeway::Stub> stub_;
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

std::unique_ptr<Client> Client::Create(const ClientOptions& options) {
  return std::unique_ptr<Client>(new Client(std::make_unique<Impl>(options)));
}

Answer Client::Generate(const Request& request, const CallOptions& options, const OnDelta& on_delta,
                        Cancellation* cancellation) {
  Answer answer;
  answer.samples.resize(NumSamples(request));
  const v1::GenerateRequest wire = ToWire(request);
  answer.status = impl_->Call(options, cancellation, answer.attempts, [&](grpc::ClientContext& context) {
    return impl_->Stream(context, wire, on_delta, answer);
  });
  return answer;
}

absl::StatusOr<Tokens> Client::Tokenize(const TextPrompt& prompt, const CallOptions& options) {
  v1::TokenizeRequest request;
  *request.mutable_text() = ToWire(prompt);
  return TokensOf(impl_->Unary(&v1::Ropeway::Stub::Tokenize, request, options));
}

absl::StatusOr<Tokens> Client::Tokenize(const ChatPrompt& prompt, const CallOptions& options) {
  v1::TokenizeRequest request;
  *request.mutable_chat() = ToWire(prompt);
  return TokensOf(impl_->Unary(&v1::Ropeway::Stub::Tokenize, request, options));
}

absl::StatusOr<std::string> Client::Detokenize(const std::vector<int32_t>& ids, bool show_special,
                                               const CallOptions& options) {
  v1::DetokenizeRequest request;
  request.mutable_ids()->Assign(ids.begin(), ids.end());
  request.set_show_special(show_special);
  const absl::StatusOr<v1::DetokenizeResponse> response =
      impl_->Unary(&v1::Ropeway::Stub::Detokenize, request, options);
  if (!response.ok()) return response.status();
  return response->text();
}

absl::StatusOr<std::string> Client::RenderChat(const ChatPrompt& prompt, const CallOptions& options) {
  v1::RenderChatRequest request;
  *request.mutable_chat() = ToWire(prompt);
  const absl::StatusOr<v1::RenderChatResponse> response =
      impl_->Unary(&v1::Ropeway::Stub::RenderChat, request, options);
  if (!response.ok()) return response.status();
  return response->text();
}

absl::StatusOr<ModelInfo> Client::GetModelInfo(const CallOptions& options) {
  const absl::StatusOr<v1::GetModelInfoResponse> response =
      impl_->Unary(&v1::Ropeway::Stub::GetModelInfo, v1::GetModelInfoRequest(), options);
  if (!response.ok()) return response.status();
  return FromWire(*response);
}

absl::StatusOr<ServerInfo> Client::GetServerInfo(const CallOptions& options) {
  const absl::StatusOr<v1::GetServerInfoResponse> response =
      impl_->Unary(&v1::Ropeway::Stub::GetServerInfo, v1::GetServerInfoRequest(), options);
  if (!response.ok()) return response.status();
  return FromWire(*response);
}

absl::StatusOr<bool> Client::Abort(const std::string& request_id, const std::string& tenant,
                                   const CallOptions& options) {
  v1::AbortRequest request;
  request.set_request_id(request_id);
  request.set_tenant(tenant);
  const absl::StatusOr<v1::AbortResponse> response =
      impl_->Unary(&v1::Ropeway::Stub::Abort, request, options);
  if (!response.ok()) return response.status();
  return response->found();
}

absl::Status Client::CheckHealth(const CallOptions& options) { return impl_->CheckHealth(options); }

absl::Status Client::WaitUntilServing(absl::Duration patience, const CallOptions& options) {
  const absl::Time end = absl::Now() + patience;
  for (;;) {
    const absl::Duration remaining = patience > absl::ZeroDuration()
                                         ? std::max(end - absl::Now(), kHealthPollInterval)
                                         : absl::InfiniteDuration();
    const absl::Status status = CheckHealth({.timeout = std::min(options.timeout, remaining)});
    const bool may_come = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
    if (!may_come || absl::Now() + kHealthPollInterval > end) return status;
    absl::SleepFor(kHealthPollInterval);
  }
}

}  // namespace ropeway::client
