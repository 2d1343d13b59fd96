#include "client/cli/message_json.h"

#include "absl/strings/str_cat.h"

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

// Takes a string member; other kinds are an error, but null is as good as none.
template <typename Text>
absl::Status Take(const Json& object, const char* key, Text& value) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return absl::OkStatus();
  if (!found->is_string()) return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" must be a string"));
  value = found->get<std::string>();
  return absl::OkStatus();
}

absl::StatusOr<ChatMessage> ParseMessage(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("must be an object");
  ChatMessage message;
  absl::Status status = Take(json, "role", message.role);
  status.Update(Take(json, "content", message.text));
  status.Update(Take(json, "name", message.name));
  status.Update(Take(json, "reasoning_content", message.reasoning_content));
  status.Update(Take(json, "tool_call_id", message.tool_call_id));
  if (!status.ok()) return status;
  if (message.role.empty()) return absl::InvalidArgumentError("\"role\" is missing");
  const auto calls = json.find("tool_calls");
  if (calls != json.end() && !calls->is_null()) message.tool_calls_json = Dump(*calls);
  return message;
}

}  // namespace

absl::StatusOr<std::vector<ChatMessage>> ParseMessages(const std::string& json) {
  const Json array = Json::parse(json, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!array.is_array()) return absl::InvalidArgumentError("not a JSON array of messages");
  std::vector<ChatMessage> messages;
  for (const Json& element : array) {
    const absl::StatusOr<ChatMessage> message = ParseMessage(element);
    if (!message.ok())
      return absl::InvalidArgumentError(
          absl::StrCat("message ", messages.size(), ": ", message.status().message()));
    messages.push_back(*message);
  }
  return messages;
}

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
               {"num_parameters", info.num_parameters},
               {"vocab_size", info.vocab_size},
               {"max_model_len", info.max_model_len},
               {"trained_context_len", info.trained_context_len},
               {"num_layers", info.num_layers},
               {"embedding_dim", info.embedding_dim},
               {"num_heads", info.num_heads},
               {"num_kv_heads", info.num_kv_heads}};
  json["bos_token_id"] = info.bos_token_id ? Json(*info.bos_token_id) : Json(nullptr);
  json["eos_token_id"] = info.eos_token_id ? Json(*info.eos_token_id) : Json(nullptr);
  json["end_token_ids"] = info.end_token_ids;
  json["chat_template"] = info.chat_template;
  return json;
}

Json ToJson(const ServerInfo& info) {
  const Limits& limits = info.limits;
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
            {"max_samples", limits.max_samples}}}};
}

std::string Dump(const Json& json) {
  return json.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace ropeway::client
