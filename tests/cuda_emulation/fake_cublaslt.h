// A stand-in for the entry points of cuBLASLt that gemm_cublaslt.cc uses, with their documented column-major
// semantics, so that the real call site is tested without a device: transposes, leading dimensions, types,
// plans.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_FAKE_CUBLASLT_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_FAKE_CUBLASLT_H_

#include <cstdint>
#include <vector>

namespace ropeway::cuda::emulation {

// What the library was asked for; begin anew by assigning {}.
struct CublasLtCalls {
  int heuristics = 0;                // searches for an algorithm
  std::vector<uint64_t> algorithms;  // of each product, in order
  int products = 0;                  // descriptors that live
  int layouts = 0;
};
CublasLtCalls& FakeCublasLt();

// Of the algorithms that a search offers for n columns of y, best first: one that splits K, then one whose
// tile depends on n. The number of the second:
uint64_t FakeAlgorithmFor(uint64_t n);

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_FAKE_CUBLASLT_H_
