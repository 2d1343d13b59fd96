// The operations that cuda_bench times, at the shapes of a decoder.
#ifndef ROPEWAY_TESTS_BENCH_CUDA_OP_CASES_H_
#define ROPEWAY_TESTS_BENCH_CUDA_OP_CASES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/bench/cuda/bench_device.h"

namespace ropeway {

struct BenchExperts {
  int count = 0, per_token = 0;  // X, K
  int ffn_size = 0;              // F of one
};

// Letters of engine/tensor/shape.h.
struct BenchShape {
  const char* name = "";
  int hidden_size = 0;   // D
  int num_heads = 0;     // H
  int num_kv_heads = 0;  // G
  int head_dim = 0;      // E
  int ffn_size = 0;      // F
  int vocab_size = 0;    // V
  std::vector<BenchExperts> experts;
  std::vector<int> tokens;           // T of products and of what lies between them
  std::vector<int> decode_contexts;  // positions that a decoded token attends to
  std::vector<int> prompts;          // lengths of prompts
  int long_context = 0;              // of one stream alone
  int square = 0;                    // rows, columns and tokens of the product that measures the peak
  int64_t copied_bytes = 0;          // of the copy and the read that measure the bandwidth
  int64_t read_bytes = 0;
  int64_t pool_bytes = 0;
};

// Null where there is no shape of that name.
const BenchShape* FindBenchShape(const std::string& name);
// "8b, smollm2, tiny".
std::string BenchShapeNames();

struct OpCase {
  std::string operation;  // "matmul qkv"
  std::string sizes;      // "T 64"
  double bytes = 0;       // that a call must move between device memory and processors
  double flops = 0;       // of tensor cores; 0: bound by memory alone
  bool writes = false;    // a good part of the bytes: held to a copy, others to a read
  // Allocates what the call needs, until Clear.
  std::function<BenchDevice::Call(BenchDevice& device)> prepare;
};

// What bounds operations: the bytes per second of a copy and of a read, the flops per second of a square product.
OpCase CopyCase(const BenchShape& shape);
OpCase ReadCase(const BenchShape& shape, const cuda::DeviceInfo& device);
OpCase PeakCase(const BenchShape& shape);

// Those that the device can do.
std::vector<OpCase> OpCases(const BenchShape& shape, const cuda::DeviceInfo& device);

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_CUDA_OP_CASES_H_
