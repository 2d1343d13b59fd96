#include "engine/exec/cuda/warm_up.h"

#include <algorithm>
#include <numeric>

#include "engine/kernels/cuda/attention.h"

namespace ropeway {
namespace {

// The length of sequences whose graphs are made: tables of pages have one length for up to as many.
constexpr int32_t kTypicalTokens = 1024;

}  // namespace

WarmUp::WarmUp(const ExecutorLimits& limits, int32_t max_bucket) {
  AddPrompt(limits);
  const int32_t own_pages = std::max(limits.num_pages - 1, 1);
  const int32_t max_rows =
      std::min({limits.max_rows_per_step, limits.max_tokens_per_step, own_pages, std::max(max_bucket, 1)});
  // A table is as long as that of a longer sequence; all that is written and read lies on its first page,
  // which is the row's own.
  const size_t table_pages =
      limits.num_pages == 1 ? 1 : PagesFor(std::min(kTypicalTokens, limits.max_model_len));
  for (int32_t row = 0; row < max_rows; ++row) {
    tables_.emplace_back(table_pages, 0);
    tables_.back()[0] = limits.num_pages == 1 ? 0 : row + 1;
  }
  for (int32_t rows = 1; rows <= max_rows; rows *= 2) AddDecode(rows);
}

void WarmUp::AddPrompt(const ExecutorLimits& limits) {
  const int32_t tokens = std::min({cuda::kNarrowPairs + 1, limits.max_tokens_per_step, limits.max_model_len});
  prompt_pages_.resize(PagesFor(tokens));
  std::iota(prompt_pages_.begin(), prompt_pages_.end(), 0);
  StepPlan& plan = plans_.emplace_back();
  plan.token_ids.assign(tokens, 0);
  plan.positions.resize(tokens);
  std::iota(plan.positions.begin(), plan.positions.end(), 0);
  plan.row_starts = {0, tokens};
  plan.page_tables = {prompt_pages_};
  plan.lengths = {{.prompt_length = tokens, .max_new_tokens = 1}};
  plan.sample_rows = {{.row = 0, .params = &params_}};
  plan.score_rows = {{.row = 0, .next_tokens = next_tokens_}};
  if (static_cast<int32_t>(prompt_pages_.size()) < limits.num_pages)
    plan.page_copies = {{.from = 0, .to = static_cast<PageId>(prompt_pages_.size())}};
}

void WarmUp::AddDecode(int32_t rows) {
  StepPlan& plan = plans_.emplace_back();
  plan.token_ids.assign(rows, 0);
  plan.positions.assign(rows, 0);
  for (int32_t row = 0; row < rows; ++row) {
    plan.row_starts.push_back(row + 1);
    plan.page_tables.push_back(tables_[row]);
    plan.lengths.push_back({.prompt_length = 1, .max_new_tokens = 1});
    plan.sample_rows.push_back({.row = row, .params = &params_});
  }
}

}  // namespace ropeway
