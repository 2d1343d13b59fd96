// What one request may ask for at most. Requests beyond are refused before anything is computed.
#ifndef ROPEWAY_SERVER_FRONT_REQUEST_LIMITS_H_
#define ROPEWAY_SERVER_FRONT_REQUEST_LIMITS_H_

#include <cstdint>

namespace ropeway::server {

// Limits that no operator needs to change.
inline constexpr int32_t kMaxRequestIdBytes = 128;
inline constexpr int32_t kMaxTenantBytes = 64;
inline constexpr int32_t kMaxPriority = 100;  // and the least is its negative
inline constexpr float kMaxTemperature = 100;
inline constexpr float kMaxRepetitionPenalty = 100;
inline constexpr float kMaxPenalty = 2;
inline constexpr float kMaxLogitBias = 100;
inline constexpr int32_t kMaxJsonDepth = 64;

struct RequestLimits {
  int64_t max_request_bytes = 8 << 20;
  int64_t max_prompt_bytes = 4 << 20;
  int32_t max_model_len = 0;  // tokens of prompt and answer, for which the memory suffices
  int32_t max_chat_messages = 4096;
  int32_t max_stop_strings = 16;
  int32_t max_stop_string_bytes = 256;
  int32_t max_stop_token_ids = 64;
  int32_t max_logit_bias = 1024;
  int32_t max_logprobs = 20;
  int32_t max_samples = 16;

  int32_t max_prompt_tokens() const { return max_model_len - 1; }
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_REQUEST_LIMITS_H_
