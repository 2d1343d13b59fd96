#include "server/front/estimation.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/api/forecast.h"
#include "engine/api/step.h"
#include "engine/base/check.h"
#include "engine/base/decimals.h"
#include "engine/base/exhaustion.h"
#include "engine/base/retry_hint.h"
#include "engine/base/status_macros.h"
#include "server/front/convert_request.h"

namespace ropeway::server {
namespace {

constexpr double kMostDeadlineMs = 1e12;

absl::StatusOr<absl::Time> DeadlineOf(const v1::EstimateRequest& message, absl::Time now) {
  if (!message.has_deadline_ms()) return absl::InfiniteFuture();
  const double deadline_ms = message.deadline_ms();
  if (deadline_ms > 0 && deadline_ms <= kMostDeadlineMs) return now + absl::Milliseconds(deadline_ms);
  return absl::InvalidArgumentError(
      absl::StrCat("deadline_ms must be in (0, 1e12], is ", Decimals(deadline_ms)));
}

absl::StatusOr<GenerationPlan> MakePlan(const v1::EstimateRequest& message, const FrontContext& context,
                                        const EngineHandle& engine, absl::Time now) {
  if (!message.has_request()) return absl::InvalidArgumentError("request must be set");
  ASSIGN_OR_RETURN(const absl::Time deadline, DeadlineOf(message, now));
  ASSIGN_OR_RETURN(
      GenerationPlan plan,
      ConvertGenerateRequest(message.request(),
                             {.model = engine.model, .limits = engine.limits, .now = context.LocalTime()}));
  plan.request.arrival = now;
  plan.request.deadline = deadline;
  plan.request.prefix_salt =
      context.prefix_salts.Of(plan.request.tenant, engine.rotation_choices(LengthsOf(plan.request)));
  return plan;
}

v1::EstimateResponse ToProto(const Forecast& forecast, int32_t prompt_tokens, const absl::Status& admission) {
  v1::EstimateResponse response;
  response.set_prompt_tokens(prompt_tokens);
  response.set_cached_tokens(forecast.cached_tokens);
  response.set_pages(forecast.pages);
  response.set_expected_tokens(forecast.expected_tokens);
  const absl::Status refusal = WithRetryHint(admission.ok() ? forecast.refusal : admission);
  response.set_admitted(refusal.ok());
  response.set_refusal(std::string(refusal.message()));
  if (const auto hint = RetryHint(refusal)) response.set_retry_after_ms(absl::ToDoubleMilliseconds(*hint));
  if (forecast.times.has_value()) {
    response.set_first_token_ms(absl::ToDoubleMilliseconds(forecast.times->first_token));
    response.set_end_ms(absl::ToDoubleMilliseconds(forecast.times->end));
  }
  return response;
}

absl::Status CheckAdmission(const GenerationPlan& plan, const FrontContext& context, const Call& call,
                            absl::Time now) {
  RETURN_IF_ERROR(context.admission.Check(call.connection, plan.request.tenant, plan.max_cost_tokens(), now));
  const Identity& caller = *call.identity;
  if (caller.name.empty()) return absl::OkStatus();
  return context.key_accounts.CheckEnter(
      caller.name, caller.limits, {.tokens = plan.max_cost_tokens(), .kv_pages = MaxPagesOf(plan.request)},
      now);
}

}  // namespace

void Estimate(const v1::EstimateRequest& message, const FrontContext& context, const Call& call,
              std::function<void(absl::StatusOr<v1::EstimateResponse>)> done) {
  const absl::StatusOr<const EngineHandle*> engine = context.LoadedEngine();
  if (!engine.ok()) return done(engine.status());
  const absl::Time now = context.clock.Now();
  auto plan = CatchExhaustion([&] { return MakePlan(message, context, **engine, now); });
  if (!plan.ok()) return done(plan.status());
  const absl::Status admission = CheckAdmission(*plan, context, call, now);
  if (!admission.ok() && !absl::IsResourceExhausted(admission)) return done(admission);
  const auto prompt_tokens = static_cast<int32_t>(plan->request.prompt.size());
  // The engine's thread hands the answer on and goes on with its steps.
  auto answer = [&context, prompt_tokens, admission, done](absl::StatusOr<Forecast> forecast) {
    const bool posted = context.delivering.TryPost([=, forecast = std::move(forecast)] {
      if (!forecast.ok()) return done(forecast.status());
      done(ToProto(*forecast, prompt_tokens, admission));
    });
    ROPEWAY_CHECK(posted);  // the pool has no bound
  };
  const absl::Status asked =
      (*engine)->mailbox.TryAsk({.request = std::move(plan->request), .answer = std::move(answer)});
  if (!asked.ok()) done(asked);
}

}  // namespace ropeway::server
