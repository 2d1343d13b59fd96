#include "client/cli/read_text.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::client {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ReadTextTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::string> Read(const std::string& path, const std::string& input = "") {
    std::istringstream in(input);
    std::ostringstream out;
    Terminal terminal{.in = in, .out = out, .err = out};
    return ReadText("--flag", path, terminal);
  }

  auto Refused(const std::string& why) {
    return StatusIs(absl::StatusCode::kInvalidArgument,
                    AllOf(StartsWith("--flag: cannot read "), HasSubstr(why)));
  }

  const ropeway::testing::TempFolder folder_;
};

TEST_F(ReadTextTest, FilesPipesAndStandardInput) {
  EXPECT_EQ(Read(folder_.Write("text", "h\xc3\xa9llo\n")).value(), "h\xc3\xa9llo\n");
  EXPECT_EQ(Read("-", "from a pipe").value(), "from a pipe");
  EXPECT_EQ(Read(folder_.Write("large", std::string(kMaxTextBytes, 'x'))).value().size(), kMaxTextBytes);
}

TEST_F(ReadTextTest, APipeIsReadToItsEnd) {
  const std::string path = folder_.File("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  std::thread writer([&] {
    std::ofstream pipe(path);
    for (int i = 0; i < 3; ++i) {
      pipe << "piece " << std::flush;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  EXPECT_EQ(Read(path).value(), "piece piece piece ");
  writer.join();
}

TEST_F(ReadTextTest, WhatIsNoTextIsRefusedWithItsName) {
  EXPECT_THAT(Read(folder_.path()), Refused("'" + folder_.path() + "': Is a directory"));
  EXPECT_THAT(Read("no/such/file"), Refused("'no/such/file': No such file or directory"));
  EXPECT_THAT(Read(""), Refused("'': No such file or directory"));
  EXPECT_THAT(Read("li\nne"), Refused("'li\\nne'"));
  EXPECT_THAT(Read(folder_.Write("file", "x") + "/below"), Refused("Not a directory"));
  EXPECT_THAT(Read(folder_.Write("empty", "")), Refused("it is empty"));
  EXPECT_THAT(Read("/dev/null"), Refused("it is empty"));
  EXPECT_THAT(Read("-", ""), Refused("standard input: it is empty"));
  for (const char* bytes : {"\xff", "abc\xc3", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80"}) {
    EXPECT_THAT(Read(folder_.Write("latin1", bytes)), Refused("it is not UTF-8"));
    EXPECT_THAT(Read("-", bytes), Refused("standard input: it is not UTF-8"));
  }
}

TEST_F(ReadTextTest, AFileWithoutPermissionIsRefused) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read every file";
  const std::string path = folder_.Write("secret", "x");
  std::filesystem::permissions(path, std::filesystem::perms::none);
  EXPECT_THAT(Read(path), Refused("Permission denied"));
}

TEST_F(ReadTextTest, WhatHasNoEndIsRefused) {
  EXPECT_THAT(Read("/dev/zero"), Refused("it has more than 67108864 bytes"));
  EXPECT_THAT(Read("-", std::string(kMaxTextBytes + 1, 'x')), Refused("it has more than 67108864 bytes"));
  const std::string path = folder_.Write("sparse", "x");
  std::filesystem::resize_file(path, uint64_t{1} << 40);
  EXPECT_THAT(Read(path), Refused("it has more than 67108864 bytes"));
}

TEST_F(ReadTextTest, APipeThatNobodyWritesIsRefused) {
  const std::string path = folder_.File("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(Read(path), Refused("nobody writes into this pipe"));
}

}  // namespace
}  // namespace ropeway::client
