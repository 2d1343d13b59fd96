#include "server/server.h"

#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/clock.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "server/admission/admission.h"
#include "server/door.h"
#include "server/load_log.h"
#include "server/loop/engine_loop.h"
#include "server/obs/health.h"
#include "server/obs/metrics.h"
#include "server/obs/metrics_server.h"
#include "server/obs/rate_limiter.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/rpc_server.h"
#include "server/rpc/service.h"
#include "server/rpc/tls_credentials.h"

namespace ropeway::server {
namespace {

constexpr int kPreparingThreads = 2;
constexpr int kTroublesAtOnce = 3;  // that are logged
// Of the requests that are served at a time, one in so many more are for others than those who hold them.
constexpr int32_t kReservedPart = 16;
// Calls beside the generations that are admitted: that wait to be prepared (tokenized, rendered), or are open
// on one connection, so that a generation too many is refused by name.
constexpr int32_t kSpareCalls = 1024;
constexpr int64_t kMaxAdminMessageBytes = 16 << 10;
constexpr int kDeliveringThreads = 2;
// How long calls may take to say their last word once their requests have ended.
constexpr absl::Duration kLastWords = absl::Seconds(1);

// Messages of full length that may be under way at a time, and what gRPC may use at least.
constexpr int64_t kLongMessages = 32;
constexpr int64_t kMinMessageMemory = 256 << 20;

uint64_t RandomKey() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

// In the server at a time, before and after it is known where the model is computed: what max_running and
// max_queue promise together.
int32_t MostRequests(const Config& config) { return config.max_running.AtMost() + config.max_queue.AtMost(); }
int32_t MaxRequests(const Config& config, Device device) {
  return config.max_running.On(device) + config.max_queue.On(device);
}

// Beside these, for connections and tenants that hold few, so that nobody keeps the others out.
int32_t ReservedRequests(int32_t max_requests) { return max_requests / kReservedPart; }

AdmissionLimits AdmissionLimitsOf(const Config& config, int32_t max_requests) {
  return {.max_requests = max_requests,
          .reserved_requests = ReservedRequests(max_requests),
          .max_connection_requests =
              config.max_connection_requests == 0 ? max_requests : config.max_connection_requests,
          .max_tokens = config.max_live_tokens,
          .max_tenant_requests = config.max_tenant_requests,
          .tenant_tokens_per_second = config.tenant_tokens_per_second,
          .tenant_burst_tokens = config.tenant_burst_tokens};
}

Acceptor::Options ConnectionsOf(const Config& config) {
  return {.max_connections = config.max_connections,
          .arrivals = {.max_half_open = static_cast<size_t>(config.max_half_open),
                       .max_handshakes = static_cast<size_t>(config.max_handshakes),
                       .timeout = config.handshake_timeout}};
}

LoopOptions LoopOptionsOf(const Config& config, Device device) {
  const int32_t max_requests = MaxRequests(config, device);
  return {.scheduler = {.max_running = config.max_running.On(device),
                        .max_requests = max_requests + ReservedRequests(max_requests),
                        .target_itl = absl::Milliseconds(config.target_itl_ms.On(device))},
          .slow_reader_timeout = config.slow_reader_timeout};
}

RequestLimits RequestLimitsOf(const Config& config, Device device, const ExecutorLimits& executor) {
  RequestLimits limits = config.request;
  limits.max_model_len = static_cast<int32_t>(
      std::min<int64_t>(executor.max_model_len, int64_t{executor.num_pages} * kPageTokens));
  limits.max_samples =
      std::min(limits.max_samples, MostRunning(LoopOptionsOf(config, device).scheduler, executor));
  return limits;
}

// Long before a stream is given up, its request pauses, so that a slow reader costs no computation.
StreamLimits StreamLimitsOf(const Config& config) {
  return {.pause_bytes = config.stream_buffer_bytes / 16,
          .resume_bytes = config.stream_buffer_bytes / 64,
          .max_bytes = config.stream_buffer_bytes};
}

void LogPackCache(const Log& log, const PackCacheOutcome& outcome) {
  if (outcome.path.empty()) return;
  const auto say = outcome.trouble.empty() ? &Log::Info : &Log::Warning;
  (log.*say)("packed weights", {{"file", outcome.path},
                                {"read", outcome.read},
                                {"packed", outcome.packed},
                                {"written", outcome.is_written ? "yes" : "no"},
                                {"trouble", outcome.trouble.empty() ? "none" : outcome.trouble}});
}

}  // namespace

// In the order of construction: each may use those above it, and outlives those below it.
struct Server::Impl {
  Impl(const Config& config, const Log& log, std::shared_ptr<Metrics> given_metrics,
       std::unique_ptr<Door> given_door, Events events)
      : config(config),
        log(log),
        events(std::move(events)),
        metrics(std::move(given_metrics)),
        door(std::move(given_door)),
        admission(AdmissionLimitsOf(config, MostRequests(config))),
        mailbox(MostRequests(config) + ReservedRequests(MostRequests(config))),
        preparing(kPreparingThreads, MostRequests(config) + kSpareCalls),
        write_watchdog(config.slow_reader_timeout) {
    metrics->WatchLog(log);
    metrics->WatchQueuedByKeys([this] { return key_accounts.waiting(); });
  }

  const Config config;
  const Log& log;
  const Events events;
  std::atomic<bool> lost = false;
  const RealClock clock{};
  Health health;
  const std::shared_ptr<Metrics> metrics;
  const std::unique_ptr<Door> door;
  const Gate gate{door->authenticator(), clock, log, *metrics, "grpc"};
  const Gate metrics_gate{door->authenticator(), clock, log, *metrics, "metrics"};
  Admission admission;
  KeyAccounts key_accounts;
  const PrefixSalts prefix_salts{config.prefix_cache, config.prefix_cache_secret};
  RequestRegistry requests;
  Mailbox mailbox;
  ModelBundle model;
  WorkerPool preparing;
  WorkerPool delivering{kDeliveringThreads, SIZE_MAX};
  WriteWatchdog write_watchdog;
  std::unique_ptr<EngineLoop> engine;
  std::unique_ptr<EngineHandle> engine_handle;
  FrontContext context = {.clock = clock,
                          .health = health,
                          .log = log,
                          .metrics = *metrics,
                          .gate = gate,
                          .admission = admission,
                          .key_accounts = key_accounts,
                          .requests = requests,
                          .preparing = preparing,
                          .delivering = delivering,
                          .write_watchdog = write_watchdog,
                          .prefix_salts = prefix_salts,
                          .version = ROPEWAY_VERSION,
                          .started = clock.Now(),
                          .random_key = RandomKey()};
  const std::unique_ptr<grpc::Service> service =
      MakeRopewayService(context, config.request.max_request_bytes);
  RateLimiter trouble_limiter{kTroublesAtOnce, absl::Seconds(1)};  // of the thread that accepts connections
  RateLimiter admin_trouble_limiter{kTroublesAtOnce, absl::Seconds(1)};
  std::unique_ptr<RpcServer> rpc;
  std::unique_ptr<MetricsServer> metrics_server;
  std::atomic<bool> drain_asked = false;
  const AdminContext admin = {
      .front = context, .drain = [this] { OnDrainAsked(); }, .reload = [this] { return door->Reload(); }};
  const Gate admin_gate{door->authenticator(), clock, log, *metrics, "admin"};
  const std::unique_ptr<grpc::Service> admin_service = MakeAdminService(admin, admin_gate);
  std::unique_ptr<RpcServer> admin_rpc;  // null where no admin is listened to
  absl::Mutex drain_mutex;
  bool drained ABSL_GUARDED_BY(drain_mutex) = false;

  absl::Status Listen();
  MetricsServer::Guard MetricsGuard() const;
  absl::Status Load(const ModelLoader& load);
  void OnConnectionTrouble(const absl::Status& status);
  void OnAdminTrouble(const absl::Status& status);
  void OnDeviceLost();
  void OnLost();
  absl::Status ListenToAdmins();
  void OnDrainAsked();
};

absl::Status Server::Impl::Listen() {
  ASSIGN_OR_RETURN(
      rpc,
      RpcServer::Start({.address = config.listen,
                        .credentials = door->tls() == nullptr ? nullptr : MakeTlsCredentials(*door->tls()),
                        .gate = &gate,
                        .health_needs_key = config.health_needs_key == Needed::kYes,
                        .connections = ConnectionsOf(config),
                        .on_trouble = [this](const absl::Status& status) { OnConnectionTrouble(status); },
                        .max_message_memory =
                            std::max(kMinMessageMemory, kLongMessages * config.request.max_request_bytes),
                        .max_streams_per_connection = config.max_connection_streams == 0
                                                          ? MostRequests(config) + kSpareCalls
                                                          : config.max_connection_streams,
                        .idle_timeout = config.idle_timeout,
                        .max_header_bytes = config.max_header_bytes},
                       *service));
  log.Info("listening on", {{"address", config.listen},
                            {"tls", door->tls() == nullptr ? "no" : "yes"},
                            {"keys", door->authenticator().num_keys()},
                            {"port", rpc->port()}});
  metrics->WatchConnections([this] { return rpc->connections(); });
  door->WarnWhereOpen(config.listen, rpc->beyond_loopback());
  RETURN_IF_ERROR(ListenToAdmins());
  if (config.metrics_listen.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(metrics_server, MetricsServer::Start(config.metrics_listen, metrics, MetricsGuard()));
  log.Info("metrics on", {{"address", config.metrics_listen}, {"port", metrics_server->port()}});
  if (metrics_server->beyond_loopback() && config.metrics_needs_key == Needed::kNo)
    door->WarnWhereMetricsOpen(config.metrics_listen);
  return absl::OkStatus();
}

// Called by the thread that serves metrics.
MetricsServer::Guard Server::Impl::MetricsGuard() const {
  if (config.metrics_needs_key == Needed::kNo) return nullptr;
  return [this](const std::optional<std::string>& authorization, absl::string_view peer) {
    Credentials credentials;
    if (authorization) credentials.authorization = *authorization;
    const absl::Status status = metrics_gate.Admit(credentials, Access::kMetrics).status();
    if (!status.ok()) metrics_gate.OnRefused("scrape", peer, status);
    return status;
  };
}

// Called by the thread that accepts the connections of admins: these alone are lost.
void Server::Impl::OnAdminTrouble(const absl::Status& status) {
  if (!admin_trouble_limiter.Allow(clock.Now())) return;
  log.Warning("connections of admins",
              {{"message", status.message()}, {"suppressed", admin_trouble_limiter.TakeSuppressed()}});
}

// Called by the thread that accepts connections.
void Server::Impl::OnConnectionTrouble(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) {
    if (!trouble_limiter.Allow(clock.Now())) return;
    return log.Warning("connections",
                       {{"message", status.message()}, {"suppressed", trouble_limiter.TakeSuppressed()}});
  }
  log.Error("no connection is accepted any more", {{"message", status.message()}});
  OnLost();
}

// Called by the engine's thread: its living requests end with Drain.
void Server::Impl::OnDeviceLost() {
  rpc->SetNotServing();
  log.Error("the device is lost", {{"kernels", model.served.kernels}});
  OnLost();
}

absl::Status Server::Impl::ListenToAdmins() {
  if (config.admin_listen.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(
      admin_rpc,
      RpcServer::Start({.address = config.admin_listen,
                        .credentials = door->tls() == nullptr ? nullptr : MakeTlsCredentials(*door->tls()),
                        .service_name = "ropeway.v1.Admin",
                        .gate = &admin_gate,
                        .health_needs_key = true,
                        .connections = ConnectionsOf(config),
                        .on_trouble = [this](const absl::Status& status) { OnAdminTrouble(status); },
                        .max_message_bytes = kMaxAdminMessageBytes,
                        .idle_timeout = config.idle_timeout,
                        .max_header_bytes = config.max_header_bytes},
                       *admin_service));
  admin_rpc->SetServing();
  log.Info("listening to admins on", {{"address", config.admin_listen}, {"port", admin_rpc->port()}});
  door->WarnWhereOpen(config.admin_listen, admin_rpc->beyond_loopback());
  return absl::OkStatus();
}

// Called by the thread of an admin's call: health and admission say at once that nothing new is taken.
void Server::Impl::OnDrainAsked() {
  health.StartDraining();
  rpc->SetNotServing();
  admission.StartDraining();
  if (!drain_asked.exchange(true) && events.on_drain) events.on_drain();
}

// Whoever runs the process starts a new one.
void Server::Impl::OnLost() {
  health.StartDraining();
  admission.StartDraining();
  if (!lost.exchange(true) && events.on_lost) events.on_lost();
}

absl::Status Server::Impl::Load(const ModelLoader& load) {
  ASSIGN_OR_RETURN(model, load(config, LogOfProgress(log, clock)));
  for (const std::string& line : model.products) log.Info("products of a matrix", {{"by", line}});
  if (!model.warning.empty()) log.Warning("computing on the CPU", {{"why", model.warning}});
  if (!model.placement.empty()) log.Info("memory of weights", {{"taken", model.placement}});
  if (!model.upload.empty()) log.Info("upload of weights", {{"took", model.upload}});
  LogPackCache(log, model.pack_cache);
  const ServedModel& served = model.served;
  for (const std::string& problem : served.chat_templates.Problems()) {
    log.Warning("a chat template cannot be used as it is", {{"why", problem}});
  }
  if (const auto& wishes = served.sampling_defaults.not_followed; !wishes.empty())
    log.Warning("the model asks for sampling that there is not here",
                {{"what", Printable(absl::StrJoin(wishes, ", "), kMaxMessageBytes)}});
  const ExecutorLimits& limits = model.executor->limits();
  const EngineLoop::Dependencies loop_deps = {.executor = *model.executor,
                                              .tokenizer = *served.tokenizer,
                                              .clock = clock,
                                              .mailbox = mailbox,
                                              .observer = *metrics,
                                              .on_lost = [this] { OnDeviceLost(); },
                                              .on_warning =
                                                  [this](const std::string& what) {
                                                    log.Warning("the device", {{"what", what}});
                                                  }};
  admission.SetLimits(AdmissionLimitsOf(config, MaxRequests(config, model.device)));
  engine = std::make_unique<EngineLoop>(LoopOptionsOf(config, model.device), loop_deps);
  engine_handle = absl::WrapUnique(
      new EngineHandle{.model = served,
                       .limits = RequestLimitsOf(config, model.device, limits),
                       .stream = StreamLimitsOf(config),
                       .mailbox = mailbox,
                       .target_itl_ms = config.target_itl_ms.On(model.device),
                       .rotation_choices = [executor = model.executor.get()](const AdmittedLengths& lengths) {
                         return executor->RotationChoices(lengths);
                       }});
  metrics->SetModel({.architecture = served.facts.architecture,
                     .quantization = served.facts.quantization,
                     .num_parameters = served.facts.num_parameters,
                     .max_model_len = engine_handle->limits.max_model_len});
  metrics->SetBuild({.version = context.version, .kernels = served.kernels});
  metrics->SetEngine({.total_pages = limits.num_pages});
  context.engine.store(engine_handle.get(), std::memory_order_release);
  if (health.StartServing()) rpc->SetServing();
  log.Info("serving", {{"model", served.facts.name},
                       {"weights", served.facts.quantization},
                       {"rope_scaling", served.facts.rope_scaling},
                       {"kernels", served.kernels},
                       {"threads", served.num_threads},
                       {"pages", limits.num_pages},
                       {"max_model_len", engine_handle->limits.max_model_len},
                       {"max_running", config.max_running.On(model.device)},
                       {"max_queue", config.max_queue.On(model.device)},
                       {"max_tokens_per_step", limits.max_tokens_per_step},
                       {"after_ms", absl::ToInt64Milliseconds(clock.Now() - context.started)}});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config, const Log& log,
                                                      const ModelLoader& load, Events events) {
  auto metrics = std::make_shared<Metrics>(ModelName(config));
  ASSIGN_OR_RETURN(std::unique_ptr<Door> door, Door::Open(config, log, *metrics));
  auto impl = std::make_unique<Impl>(config, log, std::move(metrics), std::move(door), std::move(events));
  RETURN_IF_ERROR(impl->Listen());
  auto server = absl::WrapUnique(new Server(std::move(impl)));
  RETURN_IF_ERROR(server->impl_->Load(load));
  return server;
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() { Drain(absl::ZeroDuration()); }

int Server::port() const { return impl_->rpc->port(); }

int Server::metrics_port() const {
  return impl_->metrics_server == nullptr ? 0 : impl_->metrics_server->port();
}

int Server::admin_port() const { return impl_->admin_rpc == nullptr ? 0 : impl_->admin_rpc->port(); }

void Server::Reload() { impl_->door->Reload(); }

void Server::Drain(absl::Duration timeout) {
  absl::MutexLock lock(&impl_->drain_mutex);
  if (std::exchange(impl_->drained, true)) return;
  impl_->health.StartDraining();
  impl_->rpc->SetNotServing();
  impl_->admission.StartDraining();
  if (!impl_->admission.WaitUntilIdle(timeout)) {
    impl_->log.Warning("aborting", {{"requests", impl_->admission.live_requests()}});
    impl_->mailbox.Stop();  // ends them with UNAVAILABLE: another replica may serve them
    impl_->admission.WaitUntilIdle(kLastWords);
  }
  impl_->rpc->Shutdown(kLastWords);
  if (impl_->admin_rpc != nullptr) impl_->admin_rpc->Shutdown(kLastWords);
  impl_->mailbox.Stop();
}

}  // namespace ropeway::server
