// What the front end asks of the engine's side: the only way in and out.
#ifndef ROPEWAY_SERVER_RPC_ENGINE_PORT_H_
#define ROPEWAY_SERVER_RPC_ENGINE_PORT_H_

#include <functional>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/api/event.h"
#include "engine/api/request.h"

namespace ropeway {

// The events of one request, oldest first; the last has request_done. Thread-safe.
class EventSource {
 public:
  virtual ~EventSource() = default;
  virtual std::optional<TokenEvent> Pop() = 0;  // never waits
};

// Thread-safe.
class EnginePort {
 public:
  virtual ~EnginePort() = default;

  // Hands a request to the engine. `on_event` is called, by the engine's thread, when Pop() has something
  // new; it must not wait and must not call the port. RESOURCE_EXHAUSTED, UNAVAILABLE: the engine does not
  // take it.
  virtual absl::StatusOr<std::shared_ptr<EventSource>> Submit(const ValidRequest& request,
                                                              std::function<void()> on_event) = 0;

  // The request is to end soon, with its last event. Nothing happens where it has ended.
  virtual void Cancel(RequestId id) = 0;
};

}  // namespace ropeway

#endif  // ROPEWAY_SERVER_RPC_ENGINE_PORT_H_
