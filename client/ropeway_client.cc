#include "client/ropeway_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/connection.h"
#include "client/convert.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"

namespace ropeway::client {
namespace {

constexpr absl::Duration kHealthPollInterval = absl::Milliseconds(100);

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

absl::StatusOr<Tokens> TokensOf(absl::StatusOr<v1::TokenizeResponse> response) {
  if (!response.ok()) return response.status();
  return Tokens{.ids = {response->ids().begin(), response->ids().end()},
                .tokens = {response->tokens().begin(), response->tokens().end()}};
}

}  // namespace

class Client::Impl {
 public:
  explicit Impl(const ClientOptions& options)
      : connection_(options),
        stub_(v1::Ropeway::NewStub(connection_.channel())),
        health_(grpc::health::v1::Health::NewStub(connection_.channel())) {}

  Connection& connection() { return connection_; }

  // A unary method of the service.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Unary(grpc::Status (v1::Ropeway::Stub::*method)(grpc::ClientContext*,
                                                                           const Request&, Response*),
                                 const Request& request, const CallOptions& options) {
    return connection_.Unary(*stub_, method, request, options);
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
    return connection_.Call(options, nullptr, attempts, [this](grpc::ClientContext& context) -> Attempt {
      return {.status = AskHealth(context)};
    });
  }

 private:
  grpc::Status AskHealth(grpc::ClientContext& context) {
    grpc::health::v1::HealthCheckResponse response;
    const grpc::Status answer = health_->Check(&context, {}, &response);
    if (!answer.ok() || response.status() == grpc::health::v1::HealthCheckResponse::SERVING) return answer;
    return {grpc::StatusCode::UNAVAILABLE,
            absl::StrCat(connection_.server(), " is not serving: it loads its model or drains")};
  }

  Connection connection_;
  const std::unique_ptr<v1::Ropeway::Stub> stub_;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health_;
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
  answer.status = impl_->connection().Call(
      options, cancellation, answer.attempts,
      [&](grpc::ClientContext& context) { return impl_->Stream(context, wire, on_delta, answer); });
  return answer;
}

absl::StatusOr<Estimate> Client::EstimateRequest(const Request& request, absl::Duration deadline,
                                                 const CallOptions& options) {
  v1::EstimateRequest wire;
  *wire.mutable_request() = ToWire(request);
  if (deadline != absl::InfiniteDuration()) wire.set_deadline_ms(absl::ToDoubleMilliseconds(deadline));
  const absl::StatusOr<v1::EstimateResponse> response =
      impl_->Unary(&v1::Ropeway::Stub::Estimate, wire, options);
  if (!response.ok()) return response.status();
  return FromWire(*response);
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
