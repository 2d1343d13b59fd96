#include "engine/sched/fair_queue.h"

#include <algorithm>
#include <limits>

#include "engine/base/check.h"

namespace ropeway {
namespace {

// Of one tenant's requests, to tell how many are before another; beyond, all of them are taken to be.
constexpr int64_t kMostLookedAt = 1024;

}  // namespace

void FairQueue::Join(const std::string& tenant) {
  const int64_t floor = SmallestBusyAccount();
  Tenant& account = tenants_[tenant];
  if (account.live++ > 0) return;
  idle_.erase({account.charged, tenant});
  account.charged = std::max(account.charged, floor);
}

void FairQueue::Leave(const std::string& tenant) {
  Tenant& account = tenants_.at(tenant);
  ROPEWAY_CHECK(account.live > 0);
  if (--account.live > 0) return;
  idle_.insert({account.charged, tenant});
  ForgetIdleTenants();
}

void FairQueue::Charge(const std::string& tenant, int64_t tokens) {
  Tenant& account = tenants_.at(tenant);
  ROPEWAY_CHECK(account.live > 0);
  account.charged += tokens;
}

void FairQueue::Push(RequestState& request) {
  Tenant& tenant = tenants_.at(request.spec.tenant);
  ROPEWAY_CHECK(tenant.waiting.insert(&request).second);
  tenant.waiting_places += request.spec.num_samples;
  tenant.waiting_tokens += request.prompt_size();
  ++size_;
}

void FairQueue::Remove(RequestState& request) {
  Tenant& tenant = tenants_.at(request.spec.tenant);
  ROPEWAY_CHECK(tenant.waiting.erase(&request) == 1);
  tenant.waiting_places -= request.spec.num_samples;
  tenant.waiting_tokens -= request.prompt_size();
  --size_;
}

RequestState* FairQueue::Front() const {
  const Tenant* best = nullptr;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.waiting.empty()) continue;
    if (best == nullptr || tenant.charged < best->charged) best = &tenant;
  }
  return best == nullptr ? nullptr : *best->waiting.begin();
}

FairQueue::Ahead FairQueue::AheadAmongOwn(const Tenant& tenant, const RequestState& request) {
  Ahead ahead;
  for (const RequestState* other : tenant.waiting) {
    if (!MoreUrgent()(other, &request)) return ahead;
    if (ahead.requests == kMostLookedAt) break;
    ++ahead.requests;
    ahead.places += other->spec.num_samples;
    ahead.tokens += other->prompt_size();
  }
  if (ahead.requests < kMostLookedAt) return ahead;
  return {.requests = static_cast<int64_t>(tenant.waiting.size()),
          .places = tenant.waiting_places,
          .tokens = tenant.waiting_tokens};
}

// Tenants take turns: while those of its own tenant go first, as many of each other one do, and one more. Of tenants
// that were given more so far, none does.
FairQueue::Ahead FairQueue::AheadOf(const RequestState& request) const {
  if (size_ == 0) return {};
  const auto own = tenants_.find(request.spec.tenant);
  Ahead ahead = own == tenants_.end() ? Ahead() : AheadAmongOwn(own->second, request);
  const int64_t floor = SmallestBusyAccount();
  const int64_t charged = own == tenants_.end() ? floor : std::max(floor, own->second.charged);
  const int64_t turns = ahead.requests + 1;
  const int64_t reached = charged + ahead.tokens;
  for (const auto& [name, tenant] : tenants_) {
    const auto waiting = static_cast<int64_t>(tenant.waiting.size());
    if (name == request.spec.tenant || waiting == 0 || tenant.charged > reached) continue;
    const int64_t before = std::min(waiting, turns);
    ahead.requests += before;
    ahead.places += tenant.waiting_places * before / waiting;
    ahead.tokens += tenant.waiting_tokens * before / waiting;
  }
  return ahead;
}

// Zero when no tenant has requests.
int64_t FairQueue::SmallestBusyAccount() const {
  int64_t smallest = std::numeric_limits<int64_t>::max();
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.live > 0) smallest = std::min(smallest, tenant.charged);
  }
  return smallest == std::numeric_limits<int64_t>::max() ? 0 : smallest;
}

// An account that is no larger than those of all busy tenants says nothing that Join() would not say again;
// and when none is busy, there is nobody to be fair to.
void FairQueue::ForgetIdleTenants() {
  const bool any_busy = idle_.size() < tenants_.size();
  const int64_t floor = SmallestBusyAccount();
  while (!idle_.empty() && (!any_busy || idle_.begin()->first <= floor)) {
    tenants_.erase(idle_.begin()->second);
    idle_.erase(idle_.begin());
  }
}

}  // namespace ropeway
