// A stand-in for the entry points of cuBLASLt and the CUDA runtime that Gemm uses, with their documented
// semantics, so that the real call site is tested without a device: transposes, leading dimensions, types,
// the choice among algorithms. Device memory is the host's, and time passes by products alone.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_FAKE_CUBLASLT_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_FAKE_CUBLASLT_H_

#include <cstdint>
#include <functional>
#include <vector>

namespace ropeway::cuda::emulation {

struct FakeAlgorithm {
  uint64_t number = 0;
  uint32_t splits = 1;           // of K
  uint32_t reduction = 0;        // how it says that parts are added up: CUBLASLT_REDUCTION_SCHEME_*
  uint64_t workspace_bytes = 0;  // that it says it needs
  uint64_t counter_bytes = 0;    // that its check tells of besides, and that it does without
  bool keeps_rule = true;        // else each half of K is summed by itself
  float milliseconds = 1;        // of a product
  uint32_t alignment = 1;        // in bytes, that y must have
  // Keeps the rule for fewer outputs and for multiples of so many tokens alone.
  uint32_t wrong_outputs = UINT32_MAX, whole_tokens = 1;
  uint32_t wrong_token = UINT32_MAX;  // does not keep it in this row of y
};

// What the library does, and was asked for; begin anew by assigning {}.
struct FakeLibrary {
  // What a search offers for n columns of y, best first by the library's estimate. Null: one that splits K,
  // one whose number depends on n (FakeAlgorithmFor), and a plain one.
  std::function<std::vector<FakeAlgorithm>(uint64_t n)> offers;
  // Which algorithms are refused for so many columns of y; null: none.
  std::function<bool(uint64_t algorithm, uint64_t n)> refuses;
  size_t version = 130100;
  int64_t allocations_left = INT64_MAX;  // that succeed

  const char* device = "fake device";

  int heuristics = 0;                // searches for an algorithm
  int64_t checks = 0;                // of an algorithm for a number of tokens
  std::vector<uint64_t> algorithms;  // of each product, in order
  int products = 0;                  // descriptors that live
  int layouts = 0;                   // likewise
  int allocations = 0;               // likewise
  int events = 0;                    // likewise
  int copies = 0;                    // from the host that may still read it: the stream was not waited for
  float now = 0;                     // milliseconds
};
FakeLibrary& TheFakeLibrary();

uint64_t FakeAlgorithmFor(uint64_t n);
inline constexpr uint64_t kFakePlainAlgorithm = 50;

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_FAKE_CUBLASLT_H_
