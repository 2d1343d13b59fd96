// What prompts and answers have in common is computed once: pages are published as they fill, and found
// again.
#include <algorithm>
#include <optional>
#include <vector>

#include "engine/base/check.h"
#include "engine/sched/scheduler.h"

namespace ropeway {

const PrefixKey& Scheduler::KeyOf(Sequence& sequence, int32_t page) {
  const PrefixSalt& salt = *sequence.request.spec.prefix_salt;
  std::vector<PrefixKey>& keys = sequence.prefix_keys;
  for (int32_t next = static_cast<int32_t>(keys.size()); next <= page; ++next) {
    TokenId tokens[kPageTokens];
    for (int32_t i = 0; i < kPageTokens; ++i) tokens[i] = sequence.token(next * kPageTokens + i);
    keys.push_back(ExtendPrefix(salt, next == 0 ? salt : keys.back(), tokens));
  }
  return keys[page];
}

// Never the last token that is known, since its logits are wanted, and none whose logits tell a
// log-probability of the prompt that is not known yet.
int32_t Scheduler::NumReusablePages(const Sequence& sequence) {
  const RequestState& request = sequence.request;
  if (!request.spec.prefix_salt.has_value()) return 0;
  int32_t tokens = sequence.num_tokens() - 1;
  if (request.needs_scores(0, tokens))
    tokens = std::min(tokens, static_cast<int32_t>(request.prompt_logprobs.size()));
  return tokens / kPageTokens;
}

Scheduler::KnownPages Scheduler::CountKnownPages(Sequence& sequence) {
  KnownPages known;
  for (const int32_t most = NumReusablePages(sequence); known.all < most; ++known.all) {
    const std::optional<PageId> page = pool_.Find(KeyOf(sequence, known.all));
    if (!page.has_value()) break;
    known.held += pool_.ref_count(*page) > 0;
  }
  return known;
}

// Pages that are held already are replaced: they are still empty.
void Scheduler::ReuseKnownPages(Sequence& sequence) {
  ROPEWAY_CHECK(sequence.computed % kPageTokens == 0);
  const int32_t first = sequence.computed / kPageTokens;
  int32_t index = first;
  for (const int32_t most = NumReusablePages(sequence); index < most; ++index) {
    const std::optional<PageId> page = pool_.Find(KeyOf(sequence, index));
    if (!page.has_value()) break;
    if (index < sequence.pages.size())
      sequence.pages.Adopt(index, *page);
    else
      sequence.pages.AppendShared(*page);
  }
  if (index == first) return;
  sequence.cached = sequence.computed = index * kPageTokens;
  // What a preemption took away and is found again was saved before, or computed.
  const int32_t saved = sequence.computed - std::max(first * kPageTokens, sequence.most_computed);
  if (saved <= 0) return;
  sequence.most_computed = sequence.computed;
  sequence.request.receipt.cached_tokens += saved;
  waiting_.Charge(sequence.request.spec.tenant, -saved);
}

// They are found once their steps are committed.
absl::flat_hash_set<PrefixKey> Scheduler::PrefixesInFlight() {
  absl::flat_hash_set<PrefixKey> prefixes;
  for (const PlannedStep& step : in_flight_) {
    for (const PlannedRow& row : step.rows) {
      if (row.sequence == nullptr || !row.has_pages) continue;
      Sequence& sequence = *row.sequence;
      if (!sequence.request.spec.prefix_salt.has_value()) continue;
      const int32_t end = std::min(row.begin + row.num_tokens, sequence.num_tokens()) / kPageTokens;
      for (int32_t page = row.begin / kPageTokens; page < end; ++page) prefixes.insert(KeyOf(sequence, page));
    }
  }
  return prefixes;
}

// Prompts that begin alike and came together go on in single file until they part: what the first computes in
// this step the others find when it is committed.
bool Scheduler::IsComputedByAnother(Sequence& sequence, absl::flat_hash_set<PrefixKey>& under_way) {
  const int32_t page = sequence.planned() / kPageTokens;
  if (page >= NumReusablePages(sequence)) return false;
  return !under_way.insert(KeyOf(sequence, page)).second;
}

void Scheduler::PublishPages(Sequence& sequence, int32_t first_token) {
  if (!sequence.request.spec.prefix_salt.has_value()) return;
  const int32_t last = sequence.computed / kPageTokens;
  for (int32_t page = first_token / kPageTokens; page < last; ++page)
    pool_.Publish(sequence.pages.pages()[page], KeyOf(sequence, page));
  sequence.cached = std::max(sequence.cached, last * kPageTokens);
}

// Whoever shares what is lost has to compute it again, and what is computed from it meanwhile is worthless.
void Scheduler::PreemptHolders(const std::vector<bool>& lost) {
  const std::vector<Sequence*> running(running_.begin(), running_.end());
  for (Sequence* sequence : running) {
    const absl::Span<const PageId> pages = sequence->pages.pages();
    if (std::none_of(pages.begin(), pages.end(), [&](PageId page) { return lost[page]; })) continue;
    DropRows(*sequence);
    Preempt(*sequence);
  }
}

}  // namespace ropeway
