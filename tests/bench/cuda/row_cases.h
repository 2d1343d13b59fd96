// What lies between the products of a layer, row by row: norms, activations, rotations.
#ifndef ROPEWAY_TESTS_BENCH_CUDA_ROW_CASES_H_
#define ROPEWAY_TESTS_BENCH_CUDA_ROW_CASES_H_

#include <vector>

#include "tests/bench/cuda/op_cases.h"

namespace ropeway {

void AddRowCases(const BenchShape& shape, std::vector<OpCase>& cases);

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_CUDA_ROW_CASES_H_
