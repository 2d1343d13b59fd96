#include "server/front/generation.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/synchronization/notification.h"
#include "engine/base/clock.h"
#include "server/auth/authenticator.h"
#include "server/front/gate.h"
#include "tests/server/front/manual_engine.h"
#include "tests/server/front/test_model.h"
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
    return key_accounts_.CheckEnter(identity_->name, identity_->limits, {.tokens = tokens}, now_);
  }

  // The clock of the test: budgets do not refill.
  const absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  const SimulatedClock clock_{now_};
  Health health_;
  const Log log_{LogLevel::kError};
  Metrics metrics_{"bytes"};
  const Authenticator authenticator_;
  const Gate gate_{authenticator_, clock_, log_, metrics_, "grpc"};
  Admission admission_{{}};
  KeyAccounts key_accounts_;
  RequestRegistry requests_;
  Mailbox mailbox_{64};
  testing::ManualEngine engine_{mailbox_};
  const ServedModel model_ = testing::MakeTestModel();
  const EngineHandle handle_ = {
      .model = model_, .limits = {.max_model_len = 100}, .stream = {}, .mailbox = mailbox_};
  const IdentityPtr identity_ =
      std::make_shared<const Identity>(Identity{.name = "k", .limits = {.tokens_per_minute = 100}});
  WriteWatchdog write_watchdog_{absl::Hours(1)};
  const PrefixSalts prefix_salts_{PrefixCache::kOff, ""};
  DeafWriter writer_;
  WorkerPool preparing_{1, 64};
  WorkerPool delivering_{1, SIZE_MAX};
  FrontContext context_ = {.clock = clock_,
                           .health = health_,
                           .log = log_,
                           .metrics = metrics_,
                           .gate = gate_,
                           .admission = admission_,
                           .key_accounts = key_accounts_,
                           .requests = requests_,
                           .preparing = preparing_,
                           .delivering = delivering_,
                           .write_watchdog = write_watchdog_,
                           .prefix_salts = prefix_salts_};
};

TEST_F(GenerationTest, AKeyHasItsUnspentTokensBackWhenTheEngineIsDoneThoughTheClientReadsNothing) {
  const auto generation = std::make_shared<Generation>(
      context_, handle_,
      Call{.method = "Generate", .connection = "c", .identity = identity_, .arrival = now_}, &writer_);
  v1::GenerateRequest request;
  request.mutable_text()->set_text("hi");
  auto permit = admission_.TryEnter("c");
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
