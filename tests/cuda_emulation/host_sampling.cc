#include "tests/cuda_emulation/host_sampling.h"

#include <cmath>
#include <cstdint>

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

}  // namespace

void SampleOnHost(const SampleArgs& args) {
  Sampler sampler;
  for (int64_t r = 0; r < args.num_rows; ++r) {
    const SampleRowParams& row = args.rows[r];
    const absl::Span<const float> logits(args.logits + row.logit_row * args.logit_stride, args.vocab_size);
    const absl::Span<const LogitChange> changes(args.changes + row.first_change, row.num_changes);
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
