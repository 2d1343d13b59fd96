#include "server/rpc/answer.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "engine/base/check.h"
#include "server/rpc/convert_prompt.h"

namespace ropeway {
namespace {

void FillLogprob(TokenId token, float logprob, const Tokenizer& tokenizer, v1::TokenLogprob& out) {
  out.set_token_id(token);
  out.set_logprob(logprob);
  const absl::string_view bytes = ShownBytes(tokenizer, token);
  out.set_token(bytes.data(), bytes.size());
}

void FillLogprobs(TokenId token, const TokenLogprobs& logprobs, const Tokenizer& tokenizer,
                  v1::TokenLogprobs& out) {
  FillLogprob(token, logprobs.chosen, tokenizer, *out.mutable_chosen());
  for (const auto& [id, logprob] : logprobs.top) FillLogprob(id, logprob, tokenizer, *out.add_top());
}

void FillReceipt(const Receipt& receipt, uint64_t seed, v1::Receipt& out) {
  out.set_queue_ms(absl::ToDoubleMilliseconds(receipt.queue));
  out.set_prefill_ms(absl::ToDoubleMilliseconds(receipt.prefill));
  out.set_decode_ms(absl::ToDoubleMilliseconds(receipt.decode));
  out.set_cached_tokens(receipt.cached_tokens);
  out.set_recomputed_tokens(receipt.recomputed_tokens);
  out.set_preemptions(receipt.preemptions);
  out.set_seed(seed);
}

bool IsSuccess(FinishReason reason) {
  return reason == FinishReason::kStop || reason == FinishReason::kLength;
}

absl::Status StatusOf(FinishReason reason, const absl::Status& error) {
  switch (reason) {
    case FinishReason::kStop:
    case FinishReason::kLength:
      return absl::OkStatus();
    case FinishReason::kCancelled:
      return absl::CancelledError("the request was cancelled");
    case FinishReason::kDeadline:
      return absl::DeadlineExceededError("the deadline expired before the answer was complete");
    case FinishReason::kError:
      return error.ok() ? absl::InternalError("the engine failed") : error;
  }
  return absl::InternalError("unknown finish reason");
}

}  // namespace

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kCancelled:
      return v1::FINISH_REASON_CANCELLED;
    case FinishReason::kDeadline:
      return v1::FINISH_REASON_DEADLINE;
    case FinishReason::kError:
      return v1::FINISH_REASON_ERROR;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

Answer::Answer(const GenerationPlan& plan, const Tokenizer& tokenizer) : plan_(plan), tokenizer_(tokenizer) {
  samples_.reserve(plan.request.num_samples);
  for (int32_t i = 0; i < plan.request.num_samples; ++i) samples_.emplace_back(tokenizer, plan.stop_strings);
}

void Answer::Push(const TokenEvent& event) {
  ROPEWAY_CHECK(!done_ && event.sample >= 0 && event.sample < static_cast<int32_t>(samples_.size()));
  SampleState& sample = samples_[event.sample];
  if (!event.prompt_logprobs.empty()) AddPromptEcho(event, sample);
  if (!sample.ended) {
    if (event.token != kNoToken) PushToken(event, sample);
    if (event.sample_finish && !sample.ended) {
      if (*event.sample_finish == FinishReason::kStop && event.token != kNoToken) {
        sample.pending.mutable_finish()->set_stop_token_id(event.token);
      }
      EndSample(*event.sample_finish, sample);
    }
  }
  if (event.request_done) EndRequest(event);
}

std::optional<v1::GenerateChunk> Answer::NextChunk() {
  if (said_all_) return std::nullopt;
  const auto next = std::find_if(samples_.begin(), samples_.end(),
                                 [](const SampleState& sample) { return sample.has_pending; });
  if (next == samples_.end() && !done_) return std::nullopt;

  v1::GenerateChunk chunk;
  if (next != samples_.end()) {
    chunk.Swap(&next->pending);
    next->has_pending = false;
    chunk.set_sample(static_cast<int32_t>(next - samples_.begin()));
  }
  if (std::exchange(first_chunk_, false)) {
    chunk.set_request_id(plan_.name);
    if (plan_.echo) {
      chunk.mutable_prompt()->set_text(DecodeTokens(plan_.request.prompt, tokenizer_, /*show_special=*/true));
      chunk.mutable_prompt()->mutable_token_ids()->Add(plan_.request.prompt.begin(),
                                                       plan_.request.prompt.end());
    }
  }
  const bool more = std::any_of(samples_.begin(), samples_.end(),
                                [](const SampleState& sample) { return sample.has_pending; });
  if (done_ && !more) {
    said_all_ = true;
    chunk.mutable_usage()->set_prompt_tokens(static_cast<int32_t>(plan_.request.prompt.size()));
    chunk.mutable_usage()->set_completion_tokens(completion_tokens_);
    FillReceipt(receipt_, plan_.request.sampling.seed, *chunk.mutable_receipt());
  }
  return chunk;
}

void Answer::PushToken(const TokenEvent& event, SampleState& sample) {
  ++completion_tokens_;
  sample.has_pending = true;
  sample.pending.add_token_ids(event.token);
  if (event.logprobs) {
    FillLogprobs(event.token, *event.logprobs, tokenizer_, *sample.pending.add_logprobs());
  }
  // The token that ends a sample is told as a token but is no part of the text.
  const bool is_stop = event.sample_finish == FinishReason::kStop && IsStopToken(event.token);
  if (!is_stop) PushText(sample.detokenizer.Push(event.token), sample);
}

void Answer::PushText(const std::string& text, SampleState& sample) {
  sample.pending.mutable_text()->append(sample.stop_matcher.Push(text));
  if (const std::string* matched = sample.stop_matcher.matched()) {
    sample.pending.mutable_finish()->set_stop_string(*matched);
    EndSample(FinishReason::kStop, sample);
  }
}

void Answer::EndSample(FinishReason reason, SampleState& sample) {
  sample.ended = true;
  sample.has_pending = true;
  ++ended_samples_;
  v1::Finish& finish = *sample.pending.mutable_finish();
  finish.set_reason(ToProto(reason));
  if (ended_samples_ == 1 || !IsSuccess(reason)) reason_ = reason;
  if (sample.stop_matcher.matched() != nullptr) return;
  // The end of the text decides what was held back: it may still complete a stop string.
  sample.pending.mutable_text()->append(sample.stop_matcher.Push(sample.detokenizer.Flush()));
  if (sample.stop_matcher.matched() == nullptr) {
    sample.pending.mutable_text()->append(sample.stop_matcher.Flush());
  }
}

// A request whose samples all came to their end is a success, whatever the engine was told afterwards.
void Answer::EndRequest(const TokenEvent& event) {
  done_ = true;
  receipt_ = event.receipt;
  const FinishReason reason = event.sample_finish.value_or(FinishReason::kError);
  for (SampleState& sample : samples_) {
    if (!sample.ended) EndSample(reason, sample);
  }
  status_ = StatusOf(reason_, event.error);
}

void Answer::AddPromptEcho(const TokenEvent& event, SampleState& sample) {
  sample.has_pending = true;
  const std::vector<TokenId>& prompt = plan_.request.prompt;
  ROPEWAY_CHECK(event.prompt_logprobs.size() < prompt.size());
  for (size_t i = 0; i < event.prompt_logprobs.size(); ++i) {
    FillLogprobs(prompt[i + 1], event.prompt_logprobs[i], tokenizer_,
                 *sample.pending.mutable_prompt()->add_logprobs());
  }
}

bool Answer::IsStopToken(TokenId token) const {
  const std::vector<TokenId>& stops = plan_.request.stop_token_ids;
  return std::binary_search(stops.begin(), stops.end(), token);
}

void MergeChunk(v1::GenerateChunk chunk, v1::GenerateResponse& response) {
  if (!chunk.request_id().empty()) response.set_request_id(chunk.request_id());
  if (chunk.has_prompt()) response.mutable_prompt()->MergeFrom(chunk.prompt());
  while (response.samples_size() <= chunk.sample()) response.add_samples();
  v1::Sample& sample = *response.mutable_samples(chunk.sample());
  sample.mutable_text()->append(chunk.text());
  sample.mutable_token_ids()->MergeFrom(chunk.token_ids());
  sample.mutable_logprobs()->MergeFrom(chunk.logprobs());
  if (chunk.has_finish()) sample.mutable_finish()->Swap(chunk.mutable_finish());
  if (chunk.has_usage()) response.mutable_usage()->Swap(chunk.mutable_usage());
  if (chunk.has_receipt()) response.mutable_receipt()->Swap(chunk.mutable_receipt());
}

}  // namespace ropeway
