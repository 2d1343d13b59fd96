#include "server/config/config.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/base/status_macros.h"

namespace ropeway::server {
namespace {

constexpr absl::Duration kMaxDrainTimeout = absl::Hours(24);
constexpr absl::string_view kKernels[] = {"auto", "ref", "avx2", "avx512"};
constexpr absl::string_view kDevices[] = {"auto", "cpu", "cuda"};
constexpr absl::string_view kDtypes[] = {"auto", "f16", "bf16", "f32"};
constexpr absl::string_view kKvTypes[] = {"auto", "bf16", "f32", "f16", "fp8", "int8"};
constexpr absl::string_view kLogLevels[] = {"debug", "info", "warning", "error"};

absl::Status CheckRange(absl::string_view flag, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, " must be in [", low, ", ", high, "], is ", value));
}

absl::Status CheckChoice(absl::string_view flag, absl::string_view value,
                         absl::Span<const absl::string_view> choices) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, " must be one of ", absl::StrJoin(choices, ", "), "; is \"", value, "\""));
}

absl::Status CheckAddress(absl::string_view flag, absl::string_view address) {
  const size_t colon = address.rfind(':');
  int32_t port = -1;
  if (colon != absl::string_view::npos && colon > 0 && absl::SimpleAtoi(address.substr(colon + 1), &port) &&
      port >= 0 && port <= 65535) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, " must be HOST:PORT with a port in [0, 65535], is \"", address, "\""));
}

absl::Status CheckDevice(const Config& config) {
  RETURN_IF_ERROR(CheckChoice("device", config.device, kDevices));
  RETURN_IF_ERROR(CheckChoice("dtype", config.dtype, kDtypes));
  RETURN_IF_ERROR(CheckChoice("kv_type", config.kv_type, kKvTypes));
  RETURN_IF_ERROR(CheckRange("tensor_parallel", config.tensor_parallel, 1, kMaxTensorParallel));
  if (!(config.gpu_memory_fraction > 0 && config.gpu_memory_fraction <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--gpu_memory_fraction must be in (0, 1], is ", config.gpu_memory_fraction));
  }
  if (config.device != "cpu") return absl::OkStatus();
  return CheckChoice("kv_type (with --device=cpu)", config.kv_type, kCpuKvTypes);
}

absl::Status CheckPerformance(const Config& config) {
  RETURN_IF_ERROR(CheckChoice("kernels", config.kernels, kKernels));
  RETURN_IF_ERROR(CheckRange("threads", config.threads, 0, kMaxThreads));
  RETURN_IF_ERROR(CheckRange("kv_cache_mb", config.kv_cache_mb, 0, kMaxKvCacheMb));
  RETURN_IF_ERROR(CheckRange("max_model_len", config.max_model_len, 0, kMaxModelLen));
  RETURN_IF_ERROR(CheckRange("max_tokens_per_step", config.max_tokens_per_step, 1, kMaxTokensPerStep));
  return CheckRange("max_running", config.max_running, 1, kMaxRunning);
}

absl::Status CheckAdmission(const Config& config) {
  RETURN_IF_ERROR(CheckRange("max_queue", config.max_queue, 0, kMaxLiveRequests));
  RETURN_IF_ERROR(CheckRange("max_tenant_requests", config.max_tenant_requests, 0, kMaxLiveRequests));
  RETURN_IF_ERROR(CheckRange("max_live_tokens", config.max_live_tokens, 0, INT64_MAX));
  RETURN_IF_ERROR(CheckRange("tenant_tokens_per_second", config.tenant_tokens_per_second, 0, 1'000'000'000));
  RETURN_IF_ERROR(CheckRange("tenant_burst_tokens", config.tenant_burst_tokens, 1, INT64_MAX));
  return CheckRange("stream_buffer_bytes", config.stream_buffer_bytes, 1024, kMaxMessageBytes);
}

absl::Status CheckRequestLimits(const Config& config) {
  RETURN_IF_ERROR(CheckRange("max_request_bytes", config.max_request_bytes, 1024, kMaxMessageBytes));
  RETURN_IF_ERROR(CheckRange("max_prompt_bytes", config.max_prompt_bytes, 1, kMaxMessageBytes));
  RETURN_IF_ERROR(CheckRange("max_chat_messages", config.max_chat_messages, 1, 1 << 20));
  RETURN_IF_ERROR(CheckRange("max_stop_strings", config.max_stop_strings, 0, 1024));
  RETURN_IF_ERROR(CheckRange("max_stop_string_bytes", config.max_stop_string_bytes, 1, 1 << 16));
  RETURN_IF_ERROR(CheckRange("max_stop_token_ids", config.max_stop_token_ids, 0, 1 << 16));
  RETURN_IF_ERROR(CheckRange("max_logit_bias", config.max_logit_bias, 0, 1 << 20));
  RETURN_IF_ERROR(CheckRange("max_logprobs", config.max_logprobs, 0, 1024));
  return CheckRange("max_samples", config.max_samples, 1, 1024);
}

}  // namespace

absl::Status Config::Validate() const {
  if (model.empty()) return absl::InvalidArgumentError("--model is required: the path of a GGUF file");
  if (!std::all_of(model_name.begin(), model_name.end(), absl::ascii_isprint)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--model_name must be printable ASCII, is \"", absl::CHexEscape(model_name), "\""));
  }
  RETURN_IF_ERROR(CheckAddress("listen", listen));
  if (!metrics_listen.empty()) RETURN_IF_ERROR(CheckAddress("metrics_listen", metrics_listen));
  if (drain_timeout < absl::ZeroDuration() || drain_timeout > kMaxDrainTimeout) {
    return absl::InvalidArgumentError(absl::StrCat("--drain_timeout must be in [0s, ",
                                                   absl::FormatDuration(kMaxDrainTimeout), "], is ",
                                                   absl::FormatDuration(drain_timeout)));
  }
  RETURN_IF_ERROR(CheckChoice("log_level", log_level, kLogLevels));
  RETURN_IF_ERROR(CheckDevice(*this));
  RETURN_IF_ERROR(CheckPerformance(*this));
  RETURN_IF_ERROR(CheckAdmission(*this));
  return CheckRequestLimits(*this);
}

}  // namespace ropeway::server
