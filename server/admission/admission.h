// Decides at once whether a request may enter: caps on living requests and tokens, and a token budget per
// tenant.
//
// Thread-safe. Nothing waits here: what does not fit now is refused with RESOURCE_EXHAUSTED and a retry hint.
// A request takes its place when it arrives, before any work is done for it, and is charged once it is known
// what it can cost: its prompt and all the tokens that it may generate. It gives both back when the engine is
// done with it, and what it did not spend of its tenant's budget; its call stays open, and counts for its connection, until the client has taken the answer.
//
// Nobody holds all places: some are kept, beside max_requests, for connections and tenants that hold few.
#ifndef ROPEWAY_SERVER_ADMISSION_ADMISSION_H_
#define ROPEWAY_SERVER_ADMISSION_ADMISSION_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/base/retry_hint.h"

namespace ropeway::server {

// Of a token, that a budget which is refilled in fractions may lack.
inline constexpr double kLostInRounding = 1e-6;

struct AdmissionLimits {
  int32_t max_requests = 320;     // living or being prepared, over all tenants
  int32_t reserved_requests = 0;  // beside these, for connections and tenants that hold fewer than this
  int32_t max_connection_requests = 320;  // calls of one connection, until their answers are taken
  int64_t max_tokens = 0;                 // of living requests; 0: no cap
  int32_t max_tenant_requests = 0;        // living, of one tenant; 0: no cap
  int64_t tenant_tokens_per_second = 0;   // refills a tenant's budget; 0: no budget
  int64_t tenant_burst_tokens = 0;        // a full budget; used where there is one
  int32_t max_tenants = 65'536;           // whose budgets are remembered
};

class Admission {
 public:
  // An open call, with the place of its request and what it was charged. Gives all back when destroyed;
  // outlived by its Admission.
  class Permit {
   public:
    Permit() = default;
    Permit(Permit&& other) noexcept;
    Permit& operator=(Permit&& other) noexcept;
    ~Permit();

    bool held() const { return admission_ != nullptr; }

    // Gives back the place and the charge, not the call, and what was not spent of the charge to the tenant's budget:
    // `spent_tokens` were, or all where nobody knows. Of no effect where that was done.
    void ReleasePlace(std::optional<int64_t> spent_tokens = std::nullopt);

   private:
    friend class Admission;
    Permit(Admission* admission, absl::string_view connection, bool reserved)
        : admission_(admission), connection_(connection), has_place_(true), reserved_(reserved) {}
    void Release();

    struct Charge {
      std::string tenant;
      int64_t tokens = 0;
    };
    Admission* admission_ = nullptr;
    std::string connection_;
    bool has_place_ = false;
    bool reserved_ = false;  // the place is one beside max_requests
    std::optional<Charge> charge_;
  };

  explicit Admission(const AdmissionLimits& limits) : limits_(limits) {}
  ~Admission();  // REQUIRES: no permit is held

  // For limits that become known later.
  void SetLimits(const AdmissionLimits& limits);

  // Takes a place for a request that has arrived by `connection`, which is whatever tells one from another.
  // RESOURCE_EXHAUSTED with a retry hint where all are taken, UNAVAILABLE while draining.
  absl::StatusOr<Permit> TryEnter(absl::string_view connection);

  // Charges a request that may cost `tokens` >= 0 to `tenant`. RESOURCE_EXHAUSTED with a retry hint where a
  // cap or the tenant's budget does not allow it now, INVALID_ARGUMENT where it never will, UNAVAILABLE while
  // draining; then nothing is charged. REQUIRES: `permit` is held and was not charged before.
  absl::Status TryCharge(absl::string_view tenant, int64_t tokens, absl::Time now, Permit& permit);

  // Whether such a request would enter and be charged now; the same errors. Nothing is taken.
  absl::Status Check(absl::string_view connection, absl::string_view tenant, int64_t tokens, absl::Time now);

  // From now on nothing enters and nothing is charged.
  void StartDraining();

  int32_t live_requests() const;  // that hold a place
  int32_t open_calls() const;

  // Whether no call was open at some moment within `timeout`.
  bool WaitUntilIdle(absl::Duration timeout) const;

 private:
  struct Connection {
    int32_t open_calls = 0;
    int32_t live_requests = 0;
  };
  struct Tenant {
    int32_t live_requests = 0;
    double budget_tokens = 0;  // as of `refilled`
    absl::Time refilled;
  };

  bool has_budgets() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return limits_.tenant_tokens_per_second > 0;
  }
  void Refill(Tenant& tenant, absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Tenant> TenantAt(absl::string_view name, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckCharge(absl::string_view tenant_name, const Tenant& tenant, int64_t tokens,
                           bool reserved) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetFullBudgets(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckDraining() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckTokens(int64_t tokens) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckTenant(const Tenant& tenant, int64_t tokens) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckConnection(const Connection& connection) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status FullError() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReleasePlace(Permit& permit, std::optional<int64_t> spent_tokens)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReleaseCharge(const Permit::Charge& charge, std::optional<int64_t> spent_tokens)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReleaseCall(const std::string& connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  AdmissionLimits limits_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  int32_t live_requests_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t open_calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t live_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, Connection> connections_ ABSL_GUARDED_BY(mutex_);  // with open calls
  absl::flat_hash_map<std::string, Tenant> tenants_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_ADMISSION_ADMISSION_H_
