#include "server/front/worker_pool.h"

#include <atomic>
#include <memory>

#include "absl/synchronization/notification.h"
#include "server/front/request_registry.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

TEST(WorkerPoolTest, RunsEveryTaskBeforeItEnds) {
  std::atomic<int> runs = 0;
  {
    WorkerPool pool(2, 1000);
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(pool.TryPost([&runs] { ++runs; }));
  }
  EXPECT_EQ(runs, 100);
}

TEST(WorkerPoolTest, RefusesWhatWouldWaitBeyondTheBound) {
  absl::Notification started, go;
  WorkerPool pool(1, 1);
  EXPECT_TRUE(pool.TryPost([&] {
    started.Notify();
    go.WaitForNotification();
  }));
  started.WaitForNotification();
  EXPECT_TRUE(pool.TryPost([] {}));
  EXPECT_FALSE(pool.TryPost([] {}));
  go.Notify();
}

class CountingRequest final : public Abortable {
 public:
  void Abort() override { ++aborts; }
  int aborts = 0;
};

TEST(LiveRequestsTest, FindsByTenantAndName) {
  RequestRegistry requests;
  const auto one = std::make_shared<CountingRequest>();
  const auto two = std::make_shared<CountingRequest>();
  EXPECT_OK(requests.Add("a", "x", one));
  EXPECT_OK(requests.Add("b", "x", two));
  EXPECT_THAT(requests.Add("a", "x", two), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("\"x\"")));
  EXPECT_TRUE(requests.Abort("a", "x"));
  EXPECT_FALSE(requests.Abort("a", "y"));
  EXPECT_EQ(one->aborts, 1);
  EXPECT_EQ(two->aborts, 0);
  requests.Remove("a", "x");
  EXPECT_FALSE(requests.Abort("a", "x"));
}

}  // namespace
}  // namespace ropeway::server
