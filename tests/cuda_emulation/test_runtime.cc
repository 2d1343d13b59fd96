// The device of kernel tests, emulated. ROPEWAY_EMULATION_SCHEDULE (fifo, lifo, random), _SEED and _THREADS
// choose how it executes.
#include "tests/kernels/cuda/test_runtime.h"

#include <cstdlib>
#include <string>

#include "tests/cuda_emulation/emulated_runtime.h"

namespace ropeway::cuda {
namespace {

std::string Environment(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? fallback : value;
}

}  // namespace

std::unique_ptr<Runtime> MakeTestRuntime(TestDevice device, std::string* error) {
  const std::string schedule = Environment("ROPEWAY_EMULATION_SCHEDULE", "fifo");
  emulation::RuntimeOptions options;
  options.schedule = schedule == "lifo"     ? emulation::Schedule::kLifo
                     : schedule == "random" ? emulation::Schedule::kRandom
                                            : emulation::Schedule::kFifo;
  options.seed = std::stoull(Environment("ROPEWAY_EMULATION_SEED", "1"));
  options.os_threads = std::stoi(Environment("ROPEWAY_EMULATION_THREADS", "1"));
  if (device == TestDevice::kWithWarpgroups) {
    options.major = 9;
    options.shared_bytes_max = kMostWarpgroupSharedBytes;
  }
  error->clear();
  return std::make_unique<emulation::EmulatedRuntime>(options);
}

}  // namespace ropeway::cuda
