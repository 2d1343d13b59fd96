#include "tests/sim/timed_server.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/splitmix.h"

namespace ropeway::testing {

Machine MakeMachine(const MachineCosts& costs) {
  return [costs](const StepPlan& plan) {
    double compute = 0;
    for (int32_t row = 0; row < plan.num_rows(); ++row) {
      const int32_t begin = plan.row_starts[row];
      const int32_t tokens = plan.row_starts[row + 1] - begin;
      if (tokens == 1) {
        compute += costs.decode_row + costs.context_page * plan.positions[begin] / kPageTokens;
        continue;
      }
      const double mean_position = plan.positions[begin] + 0.5 * (tokens - 1);
      compute += tokens * (costs.prompt_token + costs.prompt_page * mean_position / kPageTokens);
    }
    return absl::Milliseconds(costs.step + std::max(costs.weights, compute));
  };
}

Machine WithNoise(Machine machine, double part, absl::Duration lost) {
  const auto count = std::make_shared<uint64_t>(0);
  return [=](const StepPlan& plan) {
    const uint64_t step = (*count)++;
    absl::Duration duration = machine(plan) * (1 + part * (2 * UnitInterval(11, step) - 1));
    if (UnitInterval(12, step) < 0.01) duration += lost;
    return duration;
  };
}

TimedServer::TimedServer(const SchedulerOptions& options, const ExecutorLimits& limits, Machine machine)
    : executor_(limits),
      scheduler_(options, limits),
      machine_(std::move(machine)),
      max_steps_in_flight_(limits.max_steps_in_flight) {}

ValidRequest TimedServer::Request(int32_t prompt, int32_t answer) {
  ValidRequest request = {.max_tokens = answer};
  for (int32_t i = 0; i < prompt; ++i) request.prompt.push_back(i % 997);
  return request;
}

RequestId TimedServer::Add(ValidRequest request) {
  request.id = next_id_++;
  request.arrival = now_;
  Answer& answer = answers_[request.id];
  answer.arrival = now_;
  const RequestId id = request.id;
  answer.refused = scheduler_.Add(std::move(request), now_);
  return id;
}

bool TimedServer::Step() {
  const auto in_flight = [this] { return scheduler_.num_steps_in_flight(); };
  const bool planned = in_flight() < max_steps_in_flight_ && PlanStep();
  const bool any = in_flight() > 0;
  if (any && (!planned || in_flight() == max_steps_in_flight_)) CommitStep();
  Observe();
  scheduler_.CheckInvariants();
  return any;
}

// The machine begins with it when it is done with what it has.
bool TimedServer::PlanStep() {
  const StepPlan plan = scheduler_.Plan(now_);
  if (plan.empty()) return false;
  const absl::Duration duration = machine_(plan);
  steps_.push_back({.tokens = plan.num_tokens(), .rows = plan.num_rows(), .duration = duration});
  done_.push_back(std::max(now_, done_.empty() ? now_ : done_.back()) + duration);
  executor_.Submit(plan);
  return true;
}

void TimedServer::CommitStep() {
  now_ = std::max(now_, done_.front());
  done_.pop_front();
  scheduler_.Commit(executor_.Collect(), now_);
}

void TimedServer::Observe() {
  for (TokenEvent& event : scheduler_.TakeEvents()) {
    Answer& answer = answers_.at(event.request_id);
    if (event.sample == 0 && event.token != kNoToken) {
      answer.tokens.push_back(now_);
      answer.ids.push_back(event.token);
    }
    if (!event.request_done) continue;
    answer.finish = event.sample_finish;
    answer.receipt = event.receipt;
  }
}

// Callers read what must have come by then: where a scheduler stalls, the program ends here. A step may have nothing
// to compute and still end requests that are late.
void TimedServer::RunUntil(const std::function<bool()>& done) {
  constexpr int kMaxSteps = 200'000;
  for (int i = 0; i < kMaxSteps && !done(); ++i) ROPEWAY_CHECK(Step() || done());
  ROPEWAY_CHECK(done());
}

void TimedServer::RunUntilIdle() {
  RunUntil([this] { return scheduler_.empty(); });
}

absl::Duration Quantile(std::vector<absl::Duration> values, double q) {
  ROPEWAY_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(q * static_cast<double>(values.size())))];
}

std::vector<absl::Duration> Gaps(const TimedServer::Answer& answer, absl::Time begin, absl::Time end) {
  std::vector<absl::Duration> gaps;
  for (size_t i = 1; i < answer.tokens.size(); ++i)
    if (answer.tokens[i] >= begin && answer.tokens[i] < end)
      gaps.push_back(answer.tokens[i] - answer.tokens[i - 1]);
  return gaps;
}

}  // namespace ropeway::testing
