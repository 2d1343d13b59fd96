#include "server/admission/admission.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

TEST(AdmissionTest, AdmitsUpToTheCapAndAgainAfterARelease) {
  Admission admission({.max_requests = 2});
  ASSERT_OK_AND_ASSIGN(Admission::Permit first, admission.TryAdmit("a", 10, kStart));
  ASSERT_OK_AND_ASSIGN(Admission::Permit second, admission.TryAdmit("b", 10, kStart));
  const auto refused = admission.TryAdmit("a", 10, kStart);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full with 2 requests")));
  EXPECT_EQ(RetryHint(refused.status()), absl::Seconds(1));
  first = Admission::Permit();
  EXPECT_EQ(admission.live_requests(), 1);
  EXPECT_OK(admission.TryAdmit("a", 10, kStart));
}

TEST(AdmissionTest, AMovedPermitIsGivenBackOnce) {
  Admission admission({.max_requests = 1});
  {
    ASSERT_OK_AND_ASSIGN(Admission::Permit permit, admission.TryAdmit("", 1, kStart));
    Admission::Permit moved = std::move(permit);
    EXPECT_TRUE(moved.held());
    EXPECT_EQ(admission.live_requests(), 1);
  }
  EXPECT_EQ(admission.live_requests(), 0);
}

TEST(AdmissionTest, CapsTokensOfLivingRequests) {
  Admission admission({.max_tokens = 100});
  ASSERT_OK_AND_ASSIGN(const Admission::Permit permit, admission.TryAdmit("", 60, kStart));
  EXPECT_THAT(admission.TryAdmit("", 41, kStart),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("60 tokens")));
  EXPECT_OK(admission.TryAdmit("", 40, kStart));
  EXPECT_THAT(admission.TryAdmit("", 101, kStart),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 100 tokens, are 101")));
}

TEST(AdmissionTest, CapsTheRequestsOfOneTenantOnly) {
  Admission admission({.max_tenant_requests = 1});
  ASSERT_OK_AND_ASSIGN(const Admission::Permit permit, admission.TryAdmit("loud", 1, kStart));
  EXPECT_THAT(admission.TryAdmit("loud", 1, kStart),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("tenant has 1 living")));
  EXPECT_OK(admission.TryAdmit("quiet", 1, kStart));
}

TEST(AdmissionTest, ABudgetRefillsWithTimeAndTheHintSaysWhen) {
  Admission admission({.tenant_tokens_per_second = 10, .tenant_burst_tokens = 100});
  EXPECT_OK(admission.TryAdmit("a", 95, kStart));
  const auto refused = admission.TryAdmit("a", 30, kStart);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("budget is spent")));
  EXPECT_EQ(RetryHint(refused.status()), absl::Milliseconds(2500));
  EXPECT_FALSE(admission.TryAdmit("a", 30, kStart + absl::Milliseconds(2499)).ok());
  EXPECT_OK(admission.TryAdmit("a", 30, kStart + absl::Milliseconds(2500)));
  EXPECT_OK(admission.TryAdmit("b", 100, kStart));
  EXPECT_THAT(admission.TryAdmit("b", 101, kStart),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 100 tokens")));
}

TEST(AdmissionTest, RemembersABoundedNumberOfTenants) {
  Admission admission({.tenant_tokens_per_second = 10, .tenant_burst_tokens = 10, .max_tenants = 3});
  for (int i = 0; i < 3; ++i) EXPECT_OK(admission.TryAdmit(absl::StrCat("tenant", i), 5, kStart));
  EXPECT_THAT(admission.TryAdmit("one too many", 5, kStart),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("3 tenants")));
  EXPECT_OK(admission.TryAdmit("one too many", 5, kStart + absl::Seconds(1)));
}

TEST(AdmissionTest, RefusesAllWhileDraining) {
  Admission admission({});
  admission.StartDraining();
  EXPECT_THAT(admission.TryAdmit("", 1, kStart),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("draining")));
}

}  // namespace
}  // namespace ropeway
