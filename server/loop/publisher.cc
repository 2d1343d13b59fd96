#include "server/loop/publisher.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace ropeway {
namespace {

absl::string_view NameOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "abort";
    case FinishReason::kDeadline:
      return "deadline";
    case FinishReason::kError:
      return "error";
  }
  return "";
}

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

Publisher::Live::Live(const Tokenizer& tokenizer, const ValidRequest& request,
                      std::shared_ptr<TokenStream> the_stream)
    : stream(std::move(the_stream)),
      arrival(request.arrival),
      prompt_tokens(static_cast<int32_t>(request.prompt.size())) {
  for (int32_t s = 0; s < request.num_samples; ++s) samples.emplace_back(tokenizer, request);
}

void Publisher::Submit(ValidRequest request, std::shared_ptr<TokenStream> stream) {
  const RequestId id = request.id;
  auto live = std::make_unique<Live>(tokenizer_, request, std::move(stream));
  if (absl::Status status = scheduler_.Add(std::move(request)); !status.ok()) {
    live->stream->Push(
        {.end = RequestEnd{.status = std::move(status), .prompt_tokens = live->prompt_tokens}});
    return;
  }
  live_[id] = std::move(live);
}

void Publisher::Digest(absl::Time now) {
  for (std::vector<TokenEvent> events = scheduler_.TakeEvents(); !events.empty();
       events = scheduler_.TakeEvents()) {
    for (TokenEvent& event : events) DigestOne(std::move(event), now);
  }
}

void Publisher::DigestOne(TokenEvent event, absl::Time now) {
  Live& live = *live_.at(event.request_id);
  Sample& sample = live.samples[event.sample];
  if (!std::exchange(live.changed, true)) changed_.push_back(event.request_id);
  if (!sample.chunk.has_value()) sample.chunk = StreamChunk{.sample = event.sample};
  if (event.token != kNoToken) TakeToken(event, live, sample, now);
  if (!event.sample_finish.has_value()) {
    if (sample.matcher.matched() != nullptr) scheduler_.Finish(event.request_id, event.sample, now);
    return;
  }
  const FinishReason reason = EndSample(event, sample);
  if (event.request_done) EndRequest(event, reason, live, now);
}

void Publisher::TakeToken(TokenEvent& event, Live& live, Sample& sample, absl::Time now) {
  StreamChunk& chunk = *sample.chunk;
  chunk.token_ids.push_back(event.token);
  if (event.logprobs.has_value()) chunk.logprobs.push_back(*std::move(event.logprobs));
  if (!event.prompt_logprobs.empty()) chunk.prompt_logprobs = std::move(event.prompt_logprobs);
  ++live.completion_tokens;
  // An end token ends the text before it.
  if (event.sample_finish != FinishReason::kStop) {
    chunk.text += sample.matcher.Push(sample.detokenizer.Push(event.token));
  }
  ++sample.tokens;
  if (sample.last_token.has_value()) {
    observer_.OnNextToken(now - *sample.last_token);
  } else if (live.completion_tokens > 1) {
    observer_.OnSiblingToken();
  } else {
    observer_.OnFirstToken(now - live.arrival);
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

void Publisher::EndRequest(const TokenEvent& event, FinishReason reason, Live& live, absl::Time now) {
  live.end = RequestEnd{.status = StatusOf(reason, event.error),
                        .prompt_tokens = live.prompt_tokens,
                        .completion_tokens = live.completion_tokens,
                        .receipt = event.receipt};
  const auto longest = std::max_element(live.samples.begin(), live.samples.end(),
                                        [](const Sample& a, const Sample& b) { return a.tokens < b.tokens; });
  observer_.OnRequestEnd({.finish_reason = NameOf(reason),
                          .code = live.end->status.code(),
                          .prompt_tokens = live.prompt_tokens,
                          .generated_tokens = live.completion_tokens,
                          .longest_sample_tokens = longest->tokens,
                          .cached_tokens = event.receipt.cached_tokens,
                          .queue = event.receipt.queue,
                          .prefill = event.receipt.prefill,
                          .decode = event.receipt.decode,
                          .total = now - live.arrival});
}

bool Publisher::Deliver(absl::Time now) {
  bool any_lost = false;
  for (const RequestId id : std::exchange(changed_, {})) {
    Live& live = *live_.at(id);
    live.changed = false;
    const bool ended = live.end.has_value();
    const TokenStream::Pressure pressure = PushChunks(live);
    if (ended) {
      paused_.erase(id);
      live_.erase(id);
    } else if (pressure == TokenStream::Pressure::kOverflow) {
      Lose(id, now);
      any_lost = true;
    } else if (pressure == TokenStream::Pressure::kPause && paused_.insert({id, now}).second) {
      scheduler_.SetPaused(id, true);
    }
  }
  return any_lost;
}

// Of the last push, since that one saw all that is unread.
TokenStream::Pressure Publisher::PushChunks(Live& live) {
  auto left = std::count_if(live.samples.begin(), live.samples.end(),
                            [](const Sample& sample) { return sample.chunk.has_value(); });
  TokenStream::Pressure pressure = TokenStream::Pressure::kNone;
  for (Sample& sample : live.samples) {
    if (!sample.chunk.has_value()) continue;
    StreamChunk chunk = *std::exchange(sample.chunk, std::nullopt);
    if (--left == 0) chunk.end = std::exchange(live.end, std::nullopt);
    pressure = live.stream->Push(std::move(chunk));
  }
  return pressure;
}

void Publisher::TendSlowReaders(absl::Time now) {
  for (auto it = paused_.begin(); it != paused_.end();) {
    const auto [id, since] = *it;
    if (live_.at(id)->stream->MayResume()) {
      scheduler_.SetPaused(id, false);
      it = paused_.erase(it);
      continue;
    }
    if (now - since >= slow_reader_patience_) Lose(id, now);
    ++it;
  }
}

absl::Time Publisher::next_loss() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [id, since] : paused_) next = std::min(next, since + slow_reader_patience_);
  return next;
}

void Publisher::Lose(RequestId id, absl::Time now) {
  scheduler_.Cancel(id, now, FinishReason::kCancelled,
                    absl::ResourceExhaustedError("the stream was not read fast enough"));
}

std::vector<RequestId> Publisher::live() const {
  std::vector<RequestId> ids;
  for (const auto& [id, live] : live_) ids.push_back(id);
  return ids;
}

}  // namespace ropeway
