#include "server/front/convert_chunk.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "engine/base/check.h"
#include "server/front/convert_prompt.h"

namespace ropeway::server {
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

void FillFinish(SampleEnd end, v1::Finish& out) {
  out.set_reason(ToProto(end.reason));
  if (!end.stop_string.empty()) {
    out.set_stop_string(std::move(end.stop_string));
  } else if (end.stop_token != kNoToken) {
    out.set_stop_token_id(end.stop_token);
  }
}

void FillEnd(const RequestEnd& end, uint64_t seed, v1::GenerateChunk& out) {
  out.mutable_usage()->set_prompt_tokens(end.prompt_tokens);
  out.mutable_usage()->set_completion_tokens(end.completion_tokens);
  v1::Receipt& receipt = *out.mutable_receipt();
  receipt.set_queue_ms(absl::ToDoubleMilliseconds(end.receipt.queue));
  receipt.set_prefill_ms(absl::ToDoubleMilliseconds(end.receipt.prefill));
  receipt.set_decode_ms(absl::ToDoubleMilliseconds(end.receipt.decode));
  receipt.set_cached_tokens(end.receipt.cached_tokens);
  receipt.set_recomputed_tokens(end.receipt.recomputed_tokens);
  receipt.set_preemptions(end.receipt.preemptions);
  receipt.set_seed(seed);
}

void FillPrompt(const ChunkContext& context, const Tokenizer& tokenizer, v1::PromptEcho& out) {
  out.set_text(DecodeTokens(context.prompt, tokenizer, /*show_special=*/true));
  out.mutable_token_ids()->Add(context.prompt.begin(), context.prompt.end());
}

}  // namespace

v1::GenerateChunk ConvertChunk(StreamChunk chunk, const ChunkContext& context, const Tokenizer& tokenizer,
                               bool first) {
  v1::GenerateChunk out;
  out.set_sample(chunk.sample);
  out.set_text(std::move(chunk.text));
  out.mutable_token_ids()->Add(chunk.token_ids.begin(), chunk.token_ids.end());
  ROPEWAY_CHECK(chunk.logprobs.empty() || chunk.logprobs.size() == chunk.token_ids.size());
  for (size_t i = 0; i < chunk.logprobs.size(); ++i) {
    FillLogprobs(chunk.token_ids[i], chunk.logprobs[i], tokenizer, *out.add_logprobs());
  }
  if (first) {
    out.set_request_id(context.name);
    if (context.echo) FillPrompt(context, tokenizer, *out.mutable_prompt());
  }
  ROPEWAY_CHECK(chunk.prompt_logprobs.empty() || chunk.prompt_logprobs.size() < context.prompt.size());
  for (size_t i = 0; i < chunk.prompt_logprobs.size(); ++i) {
    FillLogprobs(context.prompt[i + 1], chunk.prompt_logprobs[i], tokenizer,
                 *out.mutable_prompt()->add_logprobs());
  }
  if (chunk.finish) FillFinish(*std::move(chunk.finish), *out.mutable_finish());
  if (chunk.end) FillEnd(*chunk.end, context.seed, out);
  return out;
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

}  // namespace ropeway::server
