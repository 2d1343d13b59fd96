#include "server/front/answers.h"

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/api/step.h"
#include "engine/base/status_macros.h"
#include "server/front/convert_prompt.h"
#include "server/front/convert_request.h"

namespace ropeway::server {
namespace {

absl::StatusOr<std::vector<TokenId>> EncodeInput(const v1::TokenizeRequest& message,
                                                 const EngineHandle& engine, absl::CivilSecond now) {
  switch (message.input_case()) {
    case v1::TokenizeRequest::kText:
      return EncodeText(message.text(), engine.model, engine.limits);
    case v1::TokenizeRequest::kChat:
      return EncodeChat(message.chat(), engine.model, engine.limits, now);
    case v1::TokenizeRequest::INPUT_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("one of text and chat must be set, none is");
}

v1::ServerState ToProto(HealthState state) {
  switch (state) {
    case HealthState::kLoading:
      return v1::SERVER_STATE_LOADING;
    case HealthState::kServing:
      return v1::SERVER_STATE_SERVING;
    case HealthState::kDraining:
      return v1::SERVER_STATE_DRAINING;
  }
  return v1::SERVER_STATE_UNSPECIFIED;
}

void FillSamplingDefaults(const SamplingDefaults& defaults, v1::Sampling& out) {
  if (defaults.temperature.has_value()) out.set_temperature(*defaults.temperature);
  if (defaults.top_k.has_value()) out.set_top_k(*defaults.top_k);
  if (defaults.top_p.has_value()) out.set_top_p(*defaults.top_p);
  if (defaults.min_p.has_value()) out.set_min_p(*defaults.min_p);
  if (defaults.repetition_penalty.has_value()) out.set_repetition_penalty(*defaults.repetition_penalty);
}

void FillLimits(const RequestLimits& limits, v1::Limits& out) {
  out.set_max_request_bytes(limits.max_request_bytes);
  out.set_max_prompt_bytes(limits.max_prompt_bytes);
  out.set_max_prompt_tokens(limits.max_prompt_tokens());
  out.set_max_chat_messages(limits.max_chat_messages);
  out.set_max_stop_strings(limits.max_stop_strings);
  out.set_max_stop_string_bytes(limits.max_stop_string_bytes);
  out.set_max_stop_token_ids(limits.max_stop_token_ids);
  out.set_max_logit_bias(limits.max_logit_bias);
  out.set_max_logprobs(limits.max_logprobs);
  out.set_max_samples(limits.max_samples);
}

void FillPrefixCache(const FrontContext& context, v1::PrefixCacheInfo& out) {
  const EngineGauges gauges = context.metrics.engine();
  const PrefixCacheCounts counts = context.metrics.prefix_cache();
  out.set_scope(std::string(WordOf(context.prefix_salts.scope())));
  out.set_pages(gauges.prefix_pages);
  out.set_idle_pages(gauges.cached_pages);
  out.set_queried_tokens(counts.queried_tokens);
  out.set_hit_tokens(counts.hit_tokens);
  out.set_evicted_pages(counts.evicted_pages);
}

}  // namespace

absl::StatusOr<v1::TokenizeResponse> Answer(const v1::TokenizeRequest& request, const FrontContext& context) {
  ASSIGN_OR_RETURN(const EngineHandle* engine, context.LoadedEngine());
  RETURN_IF_ERROR(CheckModelName(request.model(), engine->model));
  ASSIGN_OR_RETURN(const std::vector<TokenId> ids, EncodeInput(request, *engine, context.LocalTime()));
  v1::TokenizeResponse response;
  response.mutable_ids()->Add(ids.begin(), ids.end());
  for (const TokenId id : ids) {
    const absl::string_view bytes = ShownBytes(*engine->model.tokenizer, id);
    response.add_tokens(bytes.data(), bytes.size());
  }
  return response;
}

absl::StatusOr<v1::DetokenizeResponse> Answer(const v1::DetokenizeRequest& request,
                                              const FrontContext& context) {
  ASSIGN_OR_RETURN(const EngineHandle* engine, context.LoadedEngine());
  RETURN_IF_ERROR(CheckModelName(request.model(), engine->model));
  const Tokenizer& tokenizer = *engine->model.tokenizer;
  if (request.ids_size() > engine->limits.max_prompt_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("ids must have at most ", engine->limits.max_prompt_bytes,
                                                   " entries, has ", request.ids_size()));
  }
  RETURN_IF_ERROR(CheckTokenIds(request.ids(), "ids", tokenizer));
  v1::DetokenizeResponse response;
  response.set_text(DecodeTokens(request.ids(), tokenizer, request.show_special()));
  return response;
}

absl::StatusOr<v1::RenderChatResponse> Answer(const v1::RenderChatRequest& request,
                                              const FrontContext& context) {
  ASSIGN_OR_RETURN(const EngineHandle* engine, context.LoadedEngine());
  RETURN_IF_ERROR(CheckModelName(request.model(), engine->model));
  ASSIGN_OR_RETURN(const auto segments,
                   RenderChat(request.chat(), engine->model, engine->limits, context.LocalTime()));
  v1::RenderChatResponse response;
  response.set_text(JoinSegments(segments));
  return response;
}

absl::StatusOr<v1::GetModelInfoResponse> Answer(const v1::GetModelInfoRequest&, const FrontContext& context) {
  ASSIGN_OR_RETURN(const EngineHandle* engine, context.LoadedEngine());
  const ServedModel& model = engine->model;
  const ModelFacts& facts = model.facts;
  v1::GetModelInfoResponse response;
  response.set_name(facts.name);
  response.set_architecture(facts.architecture);
  response.set_quantization(facts.quantization);
  response.set_num_parameters(facts.num_parameters);
  response.set_vocab_size(model.tokenizer->vocab_size());
  response.set_max_model_len(engine->limits.max_model_len);
  response.set_trained_context_len(facts.trained_context_len);
  response.set_num_layers(facts.num_layers);
  response.set_embedding_dim(facts.embedding_dim);
  response.set_num_heads(facts.num_heads);
  response.set_num_kv_heads(facts.num_kv_heads);
  if (model.tokenizer->bos_id() != kNoToken) response.set_bos_token_id(model.tokenizer->bos_id());
  if (model.tokenizer->eos_id() != kNoToken) response.set_eos_token_id(model.tokenizer->eos_id());
  response.mutable_end_token_ids()->Add(model.end_token_ids.begin(), model.end_token_ids.end());
  FillSamplingDefaults(model.sampling_defaults, *response.mutable_sampling_defaults());
  response.set_rope_scaling(facts.rope_scaling);
  response.set_file_quantization(facts.file_quantization);
  response.set_chat_template(model.chat_templates.default_source());
  for (const std::string& name : model.chat_templates.names()) response.add_chat_template_names(name);
  return response;
}

absl::StatusOr<v1::GetServerInfoResponse> Answer(const v1::GetServerInfoRequest&,
                                                 const FrontContext& context) {
  v1::GetServerInfoResponse response;
  response.set_version(context.version);
  response.set_state(ToProto(context.health.state()));
  response.set_uptime_seconds(absl::ToDoubleSeconds(context.clock.Now() - context.started));
  const EngineGauges gauges = context.metrics.engine();
  response.set_running_requests(gauges.running);
  response.set_waiting_requests(gauges.waiting);
  response.set_total_pages(gauges.total_pages);
  response.set_free_pages(gauges.total_pages - gauges.used_pages);
  response.set_page_tokens(kPageTokens);
  FillPrefixCache(context, *response.mutable_prefix_cache());
  if (const EngineHandle* engine = context.engine.load(std::memory_order_acquire)) {
    response.set_kernels(engine->model.kernels);
    response.set_num_threads(engine->model.num_threads);
    response.set_target_itl_ms(engine->target_itl_ms);
    FillLimits(engine->limits, *response.mutable_limits());
  }
  return response;
}

absl::StatusOr<v1::AbortResponse> Answer(const v1::AbortRequest& request, const FrontContext& context) {
  RETURN_IF_ERROR(CheckName(request.request_id(), "request_id", kMaxRequestIdBytes));
  RETURN_IF_ERROR(CheckName(request.tenant(), "tenant", kMaxTenantBytes));
  if (request.request_id().empty()) return absl::InvalidArgumentError("request_id must not be empty");
  v1::AbortResponse response;
  response.set_found(context.requests.Abort(request.tenant(), request.request_id()));
  return response;
}

}  // namespace ropeway::server
