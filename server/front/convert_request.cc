#include "server/front/convert_request.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/decimals.h"
#include "engine/base/status_macros.h"
#include "server/front/convert_prompt.h"

namespace ropeway::server {
namespace {

absl::Status OutOfRange(absl::string_view field, absl::string_view range, const absl::AlphaNum& value) {
  return absl::InvalidArgumentError(absl::StrCat(field, " must be in ", range, ", is ", value));
}

// [low, high]; NaN is outside of every range.
absl::Status CheckClosed(absl::string_view field, float value, float low, float high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return OutOfRange(field, absl::StrCat("[", low, ", ", high, "]"), Decimals(value));
}

// (low, high]
absl::Status CheckAbove(absl::string_view field, float value, float low, float high) {
  if (value > low && value <= high) return absl::OkStatus();
  return OutOfRange(field, absl::StrCat("(", low, ", ", high, "]"), Decimals(value));
}

absl::Status CheckInteger(absl::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return OutOfRange(field, absl::StrCat("[", low, ", ", high, "]"), value);
}

absl::Status CheckCount(absl::string_view field, int64_t count, int64_t most) {
  if (count <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must have at most ", most, " entries, has ", count));
}

absl::StatusOr<std::vector<std::pair<TokenId, float>>> ConvertLogitBias(const v1::Sampling& sampling,
                                                                        const ConvertContext& context) {
  RETURN_IF_ERROR(
      CheckCount("sampling.logit_bias", sampling.logit_bias_size(), context.limits.max_logit_bias));
  std::vector<std::pair<TokenId, float>> bias(sampling.logit_bias().begin(), sampling.logit_bias().end());
  std::sort(bias.begin(), bias.end());
  for (const auto& [id, value] : bias) {
    if (id < 0 || id >= context.model.tokenizer->vocab_size()) {
      return OutOfRange("sampling.logit_bias key",
                        absl::StrCat("[0, ", context.model.tokenizer->vocab_size(), ")"), id);
    }
    RETURN_IF_ERROR(
        CheckClosed(absl::StrCat("sampling.logit_bias[", id, "]"), value, -kMaxLogitBias, kMaxLogitBias));
  }
  return bias;
}

absl::StatusOr<SamplingParams> ConvertSampling(const v1::Sampling& sampling, const ConvertContext& context) {
  SamplingParams params;
  const SamplingDefaults& model = context.model.sampling_defaults;
  params.temperature =
      sampling.has_temperature() ? sampling.temperature() : model.temperature.value_or(params.temperature);
  params.top_k = sampling.has_top_k() ? sampling.top_k() : model.top_k.value_or(params.top_k);
  params.top_p = sampling.has_top_p() ? sampling.top_p() : model.top_p.value_or(params.top_p);
  params.min_p = sampling.has_min_p() ? sampling.min_p() : model.min_p.value_or(params.min_p);
  params.repetition_penalty = sampling.has_repetition_penalty()
                                  ? sampling.repetition_penalty()
                                  : model.repetition_penalty.value_or(params.repetition_penalty);
  params.presence_penalty = sampling.presence_penalty();
  params.frequency_penalty = sampling.frequency_penalty();
  params.seed = sampling.has_seed() ? sampling.seed() : context.fresh_seed;

  RETURN_IF_ERROR(CheckClosed("sampling.temperature", params.temperature, 0, kMaxTemperature));
  RETURN_IF_ERROR(CheckInteger("sampling.top_k", params.top_k, 0, INT32_MAX));
  RETURN_IF_ERROR(CheckAbove("sampling.top_p", params.top_p, 0, 1));
  if (!(params.min_p >= 0 && params.min_p < 1))
    return OutOfRange("sampling.min_p", "[0, 1)", Decimals(params.min_p));
  RETURN_IF_ERROR(
      CheckAbove("sampling.repetition_penalty", params.repetition_penalty, 0, kMaxRepetitionPenalty));
  RETURN_IF_ERROR(
      CheckClosed("sampling.presence_penalty", params.presence_penalty, -kMaxPenalty, kMaxPenalty));
  RETURN_IF_ERROR(
      CheckClosed("sampling.frequency_penalty", params.frequency_penalty, -kMaxPenalty, kMaxPenalty));
  ASSIGN_OR_RETURN(params.logit_bias, ConvertLogitBias(sampling, context));
  return params;
}

absl::StatusOr<std::vector<TokenId>> PromptTokens(const v1::GenerateRequest& message,
                                                  const ConvertContext& context) {
  switch (message.input_case()) {
    case v1::GenerateRequest::kText:
      if (message.text().text().empty()) return absl::InvalidArgumentError("text.text must not be empty");
      return EncodeText(message.text(), context.model, context.limits);
    case v1::GenerateRequest::kTokens: {
      const std::vector<TokenId> ids(message.tokens().ids().begin(), message.tokens().ids().end());
      if (ids.empty()) return absl::InvalidArgumentError("tokens.ids must not be empty");
      RETURN_IF_ERROR(CheckTokenIds(ids, "tokens.ids", *context.model.tokenizer));
      return ids;
    }
    case v1::GenerateRequest::kChat:
      return EncodeChat(message.chat(), context.model, context.limits, context.now);
    case v1::GenerateRequest::INPUT_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("one of text, tokens and chat must be set, none is");
}

absl::Status CheckPromptLength(size_t tokens, const RequestLimits& limits) {
  if (tokens == 0) return absl::InvalidArgumentError("the prompt must not be empty, has 0 tokens");
  if (tokens <= static_cast<size_t>(limits.max_prompt_tokens())) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the prompt must be at most ", limits.max_prompt_tokens(), " tokens, has ", tokens));
}

absl::Status ConvertStopStrings(const v1::Stopping& stopping, const RequestLimits& limits,
                                ValidRequest& request) {
  RETURN_IF_ERROR(CheckCount("stopping.strings", stopping.strings_size(), limits.max_stop_strings));
  for (const std::string& text : stopping.strings()) {
    if (text.empty() || text.size() > static_cast<size_t>(limits.max_stop_string_bytes)) {
      return absl::InvalidArgumentError(absl::StrCat("stopping.strings[", request.stop_strings.size(),
                                                     "] must have [1, ", limits.max_stop_string_bytes,
                                                     "] bytes, has ", text.size()));
    }
    request.stop_strings.push_back(text);
  }
  return absl::OkStatus();
}

absl::Status ConvertStopping(const v1::Stopping& stopping, const ConvertContext& context,
                             GenerationPlan& plan) {
  ValidRequest& request = plan.request;
  const int64_t room = context.limits.max_model_len - static_cast<int64_t>(request.prompt.size());
  request.max_tokens = stopping.has_max_tokens() ? stopping.max_tokens() : static_cast<int32_t>(room);
  if (request.max_tokens < 1 || request.max_tokens > room) {
    return OutOfRange("stopping.max_tokens",
                      absl::StrCat("[1, ", room, "] (", context.limits.max_model_len, " less ",
                                   request.prompt.size(), " of the prompt)"),
                      request.max_tokens);
  }
  request.min_tokens = stopping.min_tokens();
  RETURN_IF_ERROR(CheckInteger("stopping.min_tokens", request.min_tokens, 0, request.max_tokens));
  RETURN_IF_ERROR(ConvertStopStrings(stopping, context.limits, request));
  request.include_stop_string = stopping.include_stop_string();

  RETURN_IF_ERROR(
      CheckCount("stopping.token_ids", stopping.token_ids_size(), context.limits.max_stop_token_ids));
  std::vector<TokenId> stops(stopping.token_ids().begin(), stopping.token_ids().end());
  RETURN_IF_ERROR(CheckTokenIds(stops, "stopping.token_ids", *context.model.tokenizer));
  if (!stopping.ignore_eos()) {
    stops.insert(stops.end(), context.model.end_token_ids.begin(), context.model.end_token_ids.end());
  }
  std::sort(stops.begin(), stops.end());
  stops.erase(std::unique(stops.begin(), stops.end()), stops.end());
  request.stop_token_ids = std::move(stops);
  return absl::OkStatus();
}

absl::Status ConvertOutput(const v1::Output& output, const RequestLimits& limits, GenerationPlan& plan) {
  ValidRequest& request = plan.request;
  if (output.has_num_samples()) request.num_samples = output.num_samples();
  RETURN_IF_ERROR(CheckInteger("output.num_samples", request.num_samples, 1, limits.max_samples));
  if (output.has_logprobs()) {
    RETURN_IF_ERROR(CheckInteger("output.logprobs", output.logprobs(), 0, limits.max_logprobs));
    request.sampling.num_logprobs = output.logprobs();
  }
  if (output.has_prompt_logprobs()) {
    RETURN_IF_ERROR(CheckInteger("output.prompt_logprobs", output.prompt_logprobs(), 0, limits.max_logprobs));
    request.prompt_logprobs = output.prompt_logprobs();
  }
  plan.echo = output.echo();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GenerationPlan> ConvertGenerateRequest(const v1::GenerateRequest& message,
                                                      const ConvertContext& context) {
  GenerationPlan plan;
  RETURN_IF_ERROR(CheckName(message.request_id(), "request_id", kMaxRequestIdBytes));
  RETURN_IF_ERROR(CheckModelName(message.model(), context.model));
  RETURN_IF_ERROR(CheckName(message.tenant(), "tenant", kMaxTenantBytes));
  RETURN_IF_ERROR(CheckInteger("priority", message.priority(), -kMaxPriority, kMaxPriority));
  plan.name = message.request_id();
  plan.request.tenant = message.tenant();
  plan.request.priority = message.priority();
  // What is cheap to check comes before the tokenizer.
  ASSIGN_OR_RETURN(plan.request.sampling, ConvertSampling(message.sampling(), context));
  RETURN_IF_ERROR(ConvertOutput(message.output(), context.limits, plan));
  ASSIGN_OR_RETURN(plan.request.prompt, PromptTokens(message, context));
  RETURN_IF_ERROR(CheckPromptLength(plan.request.prompt.size(), context.limits));
  RETURN_IF_ERROR(ConvertStopping(message.stopping(), context, plan));
  return plan;
}

absl::Status CheckName(absl::string_view name, absl::string_view field, int32_t max_bytes) {
  if (name.size() > static_cast<size_t>(max_bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must be at most ", max_bytes, " bytes, is ", name.size()));
  }
  const bool printable = std::all_of(name.begin(), name.end(), absl::ascii_isprint);
  if (!printable)
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must be printable ASCII, is \"", absl::Utf8SafeCHexEscape(name), "\""));
  return absl::OkStatus();
}

}  // namespace ropeway::server
