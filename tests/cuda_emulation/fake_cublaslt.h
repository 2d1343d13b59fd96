// A stand-in for the entry points of cuBLASLt that gemm_cublaslt.cc uses, with their documented column-major
// semantics, so that the real call site is tested without a device: transposes, leading dimensions, types,
// plans.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_FAKE_CUBLASLT_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_FAKE_CUBLASLT_H_

#include <cstdint>
#include <functional>
#include <vector>

namespace ropeway::cuda::emulation {

// What the library was asked for; begin anew by assigning {}.
struct CublasLtCalls {
  int heuristics = 0;                // searches for an algorithm
  std::vector<uint64_t> algorithms;  // of each product, in order
  int products = 0;                  // descriptors that live
  int layouts = 0;
  // Which algorithms are refused for so many columns of y; null: none.
  std::function<bool(uint64_t algorithm, uint64_t columns)> refuses;
};
CublasLtCalls& FakeCublasLt();

// Of the algorithms that a search offers for n columns of y, best first: one that splits K, one whose tile
// depends on n, and a plain one. The number of the second, and of the third:
uint64_t FakeAlgorithmFor(uint64_t n);
inline constexpr uint64_t kFakePlainAlgorithm = 50;

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_FAKE_CUBLASLT_H_
