// The part of cuda_bench's cases that times a layer's products with their neighbours: in one kernel, and one
// kernel after the other.
#ifndef ROPEWAY_TESTS_BENCH_CUDA_FUSED_CASES_H_
#define ROPEWAY_TESTS_BENCH_CUDA_FUSED_CASES_H_

#include <vector>

#include "tests/bench/cuda/op_cases.h"

namespace ropeway {

// norm, QKV and rotation; output and residual; norm, gate, up and activation; down and residual: of few tokens,
// in bf16 and Q4_K; where the device has bulk copies also by cp.async.
void AddFusedCases(const BenchShape& shape, bool has_bulk_copies, std::vector<OpCase>& cases);

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_CUDA_FUSED_CASES_H_
