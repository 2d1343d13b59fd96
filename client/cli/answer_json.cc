#include "client/cli/answer_json.h"

#include <charconv>

#include "absl/status/status.h"

namespace ropeway::client {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const TokenLogprob& logprob) {
  Json bytes = Json::array();
  for (const char byte : logprob.token) bytes.push_back(static_cast<uint8_t>(byte));
  return {{"token_id", logprob.token_id},
          {"token", logprob.token},
          {"bytes", bytes},
          {"logprob", logprob.logprob}};
}

// null where they were not asked for.
Json ToJson(const std::vector<TokenLogprobs>& logprobs) {
  if (logprobs.empty()) return nullptr;
  Json places = Json::array();
  for (const TokenLogprobs& place : logprobs) {
    Json top = Json::array();
    for (const TokenLogprob& likely : place.top) top.push_back(ToJson(likely));
    places.push_back(ToJson(place.chosen));
    places.back()["top"] = top;
  }
  return places;
}

Json ToJson(const Sample& sample) {
  Json json = {{"text", sample.text},
               {"token_ids", sample.token_ids},
               {"finish_reason", FinishReasonName(sample.finish.reason)}};
  if (sample.finish.stop_string) json["stop_string"] = *sample.finish.stop_string;
  if (sample.finish.stop_token_id) json["stop_token_id"] = *sample.finish.stop_token_id;
  json["logprobs"] = ToJson(sample.logprobs);
  return json;
}

Json ToJson(const Receipt& receipt) {
  return {{"queue_ms", receipt.queue_ms},
          {"prefill_ms", receipt.prefill_ms},
          {"decode_ms", receipt.decode_ms},
          {"cached_tokens", receipt.cached_tokens},
          {"recomputed_tokens", receipt.recomputed_tokens},
          {"preemptions", receipt.preemptions},
          {"seed", receipt.seed}};
}

// With the decimals that the float was given by: 0.2 and not 0.20000000298023224.
double AsGiven(float number) {
  char digits[64];
  const char* end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  double value = 0;
  std::from_chars(digits, end, value);
  return value;
}

// What is not set is left out.
Json DefaultsToJson(const Sampling& defaults) {
  Json json = Json::object();
  if (defaults.temperature) json["temperature"] = AsGiven(*defaults.temperature);
  if (defaults.top_k) json["top_k"] = *defaults.top_k;
  if (defaults.top_p) json["top_p"] = AsGiven(*defaults.top_p);
  if (defaults.min_p) json["min_p"] = AsGiven(*defaults.min_p);
  if (defaults.repetition_penalty) json["repetition_penalty"] = AsGiven(*defaults.repetition_penalty);
  return json;
}

}  // namespace

Json ToJson(const Answer& answer) {
  Json json = ToJson(answer.samples.front());
  json["prompt_token_ids"] = answer.prompt.token_ids;
  json["prompt_text"] = answer.prompt.text;
  json["prompt_logprobs"] = ToJson(answer.prompt.logprobs);
  json["usage"] = {{"prompt_tokens", answer.usage.prompt_tokens},
                   {"completion_tokens", answer.usage.completion_tokens},
                   {"total_tokens", answer.usage.prompt_tokens + answer.usage.completion_tokens}};
  if (answer.samples.size() > 1) {
    json["samples"] = Json::array();
    for (const Sample& sample : answer.samples) json["samples"].push_back(ToJson(sample));
  }
  json["request_id"] = answer.request_id;
  json["receipt"] = answer.receipt ? ToJson(*answer.receipt) : Json(nullptr);
  if (!answer.status.ok())
    json["error"] = {{"code", absl::StatusCodeToString(answer.status.code())},
                     {"message", std::string(answer.status.message())}};
  return json;
}

Json ToJson(const ModelInfo& info) {
  Json json = {{"name", info.name},
               {"architecture", info.architecture},
               {"quantization", info.quantization},
               {"file_quantization", info.file_quantization},
               {"num_parameters", info.num_parameters},
               {"vocab_size", info.vocab_size},
               {"max_model_len", info.max_model_len},
               {"trained_context_len", info.trained_context_len},
               {"rope_scaling", info.rope_scaling},
               {"num_layers", info.num_layers},
               {"embedding_dim", info.embedding_dim},
               {"num_heads", info.num_heads},
               {"num_kv_heads", info.num_kv_heads}};
  json["bos_token_id"] = info.bos_token_id ? Json(*info.bos_token_id) : Json(nullptr);
  json["eos_token_id"] = info.eos_token_id ? Json(*info.eos_token_id) : Json(nullptr);
  json["end_token_ids"] = info.end_token_ids;
  json["chat_template"] = info.chat_template;
  json["chat_template_names"] = info.chat_template_names;
  json["sampling_defaults"] = DefaultsToJson(info.sampling_defaults);
  return json;
}

Json ToJson(const ServerInfo& info) {
  const Limits& limits = info.limits;
  const PrefixCacheInfo& prefixes = info.prefix_cache;
  return {{"version", info.version},
          {"state", info.state},
          {"uptime_seconds", info.uptime_seconds},
          {"kernels", info.kernels},
          {"num_threads", info.num_threads},
          {"running_requests", info.running_requests},
          {"waiting_requests", info.waiting_requests},
          {"total_pages", info.total_pages},
          {"free_pages", info.free_pages},
          {"page_tokens", info.page_tokens},
          {"limits",
           {{"max_request_bytes", limits.max_request_bytes},
            {"max_prompt_bytes", limits.max_prompt_bytes},
            {"max_prompt_tokens", limits.max_prompt_tokens},
            {"max_chat_messages", limits.max_chat_messages},
            {"max_stop_strings", limits.max_stop_strings},
            {"max_stop_string_bytes", limits.max_stop_string_bytes},
            {"max_stop_token_ids", limits.max_stop_token_ids},
            {"max_logit_bias", limits.max_logit_bias},
            {"max_logprobs", limits.max_logprobs},
            {"max_samples", limits.max_samples}}},
          {"prefix_cache",
           {{"scope", prefixes.scope},
            {"pages", prefixes.pages},
            {"idle_pages", prefixes.idle_pages},
            {"queried_tokens", prefixes.queried_tokens},
            {"hit_tokens", prefixes.hit_tokens},
            {"evicted_pages", prefixes.evicted_pages}}},
          {"target_itl_ms", info.target_itl_ms}};
}

Json ToJson(const Estimate& estimate) {
  const auto number = [](const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); };
  return {{"prompt_tokens", estimate.prompt_tokens},
          {"cached_tokens", estimate.cached_tokens},
          {"pages", estimate.pages},
          {"admitted", estimate.admitted},
          {"refusal", estimate.refusal},
          {"retry_after_ms", number(estimate.retry_after_ms)},
          {"first_token_ms", number(estimate.first_token_ms)},
          {"end_ms", number(estimate.end_ms)},
          {"expected_tokens", estimate.expected_tokens}};
}

std::string Dump(const Json& json) {
  return json.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace ropeway::client
