// RETURN_IF_ERROR and ASSIGN_OR_RETURN, which newer Abseils have and Debian 12's lacks.
#ifndef ROPEWAY_ENGINE_BASE_STATUS_MACROS_H_
#define ROPEWAY_ENGINE_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define ROPEWAY_CONCAT_INNER(a, b) a##b
#define ROPEWAY_CONCAT(a, b) ROPEWAY_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expression`, an absl::Status, is an error.
#define RETURN_IF_ERROR(expression)                                    \
  do {                                                                 \
    if (absl::Status status = (expression); !status.ok()) [[unlikely]] \
      return status;                                                   \
  } while (false)

// ASSIGN_OR_RETURN(auto x, Make()); assigns the value of an absl::StatusOr or returns its error.
#define ASSIGN_OR_RETURN(target, expression) \
  ROPEWAY_ASSIGN_OR_RETURN(ROPEWAY_CONCAT(status_or_, __LINE__), target, expression)
#define ROPEWAY_ASSIGN_OR_RETURN(result, target, expression) \
  auto result = (expression);                                \
  if (!result.ok()) [[unlikely]]                             \
    return std::move(result).status();                       \
  target = *std::move(result)

#endif  // ROPEWAY_ENGINE_BASE_STATUS_MACROS_H_
