// IsOk(), StatusIs(code, message matcher) and ASSERT_OK_AND_ASSIGN for absl::Status and absl::StatusOr.
#ifndef ROPEWAY_TESTS_TESTING_STATUS_MATCHERS_H_
#define ROPEWAY_TESTS_TESTING_STATUS_MATCHERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway::testing {

inline absl::Status StatusOf(const absl::Status& status) { return status; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& value) {
  return value.status();
}

MATCHER(IsOk, "is OK") {
  const absl::Status status = StatusOf(arg);
  *result_listener << status.ToString();
  return status.ok();
}

MATCHER_P2(StatusIs, code, message_matcher, "") {
  const absl::Status status = StatusOf(arg);
  *result_listener << status.ToString();
  return status.code() == code &&
         ::testing::ExplainMatchResult(message_matcher, std::string(status.message()), result_listener);
}

}  // namespace ropeway::testing

#define ASSERT_OK(expression) ASSERT_THAT(expression, ::ropeway::testing::IsOk())
#define EXPECT_OK(expression) EXPECT_THAT(expression, ::ropeway::testing::IsOk())
#define ASSERT_OK_AND_ASSIGN(target, expression) \
  ROPEWAY_ASSERT_OK_AND_ASSIGN(ROPEWAY_CONCAT(status_or_, __LINE__), target, expression)
#define ROPEWAY_ASSERT_OK_AND_ASSIGN(result, target, expression) \
  auto result = (expression);                                    \
  ASSERT_OK(result);                                             \
  target = *std::move(result)

#endif  // ROPEWAY_TESTS_TESTING_STATUS_MATCHERS_H_
