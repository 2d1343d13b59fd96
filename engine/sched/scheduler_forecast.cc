// How long things take, by what the last steps took: how much of prompts fits beside running streams, and when a
// request that comes now would get its first token and its last.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/retry_hint.h"
#include "engine/base/status_macros.h"
#include "engine/sched/scheduler.h"
#include "engine/sched/step_budget.h"

namespace ropeway {
namespace {

// So many steps are measured before anybody is told, or refused, by what they took.
constexpr int64_t kMeasuredSteps = 16;
// A request is refused by its deadline only where this part of what is expected would still be too late, and only
// while the last measured step is not older than this: what was once slow is tried again.
constexpr double kSurePart = 0.75;
constexpr absl::Duration kMaxAge = absl::Seconds(10);
constexpr absl::Duration kLeastRetry = absl::Milliseconds(100);
constexpr absl::Duration kMostRetry = absl::Minutes(1);
// Prompts get this part of a step's time where its decodes alone leave less.
constexpr double kLeastPromptPart = 0.25;
// Costs change with depth; a long prompt is looked at in so many pieces.
constexpr int64_t kPieces = 16;
// How fast the expected length of answers follows.
constexpr double kAnswerRate = 1.0 / 16;

std::string InMilliseconds(absl::Duration duration) {
  return absl::FormatDuration(absl::Ceil(duration, absl::Milliseconds(1)));
}

}  // namespace

// The largest number of tokens that is expected to end in time, in whole pages where that is possible. Prompts go on
// however slow steps are.
int32_t Scheduler::PromptTokensInTime(const StepWork& decodes, absl::Span<const PromptRest> prompts,
                                      int32_t most) const {
  const bool any_streams = decodes.of(CostTerm::kDecodeRow) > 0;
  if (options_.target_itl <= absl::ZeroDuration() || !any_streams || most <= 1) return most;
  const absl::Duration target = options_.target_itl / (1 + cost_.error());
  const absl::Duration base = cost_.Predict(decodes);
  const absl::Duration limit = std::max(target, base + std::max(target, base) * kLeastPromptPart);
  std::vector<int32_t> remaining;
  for (const PromptRest& prompt : prompts) remaining.push_back(prompt.count);
  const auto fits = [&](int32_t budget) {
    StepWork work = decodes;
    const std::vector<int32_t> chunks = SharePrefillBudget(remaining, budget);
    for (size_t i = 0; i < chunks.size(); ++i)
      if (chunks[i] > 0) work.AddPrompt(prompts[i].begin, chunks[i], prompts[i].scored ? chunks[i] : 0);
    return cost_.Predict(work) <= limit;
  };
  int32_t enough = 1;
  int32_t too_many = std::min(most, cost_.max_prompt_tokens()) + 1;
  while (too_many - enough > 1) {
    const int32_t middle = enough + (too_many - enough) / 2;
    (fits(middle) ? enough : too_many) = middle;
  }
  return enough < kPageTokens ? enough : enough / kPageTokens * kPageTokens;
}

// One prompt alone beside `decodes`, chunk by chunk.
absl::Duration Scheduler::PrefillTime(const StepWork& decodes, int32_t begin, int64_t count) const {
  absl::Duration time;
  const int64_t whole = count;
  while (count > 0) {
    const auto rest = static_cast<int32_t>(std::min<int64_t>(count, limits_.max_tokens_per_step));
    const int32_t room = limits_.max_tokens_per_step - static_cast<int32_t>(decodes.of(CostTerm::kDecodeRow));
    const int32_t chunk =
        std::min(rest, PromptTokensInTime(decodes, {{.begin = begin, .count = rest}}, std::max(1, room)));
    const int64_t steps = std::clamp<int64_t>(whole / (kPieces * chunk), 1, count / chunk);
    StepWork work = decodes;
    work.AddPrompt(begin, chunk, 0);
    time += cost_.Predict(work) * steps;
    begin += static_cast<int32_t>(steps * chunk);
    count -= steps * chunk;
  }
  return time;
}

// As answers had lately, unless nothing but their limit can end them.
int32_t Scheduler::ExpectedTokens(const ValidRequest& spec) const {
  if (spec.stop_token_ids.empty() && spec.stop_strings.empty()) return spec.max_tokens;
  if (!mean_answer_tokens_.has_value()) return spec.max_tokens;
  return static_cast<int32_t>(
      std::clamp<double>(*mean_answer_tokens_, std::max(1, spec.min_tokens), spec.max_tokens));
}

void Scheduler::LearnAnswer(const Sequence& sequence) {
  const double tokens = static_cast<double>(sequence.generated.size());
  if (!mean_answer_tokens_.has_value()) mean_answer_tokens_ = tokens;
  *mean_answer_tokens_ += kAnswerRate * (tokens - *mean_answer_tokens_);
}

// What lives now, as far as it delays a newcomer.
Scheduler::Crowd Scheduler::LookAtCrowd() const {
  Crowd crowd;
  for (const Sequence* sequence : running_) {
    const RequestState& request = sequence->request;
    crowd.places += request.places();
    if (request.paused) continue;
    // Who is beyond what was expected has as much before it as everybody at the start.
    const int32_t generated = static_cast<int32_t>(sequence->generated.size());
    const int32_t expected = ExpectedTokens(request.spec);
    crowd.answers_left.push_back(std::max(1, expected > generated
                                                 ? expected - generated
                                                 : std::min(expected, request.spec.max_tokens - generated)));
    if (sequence->unplanned() == 1) {
      crowd.decodes.AddDecode(sequence->planned());
    } else {
      crowd.prompt_tokens += sequence->unplanned();
      ++crowd.prompts;
    }
  }
  for (const Sequence* sequence : preempted_) {
    crowd.places += sequence->request.places();
    crowd.prompt_tokens += sequence->remaining();
    ++crowd.prompts;
  }
  return crowd;
}

// Until `missing` of those that run have ended, and as many of those after them as it takes.
absl::Duration Scheduler::TimeUntilEnds(Crowd& crowd, int64_t missing, absl::Duration token,
                                        int32_t expected_tokens) const {
  if (missing <= 0) return absl::ZeroDuration();
  std::vector<int32_t>& left = crowd.answers_left;
  const int64_t here = static_cast<int64_t>(left.size());
  if (missing <= here) {
    std::nth_element(left.begin(), left.begin() + (missing - 1), left.end());
    return token * left[missing - 1];
  }
  const int32_t longest = left.empty() ? 0 : *std::max_element(left.begin(), left.end());
  const double rounds = static_cast<double>(missing - here) / std::max<int64_t>(1, here);
  return token * (longest + rounds * expected_tokens);
}

// What is left of the steps in flight: a newcomer is planned behind them.
absl::Duration Scheduler::TimeInFlight(absl::Time now) const {
  absl::Duration time;
  for (const PlannedStep& step : in_flight_) time += cost_.Predict(step.work);
  if (in_flight_.empty()) return time;
  const absl::Time began_at = std::max(in_flight_.front().planned_at, committed_at_);
  return std::max(absl::ZeroDuration(), time - (now - began_at));
}

ExpectedTimes Scheduler::ExpectTimes(const Sequence& sequence, const Forecast& forecast,
                                     absl::Time now) const {
  const RequestState& request = sequence.request;
  Crowd crowd = LookAtCrowd();
  const FairQueue::Ahead ahead = waiting_.AheadOf(request);
  const int64_t tokens_before = crowd.prompt_tokens + ahead.tokens;
  const int64_t prompts_before = crowd.prompts + ahead.requests;

  // What one step takes while there are prompts to compute, and while there are none.
  const absl::Duration quiet_step = cost_.Predict(crowd.decodes);
  const int64_t mean_prompt = prompts_before == 0 ? 0 : CeilDiv(tokens_before, prompts_before);
  const absl::Duration prompt_time = PrefillTime(crowd.decodes, 0, mean_prompt) * prompts_before;
  const absl::Duration step = tokens_before == 0 ? quiet_step : std::max(quiet_step, options_.target_itl);

  const int64_t own_pages = PagesFor(request.prompt_size() - forecast.cached_tokens);
  const int64_t pages_missing = own_pages + ahead.tokens / kPageTokens - pool_.num_free();
  const int64_t held = std::max(1, pool_.num_pages() - pool_.num_free());
  const int64_t ends_for_pages =
      pages_missing <= 0 ? 0 : CeilDiv(pages_missing * static_cast<int64_t>(running_.size()), held);
  const int64_t ends_for_places = ahead.places + request.places() - (max_running_ - crowd.places);
  const absl::Duration place =
      TimeUntilEnds(crowd, std::max(ends_for_pages, ends_for_places), step, forecast.expected_tokens);

  // After those before it, or beside them with a share of each step: whichever comes first.
  const absl::Duration own =
      PrefillTime(crowd.decodes, forecast.cached_tokens, request.prompt_size() - forecast.cached_tokens);
  absl::Duration computed = std::max(absl::ZeroDuration(), prompt_time - place) + own;
  if (prompts_before < options_.max_prefilling)
    computed = std::min(computed, own * static_cast<double>(int64_t{1} << prompts_before));

  StepWork later = crowd.decodes;
  for (int32_t i = 0; i < request.spec.num_samples; ++i)
    later.AddDecode(request.prompt_size() + forecast.expected_tokens / 2);
  ExpectedTimes times = {.first_token = std::max(place, TimeInFlight(now)) + computed,
                         .next_token = cost_.Predict(later)};
  times.end = times.first_token + times.next_token * (forecast.expected_tokens - 1);
  return times;
}

Forecast Scheduler::ForecastFor(Sequence& sequence, absl::Time now) {
  const ValidRequest& spec = sequence.request.spec;
  Forecast forecast = {.pages = static_cast<int32_t>(MaxPagesOf(spec)),
                       .cached_tokens = CountKnownPages(sequence).all * kPageTokens,
                       .expected_tokens = ExpectedTokens(spec)};
  if (cost_.num_steps() < kMeasuredSteps) return forecast;
  // Small steps say nothing about what many tokens of a prompt cost.
  const int32_t uncomputed = sequence.request.prompt_size() - forecast.cached_tokens;
  if (std::min(uncomputed, limits_.max_tokens_per_step) > cost_.max_prompt_tokens()) return forecast;
  forecast.times = ExpectTimes(sequence, forecast, now);
  forecast.refusal = CheckDeadline(spec, *forecast.times, now);
  return forecast;
}

absl::Status Scheduler::CheckDeadline(const ValidRequest& spec, const ExpectedTimes& times,
                                      absl::Time now) const {
  const absl::Duration left = spec.deadline - now;
  if (left == absl::InfiniteDuration() || left <= absl::ZeroDuration() || now - learnt_at_ > kMaxAge)
    return absl::OkStatus();
  const int32_t least_tokens = std::max(1, spec.min_tokens);
  const absl::Duration least = times.first_token + times.next_token * (least_tokens - 1);
  if (least * kSurePart / (1 + cost_.error()) <= left) return absl::OkStatus();
  std::string message =
      absl::StrCat("the deadline in ", InMilliseconds(left),
                   " cannot be met: the first token is expected in ", InMilliseconds(times.first_token));
  if (least_tokens > 1) absl::StrAppend(&message, ", min_tokens in ", InMilliseconds(least));
  return ExhaustedError(message,
                        std::clamp(absl::Ceil(least - left, absl::Milliseconds(1)), kLeastRetry, kMostRetry));
}

absl::StatusOr<Forecast> Scheduler::Predict(ValidRequest request, absl::Time now) {
  RETURN_IF_ERROR(Validate(request));
  // One that passed on the way here was too soon.
  if (request.deadline <= now) request.deadline = now + absl::Nanoseconds(1);
  RequestState visitor(std::move(request), next_order_, pool_);
  Forecast forecast = ForecastFor(visitor.samples.front(), now);
  if (absl::Status full = CheckRoom(); !full.ok()) forecast.refusal = std::move(full);
  return forecast;
}

}  // namespace ropeway
