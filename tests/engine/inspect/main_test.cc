// The program as scripts see it: exit codes, and one line where something is wrong.
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

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
  for (const auto& [arguments, why] : {std::pair{"", "a command is missing"},
                                       {"fly", "fly"},
                                       {"info", "MODEL"},
                                       {"info no_such_model", "no_such_model"},
                                       {"info README.md", "not a GGUF file"},
                                       {"tokenize README.md --no_such_flag", "--no_such_flag"},
                                       {"render", "--template"},
                                       {"render README.md --template README.md", "--template"},
                                       {"render --template no_such_file", "no_such_file"},
                                       {"logits README.md --threads x", "--threads"}}) {
    SCOPED_TRACE(arguments);
    const Outcome outcome = RunInspect(arguments);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.output, HasSubstr(why));
    EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << outcome.output;
  }
}

TEST(InspectTest, OutputThatIsLostIsAnError) {
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
