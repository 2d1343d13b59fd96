#include "client/convert.h"

#include <utility>

namespace ropeway::client {
namespace {

v1::Sampling ToWire(const Sampling& sampling) {
  v1::Sampling wire;
  if (sampling.temperature) wire.set_temperature(*sampling.temperature);
  if (sampling.top_k) wire.set_top_k(*sampling.top_k);
  if (sampling.top_p) wire.set_top_p(*sampling.top_p);
  if (sampling.min_p) wire.set_min_p(*sampling.min_p);
  if (sampling.repetition_penalty) wire.set_repetition_penalty(*sampling.repetition_penalty);
  wire.set_presence_penalty(sampling.presence_penalty);
  wire.set_frequency_penalty(sampling.frequency_penalty);
  for (const auto& [token_id, bias] : sampling.logit_bias) (*wire.mutable_logit_bias())[token_id] = bias;
  if (sampling.seed) wire.set_seed(*sampling.seed);
  return wire;
}

v1::Stopping ToWire(const Stopping& stopping) {
  v1::Stopping wire;
  if (stopping.max_tokens) wire.set_max_tokens(*stopping.max_tokens);
  wire.set_min_tokens(stopping.min_tokens);
  wire.mutable_strings()->Assign(stopping.strings.begin(), stopping.strings.end());
  wire.mutable_token_ids()->Assign(stopping.token_ids.begin(), stopping.token_ids.end());
  wire.set_ignore_eos(stopping.ignore_eos);
  wire.set_include_stop_string(stopping.include_stop_string);
  return wire;
}

v1::Output ToWire(const Output& output) {
  v1::Output wire;
  if (output.num_samples) wire.set_num_samples(*output.num_samples);
  if (output.logprobs) wire.set_logprobs(*output.logprobs);
  if (output.prompt_logprobs) wire.set_prompt_logprobs(*output.prompt_logprobs);
  wire.set_echo(output.echo);
  return wire;
}

TokenLogprob FromWire(const v1::TokenLogprob& wire) {
  return {.token_id = wire.token_id(), .logprob = wire.logprob(), .token = wire.token()};
}

std::vector<TokenLogprobs> FromWire(const google::protobuf::RepeatedPtrField<v1::TokenLogprobs>& wire) {
  std::vector<TokenLogprobs> logprobs;
  for (const v1::TokenLogprobs& place : wire) {
    TokenLogprobs& added = logprobs.emplace_back();
    added.chosen = FromWire(place.chosen());
    for (const v1::TokenLogprob& likely : place.top()) added.top.push_back(FromWire(likely));
  }
  return logprobs;
}

FinishReason FromWire(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return FinishReason::kStop;
    case v1::FINISH_REASON_LENGTH:
      return FinishReason::kLength;
    case v1::FINISH_REASON_CANCELLED:
      return FinishReason::kCancelled;
    case v1::FINISH_REASON_DEADLINE:
      return FinishReason::kDeadline;
    // A newer server may know more reasons.
    default:
      return FinishReason::kError;
  }
}

Finish FromWire(const v1::Finish& wire) {
  Finish finish{.reason = FromWire(wire.reason())};
  if (wire.matched_case() == v1::Finish::kStopString) finish.stop_string = wire.stop_string();
  if (wire.matched_case() == v1::Finish::kStopTokenId) finish.stop_token_id = wire.stop_token_id();
  return finish;
}

Sampling DefaultsFromWire(const v1::Sampling& wire) {
  Sampling defaults;
  if (wire.has_temperature()) defaults.temperature = wire.temperature();
  if (wire.has_top_k()) defaults.top_k = wire.top_k();
  if (wire.has_top_p()) defaults.top_p = wire.top_p();
  if (wire.has_min_p()) defaults.min_p = wire.min_p();
  if (wire.has_repetition_penalty()) defaults.repetition_penalty = wire.repetition_penalty();
  return defaults;
}

const char* StateName(v1::ServerState state) {
  switch (state) {
    case v1::SERVER_STATE_LOADING:
      return "loading";
    case v1::SERVER_STATE_SERVING:
      return "serving";
    case v1::SERVER_STATE_DRAINING:
      return "draining";
    default:
      return "";
  }
}

PrefixCacheInfo FromWire(const v1::PrefixCacheInfo& prefixes) {
  return {.scope = prefixes.scope(),
          .pages = prefixes.pages(),
          .idle_pages = prefixes.idle_pages(),
          .queried_tokens = prefixes.queried_tokens(),
          .hit_tokens = prefixes.hit_tokens(),
          .evicted_pages = prefixes.evicted_pages()};
}

Limits FromWire(const v1::Limits& wire) {
  return {.max_request_bytes = wire.max_request_bytes(),
          .max_prompt_bytes = wire.max_prompt_bytes(),
          .max_prompt_tokens = wire.max_prompt_tokens(),
          .max_chat_messages = wire.max_chat_messages(),
          .max_stop_strings = wire.max_stop_strings(),
          .max_stop_string_bytes = wire.max_stop_string_bytes(),
          .max_stop_token_ids = wire.max_stop_token_ids(),
          .max_logit_bias = wire.max_logit_bias(),
          .max_logprobs = wire.max_logprobs(),
          .max_samples = wire.max_samples()};
}

}  // namespace

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return "";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
    case FinishReason::kError:
      return "error";
  }
  return "";
}

v1::TextInput ToWire(const TextPrompt& prompt) {
  v1::TextInput wire;
  wire.set_text(prompt.text);
  if (prompt.add_special) wire.set_add_special(*prompt.add_special);
  wire.set_parse_special(prompt.parse_special);
  return wire;
}

v1::ChatInput ToWire(const ChatPrompt& prompt) {
  v1::ChatInput wire;
  for (const ChatMessage& message : prompt.messages) {
    v1::ChatMessage* turn = wire.add_messages();
    turn->set_role(message.role);
    if (message.text) turn->set_text(*message.text);
    for (const std::string& part : message.parts) turn->mutable_parts()->add_parts()->set_text(part);
    turn->set_name(message.name);
    turn->set_reasoning_content(message.reasoning_content);
    turn->set_tool_calls_json(message.tool_calls_json);
    turn->set_tool_call_id(message.tool_call_id);
  }
  wire.set_tools_json(prompt.tools_json);
  wire.set_template_arguments_json(prompt.template_arguments_json);
  if (prompt.add_generation_prompt) wire.set_add_generation_prompt(*prompt.add_generation_prompt);
  wire.set_continue_final_message(prompt.continue_final_message);
  wire.set_template_name(prompt.template_name);
  return wire;
}

v1::GenerateRequest ToWire(const Request& request) {
  v1::GenerateRequest wire;
  wire.set_request_id(request.request_id);
  wire.set_model(request.model);
  if (const auto* text = std::get_if<TextPrompt>(&request.prompt)) *wire.mutable_text() = ToWire(*text);
  if (const auto* chat = std::get_if<ChatPrompt>(&request.prompt)) *wire.mutable_chat() = ToWire(*chat);
  if (const auto* tokens = std::get_if<TokenPrompt>(&request.prompt))
    wire.mutable_tokens()->mutable_ids()->Assign(tokens->ids.begin(), tokens->ids.end());
  *wire.mutable_sampling() = ToWire(request.sampling);
  *wire.mutable_stopping() = ToWire(request.stopping);
  *wire.mutable_output() = ToWire(request.output);
  wire.set_tenant(request.tenant);
  wire.set_priority(request.priority);
  return wire;
}

Delta FromWire(const v1::GenerateChunk& chunk) {
  Delta delta{.sample = chunk.sample(),
              .text = chunk.text(),
              .token_ids = {chunk.token_ids().begin(), chunk.token_ids().end()},
              .logprobs = FromWire(chunk.logprobs())};
  if (chunk.has_prompt()) delta.prompt = FromWire(chunk.prompt());
  if (chunk.has_finish()) delta.finish = FromWire(chunk.finish());
  return delta;
}

PromptEcho FromWire(const v1::PromptEcho& echo) {
  return {.text = echo.text(),
          .token_ids = {echo.token_ids().begin(), echo.token_ids().end()},
          .logprobs = FromWire(echo.logprobs())};
}

Usage FromWire(const v1::Usage& usage) {
  return {.prompt_tokens = usage.prompt_tokens(), .completion_tokens = usage.completion_tokens()};
}

Receipt FromWire(const v1::Receipt& receipt) {
  return {.queue_ms = receipt.queue_ms(),
          .prefill_ms = receipt.prefill_ms(),
          .decode_ms = receipt.decode_ms(),
          .cached_tokens = receipt.cached_tokens(),
          .recomputed_tokens = receipt.recomputed_tokens(),
          .preemptions = receipt.preemptions(),
          .seed = receipt.seed()};
}

ModelInfo FromWire(const v1::GetModelInfoResponse& info) {
  ModelInfo model{
      .name = info.name(),
      .architecture = info.architecture(),
      .quantization = info.quantization(),
      .file_quantization = info.file_quantization(),
      .num_parameters = info.num_parameters(),
      .vocab_size = info.vocab_size(),
      .max_model_len = info.max_model_len(),
      .trained_context_len = info.trained_context_len(),
      .rope_scaling = info.rope_scaling(),
      .num_layers = info.num_layers(),
      .embedding_dim = info.embedding_dim(),
      .num_heads = info.num_heads(),
      .num_kv_heads = info.num_kv_heads(),
      .end_token_ids = {info.end_token_ids().begin(), info.end_token_ids().end()},
      .chat_template = info.chat_template(),
      .chat_template_names = {info.chat_template_names().begin(), info.chat_template_names().end()},
      .sampling_defaults = DefaultsFromWire(info.sampling_defaults())};
  if (info.has_bos_token_id()) model.bos_token_id = info.bos_token_id();
  if (info.has_eos_token_id()) model.eos_token_id = info.eos_token_id();
  return model;
}

Estimate FromWire(const v1::EstimateResponse& wire) {
  Estimate estimate{.prompt_tokens = wire.prompt_tokens(),
                    .cached_tokens = wire.cached_tokens(),
                    .pages = wire.pages(),
                    .admitted = wire.admitted(),
                    .refusal = wire.refusal(),
                    .expected_tokens = wire.expected_tokens()};
  if (wire.has_retry_after_ms()) estimate.retry_after_ms = wire.retry_after_ms();
  if (wire.has_first_token_ms()) estimate.first_token_ms = wire.first_token_ms();
  if (wire.has_end_ms()) estimate.end_ms = wire.end_ms();
  return estimate;
}

ServerInfo FromWire(const v1::GetServerInfoResponse& info) {
  return {.version = info.version(),
          .state = StateName(info.state()),
          .uptime_seconds = info.uptime_seconds(),
          .kernels = info.kernels(),
          .num_threads = info.num_threads(),
          .running_requests = info.running_requests(),
          .waiting_requests = info.waiting_requests(),
          .total_pages = info.total_pages(),
          .free_pages = info.free_pages(),
          .page_tokens = info.page_tokens(),
          .limits = FromWire(info.limits()),
          .prefix_cache = FromWire(info.prefix_cache()),
          .target_itl_ms = info.target_itl_ms()};
}

}  // namespace ropeway::client
