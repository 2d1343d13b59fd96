#include "server/obs/library_log.h"

#include <string>

#include "absl/base/attributes.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "engine/base/check.h"
#include "google/protobuf/stubs/logging.h"
#include "grpc/support/log.h"
#include "server/obs/rate_limiter.h"

namespace ropeway::server {
namespace {

constexpr int kBurst = 10;
constexpr absl::Duration kInterval = absl::Seconds(1);

// The hooks are plain functions, so what they write to has to be found without an argument.
ABSL_CONST_INIT absl::Mutex hook_mutex(absl::kConstInit);
const Log* hooked_log ABSL_GUARDED_BY(hook_mutex) = nullptr;

RateLimiter& Limiter() ABSL_EXCLUSIVE_LOCKS_REQUIRED(hook_mutex) {
  static RateLimiter limiter(kBurst, kInterval);
  return limiter;
}

void Pass(const char* library, bool is_error, absl::string_view message, absl::string_view place) {
  absl::MutexLock lock(&hook_mutex);
  if (hooked_log == nullptr) return;
  if (!is_error) return hooked_log->Debug(library, {{"message", message}, {"at", place}});
  if (!Limiter().Allow(absl::Now())) return;
  hooked_log->Warning(library,
                      {{"message", message}, {"at", place}, {"suppressed", Limiter().TakeSuppressed()}});
}

std::string Place(absl::string_view file, int line) {
  return absl::StrCat(file.substr(file.rfind('/') + 1), ":", line);
}

void OnGrpcLog(gpr_log_func_args* args) {
  Pass("grpc", args->severity == GPR_LOG_SEVERITY_ERROR, args->message, Place(args->file, args->line));
}

void OnProtobufLog(google::protobuf::LogLevel level, const char* file, int line, const std::string& message) {
  Pass("protobuf", level >= google::protobuf::LOGLEVEL_ERROR, message, Place(file, line));
}

}  // namespace

LibraryLog::LibraryLog(const Log& log) {
  {
    absl::MutexLock lock(&hook_mutex);
    ROPEWAY_CHECK(hooked_log == nullptr);
    hooked_log = &log;
  }
  gpr_set_log_function(&OnGrpcLog);
  google::protobuf::SetLogHandler(&OnProtobufLog);
}

LibraryLog::~LibraryLog() {
  absl::MutexLock lock(&hook_mutex);
  hooked_log = nullptr;
}

}  // namespace ropeway::server
