#include "tests/engine/exec/executor_runs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "engine/base/status_macros.h"
#include "engine/model/tensor_source.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {

StepPlan PlanOf(absl::Span<const RunRow> rows) {
  StepPlan plan;
  for (const RunRow& row : rows) {
    plan.token_ids.insert(plan.token_ids.end(), row.ids.begin(), row.ids.end());
    for (size_t i = 0; i < row.ids.size(); ++i)
      plan.positions.push_back(row.first_position + static_cast<int32_t>(i));
    plan.row_starts.push_back(plan.num_tokens());
    plan.page_tables.push_back(row.pages);
    plan.lengths.push_back(row.lengths);
  }
  return plan;
}

std::vector<PageId> PagesFrom(PageId first, size_t num_tokens) {
  std::vector<PageId> pages(PagesFor(num_tokens));
  std::iota(pages.begin(), pages.end(), first);
  return pages;
}

LogitSource::LogitSource(CpuExecutor& executor)
    : visit_([&executor](const auto& plan, auto indices, const auto& visit) {
        executor.VisitLogits(plan, indices, visit);
      }) {}

LogitSource::LogitSource(CudaExecutor& executor)
    : visit_([&executor](const auto& plan, auto indices, const auto& visit) {
        EXPECT_THAT(executor.VisitLogits(plan, indices, visit), IsOk());
      }) {}

void RunSequence(const LogitSource& executor, absl::Span<const TokenId> ids, absl::Span<const PageId> pages,
                 int chunk, int32_t first_visited, const LogitVisitor& visit, const AdmittedLengths& lengths,
                 int32_t decode_from) {
  const int32_t length = static_cast<int32_t>(ids.size());
  for (int32_t first = 0, last = 0; first < length; first = last) {
    last = first < decode_from ? std::min({first + chunk, length, decode_from}) : first + 1;
    const RunRow row{ids.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first)), first, pages,
                     lengths};
    std::vector<int32_t> indices(row.ids.size());
    std::iota(indices.begin(), indices.end(), 0);
    std::erase_if(indices, [&](int32_t i) { return row.first_position + i < first_visited; });
    // The executor's threads give rows in any order.
    std::vector<std::vector<float>> logits(row.ids.size());
    executor.Visit(PlanOf({row}), indices, [&](int32_t index, absl::Span<const float> values) {
      logits[static_cast<size_t>(index)].assign(values.begin(), values.end());
    });
    for (const int32_t index : indices) visit(row.first_position + index, logits[static_cast<size_t>(index)]);
  }
}

std::vector<float> LogitsOf(const LogitSource& executor, absl::Span<const TokenId> ids,
                            absl::Span<const PageId> pages, int chunk, int32_t first_visited,
                            const AdmittedLengths& lengths, int32_t decode_from) {
  std::vector<float> all;
  RunSequence(
      executor, ids, pages, chunk, first_visited,
      [&](int32_t, absl::Span<const float> logits) { all.insert(all.end(), logits.begin(), logits.end()); },
      lengths, decode_from);
  return all;
}

absl::StatusOr<std::unique_ptr<CpuExecutor>> OpenExecutor(const std::string& path,
                                                          const CpuExecutorOptions& options) {
  ASSIGN_OR_RETURN(OpenedModel model, OpenModel(path));
  return CpuExecutor::Make(std::move(model), options);
}

std::vector<std::string> UsableKernels() {
  std::vector<std::string> names;
  for (const char* name : {"ref", "avx2", "avx512"})
    if (kernels::SelectKernels(name) != nullptr) names.push_back(name);
  return names;
}

TokenId Likeliest(absl::Span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

float DifferenceOf(float a, float b) {
  const float difference = std::fabs(a - b);
  return std::isnan(difference) ? std::numeric_limits<float>::infinity() : difference;
}

double Distance(absl::Span<const float> a, absl::Span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double differences = 0, squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    differences += std::pow(double{a[i]} - b[i], 2);
    squares += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(differences / squares);
}

std::vector<double> LogProbabilities(absl::Span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  std::vector<double> result;
  result.reserve(logits.size());
  for (const float logit : logits) result.push_back(logit - largest - std::log(sum));
  return result;
}

}  // namespace ropeway::testing
