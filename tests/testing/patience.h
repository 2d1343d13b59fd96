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

// Whether ThreadSanitizer watches. Of each thread of an emulated kernel it keeps so much that whole models on the shipped
// kernels take more mappings than a process may have; the kernels' own tests run there on two threads.
// (proto/CMakeLists.txt says why the compiler's own word for it is not always there.)
#if defined(__SANITIZE_THREAD__) || defined(ROPEWAY_THREAD_SANITIZER)
inline constexpr bool kWatchesThreads = true;
#else
inline constexpr bool kWatchesThreads = false;
#endif

// Whether a limit of address space would hit a sanitizer's own memory first.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kHasShadowMemory = true;
#else
inline constexpr bool kHasShadowMemory = kWatchesThreads;
#endif

inline constexpr absl::Duration kPatience = kSlowBuild ? absl::Minutes(5) : absl::Seconds(60);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_PATIENCE_H_
