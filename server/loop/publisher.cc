#include "server/loop/publisher.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace ropeway::server {
namespace {

absl::Status StatusOf(FinishReason reason, const absl::Status& error) {
  if (!error.ok()) return error;
  switch (reason) {
    case FinishReason::kStop:
    case FinishReason::kLength:
      return absl::OkStatus();
    case FinishReason::kCancelled:
      return absl::CancelledError("the request was cancelled");
    case FinishReason::kDeadline:
      return absl::DeadlineExceededError("the request's deadline expired");
    case FinishReason::kError:
      return absl::InternalError("the engine failed");
  }
  return absl::OkStatus();
}

}  // namespace

Publisher::ActiveRequest::ActiveRequest(const Tokenizer& tokenizer, const ValidRequest& request,
                                        std::shared_ptr<TokenStream> the_stream)
    : stream(std::move(the_stream)),
      arrival(request.arrival),
      prompt_tokens(static_cast<int32_t>(request.prompt.size())) {
  for (int32_t s = 0; s < request.num_samples; ++s) samples.emplace_back(tokenizer, request);
}

void Publisher::Submit(ValidRequest request, std::shared_ptr<TokenStream> stream, absl::Time now) {
  const RequestId id = request.id;
  auto active = std::make_unique<ActiveRequest>(tokenizer_, request, std::move(stream));
  if (absl::Status status = scheduler_.Add(std::move(request), now); !status.ok()) {
    active->end =
        RequestEnd{.status = std::move(status), .prompt_tokens = active->prompt_tokens, .refused = true};
    refused_.push_back(std::move(active));
    return;
  }
  active_[id] = std::move(active);
}

void Publisher::ProcessEvents(absl::Time now) {
  for (std::vector<TokenEvent> events = scheduler_.TakeEvents(); !events.empty();
       events = scheduler_.TakeEvents()) {
    for (TokenEvent& event : events) ProcessEvent(std::move(event), now);
  }
}

void Publisher::ProcessEvent(TokenEvent event, absl::Time now) {
  ActiveRequest& active = *active_.at(event.request_id);
  Sample& sample = active.samples[event.sample];
  if (!std::exchange(active.changed, true)) changed_.push_back(event.request_id);
  if (!sample.chunk.has_value()) sample.chunk = StreamChunk{.sample = event.sample};
  if (event.token != kNoToken) AppendToken(event, active, sample, now);
  if (!event.sample_finish.has_value()) {
    if (sample.matcher.matched() != nullptr) scheduler_.Finish(event.request_id, event.sample, now);
    return;
  }
  const FinishReason reason = EndSample(event, sample);
  if (event.request_done) EndRequest(event, reason, active, now);
}

void Publisher::AppendToken(TokenEvent& event, ActiveRequest& active, Sample& sample, absl::Time now) {
  StreamChunk& chunk = *sample.chunk;
  chunk.token_ids.push_back(event.token);
  if (event.logprobs.has_value()) chunk.logprobs.push_back(*std::move(event.logprobs));
  if (!event.prompt_logprobs.empty()) chunk.prompt_logprobs = std::move(event.prompt_logprobs);
  ++active.completion_tokens;
  // An end token ends the text before it.
  if (event.sample_finish != FinishReason::kStop) {
    chunk.text += sample.matcher.Push(sample.detokenizer.Push(event.token));
  }
  ++sample.tokens;
  if (sample.last_token.has_value()) {
    observer_.OnNextToken(now - *sample.last_token);
  } else if (active.completion_tokens > 1) {
    observer_.OnSiblingToken();
  } else {
    observer_.OnFirstToken(now - active.arrival);
  }
  sample.last_token = now;
}

// What was held back becomes certain, and may still hold a stop string.
FinishReason Publisher::EndSample(const TokenEvent& event, Sample& sample) {
  StreamChunk& chunk = *sample.chunk;
  chunk.text += sample.matcher.Push(sample.detokenizer.Flush());
  chunk.text += sample.matcher.Flush();
  chunk.finish = SampleEnd{.reason = *event.sample_finish};
  if (const std::string* matched = sample.matcher.matched()) {
    chunk.finish = SampleEnd{.reason = FinishReason::kStop, .stop_string = *matched};
  } else if (event.sample_finish == FinishReason::kStop) {
    chunk.finish->stop_token = event.token;
  }
  return chunk.finish->reason;
}

void Publisher::EndRequest(const TokenEvent& event, FinishReason reason, ActiveRequest& active,
                           absl::Time now) {
  active.end = RequestEnd{.status = StatusOf(reason, event.error),
                          .prompt_tokens = active.prompt_tokens,
                          .completion_tokens = active.completion_tokens,
                          .receipt = event.receipt};
  const auto longest = std::max_element(active.samples.begin(), active.samples.end(),
                                        [](const Sample& a, const Sample& b) { return a.tokens < b.tokens; });
  observer_.OnRequestEnd({.finish_reason = FinishReasonName(reason),
                          .code = active.end->status.code(),
                          .prompt_tokens = active.prompt_tokens,
                          .generated_tokens = active.completion_tokens,
                          .longest_sample_tokens = longest->tokens,
                          .cached_tokens = event.receipt.cached_tokens,
                          .queue = event.receipt.queue,
                          .prefill = event.receipt.prefill,
                          .decode = event.receipt.decode,
                          .total = now - active.arrival,
                          .expected_first_token = event.receipt.expected_first_token});
}

bool Publisher::Deliver(absl::Time now) {
  for (const auto& refused : std::exchange(refused_, {}))
    refused->stream->Push({.end = std::move(refused->end)});
  bool any_dropped = false;
  for (const RequestId id : std::exchange(changed_, {})) {
    ActiveRequest& active = *active_.at(id);
    active.changed = false;
    const bool ended = active.end.has_value();
    const TokenStream::Pressure pressure = PushChunks(active);
    if (ended) {
      paused_.erase(id);
      active_.erase(id);
    } else if (pressure == TokenStream::Pressure::kOverflow) {
      DropSlowReader(id, now);
      any_dropped = true;
    } else if (pressure == TokenStream::Pressure::kPause && paused_.insert({id, now}).second) {
      scheduler_.SetPaused(id, true);
    }
  }
  return any_dropped;
}

// Of the last push, since that one saw all that is unread.
TokenStream::Pressure Publisher::PushChunks(ActiveRequest& active) {
  auto left = std::count_if(active.samples.begin(), active.samples.end(),
                            [](const Sample& sample) { return sample.chunk.has_value(); });
  TokenStream::Pressure pressure = TokenStream::Pressure::kNone;
  for (Sample& sample : active.samples) {
    if (!sample.chunk.has_value()) continue;
    StreamChunk chunk = *std::exchange(sample.chunk, std::nullopt);
    if (--left == 0) chunk.end = std::exchange(active.end, std::nullopt);
    pressure = active.stream->Push(std::move(chunk));
  }
  return pressure;
}

void Publisher::CheckSlowReaders(absl::Time now) {
  for (auto it = paused_.begin(); it != paused_.end();) {
    const auto [id, since] = *it;
    if (active_.at(id)->stream->MayResume()) {
      scheduler_.SetPaused(id, false);
      it = paused_.erase(it);
      continue;
    }
    if (now - since >= slow_reader_timeout_) DropSlowReader(id, now);
    ++it;
  }
}

absl::Time Publisher::next_reader_timeout() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [id, since] : paused_) next = std::min(next, since + slow_reader_timeout_);
  return next;
}

void Publisher::DropSlowReader(RequestId id, absl::Time now) {
  scheduler_.Cancel(id, now, FinishReason::kCancelled,
                    absl::ResourceExhaustedError("the stream was not read fast enough"));
}

std::vector<RequestId> Publisher::active_ids() const {
  std::vector<RequestId> ids;
  for (const auto& [id, active] : active_) ids.push_back(id);
  return ids;
}

}  // namespace ropeway::server
