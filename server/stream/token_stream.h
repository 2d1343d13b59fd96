// The way of a request's results from the engine's thread to the thread that writes them out.
//
// Thread-safe; one writer (the engine's thread) and one reader. What the reader has not taken yet is merged:
// there is never more than one chunk per sample in here, so a slow reader gets fewer and larger chunks.
#ifndef ROPEWAY_SERVER_STREAM_TOKEN_STREAM_H_
#define ROPEWAY_SERVER_STREAM_TOKEN_STREAM_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "engine/api/event.h"
#include "engine/api/token.h"

namespace ropeway::server {

// How a sample ended.
struct SampleEnd {
  FinishReason reason = FinishReason::kStop;
  std::string stop_string;        // for kStop, the stop string that matched, or
  TokenId stop_token = kNoToken;  // the end token or stop id that was chosen
};

// How a request ended. OK when every sample came to its stop or length; otherwise CANCELLED,
// DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED (its reader was too slow, or it did not fit), UNAVAILABLE (the engine
// stops), INTERNAL (the engine failed).
struct RequestEnd {
  absl::Status status;
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;  // over all samples; end tokens count
  Receipt receipt;
  bool refused = false;  // it was never taken
};

// What is new for one sample. Texts, tokens and log-probabilities of its chunks are to be concatenated.
struct StreamChunk {
  int32_t sample = 0;                          // [0, num_samples)
  std::string text;                            // whole code points; never a part of a stop string
  std::vector<TokenId> token_ids;              // end tokens and those of a stop string included
  std::vector<TokenLogprobs> logprobs;         // where asked for: one for each of token_ids
  std::vector<TokenLogprobs> prompt_logprobs;  // where asked for: of prompt[1..], once, with sample 0
  std::optional<SampleEnd> finish;             // in the last chunk of the sample
  std::optional<RequestEnd> end;               // in the last chunk of the stream, and only there
};

struct StreamLimits {
  int64_t pause_bytes = 64 << 10;   // unread bytes at which the request is no longer computed
  int64_t resume_bytes = 16 << 10;  // at which it is computed again; below pause_bytes
  int64_t max_bytes = 1 << 20;      // beyond which the request is ended
};

class TokenStream {
 public:
  explicit TokenStream(const StreamLimits& limits = {}) : limits_(limits) {}

  // ---- The reader's side ----

  // The next chunk, if there is any. Where there is none, `ready` will be called once.
  std::optional<StreamChunk> Pop() ABSL_LOCKS_EXCLUDED(mutex_);

  // `ready` is called by the writer's thread, with no lock held, once after each Pop() that returned nothing,
  // as soon as there is a chunk, and in any case when the last chunk was pushed, after which it is dropped.
  // It returns at once; it may call Pop(). Set it before the first Pop() and before the stream is given to
  // the engine.
  void SetReady(std::function<void()> ready) ABSL_LOCKS_EXCLUDED(mutex_);

  // Whether the last chunk was pushed: the engine is done with the request.
  bool ended() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Then, the tokens that were computed for it.
  int64_t computed_tokens() const ABSL_LOCKS_EXCLUDED(mutex_);

  // ---- The engine's side ----

  enum class Pressure { kNone, kPause, kOverflow };

  // Adds `chunk` to what is unread, and calls `ready` if the reader waits. The chunk is taken in any case;
  // the answer says what is to become of the request. REQUIRES: no chunk with `end` was pushed before.
  Pressure Push(StreamChunk chunk) ABSL_LOCKS_EXCLUDED(mutex_);

  // `relieved` is called by the reader's thread, with no lock held, when after a Push() that told kPause the
  // unread bytes fell to resume_bytes.
  void SetRelieved(std::function<void()> relieved) ABSL_LOCKS_EXCLUDED(mutex_);

  bool MayResume() const ABSL_LOCKS_EXCLUDED(mutex_);  // unread bytes are at most resume_bytes

 private:
  void Merge(StreamChunk chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const StreamLimits limits_;

  mutable absl::Mutex mutex_;
  std::deque<StreamChunk> unread_ ABSL_GUARDED_BY(mutex_);  // at most one per sample; none has `end`
  std::optional<RequestEnd> end_ ABSL_GUARDED_BY(mutex_);   // goes out with the last of them
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t computed_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t unread_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool reader_waits_ ABSL_GUARDED_BY(mutex_) = false;
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> ready_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> relieved_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_STREAM_TOKEN_STREAM_H_
