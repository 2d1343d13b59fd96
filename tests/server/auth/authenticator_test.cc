#include "server/auth/authenticator.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TempFolder;

constexpr Access kAll[] = {Access::kGenerate, Access::kLook, Access::kMetrics, Access::kAdmin};

class AuthenticatorTest : public ::testing::Test {
 protected:
  AuthenticatorTest() {
    for (const KeyRole role : {KeyRole::kUser, KeyRole::kMonitor, KeyRole::kAdmin}) {
      const ApiKey key = NewApiKey();
      keys_.push_back(key.Text());
      Add({.name = absl::StrCat(RoleName(role)),
           .hash = HashApiKey(key),
           .role = role,
           .tenant = role == KeyRole::kUser ? "acme" : ""});
    }
    Add({.name = "bob", .subject = "CN=bob,O=Acme", .tenant = "bobs", .any_tenant = true});
    authenticator_ = *Authenticator::Open(path_);
  }

  void Add(const KeyEntry& entry) const { EXPECT_OK(AddToKeyFile(path_, entry)); }

  absl::Status Reload() {
    const absl::StatusOr<std::function<void()>> use = authenticator_->ReadAgain();
    if (use.ok()) (*use)();
    return use.status();
  }

  absl::StatusOr<IdentityPtr> Admit(const std::string& authorization, Access access = Access::kLook) const {
    return authenticator_->Admit({.authorization = authorization}, access);
  }

  const TempFolder folder_;
  const std::string path_ = folder_.File("keys");
  std::vector<std::string> keys_;  // of a user, a monitor and an admin
  std::unique_ptr<Authenticator> authenticator_;
};

TEST_F(AuthenticatorTest, WhoBringsAKeyIsItsHolder) {
  ASSERT_OK_AND_ASSIGN(const IdentityPtr user, Admit("Bearer " + keys_[0], Access::kGenerate));
  EXPECT_EQ(user->name, "user");
  EXPECT_EQ(user->tenant, "acme");
  ASSERT_OK_AND_ASSIGN(const IdentityPtr admin, Admit("bearer  " + keys_[2], Access::kAdmin));
  EXPECT_EQ(admin->name, "admin");
  EXPECT_EQ(authenticator_->num_keys(), 4);
}

TEST_F(AuthenticatorTest, RolesMayDoWhatIsTheirs) {
  const bool may[3][4] = {{true, true, false, false}, {false, true, true, false}, {false, true, true, true}};
  for (int role = 0; role < 3; ++role) {
    for (int access = 0; access < 4; ++access) {
      const absl::Status status = Admit("Bearer " + keys_[role], kAll[access]).status();
      EXPECT_EQ(status.ok(), may[role][access]) << role << access;
      if (!status.ok()) {
        EXPECT_EQ(status, absl::PermissionDeniedError("not permitted"));
      }
    }
  }
}

// Whatever is wrong, the answer is the same.
TEST_F(AuthenticatorTest, NobodyElseGetsInAndIsToldWhy) {
  std::string wrong_secret = keys_[0], wrong_id = keys_[0];
  wrong_secret.back() = wrong_secret.back() == '0' ? '1' : '0';
  wrong_id[5] = wrong_id[5] == '0' ? '1' : '0';
  const auto refused = StatusIs(absl::StatusCode::kUnauthenticated, "not authenticated");
  for (const Access access : kAll) {
    EXPECT_THAT(authenticator_->Admit({}, access).status(), refused);
    for (const std::string& text :
         {std::string(), std::string("Bearer"), std::string("Bearer "), keys_[0], "Basic " + keys_[0],
          "Bearer " + wrong_secret, "Bearer " + wrong_id, "Bearer " + NewApiKey().Text(),
          "Bearer " + keys_[0] + keys_[0], "Bearer " + keys_[0] + " x", "Bearer " + std::string(100'000, 'a'),
          std::string("Bearer \0", 8)})
      EXPECT_THAT(Admit(text, access).status(), refused) << text.substr(0, 100);
  }
}

TEST(KeyRingTest, FindsEachOfManyKeysAndNoOther) {
  std::vector<KeyEntry> entries;
  std::vector<std::string> keys;
  for (size_t i = 0; i < 1000; ++i) {
    const ApiKey key = NewApiKey();
    keys.push_back(key.Text());
    entries.push_back({.name = absl::StrCat("k", i), .hash = HashApiKey(key), .tenant = "t"});
  }
  // An ID that is as good as none.
  const ApiKey zero = {.id = std::string(16, '0'), .secret = NewApiKey().secret};
  entries.push_back({.name = "zero", .hash = HashApiKey(zero), .tenant = "t"});
  const KeyRing ring(entries);
  EXPECT_EQ(ring.size(), 1001);
  for (const size_t i : {0, 1, 499, 998, 999}) {
    ASSERT_NE(ring.FindKey(keys[i]), nullptr) << i;
    EXPECT_EQ(ring.FindKey(keys[i])->name, absl::StrCat("k", i));
    // The ID of one with the secret of another.
    EXPECT_EQ(ring.FindKey(keys[i].substr(0, 20) + keys[(i + 1) % 1000].substr(20)), nullptr);
  }
  EXPECT_EQ(ring.FindKey(zero.Text())->name, "zero");
  for (const char* text : {"", "x", "rk_0000000000000000_"}) EXPECT_EQ(ring.FindKey(text), nullptr);
  EXPECT_EQ(KeyRing({}).FindKey(keys[0]), nullptr);
}

TEST_F(AuthenticatorTest, ACertificateIsAsGoodAsAKeyAndCountsOnlyWithoutOne) {
  ASSERT_OK_AND_ASSIGN(const IdentityPtr bob,
                       authenticator_->Admit({.subject = "CN=bob,O=Acme"}, Access::kGenerate));
  EXPECT_EQ(bob->name, "bob");
  for (const char* subject : {"CN=bob", "CN=bob,O=Acme,L=x", "cn=bob,o=acme", ""})
    EXPECT_FALSE(authenticator_->Admit({.subject = subject}, Access::kLook).ok()) << subject;
  EXPECT_FALSE(
      authenticator_->Admit({.authorization = "Bearer x", .subject = "CN=bob,O=Acme"}, Access::kLook).ok());
}

TEST_F(AuthenticatorTest, TenantsAreTheKeysAndOthersOnlyWhereItMay) {
  ASSERT_OK_AND_ASSIGN(const IdentityPtr user, Admit("Bearer " + keys_[0]));
  EXPECT_EQ(*user->TenantOf(""), "acme");
  EXPECT_EQ(*user->TenantOf("acme"), "acme");
  EXPECT_THAT(user->TenantOf("bobs").status(),
              StatusIs(absl::StatusCode::kPermissionDenied, "not permitted"));
  ASSERT_OK_AND_ASSIGN(const IdentityPtr bob,
                       authenticator_->Admit({.subject = "CN=bob,O=Acme"}, Access::kLook));
  EXPECT_EQ(*bob->TenantOf(""), "bobs");
  EXPECT_EQ(*bob->TenantOf("acme"), "acme");
}

TEST_F(AuthenticatorTest, ReloadsAndKeepsTheOldWhereTheNewIsWrong) {
  ASSERT_OK(RemoveFromKeyFile(path_, "user"));
  ASSERT_OK_AND_ASSIGN(const IdentityPtr held, Admit("Bearer " + keys_[0]));
  ASSERT_OK(Reload());
  EXPECT_FALSE(Admit("Bearer " + keys_[0]).ok());
  EXPECT_EQ(held->name, "user") << "who is in stays known";
  folder_.Write("keys", "admin role=admin\n");
  EXPECT_THAT(Reload(), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("keys:1: ")));
  EXPECT_TRUE(Admit("Bearer " + keys_[2], Access::kAdmin).ok());
  ASSERT_EQ(::remove(path_.c_str()), 0);
  EXPECT_FALSE(Reload().ok());
  EXPECT_TRUE(Admit("Bearer " + keys_[2], Access::kAdmin).ok());
  folder_.Write("keys", "");
  ASSERT_OK(Reload());
  EXPECT_FALSE(Admit("Bearer " + keys_[2]).ok());
}

TEST(NoAuthenticatorTest, AsksNobodyAndMakesNobodyAnAdmin) {
  const Authenticator authenticator;
  EXPECT_FALSE(authenticator.asks());
  ASSERT_OK_AND_ASSIGN(const IdentityPtr anybody, authenticator.Admit({}, Access::kGenerate));
  EXPECT_EQ(anybody->name, "");
  EXPECT_EQ(*anybody->TenantOf("x"), "x");
  EXPECT_TRUE(authenticator.Admit({.authorization = "Bearer x"}, Access::kMetrics).ok());
  EXPECT_FALSE(authenticator.Admit({}, Access::kAdmin).ok());
}

}  // namespace
}  // namespace ropeway::server
