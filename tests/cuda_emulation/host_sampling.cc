#include "tests/cuda_emulation/host_sampling.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/sample/sampler.h"

namespace ropeway::cuda::emulation {
namespace {

// Where the top of a row of results lies.
struct TopOut {
  int32_t* tokens;
  float* logprobs;
};

void WriteScore(const TokenLogprobs& score, int count, float* chosen, const TopOut& out) {
  *chosen = score.chosen;
  for (int i = 0; i < count; ++i) {
    const bool told = static_cast<size_t>(i) < score.top.size();
    out.tokens[i] = told ? score.top[i].first : kNoChoice;
    out.logprobs[i] = told ? score.top[i].second : NAN;
  }
}

std::vector<LogitChange> ChangesOf(const SampleArgs& args, const SampleRowParams& row) {
  const LogitChange* first = args.changes + row.first_change;
  std::vector<LogitChange> changes(first, first + row.num_changes);
  if (row.uncounted < 0) return changes;
  const int32_t token = args.token_ids[row.uncounted];
  const auto is_it = [token](const LogitChange& change) { return change.token == token; };
  const auto found = std::find_if(changes.begin(), changes.end(), is_it);
  if (found == changes.end())
    changes.push_back(WithOccurrence({.token = token}));
  else
    *found = WithOccurrence(*found);
  return changes;
}

}  // namespace

void SampleOnHost(const SampleArgs& args) {
  Sampler sampler;
  for (int64_t r = 0; r < args.num_rows; ++r) {
    const SampleRowParams& row = args.rows[r];
    const absl::Span<const float> logits(args.logits + row.logit_row * args.logit_stride, args.vocab_size);
    const std::vector<LogitChange> changes = ChangesOf(args, row);
    args.tokens[r] = sampler.Choose(logits, row.rule, changes);
    if (row.num_logprobs < 0) continue;
    const int32_t token = args.tokens[r] == kNoChoice ? 0 : args.tokens[r];
    WriteScore(ScoreToken(logits, token, row.num_logprobs), row.num_logprobs, args.logprobs + r,
               {args.top_tokens + r * args.max_top, args.top_logprobs + r * args.max_top});
  }
}

void ScoreOnHost(const ScoreArgs& args) {
  for (int64_t r = 0; r < args.num_rows; ++r) {
    const ScoreRowParams& row = args.rows[r];
    const absl::Span<const float> logits(args.logits + row.logit_row * args.logit_stride, args.vocab_size);
    WriteScore(ScoreToken(logits, row.token, row.num_logprobs), row.num_logprobs, args.logprobs + r,
               {args.top_tokens + r * args.max_top, args.top_logprobs + r * args.max_top});
  }
}

}  // namespace ropeway::cuda::emulation
