// What a request is admitted with, as far as its rotations depend on it.
#ifndef ROPEWAY_ENGINE_BASE_ADMITTED_LENGTHS_H_
#define ROPEWAY_ENGINE_BASE_ADMITTED_LENGTHS_H_

#include <cstdint>

namespace ropeway {

// Fixed once, at admission: they never change while a request lives, nor when it is preempted and recomputed.
struct AdmittedLengths {
  int32_t prompt_length = 1;   // tokens of the whole prompt, a cached prefix included; >= 1
  int32_t max_new_tokens = 0;  // after defaults

  bool operator==(const AdmittedLengths&) const = default;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_ADMITTED_LENGTHS_H_
