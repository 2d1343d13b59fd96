#include "engine/base/exhaustion.h"

#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <system_error>

#include "absl/status/statusor.h"
#include "engine/base/thread_pool.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

TEST(ExhaustionTest, TellsTheBytesWhereTheyAreKnown) {
  EXPECT_THAT(CatchExhaustion([]() -> absl::Status { throw OutOfMemory(123); }),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       ContainsRegex("^out of memory: 123 bytes are wanted, [0-9]+ bytes are free$")));
  EXPECT_THAT(CatchExhaustion([]() -> absl::StatusOr<int> { throw std::bad_alloc(); }),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("out of memory: more is wanted")));
}

TEST(ExhaustionTest, LeavesOtherResultsAlone) {
  ASSERT_OK_AND_ASSIGN(const int five, CatchExhaustion([]() -> absl::StatusOr<int> { return 5; }));
  EXPECT_EQ(five, 5);
  EXPECT_THAT(CatchExhaustion([] { return absl::NotFoundError("it"); }),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("it")));
}

// Exits with 0 where a pool of too many threads is refused.
[[noreturn]] void StartThreadsInLittleMemory() {
  const rlimit limit = {.rlim_cur = rlim_t{512} << 20, .rlim_max = rlim_t{512} << 20};
  setrlimit(RLIMIT_AS, &limit);
  const absl::Status status = ThreadPool::Make({.threads = 1024}).status();
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(absl::IsResourceExhausted(status) ? 0 : 1);
}

TEST(ExhaustionDeathTest, ThreadsThatCannotBeStartedEndThoseThatWere) {
  if (testing::kHasShadowMemory) GTEST_SKIP() << "sanitizers need address space";
  EXPECT_EXIT(StartThreadsInLittleMemory(), ::testing::ExitedWithCode(0),
              "cannot start thread [0-9]+ of 1024");
}

TEST(ExhaustionTest, TellsThatAThreadIsMissing) {
  EXPECT_THAT(CatchExhaustion([]() -> absl::Status {
                throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
              }),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("cannot start a thread: ")));
}

}  // namespace
}  // namespace ropeway
