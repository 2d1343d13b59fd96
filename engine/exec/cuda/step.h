// A step as a device takes it: the plan's arrays and what follows from them, ready to be copied in one piece.
//
// CudaStep is made once per step; every rank of a tensor-parallel group writes it into its own pinned memory.
//
// Logits are computed in rounds, since rows of them are large. Nearly all steps have one round: it is bounded
// by rows of logits, by samples and by changes to logits, which are all that needs memory by their number.
// The changes of all rounds go to the device with the step, unless they are more than it has room for.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_STEP_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_STEP_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/api/step.h"
#include "engine/exec/cuda/memory.h"
#include "engine/exec/cuda/request_angles.h"
#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/sampling.h"
#include "engine/sample/logit_requests.h"
#include "engine/sample/sampling_lowering.h"

namespace ropeway {

// How many elements the arrays of a step have. The first group is the same for all steps of a bucket, whose
// graph thus finds them at the same places; the lists behind it are as long as a step needs them.
struct CudaStepShape {
  int32_t tokens = 0;      // T
  int32_t rows = 0;        // R
  int32_t max_pages = 0;   // of a row
  int32_t logit_rows = 0;  // tokens whose logits are computed
  int64_t angles = 0;      // floats of RequestAngles
  int32_t narrow = 0, wide = 0, merges = 0;

  int32_t samples = 0, scores = 0;
  int32_t changes = 0;  // that lie in device memory at a time
  int32_t copies = 0;
};

struct CudaStepArrays {
  int32_t* token_ids;              // [T]; cuda::TokenOfResult(i) where the step before chooses it as its i-th
  int32_t* positions;              // [T]; -1: padding
  int32_t* token_rows;             // [T]
  int32_t* page_tables;            // [R, max_pages]
  int32_t* angle_rows;             // [T] each token's row of angles: its own; null where there are none
  float* angles;                   // [angles]; null where there are none
  int32_t* logit_tokens;           // [logit_rows] which token of the step
  int32_t* work_counts;            // [2] narrow, wide
  cuda::AttentionItem* narrow;     // [narrow]
  cuda::AttentionItem* wide;       // [wide]
  cuda::AttentionMerge* merges;    // [merges]
  cuda::SampleRowParams* samples;  // [samples]
  cuda::ScoreRowParams* scores;    // [scores]
  LogitChange* changes;            // [changes] of some rounds
  int32_t* copy_from;              // [copies]
  int32_t* copy_to;                // [copies]
};

// One after the other, in this order.
CudaStepArrays CarveStep(const CudaStepShape& shape, Carver& carver);

// What comes back: of the samples, then of the scores, in the order of CudaStep.
struct CudaResultArrays {
  int32_t* tokens;      // [samples]
  float* logprobs;      // [samples + scores]
  int32_t* top_tokens;  // [samples + scores, max_top]
  float* top_logprobs;  // [samples + scores, max_top]
};
CudaResultArrays CarveResults(int32_t samples, int32_t scores, int32_t max_top, Carver& carver);

// Row `row` of results that were asked for the `top` likeliest tokens: fewer where there are not as many.
TokenLogprobs LogprobsAt(const CudaResultArrays& results, int64_t row, int32_t top, int32_t max_top);

// Rows of logits that are computed at a time, and what is wanted of them.
struct LogitRound {
  int32_t first_row = 0, num_rows = 0;        // of logit_tokens
  int32_t first_sample = 0, num_samples = 0;  // of CudaStep::samples
  int32_t first_score = 0, num_scores = 0;    // of CudaStep::scores
  int32_t first_change = 0, num_changes = 0;  // of CudaStep::changes
  int32_t change_place = 0;                   // where its changes begin in CudaStepArrays::changes
  int32_t upload = 0;  // changes, its own and of rounds behind it, that must be brought there before it
};

struct CudaStep {
  CudaStepShape shape;
  bool is_bucket = false;  // one token per row, padded to a batch size whose graph is kept; one round
  std::vector<int32_t> token_ids, positions, row_starts, logit_tokens;
  std::vector<absl::Span<const PageId>> page_tables;  // of the plan's rows; padding has none
  std::vector<PageCopy> copies;
  cuda::AttentionPlan attention;
  RequestAngles angles;
  LogitRequests requests;
  std::vector<cuda::SampleRowParams> samples;  // in the order of requests; rows and changes count from the
                                               // first of their round
  std::vector<cuda::ScoreRowParams> scores;    // likewise
  std::vector<LogitChange> changes;
  std::vector<LogitRound> rounds;      // none where no logits are wanted
  std::vector<int32_t> sample_places;  // by the plan's sample rows, where in `samples` each is
  std::vector<int32_t> score_sizes;    // by the plan's score rows, scores of each
  SamplingLowering lowering;
};

struct CudaStepOptions {
  cuda::AttentionShape attention;  // of one rank
  int32_t window = 0;              // the largest of all layers; 0 where one has none
  int32_t max_logit_rows = 0;      // of a round, and its samples
  int32_t max_changes = 0;         // in device memory at a time; at least the vocabulary, so that any
                                   // sample's fit
  int32_t max_bucket = 0;          // the largest batch that is kept as a graph; 0: none
  int32_t max_model_pages = 0;     // of a sequence
  std::vector<RopeSpec> ropes;     // RequestRopes of the model
};

// Turns `plan` into `step`, which keeps its memory from step to step. What `plan` points to is not needed once the step
// was written; awaited tokens are those that lie at `places` of the results of the step before.
void PrepareStep(const StepPlan& plan, const CudaStepOptions& options, absl::Span<const int32_t> places,
                 CudaStep& step);

// Writes what lies in `step` to host arrays that were carved for step.shape; of the changes those that the
// first round uploads.
void WriteStep(const CudaStep& step, const CudaStepArrays& out);

// What the samples and scores of `plan`, which `step` was made of, came to.
StepResult ReadResults(const CudaStep& step, const CudaResultArrays& results, int32_t max_top);

// The batch size that a decode step of `rows` rows is padded to: at most an eighth more, beyond 8.
int32_t BucketOf(int32_t rows);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_STEP_H_
