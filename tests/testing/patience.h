// How long tests wait for what must happen: far longer than it takes, so that only what hangs comes to the
// end.
#ifndef ROPEWAY_TESTS_TESTING_PATIENCE_H_
#define ROPEWAY_TESTS_TESTING_PATIENCE_H_

#include "absl/time/time.h"

namespace ropeway::testing {

// Whether the build is too slow for more than a sample of the work (sanitizers, no optimisation).
#ifdef NDEBUG
inline constexpr bool kSlowBuild = false;
#else
inline constexpr bool kSlowBuild = true;
#endif

// Whether a limit of address space would hit a sanitizer's own memory first.
// (proto/CMakeLists.txt says why the compiler's own word for ThreadSanitizer is not always there.)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(ROPEWAY_THREAD_SANITIZER)
inline constexpr bool kHasShadowMemory = true;
#else
inline constexpr bool kHasShadowMemory = false;
#endif

inline constexpr absl::Duration kPatience = kSlowBuild ? absl::Minutes(5) : absl::Seconds(60);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_PATIENCE_H_
