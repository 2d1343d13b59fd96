#include <memory>

#include "client/bench/load_target.h"

namespace ropeway::client {
namespace {

class GrpcTarget final : public LoadTarget {
 public:
  GrpcTarget(Client& client, const RunOptions& options) : client_(client), options_(options) {}

  RequestRecord Run(const WorkItem& item) override {
    Request request{.model = options_.model,
                    .sampling = {.temperature = static_cast<float>(options_.temperature)},
                    .stopping = {.max_tokens = item.output_tokens, .ignore_eos = options_.ignore_eos}};
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&item.prompt)) {
      request.prompt = TokenPrompt{.ids = *ids};
    } else {
      request.prompt = TextPrompt{.text = std::get<std::string>(item.prompt)};
    }
    CallOptions call;
    if (options_.timeout_seconds > 0) call.timeout = absl::Seconds(options_.timeout_seconds);
    RequestRecord record;
    MessageTimer timer;
    const Answer answer = client_.Generate(request, call, [&](const Delta& delta) {
      if (!delta.token_ids.empty()) timer.OnMessage(record);
    });
    record.status = answer.status;
    record.prompt_tokens = answer.usage.prompt_tokens;
    if (answer.receipt) record.cached_tokens = answer.receipt->cached_tokens;
    record.output_tokens = answer.usage.completion_tokens;
    return record;
  }

 private:
  Client& client_;
  const RunOptions options_;
};

}  // namespace

std::unique_ptr<LoadTarget> MakeGrpcTarget(Client& client, const RunOptions& options) {
  return std::make_unique<GrpcTarget>(client, options);
}

}  // namespace ropeway::client
