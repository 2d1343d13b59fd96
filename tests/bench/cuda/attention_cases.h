// The part of cuda_bench's cases that attends: decode steps and prompts.
#ifndef ROPEWAY_TESTS_BENCH_CUDA_ATTENTION_CASES_H_
#define ROPEWAY_TESTS_BENCH_CUDA_ATTENTION_CASES_H_

#include <vector>

#include "tests/bench/cuda/op_cases.h"

namespace ropeway {

// One layer's attention: of one and of many streams at each context, of each prompt, and of one long stream.
void AddAttentionCases(const BenchShape& shape, std::vector<OpCase>& cases);

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_CUDA_ATTENTION_CASES_H_
