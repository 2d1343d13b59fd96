// One member's way through one step, and what its phases share; the phases themselves are in pass.cc,
// pass_attention.cc, pass_feed_forward.cc and pass_products.cc. Of the folder alone.
#ifndef ROPEWAY_ENGINE_EXEC_CPU_PASS_PHASES_H_
#define ROPEWAY_ENGINE_EXEC_CPU_PASS_PHASES_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/base/ceil_div.h"
#include "engine/exec/cpu/pass.h"
#include "engine/exec/cpu/rows.h"
#include "engine/model/decoder_phases.h"
#include "engine/position/rpe3d.h"

namespace ropeway {

// Tokens of one piece of attention work.
inline constexpr int kAttentionTokens = 16;

// Where there are fewer rows than so many a member, long ones are shared out by spans of positions; and where a row or
// a span has no more than its share of so many a member, its KV heads go together.
inline constexpr int kSharedItems = 4;

// Where so many tokens share weights, products leave memory idle.
inline constexpr int kSharingTokens = 4;

// One member's way through one step: the phases of decoder_phases.h. Each phase ends when all members may
// read what it wrote.
class Decoder::Pass {
 public:
  using Vectors = NormWeights<std::vector<float>>;

  Pass(const Decoder& decoder, Workspace& workspace, Team& team)
      : decoder_(decoder),
        spec_(decoder.spec_),
        weights_(decoder.weights_),
        table_(*decoder.table_),
        workspace_(workspace),
        team_(team) {}

  void Forward(const TokenBatch& batch, const KvCache& cache);
  void Logits(absl::Span<const int32_t> indices);

  void Embed();
  void ProjectQkv(int index);
  void RotateAndStore(int index);
  void Attend(int index);
  void AddAttention(int index);
  void ProjectFfn(int index);
  void AddFeedForward(int index);

  void NormOutput();
  void ProjectOutput();
  void FinishLogits();

 private:
  float* Hidden(int64_t token) { return workspace_.hidden_.as<float>() + token * workspace_.hidden_stride_; }
  float* Branch(int64_t token) { return workspace_.branch_.as<float>() + token * workspace_.hidden_stride_; }
  float* Latent(int64_t token) { return workspace_.latent_.as<float>() + token * workspace_.latent_stride_; }
  float* Narrow(int64_t token) { return workspace_.narrow_.as<float>() + token * workspace_.narrow_stride_; }
  float* Qkv(int64_t token) const { return workspace_.qkv_.as<float>() + token * workspace_.qkv_stride_; }
  float* Keys(int64_t token) { return Qkv(token) + int64_t{spec_.num_heads} * spec_.head_dim; }
  float* Values(int64_t token) { return Keys(token) + int64_t{spec_.num_kv_heads} * spec_.head_dim; }
  float* OtherQueries(Rpe3dKeyZone zone, int64_t token) const {
    AlignedBuffer& queries =
        zone == Rpe3dKeyZone::kBefore ? workspace_.previous_queries_ : workspace_.older_queries_;
    return queries.as<float>() + token * workspace_.qkv_stride_;
  }
  int64_t num_tokens() const { return batch_->token_ids.size(); }
  int64_t RowOf(int64_t token) const {
    const auto after = std::upper_bound(batch_->row_starts.begin(), batch_->row_starts.end(), token);
    return after - batch_->row_starts.begin() - 1;
  }
  // Whether a layer mixes the scores of all heads, which are then one piece of work.
  bool Mixes(int index) const { return weights_.modifiers[index].modifier.mixer.width > 0; }

  // The rows that a product multiplies.
  struct Input {
    const float* x;  // [num_tokens, x_stride]
    int64_t x_stride;
    int64_t num_tokens;
    const Vectors* norm = nullptr;  // applied first, where the model has it; null: none
  };
  // Where a product goes.
  struct Output {
    float* y;  // [num_tokens, y_stride]
    int64_t y_stride;
    kernels::Epilogue epilogue = kernels::Epilogue::kStore;
    Activation activation = Activation::kSilu;
    ActivationNumbers numbers = {};
  };

  Input FromStream(const Vectors& norm);
  void NormStream(const Vectors& norm);
  const CpuProjection* NextOf(int index) const;
  void ProjectLatent(int index);
  void ShareRotatedColumns(const LatentSpec& latent, int64_t token);
  void FindAngles(int64_t token);
  void CountAttentionPieces();
  void FindKvAhead();
  void AskForKvOf(int index);
  KvAhead& Ahead() { return workspace_.kv_ahead_[team_.index()]; }
  void FinishHeads(int index, int64_t token);
  void NormHeads(int index, float* heads);
  void RotateHeads(int rotary, int64_t token);
  void RotateForOtherZones(int index, const Rpe3dSpec& spec, int64_t token);
  void ScaleQueries(int index, int64_t token);
  void RotateAndStoreToken(int index, int64_t token);
  bool AttendsBySpans(int index) const;
  bool TakesHeadsTogether(int64_t share, int64_t all) const;
  void AttendItem(int index, int64_t any_piece, int head);
  void AttendSpanItem(int index, int64_t any_span, int head, int heads);
  kernels::AttentionArgs SpanArgs(int index, int64_t row, int head) const;
  kernels::AttentionArgs AttentionOf(int index, int64_t row, int32_t token, int head) const;

  struct NormFormula {
    NormKind kind;
    float epsilon;
  };
  // Of `n` columns, by vectors that begin at column `first`.
  void Norm(const NormFormula& formula, const Vectors& norm, int64_t first, int64_t n, const float* x,
            float* out) const;
  void NormRow(const Vectors& norm, const float* x, float* out) const;
  void AddToHidden(const Input& input, const CpuProjection& projection, const Vectors& post_norm,
                   const CpuProjection* next);
  void AddBranch(const Vectors& post_norm, int64_t token);
  ExpertsPass Experts(int index);
  void ProjectExperts(int index);
  void AddExperts(int index, const CpuProjection* next);
  void PrepareGroup(const Input& input, const CpuProjection& consumer, int64_t group);
  uint8_t* Activations(kernels::ActivationKind kind, int64_t num_tokens);
  void Multiply(const Input& input, const CpuProjection& projection, const Output& output,
                const CpuProjection* next);
  void MultiplyPanels(int64_t num_tokens, const CpuProjection& projection, Range panels, const Output& output,
                      const CpuProjection* next);

  const Decoder& decoder_;
  const DecoderSpec& spec_;
  const CpuWeights& weights_;
  const kernels::KernelTable& table_;
  Workspace& workspace_;
  Team& team_;
  const TokenBatch* batch_ = nullptr;  // of Forward
  const KvCache* cache_ = nullptr;     // of Forward
  absl::Span<const int32_t> indices_;  // of Logits
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CPU_PASS_PHASES_H_
