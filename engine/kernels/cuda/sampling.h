// Choosing tokens from logits on the device.
//
// Plain C++. The same answers as engine/sample/sampler.h gives for the same logits, coins included.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_SAMPLING_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_SAMPLING_H_

#include <cstdint>

#include "engine/kernels/cuda/runtime.h"

namespace ropeway::cuda {

// A change to one logit of one row, made before temperature; several may name one token, in ascending order
// of kind.
struct LogitChange {
  int32_t token = 0;
  float add = 0;         // logit_bias; then
  float repetition = 1;  // repetition penalty: divides positive, multiplies negative logits; then
  float subtract = 0;    // presence and frequency penalties, added up; then
  int32_t masked = 0;    // 1: never chosen
};

struct SampleRowParams {
  int32_t logit_row = 0;
  float temperature = 1;  // 0: greedy
  int32_t top_k = 0;      // 0: all
  float top_p = 1;
  float min_p = 0;
  float coin = 0;                             // [0, 1), drawn on the host from (seed, sample, step)
  int32_t first_change = 0, num_changes = 0;  // of SampleArgs::changes; tokens distinct
  int32_t num_logprobs = -1;                  // -1: none; else as many likeliest beside the chosen one
};

struct SampleArgs {
  const float* logits = nullptr;  // [S, logit_stride], not changed
  int64_t logit_stride = 0;
  int32_t vocab_size = 0;
  const SampleRowParams* rows = nullptr;  // [num_rows], device memory
  const LogitChange* changes = nullptr;   // device memory
  int num_rows = 0;
  float* scratch = nullptr;       // [num_rows, vocab_size]
  int32_t* tokens = nullptr;      // out: [num_rows]
  float* logprobs = nullptr;      // out: [num_rows], of the chosen token, under softmax(logits)
  int32_t* top_tokens = nullptr;  // out: [num_rows, max_top]
  float* top_logprobs = nullptr;  // out: [num_rows, max_top]
  int max_top = 0;
};

// Log-probabilities of given tokens, and of the likeliest.
struct ScoreArgs {
  const float* logits = nullptr;  // [num_rows, logit_stride]
  int64_t logit_stride = 0;
  int32_t vocab_size = 0;
  int num_rows = 0;
  const int32_t* tokens = nullptr;  // [num_rows]
  float* logprobs = nullptr;        // out: [num_rows]
  int32_t* top_tokens = nullptr;    // out: [num_rows, max_top]
  float* top_logprobs = nullptr;
  int max_top = 0;
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_SAMPLING_H_
