#include "server/front/generation.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/api/step.h"
#include "engine/base/check.h"
#include "engine/base/exhaustion.h"
#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"

namespace ropeway::server {

Generation::Generation(const FrontContext& context, const EngineHandle& engine, Call call,
                       ResponseWriter* writer)
    : context_(context), engine_(engine), call_(std::move(call)), writer_(writer) {}

void Generation::Start(v1::GenerateRequest message, Admission::Permit permit) {
  {
    absl::MutexLock lock(&mutex_);
    permit_ = std::move(permit);
  }
  auto shared = std::make_shared<v1::GenerateRequest>(std::move(message));
  if (context_.preparing.TryPost([self = shared_from_this(), shared] { self->Prepare(*shared); })) return;
  End(nullptr, TooManyToPrepare());
}

void Generation::Prepare(const v1::GenerateRequest& message) {
  absl::Status alive;
  {
    absl::MutexLock lock(&mutex_);
    alive = CheckAlive(context_.clock.Now());
  }
  if (!alive.ok()) return End(nullptr, alive);
  const RequestId id = context_.next_id.fetch_add(1, std::memory_order_relaxed);
  const uint64_t random = SplitMix(context_.random_key + id * kGoldenRatio64);
  auto plan = CatchExhaustion([&] {
    return ConvertGenerateRequest(message, {.model = engine_.model,
                                            .limits = engine_.limits,
                                            .now = context_.LocalTime(),
                                            .fresh_seed = random});
  });
  if (!plan.ok()) return End(nullptr, plan.status());
  plan->request.id = id;
  plan->request.arrival = call_.arrival;
  plan->request.deadline = call_.deadline;
  plan->request.prefix_salt =
      context_.prefix_salts.Of(plan->request.tenant, engine_.rotation_choices(LengthsOf(plan->request)));
  if (plan->name.empty()) plan->name = absl::StrCat("r", absl::Hex(random, absl::kZeroPad16));
  if (absl::Status status = Submit(*std::move(plan)); !status.ok()) return End(nullptr, status);
  Deliver();  // begins to wait for the stream
}

absl::Status Generation::CheckAlive(absl::Time now) {
  if (now >= call_.deadline) {
    return absl::DeadlineExceededError("the deadline expired before the request was run");
  }
  return cancelled_;
}

absl::Status Generation::Submit(GenerationPlan plan) {
  ValidRequest& request = plan.request;
  absl::MutexLock lock(&mutex_);
  id_ = request.id;
  tenant_ = request.tenant;
  chunk_context_ = {.name = plan.name, .seed = request.sampling.seed, .echo = plan.echo};
  if (plan.echo || request.prompt_logprobs >= 0) chunk_context_.prompt = request.prompt;
  const absl::Time now = context_.clock.Now();
  RETURN_IF_ERROR(CheckAlive(now));
  RETURN_IF_ERROR(context_.requests.Add(tenant_, chunk_context_.name, weak_from_this()));
  registered_ = true;
  RETURN_IF_ERROR(context_.admission.TryCharge(tenant_, plan.max_cost_tokens(), now, permit_));
  if (!call_.identity->name.empty()) {
    const auto on_turn = [self = weak_from_this()] {
      if (const auto living = self.lock()) living->Post(&Generation::OnTurn);
    };
    ASSIGN_OR_RETURN(key_place_, context_.key_accounts.Enter(
                                     call_.identity->name, call_.identity->limits,
                                     {.tokens = plan.max_cost_tokens(), .kv_pages = MaxPagesOf(plan.request)},
                                     now, on_turn));
    if (!key_place_.has_turn()) {
      waiting_ = std::move(request);
      return absl::OkStatus();
    }
  }
  return Mail(std::move(request));
}

absl::Status Generation::Mail(ValidRequest request) {
  auto stream = std::make_shared<TokenStream>(engine_.stream);
  stream->SetReady([self = shared_from_this()] { self->ScheduleDelivery(); });
  RETURN_IF_ERROR(engine_.mailbox.TrySubmit({.request = std::move(request), .stream = stream}));
  stream_ = std::move(stream);
  return absl::OkStatus();
}

void Generation::OnTurn() {
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    if (!waiting_) return;
    status = CheckAlive(context_.clock.Now());
    if (status.ok()) status = Mail(*std::move(waiting_));
    waiting_.reset();
  }
  if (!status.ok()) return End(nullptr, status);
  Deliver();
}

// It was cancelled before its turn came.
void Generation::EndWaiting() {
  absl::Status why;
  {
    absl::MutexLock lock(&mutex_);
    if (!waiting_) return;
    waiting_.reset();
    why = cancelled_;
  }
  End(nullptr, why);
}

void Generation::OnWritten(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    EndWrite();
    if (!ok) OnUnreachable();
  }
  Deliver();
}

void Generation::OnCancel() {
  absl::MutexLock lock(&mutex_);
  OnUnreachable();
}

void Generation::OnClosed() {
  std::function<void(const absl::Status&)> cut;  // lets the transport's call go without the lock
  absl::MutexLock lock(&mutex_);
  cut.swap(call_.cut);
  EndWrite();
  permit_ = {};
}

void Generation::Abort() {
  absl::MutexLock lock(&mutex_);
  CancelInEngine(absl::CancelledError("the request was aborted"));
}

// `write` is over where the client took it at the last moment.
void Generation::OnWriteTimeout(uint64_t write) {
  const absl::Status why = absl::ResourceExhaustedError(
      absl::StrCat("the stream was not read for ", absl::FormatDuration(context_.write_watchdog.timeout())));
  std::function<void(const absl::Status&)> cut;
  {
    absl::MutexLock lock(&mutex_);
    if (!writing_ || write != write_) return;
    CancelInEngine(why);
    cut = call_.cut;
  }
  if (cut) cut(why);
}

// Nothing can be sent any more.
void Generation::OnUnreachable() {
  unreachable_ = true;
  CancelInEngine(GivenUpStatus(call_, context_.clock.Now()));
}

// The first reason counts.
void Generation::CancelInEngine(absl::Status why) {
  if (!cancelled_.ok()) return;
  cancelled_ = std::move(why);
  if (stream_ != nullptr) engine_.mailbox.Cancel(id_, cancelled_);
  if (waiting_) Post(&Generation::EndWaiting);
}

void Generation::BeginWrite() {
  writing_ = true;
  write_ticket_ = context_.write_watchdog.Begin([self = weak_from_this(), write = ++write_] {
    if (const auto living = self.lock()) living->OnWriteTimeout(write);
  });
}

void Generation::EndWrite() {
  writing_ = false;
  context_.write_watchdog.End(std::exchange(write_ticket_, WriteWatchdog::kNone));
}

// Others may have the place and the name; the call goes on. Tenant and key pay for what was computed for them.
void Generation::ReleasePlace() {
  if (std::exchange(registered_, false)) context_.requests.Remove(tenant_, chunk_context_.name);
  const int64_t spent_tokens = stream_ == nullptr ? 0 : stream_->computed_tokens();
  permit_.ReleasePlace(spent_tokens);
  key_place_.Release(spent_tokens);
}

void Generation::ScheduleDelivery() {
  if (delivery_scheduled_.exchange(true, std::memory_order_acq_rel)) return;
  Post(&Generation::DeliverScheduled);
}

void Generation::DeliverScheduled() {
  delivery_scheduled_.store(false, std::memory_order_release);
  Deliver();
}

// A call has few tasks at a time, and the pool has no other bound.
void Generation::Post(void (Generation::*task)()) {
  ROPEWAY_CHECK(context_.delivering.TryPost([self = shared_from_this(), task] { (self.get()->*task)(); }));
}

void Generation::Deliver() {
  while (DeliverOne()) {
  }
}

// True where there may be more to deliver.
bool Generation::DeliverOne() {
  v1::GenerateChunk message;
  std::optional<absl::Status> end;
  bool refused = false;
  {
    absl::MutexLock lock(&mutex_);
    if (ended_ || stream_ == nullptr) return false;
    if (stream_->ended()) ReleasePlace();
    if (writing_) return false;
    std::optional<StreamChunk> chunk = stream_->Pop();
    if (!chunk) return false;  // the stream will tell
    if (chunk->finish) reason_ = chunk->finish->reason;
    if (chunk->end && chunk->end->refused) {
      refused = true;
      end = chunk->end->status;
    } else if (chunk->end) {
      request_end_ = chunk->end;
      end = unreachable_ && chunk->end->status.ok() ? cancelled_ : chunk->end->status;
    } else if (unreachable_) {
      return true;
    }
    message = ConvertChunk(*std::move(chunk), chunk_context_, *engine_.model.tokenizer,
                           std::exchange(first_, false));
    if (!end) BeginWrite();
    delivered_ = delivered_ || !end;
  }
  if (end) {
    End(refused ? nullptr : &message, *end);
    return false;
  }
  if (!writer_->Write(std::move(message))) return false;
  absl::MutexLock lock(&mutex_);
  EndWrite();
  return true;
}

void Generation::End(v1::GenerateChunk* last_chunk, absl::Status status) {
  {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(ended_, true)) return;
    // By the hint clients tell a server that gives up from a connection that is lost.
    if (!delivered_ || absl::IsUnavailable(status)) status = WithRetryHint(std::move(status));
    // A refusal has no message, so that its client may try again.
    const bool started = request_end_ && request_end_->completion_tokens > 0;
    if (!delivered_ && !started && RetryHint(status)) last_chunk = nullptr;
    Report(status);
    ReleasePlace();
    stream_ = nullptr;
    BeginWrite();
  }
  writer_->End(last_chunk, status);
}

void Generation::Report(const absl::Status& status) {
  context_.metrics.OnCall(call_.method, status.code());
  const std::string code = absl::StatusCodeToString(status.code());
  if (!request_end_) {
    context_.log.Info("request refused", {{"method", call_.method},
                                          {"id", chunk_context_.name},
                                          {"tenant", tenant_},
                                          {"code", code},
                                          {"message", std::string(status.message())}});
    return;
  }
  const Receipt& receipt = request_end_->receipt;
  context_.log.Info("request end",
                    {{"method", call_.method},
                     {"id", chunk_context_.name},
                     {"tenant", tenant_},
                     {"reason", FinishReasonName(reason_)},
                     {"code", code},
                     {"message", std::string(status.message())},
                     {"prompt_tokens", request_end_->prompt_tokens},
                     {"completion_tokens", request_end_->completion_tokens},
                     {"cached_tokens", receipt.cached_tokens},
                     {"preemptions", receipt.preemptions},
                     {"queue_ms", absl::ToDoubleMilliseconds(receipt.queue)},
                     {"prefill_ms", absl::ToDoubleMilliseconds(receipt.prefill)},
                     {"decode_ms", absl::ToDoubleMilliseconds(receipt.decode)},
                     {"total_ms", absl::ToDoubleMilliseconds(context_.clock.Now() - call_.arrival)}});
}

}  // namespace ropeway::server
