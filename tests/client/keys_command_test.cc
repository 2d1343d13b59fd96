// ropeway keys: the file that it writes is the one that the server reads.
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "client/cli/exit_code.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/keys/key_file.h"
#include "tests/client/run_command.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::client {
namespace {

using ::ropeway::testing::TempFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class KeysCommandTest : public ::testing::Test {
 protected:
  CommandResult Keys(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "keys");
    arguments.insert(arguments.end(), {"--file", path_});
    return RunCommand(arguments);
  }
  std::string FileText() const {
    std::ifstream file(path_);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  const TempFolder folder_;
  const std::string path_ = folder_.File("keys");
};

TEST_F(KeysCommandTest, AddPrintsTheKeyOnceAndKeepsItsHash) {
  const CommandResult added =
      Keys({"add", "alice", "--tenant", "acme", "--limits", "running=4,kv_pages=512"});
  EXPECT_EQ(added.code, kExitOk) << added.err;
  const auto key = server::ParseApiKey(added.out.substr(0, added.out.size() - 1));
  ASSERT_TRUE(key) << added.out;
  EXPECT_THAT(added.err, HasSubstr("the only time"));
  EXPECT_THAT(FileText(), Not(HasSubstr(key->secret)));
  ASSERT_OK_AND_ASSIGN(const auto entries, server::ReadKeyFile(path_));
  ASSERT_EQ(entries.size(), 1);
  EXPECT_EQ(entries[0].tenant, "acme");
  EXPECT_EQ(entries[0].limits, (server::KeyLimits{.running = 4, .kv_pages = 512}));
  ASSERT_TRUE(entries[0].hash);
  EXPECT_EQ(entries[0].hash->digest, server::DigestOf(entries[0].hash->salt, key->secret));
  const CommandResult listed = Keys({"list"});
  EXPECT_EQ(listed.out, "alice role=user id=" + key->id + " tenant=acme running=4 kv_pages=512\n");
}

TEST_F(KeysCommandTest, RolesAndCertificates) {
  EXPECT_EQ(Keys({"add", "root", "--role", "admin"}).code, kExitOk);
  const CommandResult bob =
      Keys({"add", "bob", "--tenant", "acme", "--any_tenant", "--subject", "CN=bob,O=Acme Inc"});
  EXPECT_EQ(bob.code, kExitOk) << bob.err;
  EXPECT_EQ(bob.out, "");
  EXPECT_THAT(Keys({"list"}).out,
              AllOf(HasSubstr("root role=admin id="),
                    HasSubstr("bob role=user subject=\"CN=bob,O=Acme Inc\" tenant=acme tenants=any\n")));
  EXPECT_EQ(Keys({"remove", "root"}).code, kExitOk);
  EXPECT_THAT(Keys({"list"}).out, Not(HasSubstr("root")));
}

TEST_F(KeysCommandTest, WhatIsWrongIsRefusedInOneLineAndChangesNothing) {
  ASSERT_EQ(Keys({"add", "alice", "--tenant", "acme"}).code, kExitOk);
  const std::string before = FileText();
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& fault) {
    const CommandResult result = Keys(arguments);
    EXPECT_EQ(result.code, kExitUsage) << result.err;
    EXPECT_THAT(result.err, HasSubstr(fault));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(FileText(), before);
  };
  refused({"add", "alice", "--tenant", "acme"}, "has a key \"alice\" already");
  refused({"add", "bob"}, "\"bob\" has no tenant");
  refused({"add", "b/b", "--tenant", "t"}, "a name is");
  refused({"add", "bob", "--tenant", "t", "--limits", "running=-1"},
          "--limits: running must be a whole number in [1, 1048576], is \"-1\"");
  refused({"add", "bob", "--tenant", "t", "--limits", "speed=1"}, "there is no limit \"speed\"");
  refused({"add", "bob", "--tenant", "t", "--role", "root"}, "root");
  refused({"add", "bob", "--tenant", "t", "--role", "admin"}, "are a user's");
  refused({"add", "bob", "--tenant", "a\" role=admin x=\"b"}, "double quotes");
  refused({"add", "--tenant", "t"}, "name");
  refused({"remove", "bob"}, "has no key \"bob\"");
  refused({"lst"}, "lst");
  EXPECT_EQ(RunCommand({"keys"}).code, kExitUsage);
  EXPECT_EQ(RunCommand({"keys", "list"}).code, kExitUsage);
}

}  // namespace
}  // namespace ropeway::client
