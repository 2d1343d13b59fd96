#include "server/stream/token_stream.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/base/check.h"

namespace ropeway::server {
namespace {

// What a chunk counts for the limits. Log-probabilities of the prompt do not count: they come once, and their
// size is the request's own choice.
int64_t UnreadBytes(const StreamChunk& chunk) {
  int64_t bytes = chunk.text.size() + chunk.token_ids.size() * sizeof(TokenId);
  for (const TokenLogprobs& logprobs : chunk.logprobs) {
    bytes += sizeof(float) + logprobs.top.size() * sizeof(logprobs.top[0]);
  }
  return bytes;
}

template <typename T>
void Append(std::vector<T>& to, std::vector<T> from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

std::optional<StreamChunk> TokenStream::Pop() {
  std::function<void()> relieved;
  std::optional<StreamChunk> chunk;
  {
    absl::MutexLock lock(&mutex_);
    if (unread_.empty() && !end_.has_value()) {
      reader_waits_ = !ended_;
      return std::nullopt;
    }
    chunk.emplace();
    if (!unread_.empty()) {
      chunk = std::move(unread_.front());
      unread_.pop_front();
      unread_bytes_ -= UnreadBytes(*chunk);
    }
    if (unread_.empty()) chunk->end = std::exchange(end_, std::nullopt);
    if (paused_ && unread_bytes_ <= limits_.resume_bytes) {
      paused_ = false;
      relieved = relieved_;
    }
  }
  if (relieved) relieved();
  return chunk;
}

void TokenStream::SetReady(std::function<void()> ready) {
  absl::MutexLock lock(&mutex_);
  ready_ = std::move(ready);
}

void TokenStream::SetRelieved(std::function<void()> relieved) {
  absl::MutexLock lock(&mutex_);
  relieved_ = std::move(relieved);
}

TokenStream::Pressure TokenStream::Push(StreamChunk chunk) {
  std::function<void()> ready;
  bool call = false;
  Pressure pressure = Pressure::kNone;
  {
    absl::MutexLock lock(&mutex_);
    ROPEWAY_CHECK(!ended_);
    ended_ = chunk.end.has_value();
    if (ended_) computed_tokens_ = chunk.end->receipt.computed_tokens;
    unread_bytes_ += UnreadBytes(chunk);
    Merge(std::move(chunk));
    if (unread_bytes_ >= limits_.pause_bytes && !ended_) pressure = Pressure::kPause;
    if (unread_bytes_ > limits_.max_bytes && !ended_) pressure = Pressure::kOverflow;
    paused_ = paused_ || pressure != Pressure::kNone;
    call = std::exchange(reader_waits_, false) || ended_;
    // Dropping the callbacks with the last chunk lets them own what holds the stream.
    if (ended_) {
      ready.swap(ready_);
      relieved_ = nullptr;
    } else if (call) {
      ready = ready_;
    }
  }
  if (call && ready) ready();
  return pressure;
}

void TokenStream::Merge(StreamChunk chunk) {
  if (chunk.end.has_value()) end_ = std::exchange(chunk.end, std::nullopt);
  const auto same = std::find_if(unread_.begin(), unread_.end(),
                                 [&](const StreamChunk& other) { return other.sample == chunk.sample; });
  if (same == unread_.end()) {
    unread_.push_back(std::move(chunk));
    return;
  }
  same->text += chunk.text;
  Append(same->token_ids, std::move(chunk.token_ids));
  Append(same->logprobs, std::move(chunk.logprobs));
  Append(same->prompt_logprobs, std::move(chunk.prompt_logprobs));
  if (chunk.finish.has_value()) same->finish = std::move(chunk.finish);
}

bool TokenStream::ended() const {
  absl::MutexLock lock(&mutex_);
  return ended_;
}

int64_t TokenStream::computed_tokens() const {
  absl::MutexLock lock(&mutex_);
  return computed_tokens_;
}

bool TokenStream::MayResume() const {
  absl::MutexLock lock(&mutex_);
  return unread_bytes_ <= limits_.resume_bytes;
}

}  // namespace ropeway::server
