// A layer of experts on a team of CPU threads: the tokens of a step are grouped by expert, so that each
// expert's weights are read once, and each token's results are added in the order of its own choices.
//
// Slots: one for each choice of each token, T K in all, the experts' one after the other. What is computed in a
// slot depends on its token and its expert alone.
#ifndef ROPEWAY_ENGINE_EXEC_CPU_EXPERTS_H_
#define ROPEWAY_ENGINE_EXEC_CPU_EXPERTS_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "engine/base/thread_pool.h"
#include "engine/exec/cpu/weights.h"
#include "engine/kernels/ops.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/expert_routing.h"
#include "engine/tensor/aligned_buffer.h"

namespace ropeway {

// Memory of the layers of experts of one pass at a time; none where the model has no such layer.
class ExpertsWorkspace {
 public:
  ExpertsWorkspace(const DecoderSpec& spec, const kernels::KernelTable& table, int threads, int max_tokens);

  // The router's product: [T, logit_stride], the shared expert's number behind those of the experts.
  float* logits(int64_t token) { return logits_.as<float>() + token * logit_stride_; }
  int64_t logit_stride() const { return logit_stride_; }

 private:
  friend class ExpertsPass;

  // The tokens of one expert.
  struct Group {
    int32_t expert = 0;
    int64_t first_slot = 0, tokens = 0;
    int64_t first_eight = 0;  // its groups of kPrepareTokens, counted over all experts
    int64_t activations = 0;  // where its prepared activations begin, in bytes
  };

  int64_t logit_stride_ = 0, ffn_stride_ = 0, hidden_stride_ = 0;  // in floats
  int64_t widest_ = 0;                                             // columns of activations, at most
  AlignedBuffer logits_;
  std::vector<ExpertChoice> choices_;    // [T, K]
  std::vector<int32_t> slots_;           // [T, K]
  std::vector<int32_t> tokens_, ranks_;  // [T K] of each slot
  std::vector<Group> groups_;            // of the experts that have tokens, with one behind that ends them
  AlignedBuffer ffn_;                    // [T K, F]
  AlignedBuffer results_;                // [T K, D]
  AlignedBuffer activations_;            // of all slots, an expert's beginning anew
  std::vector<AlignedBuffer> rows_;      // [threads] kPrepareTokens rows of D or F
};

// One member's way through one layer; all members make the same calls.
class ExpertsPass {
 public:
  struct Layer {
    const FfnSpec& ffn;
    const CpuLayer& weights;
    int64_t hidden_size;
  };
  ExpertsPass(const Layer& layer, const kernels::KernelTable& table, int64_t num_tokens,
              ExpertsWorkspace& workspace, Team& team)
      : layer_(layer), table_(table), num_tokens_(num_tokens), workspace_(workspace), team_(team) {}

  // Chooses experts for all tokens, from the workspace's logits, and groups the tokens.
  void Route();

  // In every slot f = activation(gate x) * up x. `input` writes the row x of a token.
  void Project(absl::FunctionRef<void(int64_t token, float* x)> input);

  // In every slot down f.
  void ProjectBack();

  // out += what the experts of a token give, weighted, best first.
  void Add(int64_t token, float* out) const;

 private:
  using Group = ExpertsWorkspace::Group;

  // What a product of the layer multiplies and where it goes: rows by slot.
  struct Step {
    const CpuProjection ExpertWeights<CpuProjection>::*projection;
    absl::FunctionRef<void(int64_t slot, float* row)> input;
    float* y;
    int64_t y_stride;
    kernels::Epilogue epilogue;
  };

  void GroupTokens();
  void Multiply(const Step& step);
  void PrepareEight(const Step& step, int64_t eight);
  void MultiplyPart(const Step& step, int64_t part, int64_t parts);

  int64_t per_token() const { return layer_.ffn.experts.per_token; }

  const Layer layer_;
  const kernels::KernelTable& table_;
  const int64_t num_tokens_;
  ExpertsWorkspace& workspace_;
  Team& team_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CPU_EXPERTS_H_
