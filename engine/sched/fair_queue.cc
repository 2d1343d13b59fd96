#include "engine/sched/fair_queue.h"

#include <algorithm>
#include <limits>

#include "engine/base/check.h"

namespace ropeway {

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
  ROPEWAY_CHECK(tenants_.at(request.spec.tenant).waiting.insert(&request).second);
  ++size_;
}

void FairQueue::Remove(RequestState& request) {
  ROPEWAY_CHECK(tenants_.at(request.spec.tenant).waiting.erase(&request) == 1);
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
