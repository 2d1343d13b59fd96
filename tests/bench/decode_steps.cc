#include "tests/bench/decode_steps.h"

#include <algorithm>

#include "engine/base/status_macros.h"

namespace ropeway {

std::vector<std::vector<PageId>> PageTables(int streams, int32_t tokens) {
  std::vector<std::vector<PageId>> tables(streams);
  PageId next = 0;
  for (auto& table : tables)
    for (int32_t i = 0; i < tokens; i += kPageTokens) table.push_back(next++);
  return tables;
}

void AddRow(const std::vector<PageId>& table, int32_t first, int32_t count, StepPlan& plan,
            const SamplingParams& greedy) {
  for (int32_t i = 0; i < count; ++i) {
    plan.token_ids.push_back((first + i) * 7 % 1000 + 100);
    plan.positions.push_back(first + i);
  }
  plan.row_starts.push_back(plan.num_tokens());
  plan.page_tables.push_back(table);
  plan.sample_rows.push_back({.row = plan.num_rows() - 1, .params = &greedy});
}

// The first pages are computed, all others are copies of them.
absl::Status DecodeSteps::Fill() const {
  const int32_t tokens = std::min(executor_.limits().max_tokens_per_step, start_);
  StepPlan first, rest;
  AddRow(tables_[0], 0, tokens, first, greedy_);
  RETURN_IF_ERROR(executor_.Step(first).status());
  const int32_t computed = std::max(1, tokens / kPageTokens);
  int32_t next = 0;
  for (const std::vector<PageId>& table : tables_)
    for (const PageId page : table)
      if (page >= computed) rest.page_copies.push_back({.from = tables_[0][next++ % computed], .to = page});
  AddRow(tables_[0], start_, 1, rest, greedy_);
  return executor_.Step(rest).status();
}

bool DecodeSteps::Run() {
  while (in_flight_ < executor_.limits().max_steps_in_flight) Submit();
  return Collect();
}

bool DecodeSteps::Finish() {
  while (in_flight_ > 0)
    if (!Collect()) return false;
  return true;
}

void DecodeSteps::Submit() {
  StepPlan plan;
  for (const auto& table : tables_) AddRow(table, start_ + step_, 1, plan, greedy_);
  for (int32_t row = 0; in_flight_ > 0 && row < plan.num_rows(); ++row)
    plan.token_ids[row] = AwaitedToken(row);
  step_ = (step_ + 1) % kDecodeSteps;
  executor_.Submit(plan);
  ++in_flight_;
}

bool DecodeSteps::Collect() {
  --in_flight_;
  return executor_.Collect().ok();
}

}  // namespace ropeway
