// Counts down what one rendering may use up.
//
// Failure is sticky: once a limit is passed, every further call says so and status() names the limit. Code
// deep in a value operation may therefore stop quietly with whatever it has; the interpreter looks at the
// budget before every step and at the end, and no value made after the limit was passed is ever shown. Not
// thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_BUDGET_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_BUDGET_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/template_limits.h"

namespace ropeway::jinja {

class Budget {
 public:
  // What one step pays for when it goes through text or values.
  static constexpr int64_t kBytesPerStep = 256;

  explicit Budget(const TemplateLimits& limits)
      : limits_(limits),
        work_left_(limits.max_steps * kBytesPerStep),
        bytes_left_(limits.max_allocated_bytes) {}

  // Each returns false when the limit is passed, now or before.
  bool Step() { return Work(kBytesPerStep); }
  // Going through `bytes` of text or values.
  bool Work(int64_t bytes) { return Spend(&work_left_, bytes, "max_steps", limits_.max_steps); }
  bool Allocate(int64_t bytes) {
    return Spend(&bytes_left_, bytes, "max_allocated_bytes", limits_.max_allocated_bytes);
  }
  bool CheckDepth(int64_t depth) {
    if (depth > limits_.max_depth) Fail("max_depth", limits_.max_depth);
    return !exhausted_;
  }
  bool CheckEvaluationDepth(int64_t depth) {
    if (depth > limits_.max_evaluation_depth) Fail("max_evaluation_depth", limits_.max_evaluation_depth);
    return !exhausted_;
  }
  bool CheckOutput(int64_t bytes) {
    if (bytes > limits_.max_output_bytes) Fail("max_output_bytes", limits_.max_output_bytes);
    return !exhausted_;
  }

  bool exhausted() const { return exhausted_; }
  // OK, or INVALID_ARGUMENT with the name and value of the first limit that was passed.
  absl::Status status() const {
    if (!exhausted_) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("passes the limit ", limit_name_, " = ", limit_value_));
  }

 private:
  bool Spend(int64_t* left, int64_t amount, const char* name, int64_t limit) {
    if (amount > *left) [[unlikely]] {
      Fail(name, limit);
    } else {
      *left -= amount;
    }
    return !exhausted_;
  }
  void Fail(const char* name, int64_t limit) {
    if (exhausted_) return;
    exhausted_ = true;
    limit_name_ = name;
    limit_value_ = limit;
  }

  const TemplateLimits limits_;
  int64_t work_left_;
  int64_t bytes_left_;
  bool exhausted_ = false;
  const char* limit_name_ = "";
  int64_t limit_value_ = 0;
};

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_BUDGET_H_
