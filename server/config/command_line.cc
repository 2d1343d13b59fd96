#include "server/config/command_line.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "engine/base/status_macros.h"

namespace ropeway::server {
namespace {

constexpr char kVersionText[] = "ropeway_server " ROPEWAY_VERSION "\n";
constexpr char kEnvironmentPrefix[] = "ROPEWAY_";

template <typename T>
void AddOption(CLI::App& app, const std::string& name, T& value, const std::string& help) {
  app.add_option("--" + name, value, help)->capture_default_str()->take_last();
}

void AddBehaviour(CLI::App& app, Config& config, std::string& drain_timeout) {
  AddOption(app, "model", config.model, "GGUF file to serve (required)");
  AddOption(app, "model_name", config.model_name, "Its name on the wire; empty: the file's name");
  AddOption(app, "listen", config.listen, "HOST:PORT of gRPC; port 0 takes a free one and logs it");
  AddOption(app, "metrics_listen", config.metrics_listen, "HOST:PORT of /metrics over HTTP; empty: none");
  AddOption(app, "drain_timeout", drain_timeout,
            "After SIGTERM, how long living requests may go on (\"30s\", \"1m\")");
  AddOption(app, "log_level", config.log_level, "debug, info, warning or error");
}

void AddDevice(CLI::App& app, Config& config) {
  AddOption(app, "device", config.device, "auto (a GPU where there is one), cpu or cuda");
  AddOption(app, "tensor_parallel", config.tensor_parallel, "GPUs that share the model");
  AddOption(app, "dtype", config.dtype, "Activations on a GPU: auto (as the file), f16, bf16 or f32");
  AddOption(app, "gpu_memory_fraction", config.gpu_memory_fraction,
            "Of each GPU's free memory, for weights, workspace, keys and values");
}

void AddPerformance(CLI::App& app, Config& config) {
  AddOption(app, "kernels", config.kernels, "On a CPU: auto, ref, avx2 or avx512");
  AddOption(app, "threads", config.threads, "Threads that compute; 0: one per processor");
  AddOption(app, "kv_cache_mb", config.kv_cache_mb, "MiB for keys and values; 0: chosen from free memory");
  AddOption(app, "kv_type", config.kv_type,
            "Numbers in the KV cache: auto, bf16 or f32; on a GPU also f16, fp8 or int8");
  AddOption(app, "max_model_len", config.max_model_len, "Tokens of prompt and answer; 0: as trained");
  AddOption(app, "max_tokens_per_step", config.max_tokens_per_step,
            "Tokens per step; more: faster prompts, longer pauses of running streams");
  AddOption(app, "max_running", config.max_running, "Requests in the batch");
}

void AddAdmission(CLI::App& app, Config& config) {
  AddOption(app, "max_queue", config.max_queue, "Requests that may wait beside those that run");
  AddOption(app, "max_tenant_requests", config.max_tenant_requests, "Living requests per tenant; 0: no cap");
  AddOption(app, "max_live_tokens", config.max_live_tokens,
            "Prompt and answer tokens of all living requests; 0: no cap");
  AddOption(app, "tenant_tokens_per_second", config.tenant_tokens_per_second,
            "A tenant's budget of prompt and answer tokens; 0: no budget");
  AddOption(app, "tenant_burst_tokens", config.tenant_burst_tokens,
            "What a tenant may spend at once, where there is a budget");
  AddOption(app, "stream_buffer_bytes", config.stream_buffer_bytes,
            "Unread bytes of an answer; beyond, its request is ended");
}

void AddRequestLimits(CLI::App& app, Config& config) {
  AddOption(app, "max_request_bytes", config.max_request_bytes, "Bytes of a request message");
  AddOption(app, "max_prompt_bytes", config.max_prompt_bytes, "Bytes of a prompt or a rendered chat");
  AddOption(app, "max_chat_messages", config.max_chat_messages, "Messages of a chat");
  AddOption(app, "max_stop_strings", config.max_stop_strings, "Stop strings of a request");
  AddOption(app, "max_stop_string_bytes", config.max_stop_string_bytes, "Bytes of a stop string");
  AddOption(app, "max_stop_token_ids", config.max_stop_token_ids, "Stop tokens of a request");
  AddOption(app, "max_logit_bias", config.max_logit_bias, "Entries of logit_bias");
  AddOption(app, "max_logprobs", config.max_logprobs, "Likeliest tokens told per place");
  AddOption(app, "max_samples", config.max_samples, "Parallel samples of a request");
}

// The command line with what the environment sets put before it, last argument first as CLI11 takes it.
// (CLI11's own reading of the environment would let the settings file win over it.)
std::vector<std::string> Arguments(const CLI::App& app, int argc, const char* const* argv) {
  std::vector<std::string> arguments;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() == 0) continue;  // --help and --version
    const std::string name = option->get_single_name();
    const char* value = std::getenv(absl::StrCat(kEnvironmentPrefix, absl::AsciiStrToUpper(name)).c_str());
    if (value != nullptr) arguments.push_back(absl::StrCat("--", name, "=", value));
  }
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  std::reverse(arguments.begin(), arguments.end());
  return arguments;
}

// CLI11 reads an empty value, such as that of a variable that is set to nothing, as the number 0.
absl::Status CheckNumbers(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    if (type != "INT" && type != "FLOAT") continue;
    for (const std::string& value : option->results()) {
      if (!value.empty()) continue;
      return absl::InvalidArgumentError(absl::StrCat(option->get_name(), " takes a number, not \"\""));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Duration> ParseDrainTimeout(const std::string& text) {
  absl::Duration duration;
  double seconds = 0;
  if (absl::ParseDuration(text, &duration)) return duration;
  if (absl::SimpleAtod(text, &seconds)) return absl::Seconds(seconds);
  return absl::InvalidArgumentError(
      absl::StrCat("--drain_timeout must be a duration such as \"30s\", is \"", text, "\""));
}

}  // namespace

absl::StatusOr<std::variant<Config, PrintAndLeave>> ParseCommandLine(int argc, const char* const* argv) {
  Config config;
  std::string drain_timeout = absl::FormatDuration(config.drain_timeout);
  CLI::App app("Serves a language model over gRPC (ropeway.v1).", "ropeway_server");
  app.set_version_flag("--version", kVersionText);
  app.set_config("--config", "", "Settings file with lines \"max_running = 8\"")->take_last();
  app.footer(
      "Every flag can be set in the environment, too: ROPEWAY_MAX_RUNNING for --max_running. The command "
      "line "
      "wins over the environment, and that over the settings file.");
  app.allow_config_extras(CLI::config_extras_mode::error);
  AddBehaviour(app, config, drain_timeout);
  AddDevice(app, config);
  AddPerformance(app, config);
  AddAdmission(app, config);
  AddRequestLimits(app, config);
  try {
    app.parse(Arguments(app, argc, argv));
  } catch (const CLI::CallForHelp&) {
    return PrintAndLeave{app.help()};
  } catch (const CLI::CallForVersion&) {
    return PrintAndLeave{kVersionText};
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(absl::StrReplaceAll(error.what(), {{"\n", " "}}));
  }
  RETURN_IF_ERROR(CheckNumbers(app));
  ASSIGN_OR_RETURN(config.drain_timeout, ParseDrainTimeout(drain_timeout));
  RETURN_IF_ERROR(config.Validate());
  return config;
}

}  // namespace ropeway::server
