#include "engine/base/exhaustion.h"

#include "absl/strings/str_cat.h"
#include "engine/base/machine.h"

namespace ropeway {

absl::Status OutOfMemoryStatus(const std::bad_alloc& error) {
  const auto* known = dynamic_cast<const OutOfMemory*>(&error);
  const int64_t free_bytes = LookAtMachine().free_bytes;
  return absl::ResourceExhaustedError(absl::StrCat(
      "out of memory: ", known == nullptr ? "more is" : absl::StrCat(known->wanted_bytes(), " bytes are"),
      " wanted, ", free_bytes, " bytes are free"));
}

absl::Status NoThreadStatus(const std::system_error& error) {
  return absl::ResourceExhaustedError(absl::StrCat("cannot start a thread: ", error.what()));
}

}  // namespace ropeway
