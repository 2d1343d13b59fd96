// CHECK and DCHECK: broken invariants end the process with the place and the condition.
//
// CHECK is for bugs only. Bad input or a bad environment is an absl::Status.
#ifndef ROPEWAY_ENGINE_BASE_CHECK_H_
#define ROPEWAY_ENGINE_BASE_CHECK_H_

namespace ropeway::internal {

// Writes "file:line: CHECK failed: condition" to standard error and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);

}  // namespace ropeway::internal

#define ROPEWAY_CHECK(condition)                                        \
  do {                                                                  \
    if (!(condition)) [[unlikely]]                                      \
      ::ropeway::internal::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)

#ifdef NDEBUG
#define ROPEWAY_DCHECK(condition) \
  do {                            \
    (void)sizeof(condition);      \
  } while (false)
#else
#define ROPEWAY_DCHECK(condition) ROPEWAY_CHECK(condition)
#endif

#endif  // ROPEWAY_ENGINE_BASE_CHECK_H_
