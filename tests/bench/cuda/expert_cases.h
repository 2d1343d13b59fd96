// Products of experts, the first of them with the gate behind it: as a layer of experts makes them of tokens that go to
// all experts evenly.
#ifndef ROPEWAY_TESTS_BENCH_CUDA_EXPERT_CASES_H_
#define ROPEWAY_TESTS_BENCH_CUDA_EXPERT_CASES_H_

#include <vector>

#include "tests/bench/cuda/op_cases.h"

namespace ropeway {

void AddExpertCases(const BenchShape& shape, std::vector<OpCase>& cases);
// Of devices that have fp8.
void AddFp8ExpertCases(const BenchShape& shape, std::vector<OpCase>& cases);

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_CUDA_EXPERT_CASES_H_
