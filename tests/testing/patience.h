// How long tests wait for what must happen: far longer than it takes, so that only what hangs comes to the
// end.
#ifndef ROPEWAY_TESTS_TESTING_PATIENCE_H_
#define ROPEWAY_TESTS_TESTING_PATIENCE_H_

#include "absl/time/time.h"

namespace ropeway::testing {

// Sanitizers and builds without optimisation take their time.
#ifdef NDEBUG
inline constexpr absl::Duration kPatience = absl::Seconds(60);
#else
inline constexpr absl::Duration kPatience = absl::Minutes(5);
#endif

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_PATIENCE_H_
