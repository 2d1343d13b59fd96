// What the holder of a key may take of the server; absent: no limit of its own.
#ifndef ROPEWAY_SERVER_KEYS_KEY_LIMITS_H_
#define ROPEWAY_SERVER_KEYS_KEY_LIMITS_H_

#include <cstdint>
#include <optional>

namespace ropeway::server {

struct KeyLimits {
  std::optional<int32_t> running;            // requests in the engine at a time; more wait before it
  std::optional<int32_t> queued;             // requests that wait for the above; more are refused
  std::optional<int64_t> tokens_per_minute;  // of prompts and answers
  std::optional<int64_t> kv_pages;           // that the requests in the engine may come to need

  bool operator==(const KeyLimits&) const = default;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_KEYS_KEY_LIMITS_H_
