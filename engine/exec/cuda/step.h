// A step as a device takes it: the plan's arrays and what follows from them, ready to be copied in one piece.
//
// CudaStep is made once per step; every rank of a tensor-parallel group writes it into its own pinned memory.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_STEP_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_STEP_H_

#include <cstdint>
#include <vector>

#include "engine/api/step.h"
#include "engine/exec/cuda/memory.h"
#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/sampling.h"
#include "engine/sample/sampling_lowering.h"

namespace ropeway {

// How many elements the arrays of a step have. The first group is the same for all steps of a bucket, whose
// graph thus finds them at the same places; the lists behind it are as long as a step needs them.
struct CudaStepShape {
  int32_t tokens = 0;      // T
  int32_t rows = 0;        // R
  int32_t max_pages = 0;   // of a row
  int32_t logit_rows = 0;  // tokens whose logits are computed
  int32_t narrow = 0, wide = 0, merges = 0;

  int32_t samples = 0, changes = 0, scores = 0, copies = 0;
};

struct CudaStepArrays {
  int32_t* token_ids;              // [T]
  int32_t* positions;              // [T]; -1: padding
  int32_t* token_rows;             // [T]
  int32_t* page_tables;            // [R, max_pages]
  int32_t* logit_tokens;           // [logit_rows] which token of the step
  int32_t* work_counts;            // [3] narrow, wide, merges
  cuda::AttentionItem* narrow;     // [narrow]
  cuda::AttentionItem* wide;       // [wide]
  cuda::AttentionMerge* merges;    // [merges]
  cuda::SampleRowParams* samples;  // [samples]
  LogitChange* changes;            // [changes] of one window
  int32_t* score_tokens;           // [scores]
  int32_t* copy_from;              // [copies]
  int32_t* copy_to;                // [copies]
};

// One after the other, in this order.
CudaStepArrays CarveStep(const CudaStepShape& shape, Carver& carver);

// What comes back. The rows of samples and scores are those of CudaStep.
struct CudaResultArrays {
  int32_t* tokens;      // [samples]
  float* logprobs;      // [samples + scores]
  int32_t* top_tokens;  // [samples + scores, max_top]
  float* top_logprobs;  // [samples + scores, max_top]
};
CudaResultArrays CarveResults(int32_t samples, int32_t scores, int32_t max_top, Carver& carver);

// Row `row` of results that were asked for the `top` likeliest tokens: fewer where there are not as many.
TokenLogprobs LogprobsAt(const CudaResultArrays& results, int64_t row, int32_t top, int32_t max_top);

// Changes to logits that lie in device memory at a time. Nearly all steps have one window; where prompts are
// long, many and penalised, the device's array is filled again for each further one.
struct ChangeWindow {
  int32_t first = 0, count = 0;  // of CudaStep::changes
};

// Samples that are chosen by one launch.
struct SampleBatch {
  int32_t first = 0, count = 0;  // of CudaStep::samples
  int32_t window = 0;            // that has all their changes; never less than the batch's before
};

// A range of logit rows that are computed at a time, and what is wanted of them.
struct LogitRound {
  int32_t first = 0, count = 0;              // of logit_tokens
  int32_t first_batch = 0, num_batches = 0;  // of CudaStep::batches
  int32_t first_score = 0, num_scores = 0;   // of the scores, one for each logit row from `first` on
};

struct CudaStep {
  CudaStepShape shape;
  bool is_bucket = false;  // one token per row, padded to a batch size whose graph is kept
  std::vector<int32_t> token_ids, positions, row_starts, logit_tokens, score_tokens;
  std::vector<absl::Span<const PageId>> page_tables;  // of the plan's rows; padding has none
  std::vector<PageCopy> copies;
  cuda::AttentionPlan attention;
  std::vector<cuda::SampleRowParams> samples;  // logit_row counts from the round's, first_change from the
                                               // window's first
  std::vector<LogitChange> changes;
  std::vector<ChangeWindow> windows;  // at least one
  std::vector<SampleBatch> batches;
  std::vector<int32_t> sample_order;  // samples[i] answers plan.sample_rows[sample_order[i]]
  std::vector<LogitRound> rounds;
  SamplingLowering lowering;
};

struct CudaStepOptions {
  cuda::AttentionShape attention;  // of one rank
  int32_t window = 0;              // the largest of all layers; 0 where one has none
  int32_t max_logit_rows = 0;      // that are computed at a time, or sampled by a launch
  int32_t max_changes = 0;         // of a window; at least the vocabulary, so that any row's fit
  int32_t max_bucket = 0;          // the largest batch that is kept as a graph; 0: none
  int32_t max_model_pages = 0;     // of a sequence
};

// Turns `plan` into `step`, which keeps its memory from step to step. `plan` outlives its use.
void PrepareStep(const StepPlan& plan, const CudaStepOptions& options, CudaStep& step);

// Writes what lies in `step` to host arrays that were carved for step.shape; of the changes the first window.
void WriteStep(const CudaStep& step, const CudaStepArrays& out);

// The batch size that a decode step of `rows` rows is padded to: at most an eighth more, beyond 8.
int32_t BucketOf(int32_t rows);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_STEP_H_
