// What a client gets of one generation: token events in, messages out.
//
// Not thread-safe; no I/O. However events are cut into messages, the texts and tokens of a sample, joined,
// are the same.
#ifndef ROPEWAY_SERVER_RPC_ANSWER_H_
#define ROPEWAY_SERVER_RPC_ANSWER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/api/event.h"
#include "engine/text/detokenizer.h"
#include "engine/text/tokenizer.h"
#include "proto/ropeway/v1/ropeway.pb.h"
#include "server/rpc/convert_request.h"
#include "engine/text/stop_matcher.h"

namespace ropeway {

class Answer {
 public:
  // Both outlive this object; `plan.name` is the name that is told.
  Answer(const GenerationPlan& plan, const Tokenizer& tokenizer);

  // Takes an event of the request. Those of a sample that ended, by a stop string for instance, change
  // nothing. REQUIRES: !done()
  void Push(const TokenEvent& event);

  // The next message, if there is something to say. Call until it has nothing: the last message of the stream
  // carries usage and receipt.
  std::optional<v1::GenerateChunk> NextChunk();

  // Every sample has ended, though the engine may not know yet: it need not go on.
  bool all_samples_ended() const { return ended_samples_ == static_cast<int32_t>(samples_.size()); }

  // The engine has ended the request.
  bool done() const { return done_; }
  // What the call ends with, once done().
  const absl::Status& status() const { return status_; }
  // How the first sample ended, or one that ended badly.
  FinishReason reason() const { return reason_; }
  const Receipt& receipt() const { return receipt_; }
  int32_t completion_tokens() const { return completion_tokens_; }

 private:
  struct SampleState {
    SampleState(const Tokenizer& tokenizer, const std::vector<std::string>& stop_strings)
        : detokenizer(tokenizer, /*at_start=*/false), stop_matcher(stop_strings) {}
    Detokenizer detokenizer;
    StopMatcher stop_matcher;
    v1::GenerateChunk pending;  // what is not sent yet
    bool has_pending = false;
    bool ended = false;
  };

  void PushToken(const TokenEvent& event, SampleState& sample);
  void PushText(const std::string& text, SampleState& sample);
  void EndSample(FinishReason reason, SampleState& sample);
  void EndRequest(const TokenEvent& event);
  void AddPromptEcho(const TokenEvent& event, SampleState& sample);
  bool IsStopToken(TokenId token) const;

  const GenerationPlan& plan_;
  const Tokenizer& tokenizer_;
  std::vector<SampleState> samples_;
  int32_t ended_samples_ = 0;
  int32_t completion_tokens_ = 0;
  bool first_chunk_ = true;
  bool said_all_ = false;
  bool done_ = false;
  FinishReason reason_ = FinishReason::kError;
  absl::Status status_;
  Receipt receipt_;
};

// Adds `chunk` to the answer of a unary call.
void MergeChunk(v1::GenerateChunk chunk, v1::GenerateResponse& response);

v1::FinishReason ToProto(FinishReason reason);

}  // namespace ropeway

#endif  // ROPEWAY_SERVER_RPC_ANSWER_H_
