#include "server/rpc/health_service.h"

#include <algorithm>
#include <utility>

#include "server/rpc/credentials.h"
#include "server/rpc/status_map.h"

namespace ropeway::server {

// A stream that tells each new state; one write in flight. Its members are under the service's mutex.
class HealthService::Watcher final : public grpc::ServerWriteReactor<Response> {
 public:
  Watcher(HealthService& service, bool known) : service_(service), known_(known) {
    absl::MutexLock lock(&service_.mutex_);
    place_ = service_.watchers_.insert(service_.watchers_.end(), this);
    Tell();
  }

  // REQUIRES: service_.mutex_ is held.
  void Tell() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (writing_ || finished_) return;
    const Response::ServingStatus state = service_.StateOf(known_);
    if (state != told_) {
      told_ = state;
      response_.set_status(state);
      writing_ = true;
      StartWrite(&response_);
    } else if (service_.shut_down_) {
      finished_ = true;
      Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the server shuts down"));
    }
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&service_.mutex_);
    writing_ = false;
    if (ok && !cancelled_) return Tell();
    FinishOnce();
  }
  void OnCancel() override {
    absl::MutexLock lock(&service_.mutex_);
    cancelled_ = true;
    // A write in flight may come to a good end all the same, and then ends the watch.
    if (!writing_) FinishOnce();
  }
  void OnDone() override {
    {
      absl::MutexLock lock(&service_.mutex_);
      service_.watchers_.erase(place_);
    }
    delete this;
  }

 private:
  void FinishOnce() {
    if (!std::exchange(finished_, true)) Finish(grpc::Status::CANCELLED);
  }

  HealthService& service_;
  const bool known_;
  Watchers::iterator place_;
  Response response_;
  Response::ServingStatus told_ = Response::UNKNOWN;
  bool writing_ = false, cancelled_ = false, finished_ = false;
};

namespace {

// A watch that is refused before it begins.
class RefusedWatch final : public grpc::ServerWriteReactor<HealthService::Response> {
 public:
  explicit RefusedWatch(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

HealthService::HealthService(std::vector<std::string> services, const Gate* gate)
    : services_(std::move(services)), gate_(gate) {}

void HealthService::SetServing(bool serving) {
  absl::MutexLock lock(&mutex_);
  if (shut_down_) return;
  serving_ = serving;
  Tell();
}

void HealthService::Shutdown() {
  absl::MutexLock lock(&mutex_);
  shut_down_ = true;
  serving_ = false;
  Tell();
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const grpc::health::v1::HealthCheckRequest* request,
                                               Response* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (const absl::Status admitted = LookStatus(gate_, *context, "Health.Check"); !admitted.ok()) {
    reactor->Finish(ToGrpcStatus(admitted));
  } else if (!Knows(request->service())) {
    reactor->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "there is no such service"));
  } else {
    {
      absl::MutexLock lock(&mutex_);
      response->set_status(StateOf(/*known=*/true));
    }
    reactor->Finish(grpc::Status::OK);
  }
  return reactor;
}

grpc::ServerWriteReactor<HealthService::Response>* HealthService::Watch(
    grpc::CallbackServerContext* context, const grpc::health::v1::HealthCheckRequest* request) {
  if (const absl::Status admitted = LookStatus(gate_, *context, "Health.Watch"); !admitted.ok())
    return new RefusedWatch(admitted);
  return new Watcher(*this, Knows(request->service()));
}

bool HealthService::Knows(const std::string& service) const {
  return service.empty() || std::find(services_.begin(), services_.end(), service) != services_.end();
}

void HealthService::Tell() {
  for (Watcher* const watcher : watchers_) watcher->Tell();
}

HealthService::Response::ServingStatus HealthService::StateOf(bool known) const {
  if (!known) return Response::SERVICE_UNKNOWN;
  return serving_ ? Response::SERVING : Response::NOT_SERVING;
}

}  // namespace ropeway::server
