// One generation call, from its request to its last message.
//
//   gRPC thread        Start()    posts to the preparing workers
//   preparing worker   Prepare()  convert, tokenize, charge, mail to the engine, or wait for a turn
//   delivering worker  OnTurn()   its key allows it into the engine now
//   engine thread      the stream is ready: posts to the delivering workers
//   delivering worker  Deliver()  chunks to messages, one message in flight
//
// Ends exactly once, with ResponseWriter::End. A client that has gone is still waited for until the engine's
// last chunk, so that the books are right. The place of the request is free as soon as the engine is done
// with it, whether its client reads or not; a client that takes a message for too long loses the call.
// Thread-safe.
#ifndef ROPEWAY_SERVER_FRONT_GENERATION_H_
#define ROPEWAY_SERVER_FRONT_GENERATION_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/ropeway/v1/ropeway.pb.h"
#include "server/admission/admission.h"
#include "server/front/call.h"
#include "server/front/convert_chunk.h"
#include "server/front/convert_request.h"
#include "server/front/front_context.h"
#include "server/front/request_registry.h"
#include "server/stream/token_stream.h"

namespace ropeway::server {

class Generation final : public Abortable, public std::enable_shared_from_this<Generation> {
 public:
  // Where the answer goes: the transport. Methods are called by one thread at a time, without locks held.
  class ResponseWriter {
   public:
    virtual ~ResponseWriter() = default;
    // Takes a message. True where that was all; false where it is on its way, and OnWritten follows.
    virtual bool Write(v1::GenerateChunk chunk) = 0;
    // Ends the call, after `last_chunk` where there is one.
    virtual void End(v1::GenerateChunk* last_chunk, const absl::Status& status) = 0;
  };

  // `writer` lives until OnClosed().
  Generation(const FrontContext& context, const EngineHandle& engine, Call call, ResponseWriter* writer);

  void Start(v1::GenerateRequest message, Admission::Permit permit);
  void OnWritten(bool ok);
  void OnCancel();  // the client has gone or its deadline has expired
  void OnClosed();  // after the end: the client has taken it, or has gone
  void Abort() override;

 private:
  void Prepare(const v1::GenerateRequest& message);
  absl::Status Submit(GenerationPlan plan);
  void OnTurn();
  void EndWaiting();
  void Post(void (Generation::*task)());
  void ScheduleDelivery();
  void DeliverScheduled();
  void Deliver();
  bool DeliverOne();
  void End(v1::GenerateChunk* last_chunk, absl::Status status);

  void OnWriteTimeout(uint64_t write);

  absl::Status Mail(ValidRequest request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckAlive(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnUnreachable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CancelInEngine(absl::Status why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReleasePlace() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Report(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Constant after construction.
  const FrontContext& context_;
  const EngineHandle& engine_;
  Call call_;  // constant but for `cut`, which is null after OnClosed(), under mutex_
  ResponseWriter* const writer_;

  std::atomic<bool> delivery_scheduled_ = false;  // so that the engine's thread takes no lock

  absl::Mutex mutex_;
  RequestId id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string tenant_ ABSL_GUARDED_BY(mutex_);
  ChunkContext chunk_context_ ABSL_GUARDED_BY(mutex_);
  Admission::Permit permit_ ABSL_GUARDED_BY(mutex_);
  KeyAccounts::Place key_place_ ABSL_GUARDED_BY(mutex_);
  std::optional<ValidRequest> waiting_ ABSL_GUARDED_BY(mutex_);  // for a turn of its key
  std::shared_ptr<TokenStream> stream_ ABSL_GUARDED_BY(mutex_);  // while the engine has the request
  std::optional<RequestEnd> request_end_ ABSL_GUARDED_BY(mutex_);
  FinishReason reason_ ABSL_GUARDED_BY(mutex_) = FinishReason::kError;  // of the sample that ended last
  bool first_ ABSL_GUARDED_BY(mutex_) = true;                           // no message was made yet
  bool registered_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;  // the writer has a message, or the end, in its hands
  uint64_t write_ ABSL_GUARDED_BY(mutex_) = 0;    // counts writes
  WriteWatchdog::Ticket write_ticket_ ABSL_GUARDED_BY(mutex_) = WriteWatchdog::kNone;
  bool delivered_ ABSL_GUARDED_BY(mutex_) = false;    // the client was given a message
  bool unreachable_ ABSL_GUARDED_BY(mutex_) = false;  // no message can be sent any more
  absl::Status cancelled_ ABSL_GUARDED_BY(mutex_);    // why; the engine knows, or will never get the request
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_GENERATION_H_
