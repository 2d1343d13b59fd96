// The program as scripts see it: exit codes, and one line where something is wrong.
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/temp_folder.h"

namespace ropeway {
namespace {

using ::testing::HasSubstr;

struct Outcome {
  int code = -1;
  std::string output;  // both streams
};

Outcome RunInspect(const std::string& arguments) {
  FILE* const pipe = popen((ROPEWAY_INSPECT_PROGRAM " 2>&1 </dev/null " + arguments).c_str(), "r");
  Outcome outcome;
  std::array<char, 4096> part;
  while (const size_t size = fread(part.data(), 1, part.size(), pipe))
    outcome.output.append(part.data(), size);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  return outcome;
}

TEST(InspectTest, WhatIsWrongIsToldInOneLine) {
  for (const auto& [arguments, why] :
       {std::pair{"", "a command is missing"},
        {"fly", "fly"},
        {"info", "MODEL"},
        {"info no_such_model", "no_such_model"},
        {"info README.md", "not a GGUF file"},
        {"tokenize README.md --no_such_flag", "--no_such_flag"},
        {"render", "--template"},
        {"render README.md --template README.md", "--template"},
        {"render --template no_such_file", "no_such_file"},
        {"info tests", "tests"},
        {"tokenize tests", "the folder has no tokenizer"},
        {"detokenize /dev/null", "'/dev/null' is a device, not a regular file"},
        {"logits /dev/zero", "'/dev/zero' is a device, not a regular file"},
        {"generate no_such_model", "no_such_model"},
        {"render --template tests", "'tests' is a directory"},
        {"render --template= README.md", "--template"},
        {"render --template /dev/null", "'/dev/null' is a device, not a regular file"},
        {"logits README.md --threads x", "--threads"},
        {"logits README.md --threads 0x1", "--threads"},
        {"logits README.md --threads +1", "--threads"},
        {"logits README.md --threads 1.0", "--threads"},
        {"logits README.md --threads ' 1'", "--threads"},
        {"logits README.md --threads= 1", "--threads"},
        {"logits README.md --threads 2147483648", "--threads"},
        {"logits README.md --threads 99999999999999999999", "--threads"},
        {"generate README.md --threads 09x", "--threads"}}) {
    SCOPED_TRACE(arguments);
    const Outcome outcome = RunInspect(arguments);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.output, HasSubstr(why));
    EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << outcome.output;
  }
}

TEST(InspectTest, NamesThatNoFileHasAreErrors) {
  const std::string too_long(5000, 'x');
  for (const char* command :
       {"info ", "tokenize ", "detokenize ", "render ", "render --template ", "logits ", "generate "}) {
    for (const std::string& name :
         {too_long, too_long.substr(0, 300), std::string("README.md/below"), std::string("''")}) {
      const Outcome outcome = RunInspect(command + name);
      EXPECT_EQ(outcome.code, 2) << command << name;
      EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << outcome.output;
    }
  }
}

TEST(InspectTest, APipeThatNobodyWritesIsNoFile) {
  const testing::TempFolder folder;
  const std::string pipe = folder.File("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  for (const char* command :
       {"info ", "tokenize ", "detokenize ", "render ", "render --template ", "logits ", "generate "}) {
    const Outcome outcome = RunInspect(command + pipe);
    EXPECT_EQ(outcome.code, 2) << command;
    EXPECT_THAT(outcome.output, HasSubstr("a named pipe, not a regular file")) << command;
  }
}

TEST(InspectTest, OutputThatIsLostIsAnError) {
  EXPECT_EQ(RunInspect("--help >/dev/full").code, 1);
  const Outcome outcome = RunInspect("render --template README.md </proc/sys/kernel/ostype >/dev/full");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("cannot write the output"));
}

TEST(InspectTest, HelpIsNoError) {
  for (const char* arguments : {"--help", "info --help", "tokenize --help", "detokenize --help",
                                "render --help", "logits --help", "generate --help"}) {
    const Outcome outcome = RunInspect(arguments);
    EXPECT_EQ(outcome.code, 0) << arguments;
    EXPECT_THAT(outcome.output, HasSubstr("Usage: ropeway_inspect"));
  }
}

}  // namespace
}  // namespace ropeway
