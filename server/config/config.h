// Everything that can be set about a server, with what each setting does.
//
// Plain values: whoever reads flags, environment or settings files fills a Config and calls Validate() before
// anything else sees it.
#ifndef ROPEWAY_SERVER_CONFIG_CONFIG_H_
#define ROPEWAY_SERVER_CONFIG_CONFIG_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace ropeway::server {

// Upper bounds of settings, so that a mistyped number is refused instead of exhausting memory.
inline constexpr int32_t kMaxThreads = 1024;
inline constexpr int32_t kMaxTensorParallel = 64;
inline constexpr int64_t kMaxKvCacheMb = int64_t{16} << 20;
inline constexpr int32_t kMaxModelLen = 1 << 24;
inline constexpr int32_t kMaxTokensPerStep = 1 << 16;
inline constexpr int32_t kMaxRunning = 4096;
inline constexpr int32_t kMaxLiveRequests = 1 << 20;
inline constexpr int64_t kMaxMessageBytes = int64_t{1} << 30;

// Numbers that a KV cache on a CPU may have.
inline constexpr absl::string_view kCpuKvTypes[] = {"auto", "bf16", "f32"};

struct Config {
  // Behaviour.
  std::string model;       // path of a GGUF file
  std::string model_name;  // name on the wire, printable ASCII; empty: the file's name without extension
  std::string listen = "127.0.0.1:50051";            // HOST:PORT of gRPC; port 0 takes a free one
  std::string metrics_listen = "127.0.0.1:9464";     // HOST:PORT of Prometheus metrics; empty: none
  absl::Duration drain_timeout = absl::Seconds(30);  // SIGTERM: how long living requests may go on
  std::string log_level = "info";                    // debug, info, warning, error

  // Where it computes.
  std::string device = "auto";       // auto (a GPU where there is one), cpu, cuda
  int32_t tensor_parallel = 1;       // GPUs that share the model
  std::string dtype = "auto";        // auto (as the file), f16, bf16, f32: activations on a GPU
  double gpu_memory_fraction = 0.9;  // of each GPU's free memory: weights, workspace, keys and values

  // Performance.
  std::string kernels = "auto";  // auto, ref, avx2, avx512: on a CPU
  int32_t threads = 0;           // that compute; 0: one per processor
  int64_t kv_cache_mb = 0;       // mebibytes for keys and values; 0: chosen from the memory that is free
  std::string kv_type = "auto";  // auto, bf16, f32, on a GPU also f16, fp8, int8: numbers in the KV cache
  int32_t max_model_len = 0;     // tokens of prompt and answer; 0: as trained
  int32_t max_tokens_per_step = 256;  // more: faster prompts, longer pauses of running streams
  int32_t max_running = 64;           // requests in the batch

  // Admission: what does not fit is refused at once with RESOURCE_EXHAUSTED.
  int32_t max_queue = 256;                // requests that may wait beside those that run
  int32_t max_tenant_requests = 0;        // living requests of one tenant; 0: no cap
  int64_t max_live_tokens = 0;            // prompt and answer tokens of all living requests; 0: no cap
  int64_t tenant_tokens_per_second = 0;   // a tenant's budget of prompt and answer tokens; 0: no budget
  int64_t tenant_burst_tokens = 100'000;  // what a tenant may spend at once, where there is a budget
  int64_t stream_buffer_bytes = 1 << 20;  // of an answer that its client has not read; beyond, it is ended

  // Limits of one request.
  int64_t max_request_bytes = 8 << 20;
  int64_t max_prompt_bytes = 4 << 20;
  int32_t max_chat_messages = 4096;
  int32_t max_stop_strings = 16;
  int32_t max_stop_string_bytes = 256;
  int32_t max_stop_token_ids = 64;
  int32_t max_logit_bias = 1024;
  int32_t max_logprobs = 20;
  int32_t max_samples = 16;

  // INVALID_ARGUMENT naming the setting, the bound and the value.
  absl::Status Validate() const;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_CONFIG_CONFIG_H_
