// How fast all threads together read memory in straight lines: what steps that wait for memory may reach. Measured in the
// same run as they are, right before and after: memory differs by the minute on shared machines.
#ifndef ROPEWAY_TESTS_BENCH_STRAIGHT_LINE_H_
#define ROPEWAY_TESTS_BENCH_STRAIGHT_LINE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/thread_pool.h"
#include "engine/tensor/aligned_buffer.h"

namespace ropeway {

// 0 of none.
double Median(std::vector<double> values);

class StraightLine {
 public:
  // RESOURCE_EXHAUSTED where the system does not give so many threads.
  static absl::StatusOr<StraightLine> Make(int threads);

  // Reads memory that no cache holds; returns how many bytes.
  int64_t Read();

  // Bytes a second: the median of some passes.
  double Measure();

 private:
  explicit StraightLine(std::unique_ptr<ThreadPool> pool);

  std::unique_ptr<ThreadPool> pool_;
  AlignedBuffer memory_;
};

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_STRAIGHT_LINE_H_
