// Memory and threads that the system does not give.
//
// The standard library says so by exceptions (std::bad_alloc, std::system_error), and so does AlignedBuffer.
// They are turned into a Status at the few places from where one can go on: who starts a server and says that
// it cannot, and who runs a step or a request, and ends that alone.
#ifndef ROPEWAY_ENGINE_BASE_EXHAUSTION_H_
#define ROPEWAY_ENGINE_BASE_EXHAUSTION_H_

#include <cstdint>
#include <new>
#include <system_error>

#include "absl/status/status.h"

namespace ropeway {

// Thrown where the number of bytes is known.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(int64_t wanted_bytes) : wanted_bytes_(wanted_bytes) {}
  int64_t wanted_bytes() const { return wanted_bytes_; }

 private:
  int64_t wanted_bytes_;
};

// RESOURCE_EXHAUSTED, with the bytes that were wanted, where known, and those that are free.
absl::Status OutOfMemoryStatus(const std::bad_alloc& error);
// RESOURCE_EXHAUSTED for a thread that cannot be started.
absl::Status NoThreadStatus(const std::system_error& error);

// What `body` returns, a Status or a StatusOr, or one of the above where it runs out of memory or threads.
template <typename Body>
auto CatchExhaustion(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc& error) {
    return OutOfMemoryStatus(error);
  } catch (const std::system_error& error) {
    return NoThreadStatus(error);
  }
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_EXHAUSTION_H_
