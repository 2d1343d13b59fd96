// What one core can do at most, measured in the same run as the kernels: clocks and memory differ by the
// minute on shared machines.
#ifndef ROPEWAY_TESTS_BENCH_MACHINE_LIMITS_H_
#define ROPEWAY_TESTS_BENCH_MACHINE_LIMITS_H_

#include <cstdint>

namespace ropeway {

// Reads all bytes once, in four streams. REQUIRES: AVX2.
void ReadAll(const uint8_t* data, int64_t bytes);

// Independent vpdpbusd on 512-bit registers; returns the multiplications and additions done, 0 where the
// processor has no AVX-512 VNNI.
int64_t DotProducts();

// The same with vfmadd231ps on 512-bit registers.
int64_t FusedMultiplyAdds();

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_MACHINE_LIMITS_H_
