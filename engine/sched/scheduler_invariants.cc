// CheckInvariants(): what holds between two calls.
#include <vector>

#include "engine/base/check.h"
#include "engine/sched/scheduler.h"

namespace ropeway {

void Scheduler::CheckInvariants() const {
  pool_.CheckInvariants();
  std::vector<int32_t> held(pool_.num_pages());
  size_t running = 0;
  size_t preempted = 0;
  size_t waiting = 0;
  int32_t places = 0;
  for (const auto& [id, request] : requests_) {
    ROPEWAY_CHECK(request->spec.id == id);
    int32_t unfinished = 0;
    for (const Sequence& sequence : request->samples) {
      CheckSequence(sequence);
      for (const PageId page : sequence.pages.pages()) ++held[page];
      unfinished += sequence.state != Sequence::State::kEnded;
      running += sequence.state == Sequence::State::kRunning;
      preempted += sequence.state == Sequence::State::kPreempted;
      waiting += sequence.state == Sequence::State::kWaiting;
      if (sequence.state == Sequence::State::kRunning) places += request->places();
    }
    ROPEWAY_CHECK(unfinished > 0 && unfinished == request->unfinished);
  }
  ROPEWAY_CHECK(running == running_.size() && preempted == preempted_.size() && waiting == waiting_.size());
  ROPEWAY_CHECK(places <= max_running_);
  for (PageId page = 0; page < pool_.num_pages(); ++page) ROPEWAY_CHECK(held[page] == pool_.ref_count(page));
}

void Scheduler::CheckSequence(const Sequence& sequence) const {
  const RequestState& request = sequence.request;
  const int32_t reserved = std::min(sequence.pages.size() * kPageTokens, limits_.max_model_len);
  ROPEWAY_CHECK(0 <= sequence.cached && sequence.cached <= sequence.computed);
  ROPEWAY_CHECK(sequence.cached % kPageTokens == 0);
  CheckRowsInFlight(sequence);
  if (sequence.state == Sequence::State::kEnded) {
    ROPEWAY_CHECK(sequence.pages.size() == 0);
    return;
  }
  ROPEWAY_CHECK(sequence.planned() <= reserved && reserved <= limits_.max_model_len);
  ROPEWAY_CHECK(sequence.computed < sequence.num_tokens() && sequence.unplanned() > 0);
  ROPEWAY_CHECK((sequence.state == Sequence::State::kUnforked) == (!request.forked && sequence.sample > 0));
  ROPEWAY_CHECK(running_.contains(const_cast<Sequence*>(&sequence)) ==
                (sequence.state == Sequence::State::kRunning));
  if (sequence.state != Sequence::State::kRunning) {
    ROPEWAY_CHECK(sequence.pages.size() == 0 && sequence.computed == 0);
    return;
  }
  // Only what is cached is shared, and the end of a prompt until its page is written.
  for (int32_t index = sequence.cached / kPageTokens; index < sequence.pages.size(); ++index) {
    const bool end_of_prompt =
        sequence.computed == request.prompt_size() && index == sequence.computed / kPageTokens;
    ROPEWAY_CHECK(!sequence.pages.IsShared(index) || end_of_prompt);
  }
}

// The rows name the sequence, and each goes on where the one before ends.
void Scheduler::CheckRowsInFlight(const Sequence& sequence) const {
  int32_t rows = 0;
  int32_t awaited = 0;
  int32_t end = sequence.computed;
  for (const PlannedStep& step : in_flight_) {
    for (const PlannedRow& row : step.rows) {
      if (row.sequence != &sequence) continue;
      ++rows;
      awaited += row.num_samples > 0;
      if (!row.has_pages) continue;
      ROPEWAY_CHECK(row.begin == end);
      end += row.num_tokens;
    }
  }
  ROPEWAY_CHECK(rows == sequence.rows_in_flight && awaited == sequence.awaited);
  ROPEWAY_CHECK(end == sequence.planned());
  ROPEWAY_CHECK(rows == 0 || sequence.state == Sequence::State::kRunning ||
                sequence.state == Sequence::State::kPreempted);
}

}  // namespace ropeway
