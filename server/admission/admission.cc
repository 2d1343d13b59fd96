#include "server/admission/admission.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace ropeway::server {
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

void Admission::Permit::ReleasePlace(std::optional<int64_t> spent_tokens) {
  if (admission_ == nullptr) return;
  absl::MutexLock lock(&admission_->mutex_);
  admission_->ReleasePlace(*this, spent_tokens);
}

void Admission::Permit::Release() {
  Admission* const admission = std::exchange(admission_, nullptr);
  if (admission == nullptr) return;
  absl::MutexLock lock(&admission->mutex_);
  admission->ReleasePlace(*this, std::nullopt);
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
  ASSIGN_OR_RETURN(Tenant tenant, TenantAt(tenant_name, now));
  RETURN_IF_ERROR(CheckCharge(tenant_name, tenant, tokens, permit.reserved_));
  if (has_budgets()) tenant.budget_tokens -= static_cast<double>(tokens);
  ++tenant.live_requests;
  tenants_[tenant_name] = tenant;
  live_tokens_ += tokens;
  permit.charge_ = {.tenant = std::string(tenant_name), .tokens = tokens};
  return absl::OkStatus();
}

absl::Status Admission::Check(absl::string_view connection, absl::string_view tenant_name, int64_t tokens,
                              absl::Time now) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(CheckDraining());
  const auto found = connections_.find(connection);
  RETURN_IF_ERROR(CheckConnection(found == connections_.end() ? Connection() : found->second));
  ASSIGN_OR_RETURN(const Tenant tenant, TenantAt(tenant_name, now));
  return CheckCharge(tenant_name, tenant, tokens, /*reserved=*/live_requests_ >= limits_.max_requests);
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

// Whether it is remembered or not.
absl::StatusOr<Admission::Tenant> Admission::TenantAt(absl::string_view name, absl::Time now) {
  const auto found = tenants_.find(name);
  if (found != tenants_.end()) {
    Refill(found->second, now);
    return found->second;
  }
  if (tenants_.size() >= limits_.max_tenants) ForgetFullBudgets(now);
  if (tenants_.size() >= limits_.max_tenants)
    return ExhaustedError(absl::StrCat("at most ", limits_.max_tenants, " tenants are served"));
  return Tenant{.budget_tokens = static_cast<double>(limits_.tenant_burst_tokens), .refilled = now};
}

// `reserved`: for a place beside max_requests.
absl::Status Admission::CheckCharge(absl::string_view tenant_name, const Tenant& tenant, int64_t tokens,
                                    bool reserved) const {
  RETURN_IF_ERROR(CheckTokens(tokens));
  RETURN_IF_ERROR(CheckTenant(tenant, tokens));
  // Those who name no tenant are not one.
  const bool hogs = !tenant_name.empty() && tenant.live_requests >= limits_.reserved_requests;
  return reserved && hogs ? FullError() : absl::OkStatus();
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
  if (missing <= kLostInRounding) return absl::OkStatus();
  const absl::Duration wait = absl::Seconds(missing / static_cast<double>(limits_.tenant_tokens_per_second));
  return ExhaustedError("the tenant's token budget is spent", absl::Ceil(wait, absl::Milliseconds(1)));
}

void Admission::ReleasePlace(Permit& permit, std::optional<int64_t> spent_tokens) {
  if (!std::exchange(permit.has_place_, false)) return;
  --live_requests_;
  --connections_.at(permit.connection_).live_requests;
  if (const auto charge = std::exchange(permit.charge_, std::nullopt)) ReleaseCharge(*charge, spent_tokens);
}

void Admission::ReleaseCharge(const Permit::Charge& charge, std::optional<int64_t> spent_tokens) {
  live_tokens_ -= charge.tokens;
  const auto found = tenants_.find(charge.tenant);
  ROPEWAY_CHECK(found != tenants_.end() && found->second.live_requests > 0);
  const int64_t unspent = std::max<int64_t>(0, charge.tokens - spent_tokens.value_or(charge.tokens));
  if (has_budgets()) {
    found->second.budget_tokens = std::min(found->second.budget_tokens + static_cast<double>(unspent),
                                           static_cast<double>(limits_.tenant_burst_tokens));
  }
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
