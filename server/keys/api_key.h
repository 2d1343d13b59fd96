// An API key: what its holder has, and what the server keeps of it.
//
// The holder has "rk_ID_SECRET". The ID is public and says which line of the file is meant; the secret has 256
// random bits, so that one round of HMAC-SHA-256 with a salt of its own hides it as well as many would.
// Functions are thread-safe.
#ifndef ROPEWAY_SERVER_KEYS_API_KEY_H_
#define ROPEWAY_SERVER_KEYS_API_KEY_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace ropeway::server {

struct ApiKey {
  static constexpr size_t kIdDigits = 16, kSecretDigits = 64;  // hexadecimal, lower case

  std::string id;
  std::string secret;

  std::string Text() const;
};

// A new one, of random bits.
ApiKey NewApiKey();

// None where `text` is no key.
std::optional<ApiKey> ParseApiKey(absl::string_view text);

// What the server keeps. In text: "ID:SALT:DIGEST", in hexadecimal digits.
struct KeyHash {
  std::string id;
  std::array<uint8_t, 16> salt = {};
  std::array<uint8_t, 32> digest = {};

  std::string Text() const;
  bool operator==(const KeyHash&) const = default;
};

// With a new, random salt.
KeyHash HashApiKey(const ApiKey& key);

// None where `text` is none.
std::optional<KeyHash> ParseKeyHash(absl::string_view text);

// HMAC-SHA-256(salt, secret).
std::array<uint8_t, 32> DigestOf(const std::array<uint8_t, 16>& salt, absl::string_view secret);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_KEYS_API_KEY_H_
