#include "server/admission/admission.h"

#include <algorithm>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace ropeway::server {
namespace {

constexpr char kRetryHintUrl[] = "ropeway/retry-after-ms";

}  // namespace

void SetRetryHint(absl::Status& status, absl::Duration after) {
  status.SetPayload(kRetryHintUrl, absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(after))));
}

absl::Status ExhaustedError(absl::string_view message, absl::Duration retry_after) {
  absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat(message, "; try again in ", absl::FormatDuration(retry_after)));
  SetRetryHint(status, retry_after);
  return status;
}

std::optional<absl::Duration> RetryHint(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryHintUrl);
  int64_t milliseconds = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &milliseconds)) return std::nullopt;
  return absl::Milliseconds(milliseconds);
}

absl::Status WithRetryHint(absl::Status status) {
  const bool may_pass = absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
  if (may_pass && !RetryHint(status)) SetRetryHint(status, kRetryAfter);
  return status;
}

Admission::Permit::Permit(Permit&& other) noexcept
    : admission_(std::exchange(other.admission_, nullptr)),
      connection_(std::move(other.connection_)),
      has_place_(other.has_place_),
      reserved_(other.reserved_),
      charge_(std::exchange(other.charge_, std::nullopt)) {}

Admission::Permit& Admission::Permit::operator=(Permit&& other) noexcept {
  if (this == &other) return *this;
  Release();
  admission_ = std::exchange(other.admission_, nullptr);
  connection_ = std::move(other.connection_);
  has_place_ = other.has_place_;
  reserved_ = other.reserved_;
  charge_ = std::exchange(other.charge_, std::nullopt);
  return *this;
}

Admission::Permit::~Permit() { Release(); }

void Admission::Permit::ReleasePlace() {
  if (admission_ == nullptr) return;
  absl::MutexLock lock(&admission_->mutex_);
  admission_->ReleasePlace(*this);
}

void Admission::Permit::Release() {
  Admission* const admission = std::exchange(admission_, nullptr);
  if (admission == nullptr) return;
  absl::MutexLock lock(&admission->mutex_);
  admission->ReleasePlace(*this);
  admission->ReleaseCall(connection_);
}

Admission::~Admission() {
  absl::MutexLock lock(&mutex_);
  ROPEWAY_CHECK(open_calls_ == 0 && live_requests_ == 0);
}

void Admission::SetLimits(const AdmissionLimits& limits) {
  absl::MutexLock lock(&mutex_);
  limits_ = limits;
}

absl::StatusOr<Admission::Permit> Admission::TryEnter(absl::string_view connection_name) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(CheckDraining());
  const auto found = connections_.find(connection_name);
  RETURN_IF_ERROR(CheckConnection(found == connections_.end() ? Connection() : found->second));
  Connection& connection = connections_[connection_name];
  ++connection.open_calls;
  ++connection.live_requests;
  ++open_calls_;
  ++live_requests_;
  return Permit(this, connection_name, /*reserved=*/live_requests_ > limits_.max_requests);
}

absl::Status Admission::CheckConnection(const Connection& connection) const {
  if (live_requests_ >= limits_.max_requests + limits_.reserved_requests) return FullError();
  if (live_requests_ >= limits_.max_requests && connection.live_requests >= limits_.reserved_requests) {
    return FullError();
  }
  if (connection.open_calls < limits_.max_connection_requests) return absl::OkStatus();
  return ExhaustedError(absl::StrCat("the connection has ", connection.open_calls,
                                     " calls already whose answers it has not taken"));
}

absl::Status Admission::FullError() const {
  return ExhaustedError(absl::StrCat("the server is full with ", live_requests_, " requests"));
}

absl::Status Admission::TryCharge(absl::string_view tenant_name, int64_t tokens, absl::Time now,
                                  Permit& permit) {
  ROPEWAY_CHECK(tokens >= 0 && permit.admission_ == this && permit.has_place_ && !permit.charge_);
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(CheckDraining());
  RETURN_IF_ERROR(CheckTokens(tokens));

  auto found = tenants_.find(tenant_name);
  if (found == tenants_.end()) {
    if (tenants_.size() >= limits_.max_tenants) ForgetFullBudgets(now);
    if (tenants_.size() >= limits_.max_tenants) {
      return ExhaustedError(absl::StrCat("at most ", limits_.max_tenants, " tenants are served"));
    }
    const Tenant fresh = {.budget_tokens = static_cast<double>(limits_.tenant_burst_tokens), .refilled = now};
    found = tenants_.emplace(tenant_name, fresh).first;
  }
  Tenant& tenant = found->second;
  Refill(tenant, now);
  absl::Status status = CheckTenant(tenant, tokens);
  // Those who name no tenant are not one.
  const bool hogs = !tenant_name.empty() && tenant.live_requests >= limits_.reserved_requests;
  if (status.ok() && permit.reserved_ && hogs) status = FullError();
  if (!status.ok()) {
    if (tenant.live_requests == 0 && !has_budgets()) tenants_.erase(found);
    return status;
  }
  if (has_budgets()) tenant.budget_tokens -= static_cast<double>(tokens);
  ++tenant.live_requests;
  live_tokens_ += tokens;
  permit.charge_ = {.tenant = std::string(tenant_name), .tokens = tokens};
  return absl::OkStatus();
}

void Admission::StartDraining() {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
}

int32_t Admission::live_requests() const {
  absl::MutexLock lock(&mutex_);
  return live_requests_;
}

int32_t Admission::open_calls() const {
  absl::MutexLock lock(&mutex_);
  return open_calls_;
}

bool Admission::WaitUntilIdle(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return open_calls_ == 0; };
  return mutex_.AwaitWithTimeout(absl::Condition(&idle), timeout);
}

void Admission::Refill(Tenant& tenant, absl::Time now) const {
  if (!has_budgets() || now <= tenant.refilled) return;
  const double refill =
      absl::ToDoubleSeconds(now - tenant.refilled) * static_cast<double>(limits_.tenant_tokens_per_second);
  tenant.budget_tokens =
      std::min(tenant.budget_tokens + refill, static_cast<double>(limits_.tenant_burst_tokens));
  tenant.refilled = now;
}

// A tenant with a full budget and nothing living is as good as one never seen.
void Admission::ForgetFullBudgets(absl::Time now) {
  for (auto it = tenants_.begin(); it != tenants_.end();) {
    Refill(it->second, now);
    const bool full = it->second.budget_tokens >= static_cast<double>(limits_.tenant_burst_tokens);
    if (full && it->second.live_requests == 0) {
      tenants_.erase(it++);
    } else {
      ++it;
    }
  }
}

absl::Status Admission::CheckDraining() const {
  if (!draining_) return absl::OkStatus();
  return absl::UnavailableError("the server is draining; use another replica");
}

absl::Status Admission::CheckTokens(int64_t tokens) const {
  if (limits_.max_tokens == 0) return absl::OkStatus();
  if (tokens > limits_.max_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("prompt and max_tokens of all samples must be at most ",
                                                   limits_.max_tokens, " tokens, are ", tokens));
  }
  if (live_tokens_ > limits_.max_tokens - tokens) {
    return ExhaustedError(
        absl::StrCat("the server is full with ", live_tokens_, " tokens of living requests"));
  }
  return absl::OkStatus();
}

absl::Status Admission::CheckTenant(const Tenant& tenant, int64_t tokens) const {
  if (limits_.max_tenant_requests > 0 && tenant.live_requests >= limits_.max_tenant_requests) {
    return ExhaustedError(absl::StrCat("the tenant has ", tenant.live_requests, " living requests already"));
  }
  if (!has_budgets()) return absl::OkStatus();
  if (tokens > limits_.tenant_burst_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("prompt and max_tokens of all samples must be at most ",
                                                   limits_.tenant_burst_tokens,
                                                   " tokens, a tenant's whole budget; are ", tokens));
  }
  const double missing = static_cast<double>(tokens) - tenant.budget_tokens;
  if (missing <= 0) return absl::OkStatus();
  const absl::Duration wait = absl::Seconds(missing / static_cast<double>(limits_.tenant_tokens_per_second));
  return ExhaustedError("the tenant's token budget is spent", absl::Ceil(wait, absl::Milliseconds(1)));
}

void Admission::ReleasePlace(Permit& permit) {
  if (!std::exchange(permit.has_place_, false)) return;
  --live_requests_;
  --connections_.at(permit.connection_).live_requests;
  if (const auto charge = std::exchange(permit.charge_, std::nullopt)) ReleaseCharge(*charge);
}

void Admission::ReleaseCharge(const Permit::Charge& charge) {
  live_tokens_ -= charge.tokens;
  const auto found = tenants_.find(charge.tenant);
  ROPEWAY_CHECK(found != tenants_.end() && found->second.live_requests > 0);
  if (--found->second.live_requests == 0 && !has_budgets()) tenants_.erase(found);
}

void Admission::ReleaseCall(const std::string& connection) {
  const auto found = connections_.find(connection);
  ROPEWAY_CHECK(found != connections_.end() && found->second.open_calls > 0);
  if (--found->second.open_calls == 0) connections_.erase(found);
  --open_calls_;
  ROPEWAY_CHECK(open_calls_ >= 0 && live_requests_ >= 0);
}

}  // namespace ropeway::server
