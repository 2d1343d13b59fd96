#include "server/keys/key_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TempFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kHash =
    absl::StrCat(std::string(16, 'a'), ":", std::string(32, 'b'), ":", std::string(64, 'c'));

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

KeyEntry NewEntry(const std::string& name, const std::string& tenant = "t") {
  return {.name = name, .hash = HashApiKey(NewApiKey()), .tenant = tenant};
}

TEST(KeyFileTest, ReadsWhatItsGrammarSays) {
  const std::string content =
      absl::StrCat("# keys\n\n  alice\tkey=", kHash,
                   "  tenant=acme running=4 queued=0 tokens_per_minute=60000 kv_pages=512\r\n",
                   "bob subject=\"CN=bob,O=Acme Inc\" tenant=\"the acme\" tenants=any\n",
                   "watch subject=CN=w role=monitor\n", "root role=admin key=d", kHash.substr(1));
  ASSERT_OK_AND_ASSIGN(const auto entries, ParseKeyFile("f", content));
  ASSERT_EQ(entries.size(), 4);
  EXPECT_EQ(entries[0],
            (KeyEntry{.name = "alice",
                      .hash = ParseKeyHash(kHash),
                      .tenant = "acme",
                      .limits = {.running = 4, .queued = 0, .tokens_per_minute = 60000, .kv_pages = 512}}));
  EXPECT_EQ(
      entries[1],
      (KeyEntry{.name = "bob", .subject = "CN=bob,O=Acme Inc", .tenant = "the acme", .any_tenant = true}));
  EXPECT_EQ(entries[2].role, KeyRole::kMonitor);
  EXPECT_EQ(entries[2].subject, "CN=w");
  EXPECT_EQ(entries[3].role, KeyRole::kAdmin);
  ASSERT_OK_AND_ASSIGN(const auto none, ParseKeyFile("f", "# nothing\n"));
  EXPECT_TRUE(none.empty());
}

TEST(KeyFileTest, RefusesWithLineAndWord) {
  const auto refused = [](const std::string& line, const std::string& fault) {
    const absl::Status status = ParseKeyFile("f", absl::StrCat("# comment\n", line, "\n")).status();
    EXPECT_THAT(status,
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("f:2: "), HasSubstr(fault))))
        << line;
    EXPECT_FALSE(absl::StrContains(status.message(), '\n')) << line;
  };
  const std::string key = "a key=" + kHash;
  refused(key, "\"a\" has no tenant");
  refused(key + " tenant=", "\"tenant\" has no value");
  refused(key + " tenant=\"\"", "\"tenant\" has no value");
  refused(key + " tenant", "\"tenant\" has no value");
  refused("a tenant=t", "neither key nor subject");
  for (const char* limit : {"running", "queued", "tokens_per_minute", "kv_pages"}) {
    refused(absl::StrCat(key, " tenant=t ", limit, "=-1"),
            absl::StrCat(limit, " must be a whole number in ["));
    refused(absl::StrCat(key, " tenant=t ", limit, "=-1"), "is \"-1\"");
    refused(absl::StrCat(key, " tenant=t ", limit, "=1.5"), limit);
    refused(absl::StrCat(key, " tenant=t ", limit, "=0x10"), limit);
    refused(absl::StrCat(key, " tenant=t ", limit, "=99999999999999999999"), limit);
  }
  refused(key + " tenant=t running=0", "running must be");
  refused(key + " tenant=t runing=4", "there is no word \"runing\"");
  refused(key + " tenant=t tenant=u", "\"tenant\" is given twice");
  refused(key + " tenant=t role=root", "role must be one of user, monitor, admin");
  refused(key + " tenant=t tenants=all", "tenants must be one of own, any");
  refused(key + " tenant=t role=admin", "are a user's");
  refused(key + " role=monitor running=2", "are a user's");
  refused(key + " tenant=\"t", "the quote of \"tenant\" is not closed");
  refused(key + " tenant=\"t\"x", "a blank is missing");
  refused(absl::StrCat(key, " tenant=", std::string(65, 't')), "tenant must be at most 64 bytes");
  refused(key + " tenant=t\x01", "tenant must be");
  refused("a/b key=" + kHash + " tenant=t", "a name is");
  refused(absl::StrCat(std::string(65, 'a'), " key=", kHash, " tenant=t"), "a name is");
  refused("key=" + kHash + " tenant=t", "a name is");
}

TEST(KeyFileTest, WhatMayBeAKeyByMistakeIsNotQuoted) {
  const ApiKey key = NewApiKey();
  for (const std::string& line : {"a key=" + key.Text() + " tenant=t", key.Text(), "a " + key.Text()}) {
    const absl::Status status = ParseKeyFile("f", line).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f:1: ")));
    EXPECT_FALSE(absl::StrContains(status.message(), key.secret)) << status;
  }
}

TEST(KeyFileTest, NamesIdsAndSubjectsAreGivenOnce) {
  const auto refused = [](const std::string& content, const std::string& fault) {
    EXPECT_THAT(ParseKeyFile("f", content).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("f:2: "), HasSubstr(fault))));
  };
  refused("a subject=x tenant=t\na subject=y tenant=t", "the name \"a\" is in line 1 already");
  refused("a subject=x tenant=t\nb subject=x tenant=t", "the subject \"x\" is in line 1 already");
  refused("a key=" + kHash + " tenant=t\nb tenant=t key=" + kHash, "ID of a key");
}

TEST(KeyFileTest, HasAMostOfKeys) {
  std::string content;
  for (size_t i = 0; i <= kMaxKeys; ++i) absl::StrAppend(&content, "k", i, " subject=s", i, " tenant=t\n");
  EXPECT_THAT(
      ParseKeyFile("f", content).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f:10001: there may be at most 10000 keys")));
}

TEST(KeyFileTest, EntriesAreWrittenAsTheyAreRead) {
  KeyEntry entry = NewEntry("a", "two words");
  entry.subject = "CN=x,O=y z";
  entry.any_tenant = true;
  entry.limits = {.running = 1, .queued = 2, .tokens_per_minute = 3, .kv_pages = 4};
  ASSERT_OK_AND_ASSIGN(const std::string line, FormatKeyEntry(entry));
  ASSERT_OK_AND_ASSIGN(const auto read, ParseKeyFile("f", line));
  EXPECT_EQ(read[0], entry);
  for (const char* text : {"a\" role=admin subject=\"b", "a\nb subject=c", "\"", "a\" x"}) {
    KeyEntry odd = NewEntry("a");
    odd.subject = text;
    EXPECT_THAT(FormatKeyEntry(odd).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("")))
        << text;
    odd = NewEntry("a", text);
    EXPECT_THAT(FormatKeyEntry(odd).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("")))
        << text;
  }
}

TEST(KeyFileTest, ReadsTheLimitsOfACommandLine) {
  ASSERT_OK_AND_ASSIGN(const KeyLimits limits, ParseKeyLimits("running=4, kv_pages=7"));
  EXPECT_EQ(limits, (KeyLimits{.running = 4, .kv_pages = 7}));
  for (const char* text : {"running=-1", "running", "tenant=t", "running=4,", "running=4 queued=2", ""})
    EXPECT_FALSE(ParseKeyLimits(text).ok()) << text;
}

TEST(KeyFileTest, EditsLeaveOtherLinesAndPermissions) {
  const TempFolder folder;
  const std::string path = folder.File("keys");
  ASSERT_OK(AddToKeyFile(path, NewEntry("alice")));
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600);
  const std::string first = TextOf(path);
  folder.Write("keys", absl::StrCat("# ours\n", first, "# end"));
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  ASSERT_OK(AddToKeyFile(path, NewEntry("bob")));
  ASSERT_OK(AddToKeyFile(path, NewEntry("bobby")));
  EXPECT_THAT(AddToKeyFile(path, NewEntry("bob")),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("\"bob\"")));
  EXPECT_THAT(TextOf(path), ::testing::StartsWith(absl::StrCat("# ours\n", first, "# end\nbob key=")));
  ASSERT_OK(RemoveFromKeyFile(path, "bob"));
  ASSERT_OK_AND_ASSIGN(const auto entries, ReadKeyFile(path));
  ASSERT_EQ(entries.size(), 2);
  EXPECT_EQ(entries[1].name, "bobby");
  EXPECT_THAT(RemoveFromKeyFile(path, "bob"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"bob\"")));
  ASSERT_OK(RemoveFromKeyFile(path, "bobby"));
  EXPECT_EQ(TextOf(path), absl::StrCat("# ours\n", first, "# end\n"));
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640);
}

TEST(KeyFileTest, AFileThatIsWrongIsNotEdited) {
  const TempFolder folder;
  const std::string path = folder.Write("keys", "nonsense\n");
  EXPECT_THAT(AddToKeyFile(path, NewEntry("a")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("keys:1: ")));
  EXPECT_EQ(TextOf(path), "nonsense\n");
  EXPECT_FALSE(AddToKeyFile(folder.File("nowhere/keys"), NewEntry("a")).ok());
}

TEST(KeyFileTest, EditsAtTheSameTimeLoseNothing) {
  const TempFolder folder;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back(
        [&, i] { EXPECT_OK(AddToKeyFile(folder.File("keys"), NewEntry(absl::StrCat("k", i)))); });
  for (std::thread& thread : threads) thread.join();
  ASSERT_OK_AND_ASSIGN(const auto entries, ReadKeyFile(folder.File("keys")));
  EXPECT_EQ(entries.size(), 8);
}

}  // namespace
}  // namespace ropeway::server
