// Whether the server may be asked: loading, serving, draining; in this order, never back. Thread-safe.
#ifndef ROPEWAY_SERVER_OBS_HEALTH_H_
#define ROPEWAY_SERVER_OBS_HEALTH_H_

#include <atomic>

namespace ropeway::server {

enum class HealthState { kLoading, kServing, kDraining };

class Health {
 public:
  HealthState state() const { return state_.load(std::memory_order_acquire); }

  // False where the server drains already.
  bool StartServing() {
    HealthState loading = HealthState::kLoading;
    return state_.compare_exchange_strong(loading, HealthState::kServing, std::memory_order_acq_rel);
  }

  void StartDraining() { state_.store(HealthState::kDraining, std::memory_order_release); }

 private:
  std::atomic<HealthState> state_ = HealthState::kLoading;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_OBS_HEALTH_H_
