// Choosing tokens from logits on the device.
//
// Plain C++. For the same logits the answers are those of engine/sample/sampler.h, bit for bit: both follow
// engine/sample/sampling_rule.h and count probabilities in integers.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_SAMPLING_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_SAMPLING_H_

#include <algorithm>
#include <cstdint>

#include "engine/kernels/cuda/runtime.h"
#include "engine/sample/sampling_rule.h"

namespace ropeway::cuda {

// Tokens are ranked by 54-bit keys: 32 bits of logit, 22 of id.
inline constexpr int32_t kMaxVocabulary = 1 << 22;

// The likeliest tokens that one row may ask for.
inline constexpr int32_t kMaxTop = 1024;

// The token of a row whose logits say nothing: one is NaN or +infinity, or all are -infinity.
inline constexpr int32_t kNoChoice = -1;

// In place of a token of a step: the one that the step before chose as its i-th. Its own inverse.
constexpr int32_t TokenOfResult(int32_t i) { return -1 - i; }

// Blocks share a row, a slice each: as many as keep a device busy, of at least so many tokens.
inline constexpr int kMaxSlices = 32, kSliceUnit = 4096;
// Tokens of a slice: a whole number of units, alike for all slices but the last.
constexpr int32_t SliceTokens(int32_t vocab_size, int num_rows, int processors) {
  const int wanted = std::clamp(processors / num_rows, 1, kMaxSlices);
  const int32_t unit = kSliceUnit * wanted;
  return (vocab_size + unit - 1) / unit * kSliceUnit;
}

// What the blocks of a row tell each other; each launch begins anew.
struct SampleState {
  static constexpr int kParts = 32 * kMaxSlices, kGroups = 2048, kListed = 8192;

  uint64_t peaks[kMaxSlices];  // of each slice: its likeliest token
  uint64_t sums[kParts];       // of each warp's part of a slice: what its tokens weigh
  uint64_t keys[kListed];      // of tokens that may be among the likeliest
  float maxima[kGroups];       // of groups of tokens
  uint32_t num_keys;           // more than there is room for: there are others
  uint32_t arrivals;           // blocks that are done
};

struct SampleRowParams {
  int32_t logit_row = 0;
  int32_t num_logprobs = -1;  // -1: none; else as many likeliest beside the chosen one, at most max_top
  int32_t first_change = 0, num_changes = 0;  // of SampleArgs::changes; tokens distinct
  // Of SampleArgs::token_ids: the answer's last token, whose occurrence the changes do not count; -1: they do.
  int32_t uncounted = -1;
  SamplingRule rule;
};

struct SampleArgs {
  const float* logits = nullptr;  // [S, logit_stride], not changed
  int64_t logit_stride = 0;
  int32_t vocab_size = 0;                 // <= kMaxVocabulary
  const SampleRowParams* rows = nullptr;  // [num_rows], device memory
  const LogitChange* changes = nullptr;   // device memory
  const int32_t* token_ids = nullptr;     // device memory; not read where all changes count
  int num_rows = 0;
  int processors = 1;             // of the device
  float* scratch = nullptr;       // [num_rows, vocab_size]
  SampleState* states = nullptr;  // [num_rows], scratch
  int32_t* tokens = nullptr;      // out: [num_rows]; kNoChoice where the logits say nothing
  float* logprobs = nullptr;      // out: [num_rows], of the chosen token, under softmax(logits)
  // Out: [num_rows, max_top], likeliest first; what is not asked for is not written
  int32_t* top_tokens = nullptr;
  float* top_logprobs = nullptr;  // out: [num_rows, max_top]
  int max_top = 0;                // <= kMaxTop
};

struct ScoreRowParams {
  int32_t logit_row = 0;
  int32_t token = 0;
  int32_t num_logprobs = 0;  // as many likeliest beside the given one, at most max_top
};

// Log-probabilities of given tokens, and of the likeliest.
struct ScoreArgs {
  const float* logits = nullptr;  // [S, logit_stride]
  int64_t logit_stride = 0;
  int32_t vocab_size = 0;
  const ScoreRowParams* rows = nullptr;  // [num_rows], device memory
  int num_rows = 0;
  float* logprobs = nullptr;      // out: [num_rows]; NaN where the logits say nothing
  int32_t* top_tokens = nullptr;  // out: [num_rows, max_top]; kNoChoice where there are fewer; what is not
                                  // asked for is not written
  float* top_logprobs = nullptr;
  int max_top = 0;
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_SAMPLING_H_
