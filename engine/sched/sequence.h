// A request as the scheduler knows it while it lives: one sequence of tokens for each of its samples.
#ifndef ROPEWAY_ENGINE_SCHED_SEQUENCE_H_
#define ROPEWAY_ENGINE_SCHED_SEQUENCE_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "engine/api/event.h"
#include "engine/api/request.h"
#include "engine/kv/block_table.h"

namespace ropeway {

struct RequestState;

// The prompt and what one sample generated. Who owns which tokens' keys and values, as half-open intervals:
//   [0, cached)           in pages that others may hold, too: full of tokens and read-only
//   [cached, computed)    its own and filled
//   [computed, planned)   its own, and filled by the steps in flight
//   [planned, reserved)   its own and still empty
// 0 <= cached <= computed <= planned <= reserved <= max_model_len. Right after a fork, the page of token `computed`
// may be shared, too, if it holds the end of the prompt; it is copied before it is written.
struct Sequence {
  enum class State {
    kUnforked,   // sample > 0 while sample 0 computes the prompt for all
    kWaiting,    // for its first admission
    kRunning,    // holds a place in the batch, and pages for all its tokens but perhaps the last
    kPreempted,  // had to give up place and pages
    kEnded,
  };

  Sequence(RequestState& request, int32_t sample, PagePool& pool)
      : request(request), sample(sample), pages(pool) {}

  int32_t num_tokens() const;                                    // of prompt and answer, that are known
  int32_t remaining() const { return num_tokens() - computed; }  // 1 while decoding
  TokenId token(int32_t position) const;

  // As it will be once the steps in flight are done.
  int32_t planned() const { return computed + tokens_in_flight; }
  int32_t unplanned() const { return num_tokens() + awaited - planned(); }  // 1 while decoding

  RequestState& request;
  const int32_t sample;
  State state = State::kUnforked;
  std::vector<TokenId> generated;
  BlockTable pages;
  std::vector<PrefixKey> prefix_keys;  // of its full pages, as far as they were asked for
  int32_t cached = 0;
  int32_t computed = 0;
  int32_t most_computed = 0;  // before preemptions; what is computed below it is computed again

  // Of the steps in flight, which are those between their Plan() and their Commit().
  int32_t rows_in_flight = 0;
  int32_t tokens_in_flight = 0;  // of these rows, unless it was preempted since
  int32_t awaited = 0;           // tokens that they choose
  int32_t sample_row = 0;        // of the plan that chooses the last one
  int64_t last_plan = 0;         // the number of the last plan that has a row of it
};

struct RequestState {
  RequestState(ValidRequest the_spec, uint64_t the_order, PagePool& pool)
      : spec(std::move(the_spec)), order(the_order), unfinished(spec.num_samples) {
    for (int32_t sample = 0; sample < spec.num_samples; ++sample) samples.emplace_back(*this, sample, pool);
    samples.front().state = Sequence::State::kWaiting;
  }

  int32_t prompt_size() const { return static_cast<int32_t>(spec.prompt.size()); }
  // Places in the batch that a sequence of this request takes: until the fork, sample 0 holds those of all.
  int32_t places() const { return forked ? 1 : spec.num_samples; }
  // Whether computing positions [begin, end) tells log-probabilities of the prompt that are wanted and not
  // known. What comes before them is known, or told by steps in flight.
  bool needs_scores(int32_t begin, int32_t end) const {
    return spec.prompt_logprobs >= 0 && !forked &&
           std::min(end, prompt_size() - 1) > std::max(begin, static_cast<int32_t>(prompt_logprobs.size()));
  }

  const ValidRequest spec;
  uint64_t order;                // smaller is older: of arrival while it waits, of admission from then on
  std::deque<Sequence> samples;  // [num_samples]
  int32_t unfinished;            // samples
  bool forked = false;           // the prompt is computed, and every sample goes its own way
  bool paused = false;
  std::vector<TokenLogprobs> prompt_logprobs;  // of prompt[1..], as far as they are known
  std::optional<absl::Time> admitted;
  std::optional<absl::Time> first_token;
  Receipt receipt;
};

inline int32_t Sequence::num_tokens() const {
  return request.prompt_size() + static_cast<int32_t>(generated.size());
}

inline TokenId Sequence::token(int32_t position) const {
  const int32_t prompt_size = request.prompt_size();
  return position < prompt_size ? request.spec.prompt[position] : generated[position - prompt_size];
}

struct OlderFirst {
  bool operator()(const Sequence* a, const Sequence* b) const {
    return std::pair(a->request.order, a->sample) < std::pair(b->request.order, b->sample);
  }
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_SCHED_SEQUENCE_H_
