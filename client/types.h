// The plain structs of the client library: what a program asks for and what it gets.
//
// The wire contract (proto/ropeway/v1/ropeway.proto) states unit, range and default of each field. An absent
// optional is not sent, so that the server's default holds.
#ifndef ROPEWAY_CLIENT_TYPES_H_
#define ROPEWAY_CLIENT_TYPES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ropeway::client {

struct TextPrompt {
  std::string text;
  // Add the vocabulary's BOS and EOS.
  std::optional<bool> add_special;
  // Read control tokens spelt in the text as tokens.
  bool parse_special = false;
};

struct TokenPrompt {
  std::vector<int32_t> ids;
};

struct ChatMessage {
  // "system", "developer", "user", "assistant" or "tool".
  std::string role;
  // None: the template sees no content, as with a turn that only calls tools.
  std::optional<std::string> text;
  // Content in pieces of text, instead of `text`.
  std::vector<std::string> parts;
  std::string name;
  std::string reasoning_content;
  std::string tool_calls_json;
  std::string tool_call_id;
};

struct ChatPrompt {
  std::vector<ChatMessage> messages;
  std::string tools_json;
  std::string template_arguments_json;
  std::optional<bool> add_generation_prompt;
  // The answer goes on with the text of the last message, an assistant's.
  bool continue_final_message = false;
  // Empty: the server chooses among the model's templates.
  std::string template_name;
};

using Prompt = std::variant<TextPrompt, TokenPrompt, ChatPrompt>;

struct Sampling {
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::optional<uint64_t> seed;
};

struct Stopping {
  std::optional<int32_t> max_tokens;
  int32_t min_tokens = 0;
  std::vector<std::string> strings;
  std::vector<int32_t> token_ids;
  bool ignore_eos = false;
  bool include_stop_string = false;
};

struct Output {
  std::optional<int32_t> num_samples;
  std::optional<int32_t> logprobs;
  std::optional<int32_t> prompt_logprobs;
  bool echo = false;
};

struct Request {
  std::string request_id;
  std::string model;
  Prompt prompt;
  Sampling sampling;
  Stopping stopping;
  Output output;
  std::string tenant;
  int32_t priority = 0;
};

struct TokenLogprob {
  int32_t token_id = 0;
  // Natural logarithm.
  float logprob = 0;
  // Bytes, perhaps a part of a code point.
  std::string token;
};

struct TokenLogprobs {
  TokenLogprob chosen;
  // Likeliest first.
  std::vector<TokenLogprob> top;
};

enum class FinishReason { kNone, kStop, kLength, kCancelled, kDeadline, kError };

// The word of scripts for a reason: "stop", "length", "cancelled", "deadline", "error"; "" for kNone.
const char* FinishReasonName(FinishReason reason);

struct Finish {
  FinishReason reason = FinishReason::kNone;
  std::optional<std::string> stop_string;
  std::optional<int32_t> stop_token_id;
};

struct PromptEcho {
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprobs> logprobs;
};

// What one message of the stream adds to one sample.
struct Delta {
  // With the first delta of the answer, where asked for.
  std::optional<PromptEcho> prompt;
  int32_t sample = 0;
  // Whole code points.
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprobs> logprobs;
  // With the last delta of the sample.
  std::optional<Finish> finish;
};

struct Sample {
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprobs> logprobs;
  Finish finish;
};

struct Usage {
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;
};

// Where the server spent the request's time.
struct Receipt {
  double queue_ms = 0;
  double prefill_ms = 0;
  double decode_ms = 0;
  int32_t cached_tokens = 0;
  int32_t recomputed_tokens = 0;
  int32_t preemptions = 0;
  uint64_t seed = 0;
};

// All that arrived, also where the call failed on the way: then `status` says how.
struct Answer {
  absl::Status status;
  std::string request_id;
  // Where asked for.
  PromptEcho prompt;
  // In order; at least one.
  std::vector<Sample> samples;
  Usage usage;
  // Absent where the stream did not come to its end.
  std::optional<Receipt> receipt;
  // Calls made, retries included.
  int32_t attempts = 0;
};

// How one call is made.
struct CallOptions {
  // Of the whole call, retries included.
  absl::Duration timeout = absl::InfiniteDuration();
};

// What would become of a request that came now.
struct Estimate {
  int32_t prompt_tokens = 0;
  // Of these, found in the prefix cache.
  int32_t cached_tokens = 0;
  // Of the KV cache, at most.
  int32_t pages = 0;
  bool admitted = false;
  // Why not, and when to ask again.
  std::string refusal;
  std::optional<double> retry_after_ms;
  // From now on; absent until the server has measured enough.
  std::optional<double> first_token_ms;
  std::optional<double> end_ms;
  // Of each answer, which end_ms assumes.
  int32_t expected_tokens = 0;
};

struct Tokens {
  std::vector<int32_t> ids;
  // The bytes of each id.
  std::vector<std::string> tokens;
};

struct ModelInfo {
  std::string name;
  std::string architecture;
  std::string quantization;
  std::string file_quantization;
  int64_t num_parameters = 0;
  int32_t vocab_size = 0;
  int32_t max_model_len = 0;
  int32_t trained_context_len = 0;
  std::string rope_scaling;
  int32_t num_layers = 0;
  int32_t embedding_dim = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  std::optional<int32_t> bos_token_id;
  std::optional<int32_t> eos_token_id;
  std::vector<int32_t> end_token_ids;
  std::string chat_template;
  std::vector<std::string> chat_template_names;
  // Only what the model's makers say: what a request that leaves it out gets.
  Sampling sampling_defaults;
};

struct Limits {
  int64_t max_request_bytes = 0;
  int64_t max_prompt_bytes = 0;
  int32_t max_prompt_tokens = 0;
  int32_t max_chat_messages = 0;
  int32_t max_stop_strings = 0;
  int32_t max_stop_string_bytes = 0;
  int32_t max_stop_token_ids = 0;
  int32_t max_logit_bias = 0;
  int32_t max_logprobs = 0;
  int32_t max_samples = 0;
};

struct PrefixCacheInfo {
  // "tenant", "shared", "off"; "" where the server did not say.
  std::string scope;
  int32_t pages = 0;
  int32_t idle_pages = 0;
  int64_t queried_tokens = 0;
  int64_t hit_tokens = 0;
  int64_t evicted_pages = 0;
};

struct ServerInfo {
  std::string version;
  // "loading", "serving", "draining"; "" where the server did not say.
  std::string state;
  double uptime_seconds = 0;
  std::string kernels;
  int32_t num_threads = 0;
  int32_t running_requests = 0;
  int32_t waiting_requests = 0;
  int32_t total_pages = 0;
  int32_t free_pages = 0;
  int32_t page_tokens = 0;
  Limits limits;
  PrefixCacheInfo prefix_cache;
  double target_itl_ms = 0;
};

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_TYPES_H_
