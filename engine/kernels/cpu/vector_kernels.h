// What an instruction set provides beside the matrix product: the row operations and attention of ops.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_VECTOR_KERNELS_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_VECTOR_KERNELS_H_

#include <cstdint>

#include "engine/kernels/args.h"

namespace ropeway::kernels {

// Queries that attention takes together. Its scratch holds their weighted values [kAttentionGroup][padded
// Ev], two vectors [E] for each, and four pages of one KV head in floats.
constexpr int kAttentionGroup = 64;

// Positions that attention takes together.
constexpr int kChunk = 64;

// With a mixer the scratch holds, for each query head, what is known of its query, weighted values [padded
// Ev], scores and biases [kChunk]; and [width][16] floats.
constexpr int kMixedQueryBytes = 256;

struct VectorKernels {
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float epsilon, float* out);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, int64_t n, float epsilon,
                     float* out);
  void (*rotate)(const RotateArgs& args);
  void (*store_kv)(const StoreKvArgs& args);
  void (*attention)(const AttentionArgs& args);
  void (*add)(const float* x, float scale, int64_t n, float* y);
  void (*softcap)(float cap, int64_t n, float* y);
};

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_VECTOR_KERNELS_H_
