#include "server/auth/tls_files.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/certificates.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::Certified;
using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TempFolder;
using ::ropeway::testing::TestAuthority;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class TlsFilesTest : public ::testing::Test {
 protected:
  TlsFilesTest() {
    Put(authority_.Sign("server"));
    folder_.Write("ca.pem", authority_.certificate());
  }

  void Put(const Certified& certified) const {
    folder_.Write("cert.pem", certified.certificate);
    folder_.Write("key.pem", certified.key);
  }

  absl::Status Read(bool with_clients = true) const {
    TlsPaths paths = paths_;
    if (!with_clients) paths.client_authorities.clear();
    return ReadTlsFiles(paths, absl::Now()).status();
  }

  const TempFolder folder_;
  const TestAuthority authority_{"authority"};
  const TlsPaths paths_ = {.certificate = folder_.File("cert.pem"),
                           .key = folder_.File("key.pem"),
                           .client_authorities = folder_.File("ca.pem")};
};

TEST_F(TlsFilesTest, TakesWhatBelongsTogether) {
  EXPECT_OK(Read());
  EXPECT_OK(Read(/*with_clients=*/false));
  ASSERT_OK_AND_ASSIGN(const TlsMaterial material, ReadTlsFiles(paths_, absl::Now()));
  EXPECT_LT(absl::AbsDuration(material.expires - absl::Now() - absl::Hours(24)), absl::Minutes(1));
}

TEST_F(TlsFilesTest, RefusesWithFileAndFaultAndWithoutTheContent) {
  const Certified good = authority_.Sign("server"), other = authority_.Sign("other");
  const auto refused = [&](const std::string& file, const std::string& fault) {
    const absl::Status status = Read();
    EXPECT_THAT(status,
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(file), HasSubstr(fault))));
    EXPECT_FALSE(absl::StrContains(status.message(), good.key.substr(40, 20))) << status;
    EXPECT_FALSE(absl::StrContains(status.message(), '\n')) << status;
  };
  Put({good.certificate, other.key});
  refused("key.pem", "not the key of the certificate");
  Put({good.certificate, "no key"});
  refused("key.pem", "there is no private key");
  Put({good.certificate, good.key.substr(0, good.key.size() / 2)});
  refused("key.pem", "there is no private key");
  Put({"", good.key});
  refused("cert.pem", "there is no certificate");
  Put({good.key, good.key});
  refused("cert.pem", "there is no certificate");
  Put({good.certificate.substr(0, good.certificate.size() / 2), good.key});
  refused("cert.pem", "certificate 1 cannot be read");
  Put({good.certificate + other.certificate.substr(0, 200), good.key});
  refused("cert.pem", "certificate 2 cannot be read");
  Put(authority_.Sign("server", {.from = -absl::Hours(2), .until = -absl::Hours(1)}));
  refused("cert.pem", "certificate 1 expired at 20");
  Put(authority_.Sign("server", {.from = absl::Hours(1)}));
  refused("cert.pem", "certificate 1 is not valid before 20");
  Put(good);
  folder_.Write("ca.pem", "text");
  refused("ca.pem", "there is no certificate");
  const TestAuthority old("old", {.from = -absl::Hours(2), .until = -absl::Hours(1)});
  folder_.Write("ca.pem", old.certificate());
  refused("ca.pem", "no authority is valid");
  folder_.Write("ca.pem", absl::StrCat(old.certificate(), authority_.certificate()));
  EXPECT_OK(Read());
}

TEST_F(TlsFilesTest, RefusesAFileThatIsMissing) {
  const TempFolder empty;
  TlsPaths paths = paths_;
  paths.key = empty.File("nowhere.pem");
  EXPECT_THAT(ReadTlsFiles(paths, absl::Now()).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere.pem")));
}

absl::Status Reload(TlsSource& source) {
  const absl::StatusOr<std::function<void()>> use = source.ReadAgain(absl::Now());
  if (use.ok()) (*use)();
  return use.status();
}

TEST_F(TlsFilesTest, WhatIsWrongAtAReloadLeavesWhatWasInUse) {
  ASSERT_OK_AND_ASSIGN(const auto source, TlsSource::Open(paths_, absl::Now()));
  const auto first = source->current();
  const Certified next = authority_.Sign("next");
  Put({next.certificate, "no key"});
  EXPECT_THAT(Reload(*source), Not(IsOk()));
  EXPECT_EQ(source->current(), first);
  ::remove(paths_.certificate.c_str());
  EXPECT_THAT(Reload(*source), Not(IsOk()));
  EXPECT_EQ(source->current(), first);
  Put(next);
  EXPECT_OK(Reload(*source));
  EXPECT_EQ(source->current()->certificate, next.certificate);
}

}  // namespace
}  // namespace ropeway::server
