#include "tests/cuda_emulation/host_sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "engine/base/softmax_weight.h"

namespace ropeway::cuda::emulation {
namespace {

// The first `count` tokens by (logit descending, id ascending).
std::vector<int32_t> Likeliest(const std::vector<float>& logits, size_t count) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  count = std::min(count, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(), [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  ids.resize(count);
  return ids;
}

bool SayNothing(const std::vector<float>& logits) {
  bool any = false;
  for (const float x : logits) {
    if (std::isnan(x) || x == INFINITY) return true;
    any |= x != -INFINITY;
  }
  return !any;
}

double Normaliser(const std::vector<float>& logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  uint64_t sum = 0;
  for (const float x : logits) sum += SoftmaxWeight(x - largest);
  return LogNormaliser(largest, sum);
}

void Tell(const std::vector<float>& logits, int32_t token, int count, float* chosen, int32_t* top_tokens,
          float* top_logprobs) {
  const double normaliser = Normaliser(logits);
  *chosen = static_cast<float>(logits[token] - normaliser);
  for (const int32_t id : Likeliest(logits, count)) {
    *top_tokens++ = id;
    *top_logprobs++ = static_cast<float>(logits[id] - normaliser);
  }
}

void Change(const LogitChange& change, std::vector<float>& logits) {
  float& x = logits[change.token];
  x += change.add;
  if (change.repetition != 1) x = x > 0 ? x / change.repetition : x * change.repetition;
  x -= change.subtract;
  if (change.masked != 0) x = -INFINITY;
}

// The part of a sum that `coin`, a fraction of 2^64, marks.
uint64_t PartOf(uint64_t coin, uint64_t sum) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(coin) * sum >> 64);
}

int32_t Choose(const SampleRowParams& row, const std::vector<float>& logits) {
  if (SayNothing(logits)) return kNoChoice;
  if (row.scale == 0) return Likeliest(logits, 1)[0];
  std::vector<int32_t> kept = Likeliest(logits, row.top_k > 0 ? row.top_k : logits.size());
  const float largest = logits[kept[0]];
  std::vector<uint64_t> weights(logits.size());
  uint64_t sum = 0;
  for (const int32_t id : kept) sum += weights[id] = SoftmaxWeight((logits[id] - largest) * row.scale);
  if (row.top_p < 1) {
    uint64_t before = 0;
    size_t count = 0;
    while (count < kept.size() && static_cast<double>(before) < row.top_p * static_cast<double>(sum))
      before += weights[kept[count++]];
    kept.resize(std::max<size_t>(count, 1));
  }
  std::erase_if(kept, [&](int32_t id) { return logits[id] < largest + row.least; });
  std::sort(kept.begin(), kept.end());
  sum = 0;
  for (const int32_t id : kept) sum += weights[id];
  const uint64_t target = PartOf(row.coin, sum);
  uint64_t passed = 0;
  for (const int32_t id : kept)
    if ((passed += weights[id]) > target) return id;
  return kept.back();
}

}  // namespace

void SampleOnHost(const SampleArgs& args) {
  for (int64_t r = 0; r < args.num_rows; ++r) {
    const SampleRowParams& row = args.rows[r];
    const float* from = args.logits + row.logit_row * args.logit_stride;
    const std::vector<float> logits(from, from + args.vocab_size);
    std::vector<float> changed = logits;
    for (int i = 0; i < row.num_changes; ++i) Change(args.changes[row.first_change + i], changed);
    args.tokens[r] = Choose(row, changed);
    if (row.num_logprobs < 0 || args.tokens[r] < 0) continue;
    Tell(logits, args.tokens[r], row.num_logprobs, args.logprobs + r, args.top_tokens + r * args.max_top,
         args.top_logprobs + r * args.max_top);
  }
}

void ScoreOnHost(const ScoreArgs& args) {
  for (int64_t r = 0; r < args.num_rows; ++r) {
    const float* from = args.logits + r * args.logit_stride;
    Tell({from, from + args.vocab_size}, args.tokens[r], args.max_top, args.logprobs + r,
         args.top_tokens + r * args.max_top, args.top_logprobs + r * args.max_top);
  }
}

}  // namespace ropeway::cuda::emulation
