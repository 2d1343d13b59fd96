// What one request may ask for at most. Requests beyond are refused before anything is computed.
#ifndef ROPEWAY_SERVER_CONFIG_REQUEST_LIMITS_H_
#define ROPEWAY_SERVER_CONFIG_REQUEST_LIMITS_H_

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
#define GROUP(name)
#define SETTING(...)
#define REQUEST_LIMIT(type, name, default_value, rule, unit, help) type name = default_value;
#include "server/config/settings.inc"

  // Tokens of prompt and answer. No setting: the least of what was set, trained, and fits into memory, known
  // once the model is loaded.
  int32_t max_model_len = 0;

  int32_t max_prompt_tokens() const { return max_model_len - 1; }
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_CONFIG_REQUEST_LIMITS_H_
