// What an instruction set provides beside the matrix product: the row operations and attention of ops.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_VECTOR_KERNELS_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_VECTOR_KERNELS_H_

#include <cstdint>

#include "engine/kernels/args.h"

namespace ropeway::kernels {

// Queries that attention takes together. Its scratch holds, in floats: for each of them weighted values twice
// [padded Ev] and 6.5 vectors [padded E]; and a chunk of one KV head.
constexpr int kAttentionGroup = 64;

// Up to so many queries read the cache itself: each key and value is multiplied too seldom to be worth expanding.
constexpr int kFewQueries = 8;

// Positions that attention takes together.
constexpr int kChunk = 64;

// With a mixer the scratch holds, for each query head, what is known of its query, weighted values twice [padded
// Ev], two vectors [padded E], scores and biases [kChunk]; and [width][16] floats.
constexpr int kMixedQueryBytes = 384;

struct VectorKernels {
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float epsilon, float* out);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, int64_t n, float epsilon,
                     float* out);
  void (*rotate)(const RotateArgs& args);
  void (*store_kv)(const StoreKvArgs& args);
  void (*attention)(const AttentionArgs& args);
  void (*merge_spans)(const AttentionArgs& args);
  void (*add)(const float* x, float scale, int64_t n, float* y);
  void (*softcap)(float cap, int64_t n, float* y);
};

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_VECTOR_KERNELS_H_
