#include "server/front/generation.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/synchronization/notification.h"
#include "engine/base/clock.h"
#include "tests/server/front/manual_engine.h"
#include "tests/server/front/test_front.h"
#include "tests/testing/await.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::Await;
using ::ropeway::testing::kPatience;

// A client that takes nothing: the first message stays on its way.
class DeafWriter final : public Generation::ResponseWriter {
 public:
  bool Write(v1::GenerateChunk) override {
    written.Notify();
    return false;
  }
  void End(v1::GenerateChunk*, const absl::Status&) override { ended.Notify(); }

  absl::Notification written, ended;
};

class GenerationTest : public ::testing::Test {
 protected:
  // What a call of the key may cost, now.
  absl::Status CheckEnter(int64_t tokens) {
    return front_.key_accounts.CheckEnter(identity_->name, identity_->limits, {.tokens = tokens}, now_);
  }

  // The clock of the test: budgets do not refill.
  const absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  const SimulatedClock clock_{now_};
  testing::TestFront front_{{.clock = clock_}};
  testing::ManualEngine engine_{front_.mailbox};
  const IdentityPtr identity_ =
      std::make_shared<const Identity>(Identity{.name = "k", .limits = {.tokens_per_minute = 100}});
  DeafWriter writer_;
};

TEST_F(GenerationTest, AKeyHasItsUnspentTokensBackWhenTheEngineIsDoneThoughTheClientReadsNothing) {
  const auto generation = std::make_shared<Generation>(
      front_.context, front_.engine,
      Call{.method = "Generate", .connection = "c", .identity = identity_, .arrival = now_}, &writer_);
  v1::GenerateRequest request;
  request.mutable_text()->set_text("hi");
  auto permit = front_.admission.TryEnter("c");
  ASSERT_OK(permit);
  generation->Start(request, *std::move(permit));
  const int64_t prompt_tokens = std::ssize(engine_.WaitForRequest().prompt);
  EXPECT_FALSE(CheckEnter(1).ok()) << "all that the model can hold is charged";
  engine_.SayText("a");
  ASSERT_TRUE(writer_.written.WaitForNotificationWithTimeout(kPatience));
  engine_.Say({.finish = SampleEnd{.reason = FinishReason::kLength},
               .end = RequestEnd{.prompt_tokens = static_cast<int32_t>(prompt_tokens),
                                 .completion_tokens = 30,
                                 .receipt = {.computed_tokens = 30}}});
  EXPECT_TRUE(Await([&] { return CheckEnter(70).ok(); }));
  EXPECT_FALSE(CheckEnter(71).ok());
  EXPECT_FALSE(writer_.ended.HasBeenNotified());
  generation->OnWritten(true);
  ASSERT_TRUE(writer_.ended.WaitForNotificationWithTimeout(kPatience));
  EXPECT_OK(CheckEnter(70));
  EXPECT_FALSE(CheckEnter(71).ok()) << "nothing comes back twice";
  generation->OnClosed();
}

}  // namespace
}  // namespace ropeway::server
