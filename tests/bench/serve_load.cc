#include "tests/bench/serve_load.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/time/time.h"
#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "engine/sched/scheduler.h"

namespace ropeway {
namespace {

constexpr int kCompared = 16;
constexpr int32_t kLongestPrompt = 300, kCheckedTokens = 24;

ValidRequest RandomRequest(RequestId id, int32_t prompt_tokens, int32_t output_tokens, int32_t vocab_size) {
  ValidRequest request{.id = id, .max_tokens = output_tokens};
  for (int32_t i = 0; i < prompt_tokens; ++i)
    request.prompt.push_back(static_cast<TokenId>(SplitMix(id * kGoldenRatio64 + static_cast<uint64_t>(i)) %
                                                  static_cast<uint64_t>(vocab_size)));
  request.sampling = {.temperature = id % 2 == 0 ? 0.0f : 1.0f, .top_p = 0.95f, .seed = id};
  return request;
}

}  // namespace

std::vector<ValidRequest> RandomRequests(int count, int32_t prompt_tokens, int32_t output_tokens,
                                         int32_t vocab_size) {
  std::vector<ValidRequest> requests;
  for (int i = 0; i < count; ++i)
    requests.push_back(RandomRequest(static_cast<RequestId>(i), prompt_tokens, output_tokens, vocab_size));
  return requests;
}

absl::StatusOr<Answers> Serve(Executor& executor, const std::vector<ValidRequest>& requests) {
  const ExecutorLimits& limits = executor.limits();
  const auto count = static_cast<int32_t>(requests.size());
  Scheduler scheduler({.max_running = std::max(count, 1), .max_requests = std::max(count, 1)}, limits);
  Answers answers(requests.size());
  absl::Status failed;
  absl::Time now = absl::UnixEpoch();
  for (const ValidRequest& request : requests) RETURN_IF_ERROR(scheduler.Add(request, now));
  while (!scheduler.empty() || scheduler.num_steps_in_flight() > 0) {
    now += absl::Milliseconds(1);  // nothing has a deadline: any clock will do
    const StepPlan plan = scheduler.Plan(now);
    if (!plan.empty()) executor.Submit(plan);
    const int32_t in_flight = scheduler.num_steps_in_flight();
    if (in_flight == limits.max_steps_in_flight || (plan.empty() && in_flight > 0))
      scheduler.Commit(executor.Collect(), now);
    for (const TokenEvent& event : scheduler.TakeEvents()) {
      if (event.token != kNoToken) answers[event.request_id].push_back(event.token);
      failed.Update(event.error);
    }
  }
  RETURN_IF_ERROR(failed);
  return answers;
}

absl::StatusOr<AnswerCheck> CheckAnswers(Executor& executor, int count) {
  const ExecutorLimits& limits = executor.limits();
  const int32_t longest = std::min(kLongestPrompt, limits.max_model_len - kCheckedTokens);
  std::vector<ValidRequest> requests;
  for (int i = 0; i < count; ++i)
    requests.push_back(
        RandomRequest(static_cast<RequestId>(i), 1 + i * 37 % longest, kCheckedTokens, limits.vocab_size));
  ASSIGN_OR_RETURN(const Answers together, Serve(executor, requests));
  AnswerCheck check{.compared = std::min(kCompared, count)};
  for (int i = 0; i < check.compared; ++i) {
    ValidRequest alone = requests[static_cast<size_t>(i)];
    alone.id = 0;
    ASSIGN_OR_RETURN(const Answers answer, Serve(executor, {std::move(alone)}));
    check.alike += answer[0] == together[static_cast<size_t>(i)];
  }
  std::set<TokenId> tokens;
  for (const std::vector<TokenId>& answer : together)
    for (const TokenId token : answer) {
      check.hash = SplitMix(check.hash ^ static_cast<uint64_t>(token));
      tokens.insert(token);
    }
  check.distinct_tokens = static_cast<int>(tokens.size());
  return check;
}

}  // namespace ropeway
