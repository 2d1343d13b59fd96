// Decides at once whether a request may enter: caps on living requests and tokens, and a token budget per
// tenant.
//
// Thread-safe. Nothing waits here: what does not fit now is refused with RESOURCE_EXHAUSTED and a retry hint.
// A request is charged for its prompt and all the tokens that it may generate, since that is what it can
// cost.
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

namespace ropeway {

// When a refused client may try again; travels inside the status.
void SetRetryHint(absl::Status& status, absl::Duration after);
std::optional<absl::Duration> RetryHint(const absl::Status& status);

struct AdmissionLimits {
  int32_t max_requests = 320;            // living, over all tenants
  int64_t max_tokens = 0;                // of living requests; 0: no cap
  int32_t max_tenant_requests = 0;       // living, of one tenant; 0: no cap
  int64_t tenant_tokens_per_second = 0;  // refills a tenant's budget; 0: no budget
  int64_t tenant_burst_tokens = 0;       // a full budget; used where there is one
  int32_t max_tenants = 65'536;          // whose budgets are remembered
};

class Admission {
 public:
  // The right of one request to live. Gives it back when destroyed; outlived by its Admission.
  class Permit {
   public:
    Permit() = default;
    Permit(Permit&& other) noexcept;
    Permit& operator=(Permit&& other) noexcept;
    ~Permit();

    bool held() const { return admission_ != nullptr; }

   private:
    friend class Admission;
    Permit(Admission* admission, std::string tenant, int64_t tokens)
        : admission_(admission), tenant_(std::move(tenant)), tokens_(tokens) {}
    void Release();

    Admission* admission_ = nullptr;
    std::string tenant_;
    int64_t tokens_ = 0;
  };

  explicit Admission(const AdmissionLimits& limits) : limits_(limits) {}
  ~Admission();  // REQUIRES: no permit is held

  // Admits a request that may cost `tokens` >= 0. RESOURCE_EXHAUSTED with a retry hint where a cap or the
  // tenant's budget does not allow it now, INVALID_ARGUMENT where it never will, UNAVAILABLE while draining.
  absl::StatusOr<Permit> TryAdmit(absl::string_view tenant, int64_t tokens, absl::Time now);

  // From now on nothing is admitted.
  void StartDraining();

  int32_t live_requests() const;

  // Whether no permit was held at some moment within `timeout`.
  bool WaitUntilIdle(absl::Duration timeout) const;

 private:
  struct Tenant {
    int32_t live_requests = 0;
    double budget_tokens = 0;  // as of `refilled`
    absl::Time refilled;
  };

  bool has_budgets() const { return limits_.tenant_tokens_per_second > 0; }
  void Refill(Tenant& tenant, absl::Time now) const;
  void ForgetFullBudgets(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckCaps(int64_t tokens) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckTenant(const Tenant& tenant, int64_t tokens) const;
  void Release(const std::string& tenant, int64_t tokens);

  const AdmissionLimits limits_;

  mutable absl::Mutex mutex_;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  int32_t live_requests_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t live_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, Tenant> tenants_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway

#endif  // ROPEWAY_SERVER_ADMISSION_ADMISSION_H_
