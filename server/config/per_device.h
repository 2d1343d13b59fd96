// A number whose default depends on where the model is computed.
#ifndef ROPEWAY_SERVER_CONFIG_PER_DEVICE_H_
#define ROPEWAY_SERVER_CONFIG_PER_DEVICE_H_

#include <algorithm>
#include <optional>

#include "server/config/choices.h"

namespace ropeway::server {

// What was assigned holds on every device.
template <typename T>
class PerDevice {
 public:
  constexpr PerDevice(T on_cpu, T on_gpu) : on_cpu_(on_cpu), on_gpu_(on_gpu) {}
  constexpr PerDevice& operator=(T value) {
    given_ = value;
    return *this;
  }

  // REQUIRES: `device` is not kAuto: it is known by now.
  constexpr T On(Device device) const { return given_.value_or(device == Device::kCuda ? on_gpu_ : on_cpu_); }

  // The largest that it may come to, for what is made before the device is known.
  constexpr T AtMost() const { return given_.value_or(std::max(on_cpu_, on_gpu_)); }

 private:
  T on_cpu_, on_gpu_;
  std::optional<T> given_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_CONFIG_PER_DEVICE_H_
