// The phases of a decoder (engine/model/decoder_phases.h) as launches on the stream of one device.
//
// A pass is made anew for each step, and costs nothing to make. Nothing is computed until the stream is
// synchronised: what the phases return are errors of launching. After the first of them nothing more is
// launched, and status() tells it.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_PASS_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_PASS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/exec/cuda/product.h"
#include "engine/exec/cuda/product_choices.h"
#include "engine/exec/cuda/step.h"
#include "engine/exec/cuda/weights.h"
#include "engine/kernels/cuda/collective.h"
#include "engine/kernels/cuda/fp8.h"
#include "engine/kernels/cuda/gemm.h"
#include "engine/kernels/cuda/ops.h"

namespace ropeway {

// Those of layers of experts: by slot where a slot is one choice of one token (kernels/cuda/experts.h).
struct CudaExpertActivations {
  float* z;                 // [T, CudaRouterStride], the shared expert's behind those of the experts
  cuda::ExpertSlots slots;  // of T K
  uint8_t* input;           // [T K, 2 F], or [T K, F] without a gate, of layers of several parts alone
  uint8_t* gated;           // [T K, F]
  uint8_t* results;         // [T K, D]
};

// What a pass writes between its phases; element type where none is given. Sized and carved by one function.
struct CudaActivations {
  float* residual;  // [T, D]
  // Of embeddings narrower than the stream, N columns wide: on their way in, on their way in and out. Or null.
  float* embedded;   // [T, N]
  uint8_t* narrow;   // [the larger of T and max_logit_rows, N]
  uint8_t* normed;   // [T, D]
  uint8_t* qkv;      // [T, H E + G E + G Ev]
  uint8_t* queries;  // [T, H, E]
  float* squares;    // [T, 2] of norms over the heads of all ranks; or null
  // Turned for keys of the zone before their own, and of older ones; null where the model has no zones.
  uint8_t* previous_queries;  // [T, H, E]
  uint8_t* older_queries;     // [T, H, E]
  uint8_t* latent;            // [T, query_rank + kv_rank + rotary_dim] of latent attention; or null
  uint8_t* latent_query;      // [T, query_rank], normed
  uint8_t* latent_kv;         // [T, kv_rank], normed
  uint8_t* attention;         // [T, H, Ev]
  uint8_t* branch;            // [T, D]
  uint8_t* ffn_input;         // [T, 2 F], or [T, F] without a gate
  uint8_t* gated;             // [T, F]
  CudaExpertActivations experts;
  float* partials;          // of attention
  int32_t* arrivals;        // [arrivals] of attention: zeros between steps
  UnpackedSlice unpacked;   // of packed weights on their way to the library
  cuda::Fp8Rows quantized;  // [T] or [T K] of what fp8 weights are multiplied by, or as f16; or null
  uint8_t* chosen;          // [max_logit_rows, D] rows on their way to the output layer
  float* logits;            // [max_logit_rows, logit_stride]
  float* scratch;           // [max_logit_rows, V] of sampling
  // What blocks that share a row of logits tell each other.
  cuda::SampleState* sample_states;  // [max_logit_rows]
};

struct CudaActivationsShape {
  cuda::Element element = cuda::Element::kBF16;
  int32_t max_tokens = 0, max_logit_rows = 0;
  int64_t partial_floats = 0, arrivals = 0, unpacked_bytes = 0;
  Fp8Widths widest_fp8;
  bool fp8_warpgroups = false;     // may multiply by them
  int64_t widest_split_input = 0;  // as in CudaWeights
};
CudaActivations CarveActivations(const DecoderSpec& spec, const CudaActivationsShape& shape, Carver& carver);

// Null where the model has no experts.
CudaExpertActivations CarveExperts(const DecoderSpec& spec, const CudaActivationsShape& shape,
                                   Carver& carver);

// Floats from one token's z to the next.
int64_t CudaRouterStride(int32_t num_experts);

// Floats from one row of logits to the next.
constexpr int64_t CudaLogitStride(int32_t vocab_size) { return (int64_t{vocab_size} + 3) / 4 * 4; }

// Up to how many tokens of a step what stands in front of a layer's products and behind them is computed by
// their kernels; 0: never. Known once the weights are: a step takes its way by its number of tokens alone.
struct LayerFusion {
  int attention_norm = 0;  // in front of queries, keys and values
  int heads = 0;           // behind them: RotateAndStore
  int attention_add = 0;   // behind the output of attention: to the residual
  int ffn_norm = 0;        // in front of gate and up
  int activation = 0;      // behind them; with weights of fp8 always, where one matrix holds both
  int ffn_add = 0;         // behind down, or behind the sums of experts: to the residual
};

// What stays the same from step to step.
struct CudaPassContext {
  const DecoderSpec& spec;  // of one rank
  const CudaWeights& weights;
  const CudaActivations& activations;
  absl::Span<const LayerFusion> fusions;  // [L]; not used by PrepareProducts and PlanFusions
  cuda::KvPages kv;                       // of layer 0
  int64_t layer_kv_bytes = 0;             // from one layer to the next
  int64_t layer_kv_scales = 0;            // likewise, in floats
  cuda::Element element = cuda::Element::kBF16;
  int processors = 1;
  const cuda::KernelTable& kernels;
  const cuda::Fp8KernelTable* fp8_kernels = nullptr;  // not null where weights are fp8
  cuda::Runtime& runtime;
  cuda::Gemm& gemm;
  ProductChoices& choices;                 // changed by PrepareProducts alone
  cuda::Collective* collective = nullptr;  // null: one rank
  int ranks = 1;
  cuda::Stream stream;
  // Device memory: tokens that the step before chose, on rank 0; null: none is awaited.
  int32_t* sampled = nullptr;  // [max_sampled]
  int32_t max_sampled = 0;
  absl::Span<const cuda::KvMaps> kv_maps;  // [L]; empty: warpgroups attend no prompts (cuda::AttentionArgs)
  bool fp8_warpgroups = false;             // multiply prompts by fp8 weights: cuda::Fp8MatMulArgs
  bool bulk_copies = false;                // bring dense weights for few tokens: cuda::MatMulArgs
  bool warpgroups = false;                 // may multiply: likewise
};

class CudaPass {
 public:
  // `arrays` lie in device memory and are those of `shape`.
  CudaPass(const CudaPassContext& context, const CudaStepShape& shape, const CudaStepArrays& arrays)
      : context_(context), shape_(shape), arrays_(arrays) {}

  // RunDecoder's phases.
  void Embed();
  void ProjectQkv(int layer);
  void RotateAndStore(int layer);
  void Attend(int layer);
  void AddAttention(int layer);
  void ProjectFfn(int layer);
  void AddFeedForward(int layer);

  // RunLogits' phases, for logit rows [first, first + count).
  void ChooseLogitRows(int32_t first, int32_t count);
  void NormOutput();
  void ProjectOutput();
  void FinishLogits();

  // Instead of a step, once all is loaded: chooses how the matrices of the decoder are multiplied with up to
  // so many tokens and rows of logits, and waits for the device. What the activations held is lost.
  void PrepareProducts(int32_t max_tokens, int32_t max_logit_rows);

  // Likewise: of each layer.
  std::vector<LayerFusion> PlanFusions() const;

  void CopyPages();
  // Puts tokens of the step before where they are awaited; before the phases.
  void TakeTokens();
  // Tokens of a round's samples, log-probabilities of its scores.
  void Sample(const LogitRound& round, int32_t max_top, const CudaResultArrays& results);
  void Score(const LogitRound& round, int32_t max_top, const CudaResultArrays& results);

  absl::Status status() const;
  cuda::ErrorCode error() const { return error_; }

 private:
  template <typename Function>
  void Try(const char* what, const Function& launch) {
    if (error_ != 0) return;
    error_ = launch();
    if (error_ != 0) what_ = what;
  }
  void Multiply(const CudaProjection& projection, const uint8_t* x, int64_t tokens, void* y, int64_t y_stride,
                cuda::Element out);
  // y [T, outputs] of the element type, with those of its neighbours that `args` names, product aside.
  void MultiplyWith(const CudaProjection& projection, const uint8_t* x, uint8_t* y,
                    cuda::FusedMatMulArgs args);
  ProductTools Tools() const;
  cuda::MatMulArgs ArgsOf(const CudaProjection::Part& part, const uint8_t* x, int64_t tokens, void* y,
                          int64_t y_stride, cuda::Element out) const;
  void PrepareProduct(const CudaProjection& projection, const uint8_t* x, int64_t tokens, void* y,
                      int64_t y_stride, cuda::Element out);
  void PrepareLayers(int32_t max_tokens);
  void PrepareEnds(int32_t max_tokens, int32_t max_logit_rows);  // of embeddings and logits
  using Vectors = NormWeights<const float*>;

  struct ExpertProduct {
    const uint8_t* x;  // a row for each token, or for each slot
    uint8_t* y;
    bool of_tokens = false;
    std::optional<cuda::GateArgs> gate = {};  // what follows, without y; of one part alone
  };
  void EmbedNarrow();
  void ProjectLatent(int layer);
  bool NormsStream() const { return context_.spec.block.norms_stream || context_.spec.block.norms_sum; }
  void NormStream(const Vectors& norm);
  cuda::ExpertSlots SlotsOf(int layer) const;  // of this step
  void RouteTokens(int layer);
  cuda::ExpertMatMulArgs ArgsOf(int layer, const CudaExpertMatrices& matrices,
                                const CudaExpertMatrices::Part& part, const ExpertProduct& product) const;
  void QuantizeForExperts(const cuda::ExpertMatMulArgs& args);
  void MultiplyExperts(int layer, const CudaExpertMatrices& matrices, const ExpertProduct& product);
  cuda::GateArgs ExpertGateArgsOf(int layer) const;
  void ProjectExperts(int layer);
  void AddExperts(int layer, bool to_residual);
  void SetRotation(int layer, cuda::QkvArgs& args) const;
  cuda::QkvArgs QkvArgsOf(int layer) const;
  cuda::GateArgs GateArgsOf(int layer) const;
  void SumSquaresOverRanks(cuda::QkvArgs& args);
  // out = norm(residual), of all tokens or of those that `rows` chooses.
  struct NormedRows {
    cuda::Element element;  // of out
    int32_t count;
    const int32_t* rows = nullptr;
    void* out;
  };
  cuda::NormArgs NormArgsOf(const Vectors& norm, const NormedRows& normed) const;
  // Of all tokens, to `normed`.
  cuda::NormArgs NormArgsOf(const Vectors& norm) const;
  void Norm(const char* what, const Vectors& norm, const NormedRows& normed);
  void NormResidualInPlace(const Vectors& norm);
  void NormResidual(const Vectors& norm);
  // Of a branch without the norm that follows it.
  cuda::NormArgs AddArgsOf(const CudaProjection& projection, const Vectors& post_norm) const;
  void AddBranch(const CudaProjection& projection, const Vectors& post_norm, const Vectors* next_norm);
  // What a layer's products could take, each by itself.
  LayerFusion FusionOf(int layer) const;
  int FusedTokensOf(const CudaProjection& projection, cuda::FusedMatMulArgs args) const;
  const LayerFusion& fusion(int layer) const { return context_.fusions[static_cast<size_t>(layer)]; }
  void SumOverRanks();
  cuda::KvPages KvOf(int layer) const;
  int BlocksFor(int32_t items, int blocks_of_a_processor) const;

  const CudaPassContext& context_;
  const CudaStepShape shape_;
  const CudaStepArrays arrays_;
  int32_t first_logit_row_ = 0, num_logit_rows_ = 0;
  cuda::ErrorCode error_ = 0;
  const char* what_ = "";
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_PASS_H_
