// Waiting for what another thread or process brings about.
#ifndef ROPEWAY_TESTS_TESTING_AWAIT_H_
#define ROPEWAY_TESTS_TESTING_AWAIT_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/testing/patience.h"

namespace ropeway::testing {

// Whether `done()` becomes true before the patience of tests is over.
template <typename Condition>
bool Await(const Condition& done) {
  for (const absl::Time end = absl::Now() + kPatience; absl::Now() < end;
       absl::SleepFor(absl::Milliseconds(1)))
    if (done()) return true;
  return done();
}

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_AWAIT_H_
