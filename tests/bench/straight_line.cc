#include "tests/bench/straight_line.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "tests/bench/machine_limits.h"

namespace ropeway {
namespace {

constexpr int64_t kUncached = int64_t{640} << 20;
constexpr int kPasses = 15;

}  // namespace

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

absl::StatusOr<StraightLine> StraightLine::Make(int threads) {
  ASSIGN_OR_RETURN(auto pool, ThreadPool::Make({.threads = threads}));
  return StraightLine(std::move(pool));
}

// What was never written is one page of zeros, many times.
StraightLine::StraightLine(std::unique_ptr<ThreadPool> pool) : pool_(std::move(pool)), memory_(kUncached) {
  std::memset(memory_.data(), 1, kUncached);
}

int64_t StraightLine::Read() {
  const int64_t part = kUncached / pool_->size() / 64 * 64;
  pool_->Run([&](Team& team) { ReadAll(memory_.data() + team.index() * part, part); });
  return part * pool_->size();
}

double StraightLine::Measure() {
  std::vector<double> rates;
  for (int i = 0; i < kPasses; ++i) {
    const absl::Time began_at = absl::Now();
    const int64_t bytes = Read();
    rates.push_back(static_cast<double>(bytes) / absl::ToDoubleSeconds(absl::Now() - began_at));
  }
  return Median(std::move(rates));
}

}  // namespace ropeway
