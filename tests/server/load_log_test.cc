#include "server/load_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(LoadLogTest, SpeaksEveryTwoSeconds) {
  const testing::TempFolder folder;
  const std::string path = folder.Write("log", "");
  const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  SimulatedClock clock;
  {
    const Log log(LogLevel::kInfo, {.descriptor = file});
    const LoadProgress progress = LogOfProgress(log, clock);
    for (int layer = 1; layer <= 10; ++layer) {
      clock.Advance(absl::Milliseconds(700));
      EXPECT_OK(progress(layer, 10));
    }
    log.Flush();
  }
  close(file);
  std::ifstream in(path);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  // 0.7 s a layer: 2.1 s, 4.2 s and 6.3 s.
  for (const int layer : {3, 6, 9})
    EXPECT_THAT(text, HasSubstr(absl::StrCat("loading weights layers=", layer, " of=10")));
  for (const int layer : {1, 2, 4, 5, 7, 8, 10})
    EXPECT_THAT(text, Not(HasSubstr(absl::StrCat("layers=", layer, " "))));
}

}  // namespace
}  // namespace ropeway::server
