#include "engine/sample/candidates.h"

#include <algorithm>
#include <limits>

#include "engine/base/softmax_weight.h"

namespace ropeway {
namespace {

// How far below the peak a selection looks, in steps: most distributions of language models have all that is
// wanted within the first ones.
constexpr float kReaches[] = {4, 8, 16, std::numeric_limits<float>::infinity()};

// Logits that are compared at once before any is looked at by itself.
constexpr size_t kBlock = 32;

bool Likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

}  // namespace

void Candidates::HoldAbove(absl::Span<const float> logits, float least) {
  held_.clear();
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const absl::Span<const float> block = logits.subspan(begin, kBlock);
    int32_t count = 0;
    for (const float x : block) count += x >= least;
    if (count == 0) continue;
    for (size_t i = 0; i < block.size(); ++i) {
      if (block[i] >= least) held_.push_back({.logit = block[i], .id = static_cast<TokenId>(begin + i)});
    }
  }
}

void Candidates::HoldTop(absl::Span<const float> logits, const Peak& peak, size_t count) {
  count = std::min(count, logits.size());
  for (const float reach : kReaches) {
    HoldAbove(logits, peak.logit - reach);
    if (held_.size() >= count) break;
  }
  KeepTop(count);
}

void Candidates::HoldMass(absl::Span<const float> logits, const Peak& peak, float scale, uint64_t mass) {
  for (const float reach : kReaches) {
    HoldAbove(logits, peak.logit - reach / scale);
    Weigh(peak.logit, scale);
    if (TotalWeight() >= mass) return;
  }
}

void Candidates::Weigh(float largest, float scale) {
  for (Candidate& candidate : held_) candidate.weight = SoftmaxWeight((candidate.logit - largest) * scale);
}

uint64_t Candidates::TotalWeight() const {
  uint64_t sum = 0;
  for (const Candidate& candidate : held_) sum += candidate.weight;
  return sum;
}

void Candidates::KeepTop(size_t count) {
  if (held_.size() <= count || count == 0) return;
  shuffled_ = held_;
  const auto last = shuffled_.begin() + (count - 1);
  std::nth_element(shuffled_.begin(), last, shuffled_.end(), Likelier);
  KeepUpTo(*last);
}

// Halves the part of the order that the last token to keep may lie in: what is before `begin` is kept and has
// `kept` together.
void Candidates::KeepMass(uint64_t mass) {
  if (held_.empty()) return;
  shuffled_ = held_;
  auto begin = shuffled_.begin();
  auto end = shuffled_.end();
  uint64_t kept = 0;
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, Likelier);
    uint64_t with_half = kept;
    for (auto it = begin; it != middle; ++it) with_half += it->weight;
    if (with_half >= mass) {
      end = middle;
    } else {
      kept = with_half;
      begin = middle;
    }
  }
  KeepUpTo(*begin);
}

void Candidates::KeepUpTo(const Candidate& last) {
  std::erase_if(held_, [&](const Candidate& candidate) { return Likelier(last, candidate); });
}

void Candidates::KeepAbove(float least) {
  std::erase_if(held_, [&](const Candidate& candidate) { return candidate.logit < least; });
}

std::vector<Candidate> Candidates::Sorted() const {
  std::vector<Candidate> sorted = held_;
  std::sort(sorted.begin(), sorted.end(), Likelier);
  return sorted;
}

}  // namespace ropeway
