#include "engine/exec/cuda/step.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "engine/base/ceil_div.h"
#include "engine/base/check.h"

namespace ropeway {
namespace {

static_assert(cuda::kNoChoice == kNoToken);

// Where the step before failed before it knew its places, nothing relies on what is taken.
TokenId TokenOrPlace(TokenId token, absl::Span<const int32_t> places) {
  if (!IsAwaited(token)) return token;
  const auto row = static_cast<size_t>(SampleRowOf(token));
  return cuda::TokenOfResult(row < places.size() ? places[row] : 0);
}

void AppendRows(const StepPlan& plan, absl::Span<const int32_t> places, int32_t padded_rows, CudaStep& step) {
  step.token_ids.clear();
  for (const TokenId token : plan.token_ids) step.token_ids.push_back(TokenOrPlace(token, places));
  step.positions.assign(plan.positions.begin(), plan.positions.end());
  step.row_starts.assign(plan.row_starts.begin(), plan.row_starts.end());
  step.page_tables.assign(plan.page_tables.begin(), plan.page_tables.end());
  step.copies.assign(plan.page_copies.begin(), plan.page_copies.end());
  while (static_cast<int32_t>(step.row_starts.size()) <= padded_rows) {
    step.token_ids.push_back(0);
    step.positions.push_back(-1);
    step.row_starts.push_back(step.row_starts.back() + 1);
  }
}

// Tables of rows lie a power of two apart, so that few different graphs serve all lengths.
int32_t MaxPages(const StepPlan& plan, int32_t limit) {
  size_t most = 1;
  for (const auto& table : plan.page_tables) most = std::max(most, table.size());
  return std::max(static_cast<int32_t>(most), std::min(static_cast<int32_t>(std::bit_ceil(most)), limit));
}

// Samples and scores in the order of the requests, not assigned to rounds yet.
void LowerRequests(const StepPlan& plan, CudaStep& step) {
  step.samples.clear();
  step.scores.clear();
  step.changes.clear();
  step.sample_places.resize(plan.sample_rows.size());
  step.score_sizes.clear();
  for (const ScoreRow& row : plan.score_rows)
    step.score_sizes.push_back(static_cast<int32_t>(row.next_tokens.size()));
  for (const LogitRequest& request : step.requests.all) {
    if (!request.is_sample) {
      const ScoreRow& row = plan.score_rows[request.index];
      step.scores.push_back({.token = row.next_tokens[request.position], .num_logprobs = row.top});
      continue;
    }
    const SampleRow& row = plan.sample_rows[request.index];
    const bool lacks_token = IsAwaited(plan.token_ids[request.token_index]);
    const size_t first_change = step.changes.size();
    step.sample_places[request.index] = static_cast<int32_t>(step.samples.size());
    step.lowering.AppendChanges(row, step.changes);
    step.samples.push_back(
        {.num_logprobs = row.params->num_logprobs,
         .num_changes = static_cast<int32_t>(step.changes.size() - first_change),
         .uncounted = lacks_token && SamplingLowering::DependsOnAnswer(row) ? request.token_index : -1,
         .rule = SamplingLowering::RuleOf(row)});
  }
}

// Whether one round of a bucket's rows has room for all that is wanted.
bool IsBucket(const StepPlan& plan, const CudaStepOptions& options, const CudaStep& step) {
  return plan.num_tokens() == plan.num_rows() && BucketOf(plan.num_rows()) <= options.max_bucket &&
         step.scores.empty() && static_cast<int32_t>(step.samples.size()) <= options.max_logit_rows &&
         static_cast<int32_t>(step.changes.size()) <= options.max_changes;
}

// Puts samples and scores into rounds, in their order.
class Rounds {
 public:
  Rounds(const CudaStepOptions& options, CudaStep& step) : options_(options), step_(step) {
    step.rounds.clear();
    step.logit_tokens.clear();
  }

  // Every row of a bucket has its logits computed, wanted or not: that is what its graph does.
  void AddBucket(int32_t rows) {
    step_.logit_tokens.resize(rows);
    std::iota(step_.logit_tokens.begin(), step_.logit_tokens.end(), 0);
    step_.rounds.push_back({.num_rows = rows});
    for (const LogitRequest& request : step_.requests.all) AddSample(request.token_index);
  }

  void AddAll() {
    int32_t last_token = -1;
    for (const LogitRequest& request : step_.requests.all) {
      const int32_t num_changes = request.is_sample ? step_.samples[next_sample_].num_changes : 0;
      bool new_row = request.token_index != last_token;
      if (step_.rounds.empty() || !HasRoom(new_row, request.is_sample, num_changes)) {
        Begin();
        new_row = true;
      }
      last_token = request.token_index;
      if (new_row) {
        step_.logit_tokens.push_back(request.token_index);
        ++step_.rounds.back().num_rows;
      }
      const int32_t logit_row = step_.rounds.back().num_rows - 1;
      if (request.is_sample) {
        AddSample(logit_row);
      } else {
        AddScore(logit_row);
      }
    }
  }

 private:
  bool HasRoom(bool new_row, bool is_sample, int32_t num_changes) const {
    const LogitRound& round = step_.rounds.back();
    return round.num_rows + new_row <= options_.max_logit_rows &&
           round.num_samples + is_sample <= options_.max_logit_rows &&
           round.num_changes + num_changes <= options_.max_changes;
  }

  void Begin() {
    step_.rounds.push_back({.first_row = static_cast<int32_t>(step_.logit_tokens.size()),
                            .first_sample = next_sample_,
                            .first_score = next_score_,
                            .first_change = next_change_});
  }

  void AddSample(int32_t logit_row) {
    LogitRound& round = step_.rounds.back();
    cuda::SampleRowParams& sample = step_.samples[next_sample_++];
    sample.logit_row = logit_row;
    sample.first_change = round.num_changes;
    ++round.num_samples;
    round.num_changes += sample.num_changes;
    next_change_ += sample.num_changes;
  }

  void AddScore(int32_t logit_row) {
    step_.scores[next_score_++].logit_row = logit_row;
    ++step_.rounds.back().num_scores;
  }

  const CudaStepOptions& options_;
  CudaStep& step_;
  int32_t next_sample_ = 0, next_score_ = 0, next_change_ = 0;
};

// Puts the changes of as many rounds as there is room for one behind the other; the next round begins anew.
// Returns the most that lie there at a time.
int32_t PlaceChanges(int32_t room, std::vector<LogitRound>& rounds) {
  int32_t most = 0;
  LogitRound* first = nullptr;
  for (LogitRound& round : rounds) {
    if (first == nullptr || first->upload + round.num_changes > room) first = &round;
    round.change_place = first->upload;
    first->upload += round.num_changes;
    most = std::max(most, first->upload);
  }
  return most;
}

// A decode step's tiles are narrow, one for each row, divided at most into its chunks.
void BoundBucketWork(CudaStepShape& shape) {
  shape.narrow = shape.rows * CeilDiv(shape.max_pages * kPageTokens, cuda::kChunkTokens);
  shape.wide = 0;
  shape.merges = shape.rows;
}

}  // namespace

int32_t BucketOf(int32_t rows) {
  if (rows <= 8) return static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(rows)));
  const int32_t unit = static_cast<int32_t>(std::bit_floor(static_cast<uint32_t>(rows))) / 8;
  return CeilDiv(rows, unit) * unit;
}

CudaStepArrays CarveStep(const CudaStepShape& shape, Carver& carver) {
  CudaStepArrays arrays;
  arrays.token_ids = carver.Take<int32_t>(shape.tokens);
  arrays.positions = carver.Take<int32_t>(shape.tokens);
  arrays.token_rows = carver.Take<int32_t>(shape.tokens);
  arrays.page_tables = carver.Take<int32_t>(int64_t{shape.rows} * shape.max_pages);
  arrays.angle_rows = shape.angles > 0 ? carver.Take<int32_t>(shape.tokens) : nullptr;
  arrays.angles = shape.angles > 0 ? carver.Take<float>(shape.angles) : nullptr;
  arrays.logit_tokens = carver.Take<int32_t>(shape.logit_rows);
  arrays.work_counts = carver.Take<int32_t>(2);
  arrays.narrow = carver.Take<cuda::AttentionItem>(shape.narrow);
  arrays.wide = carver.Take<cuda::AttentionItem>(shape.wide);
  arrays.merges = carver.Take<cuda::AttentionMerge>(shape.merges);
  arrays.samples = carver.Take<cuda::SampleRowParams>(shape.samples);
  arrays.scores = carver.Take<cuda::ScoreRowParams>(shape.scores);
  arrays.changes = carver.Take<LogitChange>(shape.changes);
  arrays.copy_from = carver.Take<int32_t>(shape.copies);
  arrays.copy_to = carver.Take<int32_t>(shape.copies);
  return arrays;
}

CudaResultArrays CarveResults(int32_t samples, int32_t scores, int32_t max_top, Carver& carver) {
  const int64_t all = int64_t{samples} + scores;
  CudaResultArrays arrays;
  arrays.tokens = carver.Take<int32_t>(samples);
  arrays.logprobs = carver.Take<float>(all);
  arrays.top_tokens = carver.Take<int32_t>(all * max_top);
  arrays.top_logprobs = carver.Take<float>(all * max_top);
  return arrays;
}

TokenLogprobs LogprobsAt(const CudaResultArrays& results, int64_t row, int32_t top, int32_t max_top) {
  TokenLogprobs logprobs{.chosen = results.logprobs[row]};
  for (int64_t i = row * max_top; i < row * max_top + std::min(top, max_top); ++i) {
    if (results.top_tokens[i] == cuda::kNoChoice) break;
    logprobs.top.emplace_back(results.top_tokens[i], results.top_logprobs[i]);
  }
  return logprobs;
}

void PrepareStep(const StepPlan& plan, const CudaStepOptions& options, absl::Span<const int32_t> places,
                 CudaStep& step) {
  CollectLogitRequests(plan, step.requests);
  LowerRequests(plan, step);
  step.is_bucket = IsBucket(plan, options, step);
  const int32_t rows = step.is_bucket ? BucketOf(plan.num_rows()) : plan.num_rows();
  AppendRows(plan, places, rows, step);
  Rounds rounds(options, step);
  if (step.is_bucket) {
    rounds.AddBucket(rows);
  } else {
    rounds.AddAll();
  }
  cuda::PlanAttention(options.attention, step.row_starts, step.positions, options.window, step.attention);
  step.angles.Compute(plan, options.ropes, static_cast<int32_t>(step.token_ids.size()));
  step.shape = {.tokens = static_cast<int32_t>(step.token_ids.size()),
                .rows = rows,
                .max_pages = MaxPages(plan, options.max_model_pages),
                .logit_rows = static_cast<int32_t>(step.logit_tokens.size()),
                .angles = static_cast<int64_t>(step.angles.floats().size()),
                .narrow = static_cast<int32_t>(step.attention.narrow.size()),
                .wide = static_cast<int32_t>(step.attention.wide.size()),
                .merges = static_cast<int32_t>(step.attention.merges.size()),
                .samples = static_cast<int32_t>(step.samples.size()),
                .scores = static_cast<int32_t>(step.scores.size()),
                .changes = PlaceChanges(options.max_changes, step.rounds),
                .copies = static_cast<int32_t>(step.copies.size())};
  if (step.is_bucket) BoundBucketWork(step.shape);
  ROPEWAY_CHECK(step.shape.changes <= options.max_changes &&
                step.attention.narrow.size() <= static_cast<size_t>(step.shape.narrow) &&
                step.attention.wide.size() <= static_cast<size_t>(step.shape.wide) &&
                step.attention.merges.size() <= static_cast<size_t>(step.shape.merges));
}

void WriteStep(const CudaStep& step, const CudaStepArrays& out) {
  std::copy(step.token_ids.begin(), step.token_ids.end(), out.token_ids);
  std::copy(step.positions.begin(), step.positions.end(), out.positions);
  for (int32_t row = 0; row < step.shape.rows; ++row) {
    std::fill(out.token_rows + step.row_starts[row], out.token_rows + step.row_starts[row + 1], row);
    int32_t* table = out.page_tables + int64_t{row} * step.shape.max_pages;
    const auto pages = row < static_cast<int32_t>(step.page_tables.size()) ? step.page_tables[row]
                                                                           : absl::Span<const PageId>();
    std::fill(std::copy(pages.begin(), pages.end(), table), table + step.shape.max_pages, 0);
  }
  if (step.shape.angles > 0) std::iota(out.angle_rows, out.angle_rows + step.shape.tokens, 0);
  std::copy(step.angles.floats().begin(), step.angles.floats().end(), out.angles);
  std::copy(step.logit_tokens.begin(), step.logit_tokens.end(), out.logit_tokens);
  out.work_counts[0] = static_cast<int32_t>(step.attention.narrow.size());
  out.work_counts[1] = static_cast<int32_t>(step.attention.wide.size());
  std::copy(step.attention.narrow.begin(), step.attention.narrow.end(), out.narrow);
  std::copy(step.attention.wide.begin(), step.attention.wide.end(), out.wide);
  std::copy(step.attention.merges.begin(), step.attention.merges.end(), out.merges);
  std::copy(step.samples.begin(), step.samples.end(), out.samples);
  std::copy(step.scores.begin(), step.scores.end(), out.scores);
  if (!step.rounds.empty()) std::copy_n(step.changes.begin(), step.rounds.front().upload, out.changes);
  for (size_t i = 0; i < step.copies.size(); ++i) {
    out.copy_from[i] = step.copies[i].from;
    out.copy_to[i] = step.copies[i].to;
  }
}

StepResult ReadResults(const CudaStep& step, const CudaResultArrays& results, int32_t max_top) {
  StepResult result;
  result.samples.resize(step.sample_places.size());
  for (const int32_t size : step.score_sizes) result.scores.emplace_back(size);
  int64_t next_sample = 0, next_score = 0;
  for (const LogitRequest& request : step.requests.all) {
    if (!request.is_sample) {
      const int64_t score = next_score++;
      result.scores[request.index][request.position] =
          LogprobsAt(results, step.shape.samples + score, step.scores[score].num_logprobs, max_top);
      continue;
    }
    const int64_t place = next_sample++;
    SampledToken& sample = result.samples[request.index];
    sample.token = results.tokens[place];
    const int32_t top = step.samples[place].num_logprobs;
    if (top >= 0 && sample.token != kNoToken) sample.logprobs = LogprobsAt(results, place, top, max_top);
  }
  return result;
}

}  // namespace ropeway
