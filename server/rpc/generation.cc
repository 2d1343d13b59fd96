#include "server/rpc/generation.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "server/rpc/status_map.h"

namespace ropeway {
namespace {

absl::string_view ReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "abort";
    case FinishReason::kDeadline:
      return "deadline";
    case FinishReason::kError:
      return "error";
  }
  return "error";
}

absl::Status Gone(absl::Time deadline, absl::Time now) {
  if (now >= deadline) return absl::DeadlineExceededError("the deadline expired before the request was run");
  return absl::CancelledError("the request was cancelled before it was run");
}

}  // namespace

Generation::Generation(const ServiceContext& context, const Backend& backend, Call call, Client* client)
    : context_(context),
      backend_(backend),
      call_(std::move(call)),
      arrival_(context.clock.Now()),
      client_(client) {}

void Generation::Start(v1::GenerateRequest message) {
  auto shared = std::make_shared<v1::GenerateRequest>(std::move(message));
  if (context_.preparing.TryPost([self = shared_from_this(), shared] { self->Prepare(*shared); })) return;
  End(nullptr, TooMuchToPrepare());
}

void Generation::Prepare(const v1::GenerateRequest& message) {
  const RequestId id = context_.next_id.fetch_add(1, std::memory_order_relaxed);
  const uint64_t random = SplitMix(context_.random_key + id * kGoldenRatio64);
  auto plan = ConvertGenerateRequest(message, {.model = backend_.model,
                                               .limits = backend_.limits,
                                               .now = absl::ToCivilSecond(arrival_, absl::LocalTimeZone()),
                                               .fresh_seed = random});
  if (!plan.ok()) return End(nullptr, plan.status());
  plan->request.id = id;
  plan->request.deadline = call_.deadline;
  if (plan->name.empty()) plan->name = absl::StrCat("r", absl::Hex(random, absl::kZeroPad16));
  if (absl::Status status = Submit(*std::move(plan)); !status.ok()) return End(nullptr, status);
  Deliver();  // what was said before the source was known here
}

absl::Status Generation::Submit(GenerationPlan plan) {
  absl::MutexLock lock(&mutex_);
  plan_ = std::move(plan);
  const absl::Time now = context_.clock.Now();
  if (cancelled_ || now >= call_.deadline) return Gone(call_.deadline, now);
  const ValidRequest& request = plan_.request;
  RETURN_IF_ERROR(context_.live_requests.Add(request.tenant, plan_.name, weak_from_this()));
  registered_ = true;
  ASSIGN_OR_RETURN(permit_, context_.admission.TryAdmit(request.tenant, plan_.max_cost_tokens(), now));
  answer_.emplace(plan_, *backend_.model.tokenizer);
  last_token_.assign(request.num_samples, absl::InfinitePast());
  ASSIGN_OR_RETURN(
      events_, backend_.engine.Submit(request, [self = shared_from_this()] { self->ScheduleDelivery(); }));
  return absl::OkStatus();
}

void Generation::OnSent(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    sending_ = false;
    if (!ok) Leave();
  }
  Deliver();
}

void Generation::OnCancel() {
  absl::MutexLock lock(&mutex_);
  Leave();
}

void Generation::Abort() {
  absl::MutexLock lock(&mutex_);
  CancelInEngine();
}

// Nothing can be sent any more.
void Generation::Leave() {
  unreachable_ = true;
  CancelInEngine();
}

void Generation::CancelInEngine() {
  const bool told = std::exchange(cancelled_, true);
  if (events_ != nullptr && !told) backend_.engine.Cancel(plan_.request.id);
}

void Generation::ScheduleDelivery() {
  if (delivery_scheduled_.exchange(true, std::memory_order_acq_rel)) return;
  const bool posted = context_.delivering.TryPost([self = shared_from_this()] {
    self->delivery_scheduled_.store(false, std::memory_order_release);
    self->Deliver();
  });
  ROPEWAY_CHECK(posted);  // a call has one task at a time, and the pool has no other bound
}

void Generation::Deliver() {
  while (DeliverOne()) {
  }
}

// True where there may be more to deliver.
bool Generation::DeliverOne() {
  std::optional<v1::GenerateChunk> chunk;
  absl::Status status;
  bool last = false;
  {
    absl::MutexLock lock(&mutex_);
    if (ended_ || sending_ || events_ == nullptr) return false;
    TakeEvents();
    do {
      chunk = answer_->NextChunk();
    } while (unreachable_ && chunk);
    last = answer_->done() && (!chunk || chunk->has_usage());
    if (!last && !chunk) return false;
    status = answer_->status();
    sending_ = true;
  }
  if (last) {
    End(chunk ? &*chunk : nullptr, status);
    return false;
  }
  if (!client_->Send(*std::move(chunk))) return false;
  absl::MutexLock lock(&mutex_);
  sending_ = false;
  return true;
}

void Generation::TakeEvents() {
  while (!answer_->done()) {
    const std::optional<TokenEvent> event = events_->Pop();
    if (!event) break;
    if (event->token != kNoToken) Measure(event->sample);
    answer_->Push(*event);
  }
  if (answer_->all_samples_ended() && !answer_->done()) CancelInEngine();
}

void Generation::Measure(int32_t sample) {
  const absl::Time now = context_.clock.Now();
  const absl::Time last = std::exchange(last_token_[sample], now);
  if (last == absl::InfinitePast()) {
    context_.metrics.OnFirstToken(now - arrival_);
  } else {
    context_.metrics.OnNextToken(now - last);
  }
}

void Generation::End(v1::GenerateChunk* last_chunk, const absl::Status& status) {
  {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(ended_, true)) return;
    if (registered_) context_.live_requests.Remove(plan_.request.tenant, plan_.name);
    Report(status);
    permit_ = {};
    events_ = nullptr;
  }
  client_->End(last_chunk, status);
}

void Generation::Report(const absl::Status& status) {
  context_.metrics.OnCall(call_.method, status.code());
  const std::string code = absl::StatusCodeToString(status.code());
  if (!answer_ || !answer_->done()) {
    context_.log.Info("request refused", {{"method", call_.method},
                                          {"id", plan_.name},
                                          {"tenant", plan_.request.tenant},
                                          {"code", code},
                                          {"message", std::string(status.message())}});
    return;
  }
  const Receipt& receipt = answer_->receipt();
  const absl::string_view reason = ReasonName(answer_->reason());
  const auto prompt_tokens = static_cast<int32_t>(plan_.request.prompt.size());
  const absl::Duration total = context_.clock.Now() - arrival_;
  context_.metrics.OnRequestEnd({.finish_reason = reason,
                                 .prompt_tokens = prompt_tokens,
                                 .generated_tokens = answer_->completion_tokens(),
                                 .cached_tokens = receipt.cached_tokens,
                                 .queue = receipt.queue,
                                 .prefill = receipt.prefill,
                                 .decode = receipt.decode,
                                 .total = total});
  context_.log.Info("request end", {{"method", call_.method},
                                    {"id", plan_.name},
                                    {"tenant", plan_.request.tenant},
                                    {"reason", reason},
                                    {"code", code},
                                    {"prompt_tokens", prompt_tokens},
                                    {"completion_tokens", answer_->completion_tokens()},
                                    {"cached_tokens", receipt.cached_tokens},
                                    {"preemptions", receipt.preemptions},
                                    {"queue_ms", absl::ToDoubleMilliseconds(receipt.queue)},
                                    {"prefill_ms", absl::ToDoubleMilliseconds(receipt.prefill)},
                                    {"decode_ms", absl::ToDoubleMilliseconds(receipt.decode)},
                                    {"total_ms", absl::ToDoubleMilliseconds(total)}});
}

}  // namespace ropeway
