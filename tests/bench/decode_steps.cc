#include "tests/bench/decode_steps.h"

#include <algorithm>
#include <memory>

#include "engine/base/status_macros.h"
#include "engine/kv/block_table.h"
#include "engine/kv/page_pool.h"

namespace ropeway {

std::vector<std::vector<PageId>> PageTables(int32_t num_pages, int streams, int32_t tokens) {
  PagePool pool(num_pages);
  std::vector<std::unique_ptr<BlockTable>> tables;
  const int32_t pages = PagesFor(tokens), prompt_pages = PagesFor(std::max(1, tokens - kDecodeSteps));
  for (int i = 0; i < streams; ++i) tables.emplace_back(new BlockTable(pool))->GrowTo(prompt_pages);
  for (int32_t grown = prompt_pages; grown <= pages; ++grown)
    for (const auto& table : tables) table->GrowTo(grown);
  std::vector<std::vector<PageId>> ids;
  for (const auto& table : tables) ids.emplace_back(table->pages().begin(), table->pages().end());
  return ids;
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
  for (size_t t = 0; t < tables_.size(); ++t)
    for (size_t i = t == 0 ? computed : 0; i < tables_[t].size(); ++i)
      rest.page_copies.push_back({.from = tables_[0][i % computed], .to = tables_[t][i]});
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
