// The file of keys: who may use the server, as whom, and how much of it.
//
//   # a comment, on a line of its own
//   LINE    = NAME WORD*           blanks between; NAME is 1 to 64 letters, digits, ".", "_" and "-"
//   WORD    = NAME=VALUE           VALUE has no blanks, or stands in double quotes
//
//   key=ID:SALT:DIGEST             who brings this key (api_key.h), or ...
//   subject="CN=...,O=..."         ... the TLS certificate of this subject (RFC 2253): one or both
//   role=user|monitor|admin        default: user. A monitor asks for state and metrics; an admin may that, and all
//                                  of the admin listener; neither generates
//   tenant=T                       whose requests these are; 1 to 64 bytes of printable ASCII. A user's, required
//   tenants=own|any                whether requests may name other tenants. Default: own
//   running=N                      requests in the engine at a time, [1, 2^20]; more wait before it
//   queued=N                       requests that wait for the above, [0, 2^20]; more are refused
//   tokens_per_minute=N            of prompts and answers, [1, 10^12]
//   kv_pages=N                     that requests in the engine may come to need, [1, 2^30]
//
// Limits are a user's; where one is absent there is none. Names, IDs and subjects are given once. Functions are
// thread-safe.
#ifndef ROPEWAY_SERVER_KEYS_KEY_FILE_H_
#define ROPEWAY_SERVER_KEYS_KEY_FILE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/keys/api_key.h"
#include "server/keys/key_limits.h"

namespace ropeway::server {

enum class KeyRole { kUser, kMonitor, kAdmin };
absl::string_view RoleName(KeyRole role);

struct KeyEntry {
  std::string name;
  std::optional<KeyHash> hash;
  std::string subject;  // empty: none
  KeyRole role = KeyRole::kUser;
  std::string tenant;
  bool any_tenant = false;
  KeyLimits limits;

  bool operator==(const KeyEntry&) const = default;
};

inline constexpr int64_t kMaxKeyFileBytes = 4 << 20;
inline constexpr size_t kMaxKeys = 10'000;

// INVALID_ARGUMENT with `path`, the line and the word that is wrong. What follows "key=" is never quoted: it
// may be a key by mistake.
absl::StatusOr<std::vector<KeyEntry>> ParseKeyFile(absl::string_view path, absl::string_view content);

// Reads and parses it.
absl::StatusOr<std::vector<KeyEntry>> ReadKeyFile(const std::string& path);

// The line of an entry, without its end. INVALID_ARGUMENT where it would not be read again as it is.
absl::StatusOr<std::string> FormatKeyEntry(const KeyEntry& entry);

// `limits` of a command line, "running=4,queued=16": the words above with commas between.
absl::StatusOr<KeyLimits> ParseKeyLimits(absl::string_view text);

// These change a file of keys and leave its other lines as they are; it is there in its old or its new state,
// whole. A file that is not there is made, for its owner alone. ALREADY_EXISTS, NOT_FOUND, or as ReadKeyFile.
absl::Status AddToKeyFile(const std::string& path, const KeyEntry& entry);
absl::Status RemoveFromKeyFile(const std::string& path, absl::string_view name);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_KEYS_KEY_FILE_H_
