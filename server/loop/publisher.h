// From tokens to text on streams: what the engine's thread does with the scheduler's events.
//
// Per sample: token → Detokenizer → StopMatcher → chunk; per request: chunks → TokenStream. Used by the
// engine's thread alone.
#ifndef ROPEWAY_SERVER_LOOP_PUBLISHER_H_
#define ROPEWAY_SERVER_LOOP_PUBLISHER_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/api/event.h"
#include "engine/api/request.h"
#include "engine/sched/scheduler.h"
#include "engine/text/detokenizer.h"
#include "engine/text/stop_matcher.h"
#include "engine/text/tokenizer.h"
#include "server/obs/engine_observer.h"
#include "server/stream/token_stream.h"

namespace ropeway::server {

class Publisher {
 public:
  // All outlive the publisher. A reader that lets its request pause for `slow_reader_timeout` loses it.
  Publisher(const Tokenizer& tokenizer, Scheduler& scheduler, EngineObserver& observer,
            absl::Duration slow_reader_timeout)
      : tokenizer_(tokenizer),
        scheduler_(scheduler),
        observer_(observer),
        slow_reader_timeout_(slow_reader_timeout) {}

  // Hands a request to the scheduler. Where that does not take it, its stream ends with the next Deliver().
  void Submit(ValidRequest request, std::shared_ptr<TokenStream> stream, absl::Time now);

  // Takes the scheduler's events, until there are no more, and prepares the chunks. Samples that met a stop
  // string are finished.
  void ProcessEvents(absl::Time now);
  // Gives the chunks to their streams, and pauses requests with slow readers. True where a request was lost
  // by its reader, so that there are events again.
  bool Deliver(absl::Time now);

  // Lets requests go on whose readers caught up, and ends those that were paused for too long.
  void CheckSlowReaders(absl::Time now);
  absl::Time next_reader_timeout() const;  // when the next slow reader will lose its request

  std::vector<RequestId> active_ids() const;

 private:
  struct Sample {
    Sample(const Tokenizer& tokenizer, const ValidRequest& request)
        : detokenizer(tokenizer, /*at_start=*/false),
          matcher(request.stop_strings, request.include_stop_string) {}

    Detokenizer detokenizer;
    StopMatcher matcher;
    int32_t tokens = 0;  // generated
    std::optional<absl::Time> last_token;
    std::optional<StreamChunk> chunk;  // to be delivered
  };

  struct ActiveRequest {
    ActiveRequest(const Tokenizer& tokenizer, const ValidRequest& request,
                  std::shared_ptr<TokenStream> the_stream);

    const std::shared_ptr<TokenStream> stream;
    const absl::Time arrival;
    const int32_t prompt_tokens;
    int32_t completion_tokens = 0;
    std::deque<Sample> samples;
    std::optional<RequestEnd> end;  // to be delivered with the last chunk
    bool changed = false;           // listed in changed_
  };

  void ProcessEvent(TokenEvent event, absl::Time now);
  void AppendToken(TokenEvent& event, ActiveRequest& active, Sample& sample, absl::Time now);
  FinishReason EndSample(const TokenEvent& event, Sample& sample);
  void EndRequest(const TokenEvent& event, FinishReason reason, ActiveRequest& active, absl::Time now);
  TokenStream::Pressure PushChunks(ActiveRequest& active);
  void DropSlowReader(RequestId id, absl::Time now);

  const Tokenizer& tokenizer_;
  Scheduler& scheduler_;
  EngineObserver& observer_;
  const absl::Duration slow_reader_timeout_;

  absl::flat_hash_map<RequestId, std::unique_ptr<ActiveRequest>> active_;
  std::vector<RequestId> changed_;  // with chunks to be delivered, in the order of their events
  std::vector<std::unique_ptr<ActiveRequest>> refused_;  // ends to be delivered
  std::map<RequestId, absl::Time> paused_;               // since when
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_LOOP_PUBLISHER_H_
