// The forward pass of a decoder over a ragged batch, on a team of CPU threads.
//
// Decoder is immutable and may be shared; all that changes lies in a Workspace, which belongs to one pass at
// a time. The contract of docs/architecture.md section 6 holds: what is computed for a token depends on its
// sequence alone.
#ifndef ROPEWAY_ENGINE_EXEC_CPU_PASS_H_
#define ROPEWAY_ENGINE_EXEC_CPU_PASS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/base/admitted_lengths.h"
#include "engine/base/thread_pool.h"
#include "engine/exec/cpu/experts.h"
#include "engine/exec/cpu/kv_ahead.h"
#include "engine/exec/cpu/weights.h"
#include "engine/kernels/ops.h"
#include "engine/model/decoder_spec.h"
#include "engine/position/rotary.h"
#include "engine/tensor/aligned_buffer.h"

namespace ropeway {

// The tokens of a step; see StepPlan in engine/api/step.h for the layout by example.
struct TokenBatch {
  absl::Span<const int32_t> token_ids;                      // [T]
  absl::Span<const int32_t> positions;                      // [T]
  absl::Span<const int32_t> row_starts;                     // [R + 1]
  absl::Span<const absl::Span<const int32_t>> page_tables;  // [R]
  absl::Span<const AdmittedLengths> lengths;                // [R], of the rows' requests
};

// The KV cache of all layers: quad q of layer l at data + l * layer_stride + q * kv.quad_bytes.
struct KvCache {
  kernels::KvLayout kv;
  uint8_t* data = nullptr;
  int64_t layer_stride = 0;  // in bytes
};

// Rows of a step whose positions may be shared out by spans, at most.
inline constexpr int kSpanRows = 8;

// Memory of one pass at a time.
class Workspace {
 public:
  // For positions [0, max_positions).
  Workspace(const DecoderSpec& spec, const kernels::KernelTable& table, const kernels::KvLayout& kv,
            int threads, int max_tokens, int max_logit_rows, int32_t max_positions);

  int max_tokens() const { return max_tokens_; }
  int max_logit_rows() const { return max_logit_rows_; }

  const float* logits(int row) const { return logits_.as<float>() + row * logit_stride_; }
  float* mutable_logits(int row) { return logits_.as<float>() + row * logit_stride_; }

 private:
  friend class Decoder;

  const int max_tokens_, max_logit_rows_;
  const int64_t latent_stride_, narrow_stride_;  // in floats, as all strides
  const int64_t hidden_stride_, qkv_stride_, attention_stride_, ffn_stride_, logit_stride_;
  AlignedBuffer hidden_;  // [T, D] residual stream
  AlignedBuffer branch_;  // [T, D] what a block adds, where it is normed first; gathered rows for logits
  AlignedBuffer normed_;  // [threads, kPrepareTokens, D] rows on their way from norm to prepare
  AlignedBuffer qkv_;     // [T, H E + G E + G Ev]
  AlignedBuffer latent_;  // [T, query_rank + kv_rank + rotary_dim] of latent attention
  AlignedBuffer narrow_;  // [T or S, embedding_size] of embeddings narrower than the stream
  // Queries turned for keys of the zone before their own, and of older ones; of models that have zones.
  AlignedBuffer previous_queries_, older_queries_;  // [T, H E]
  AlignedBuffer attention_;                         // [T, H Ev]
  AlignedBuffer ffn_;                               // [T, F]
  ExpertsWorkspace experts_;
  AlignedBuffer logits_;                            // [S, V]
  AlignedBuffer activations_[2];                    // prepared, by ActivationKind, of the whole batch
  std::vector<AlignedBuffer> private_activations_;  // [threads * 2], of small batches
  std::vector<AlignedBuffer> scratch_;              // [threads], of attention
  std::vector<float> cosines_, sines_;              // [rotaries][T][rotary_dim / 2], of spec.Rotaries()
  std::vector<int64_t> angle_offsets_;              // [rotaries], in floats
  std::vector<std::vector<float>> private_angles_;  // [threads], of one token
  std::vector<std::vector<int64_t>> first_pieces_;  // [threads][R + 1], of attention, of each row
  std::vector<std::vector<int64_t>> first_spans_;   // [threads][R + 1], of each row's positions
  std::vector<KvAhead> kv_ahead_;                   // [threads]
  AlignedBuffer spans_;  // [spans of at most kSpanRows rows][H, padded Ev + kSpanHead], what they came to
};

class Decoder {
 public:
  // `table` is one of the program's tables and lives forever.
  Decoder(DecoderSpec spec, CpuWeights weights, const kernels::KernelTable& table);

  const DecoderSpec& spec() const { return spec_; }
  const CpuWeights& weights() const { return weights_; }
  const kernels::KernelTable& table() const { return *table_; }

  // Computes the hidden states of all tokens and stores their keys and values. Called by all members of a
  // team together. REQUIRES: token ids, positions and pages are in range; at most workspace.max_tokens()
  // tokens.
  void Forward(const TokenBatch& batch, const KvCache& cache, Workspace& workspace, Team& team) const;

  // Logits of tokens `indices` of the last Forward, into workspace.logits(0 ..). Called by all members
  // together. REQUIRES: at most workspace.max_logit_rows() indices.
  void Logits(absl::Span<const int32_t> indices, Workspace& workspace, Team& team) const;

 private:
  class Pass;

  DecoderSpec spec_;
  CpuWeights weights_;
  const kernels::KernelTable* table_;
  std::vector<RotarySpec> rotaries_;  // of spec.Rotaries()
  std::vector<Rotation> rotations_;   // [rotaries]; not used where they depend on a request's lengths
  std::vector<int> layer_rotaries_;   // [L] index into rotaries_; -1: none
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CPU_PASS_H_
