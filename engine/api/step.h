// One step of the engine: a ragged batch of token rows, and what came of it.
#ifndef ROPEWAY_ENGINE_API_STEP_H_
#define ROPEWAY_ENGINE_API_STEP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/api/event.h"
#include "engine/api/request.h"
#include "engine/api/token.h"
#include "engine/base/admitted_lengths.h"
#include "engine/base/ceil_div.h"
#include "engine/base/page_tokens.h"

namespace ropeway {

using PageId = int32_t;

// How many pages hold `num_tokens` tokens.
constexpr int32_t PagesFor(int32_t num_tokens) { return CeilDiv(num_tokens, kPageTokens); }

// How many pages a request may come to need: its samples share the full pages of the prompt, and the last token of
// each is never written.
inline int64_t MaxPagesOf(const ValidRequest& request) {
  const int64_t prompt_tokens = static_cast<int64_t>(request.prompt.size());
  const int64_t shared = prompt_tokens / kPageTokens;
  const int64_t all = CeilDiv<int64_t>(prompt_tokens + request.max_tokens - 1, kPageTokens);
  return shared + request.num_samples * (all - shared);
}

// In place of a token that is not known yet: the one that sample row `i` of the plan before this one chooses. It
// stands alone in a row, whose step was submitted while that plan was in flight.
constexpr TokenId AwaitedToken(int32_t i) { return -2 - i; }
constexpr bool IsAwaited(TokenId token) { return token < kNoToken; }
constexpr int32_t SampleRowOf(TokenId awaited) { return -2 - awaited; }

// A token to choose from the logits of the last token of `row`.
struct SampleRow {
  int32_t row = 0;
  int32_t sample = 0;  // which of the request's parallel samples; keys the coin
  int32_t step = 0;    // how many tokens the sample generated before, an awaited one included; keys the coin
  const SamplingParams* params = nullptr;
  absl::Span<const TokenId> prompt;  // for repetition_penalty
  absl::Span<const TokenId>
      generated;                     // for the penalties, to which an awaited token of the row belongs, too
  absl::Span<const TokenId> masked;  // never chosen (end tokens before min_tokens)
};

// Log-probabilities of given tokens: for each token position of `row`, of the token that follows it in the
// prompt.
struct ScoreRow {
  int32_t row = 0;
  int32_t top = 0;  // and of the `top` likeliest
  // One per scored position, from the row's first token on; at most its length.
  absl::Span<const TokenId> next_tokens;
};

// Contents of page `from` are copied to page `to` before anything else in the step (copy on write).
struct PageCopy {
  PageId from = 0, to = 0;
};

// Rows are slices of sequences: a decode row is one token, a prefill row a chunk. Three rows, a prefill chunk
// of 3 at positions 5..7, a decode at position 41, a decode at 9:
//   token_ids   [num_tokens]      t5 t6 t7 | t41 | t9
//   positions   [num_tokens]       5  6  7 |  41 |  9
//   row_starts  [num_rows + 1]     0  3  4  5
//   page_tables [num_rows]        the pages of each sequence, in order; they cover the row's last position
// What it points to lives until it was submitted.
struct StepPlan {
  std::vector<TokenId> token_ids;                     // [num_tokens]; AwaitedToken() where it is not known
  std::vector<int32_t> positions;                     // [num_tokens]; consecutive inside a row
  std::vector<int32_t> row_starts = {0};              // [num_rows + 1]
  std::vector<absl::Span<const PageId>> page_tables;  // [num_rows]
  std::vector<AdmittedLengths> lengths;               // [num_rows] of the rows' requests
  std::vector<PageCopy> page_copies;
  std::vector<SampleRow> sample_rows;
  std::vector<ScoreRow> score_rows;

  int32_t num_tokens() const { return static_cast<int32_t>(token_ids.size()); }
  int32_t num_rows() const { return static_cast<int32_t>(page_tables.size()); }
  bool empty() const { return token_ids.empty(); }
};

struct SampledToken {
  TokenId token = kNoToken;
  std::optional<TokenLogprobs> logprobs;  // where params->num_logprobs >= 0
};

struct StepResult {
  std::vector<SampledToken> samples;               // [plan.sample_rows]
  std::vector<std::vector<TokenLogprobs>> scores;  // [plan.score_rows][scored positions]
  std::string warning;  // what an operator should know of the device from now on, told once; mostly empty
};

// What an executor can take; constant after it was made.
struct ExecutorLimits {
  int32_t num_pages = 0;  // page ids are [0, num_pages)
  int32_t max_tokens_per_step = 0;
  int32_t max_rows_per_step = 0;
  int32_t max_model_len = 0;  // positions are [0, max_model_len)
  int32_t vocab_size = 0;
  // That were submitted and not collected. 2: a step is planned while the device computes the one before it.
  int32_t max_steps_in_flight = 1;
};
inline constexpr int32_t kMaxStepsInFlight = 2;

// Runs steps, one after the other in the order in which they were submitted: what one writes to a page the next one
// reads. Called by one thread at a time.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual const ExecutorLimits& limits() const = 0;

  // Begins to compute the plan, or puts it behind the one that is computed; what goes wrong, Collect tells. The plan is
  // not needed any more after.
  // REQUIRES: the plan is within limits(), and fewer steps are in flight than these allow.
  virtual void Submit(const StepPlan& plan) = 0;

  // What came of the oldest step in flight, which it waits for. On an error, RESOURCE_EXHAUSTED where memory or a thread
  // was missing, nothing that the plan's pages held before may be relied upon, nor what the next step made of it.
  // REQUIRES: a step is in flight.
  virtual absl::StatusOr<StepResult> Collect() = 0;

  // Both. REQUIRES: no step is in flight.
  absl::StatusOr<StepResult> Step(const StepPlan& plan) {
    Submit(plan);
    return Collect();
  }

  // What keys of a request depend on beside its tokens and positions: numbers that its lengths give the
  // rotations of the model. Equal for all requests of most models. May be asked by any thread.
  virtual std::vector<double> RotationChoices(const AdmittedLengths& lengths) const {
    static_cast<void>(lengths);
    return {};
  }

  // Whether every further step would fail, so that only a new process helps. May be asked by any thread.
  virtual bool lost() const { return false; }
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_API_STEP_H_
