// The requests that wait for their admission, in the order of fair queueing between tenants.
//
// Every token that is computed for a tenant is charged to it, and the tenant with the smallest account is
// served first. A tenant that comes back after it had nothing to do starts at least at the smallest account
// of those that are busy, so that idling saves nothing up. Not thread-safe.
#ifndef ROPEWAY_ENGINE_SCHED_FAIR_QUEUE_H_
#define ROPEWAY_ENGINE_SCHED_FAIR_QUEUE_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "engine/sched/sequence.h"

namespace ropeway {

class FairQueue {
 public:
  // A request of `tenant` begins or ceases to live, waiting or not.
  void Join(const std::string& tenant);
  void Leave(const std::string& tenant);
  // REQUIRES: a request of `tenant` lives.
  void Charge(const std::string& tenant, int64_t tokens);

  // REQUIRES: the request's tenant joined for it; for Remove(), that it waits in here.
  void Push(RequestState& request);
  void Remove(RequestState& request);

  // Of the tenant with the smallest account (the first by name among equals) the request with the largest
  // priority, among equals the one with the earliest deadline, then the oldest. Null when nothing waits.
  RequestState* Front() const;

  // About what waits that would be served before `request`, which may wait in here or not.
  struct Ahead {
    int64_t requests = 0;
    int64_t places = 0;  // in the batch
    int64_t tokens = 0;  // of prompts
  };
  Ahead AheadOf(const RequestState& request) const;

  int32_t size() const { return size_; }
  int32_t num_accounts() const { return static_cast<int32_t>(tenants_.size()); }

 private:
  struct MoreUrgent {
    bool operator()(const RequestState* a, const RequestState* b) const {
      return std::tuple(-int64_t{a->spec.priority}, a->spec.deadline, a->order) <
             std::tuple(-int64_t{b->spec.priority}, b->spec.deadline, b->order);
    }
  };
  struct Tenant {
    int64_t charged = 0;  // tokens
    int32_t live = 0;     // requests
    std::set<RequestState*, MoreUrgent> waiting;
    int64_t waiting_places = 0;
    int64_t waiting_tokens = 0;
  };

  static Ahead AheadAmongOwn(const Tenant& tenant, const RequestState& request);
  int64_t SmallestBusyAccount() const;
  void ForgetIdleTenants();

  std::map<std::string, Tenant> tenants_;
  std::set<std::pair<int64_t, std::string>> idle_;  // accounts of tenants without requests, that still matter
  int32_t size_ = 0;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SCHED_FAIR_QUEUE_H_
