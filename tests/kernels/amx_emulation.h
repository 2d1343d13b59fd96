// The instructions of AMX on processors without it: as long as an AmxEmulation lives, those that the kernels use are
// executed in software, whole programs of them as they were compiled. TDPBF16PS sums as a processor with AMX was
// measured to (engine/kernels/cpu/attention_rows_inl.h), so kernels for AMX can be held to the bytes of all others
// anywhere. One thread at a time may use it.
#ifndef ROPEWAY_TESTS_KERNELS_AMX_EMULATION_H_
#define ROPEWAY_TESTS_KERNELS_AMX_EMULATION_H_

#include <csignal>
#include <cstdint>

namespace ropeway::kernels {

class AmxEmulation {
 public:
  AmxEmulation();
  ~AmxEmulation();
  AmxEmulation(const AmxEmulation&) = delete;
  AmxEmulation& operator=(const AmxEmulation&) = delete;

  // Products of tiles so far.
  int64_t products() const;

 private:
  struct sigaction before_;
};

// Whether this processor executes them itself, so that there is nothing to emulate.
bool ProcessorHasAmx();

}  // namespace ropeway::kernels

#endif  // ROPEWAY_TESTS_KERNELS_AMX_EMULATION_H_
