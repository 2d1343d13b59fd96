#include "server/keys/api_key.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/check.h"
#include "openssl/evp.h"
#include "openssl/hmac.h"
#include "openssl/rand.h"

namespace ropeway::server {
namespace {

constexpr char kPrefix[] = "rk_";

template <size_t N>
std::array<uint8_t, N> Random() {
  std::array<uint8_t, N> bytes;
  ROPEWAY_CHECK(RAND_bytes(bytes.data(), N) == 1);
  return bytes;
}

template <size_t N>
std::string Hex(const std::array<uint8_t, N>& bytes) {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes.data()), N));
}

bool IsHex(absl::string_view text, size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

template <size_t N>
bool ParseHex(absl::string_view text, std::array<uint8_t, N>& bytes) {
  if (!IsHex(text, 2 * N)) return false;
  const std::string binary = absl::HexStringToBytes(text);
  std::copy(binary.begin(), binary.end(), bytes.begin());
  return true;
}

}  // namespace

std::string ApiKey::Text() const { return absl::StrCat(kPrefix, id, "_", secret); }

ApiKey NewApiKey() {
  return {.id = Hex(Random<ApiKey::kIdDigits / 2>()), .secret = Hex(Random<ApiKey::kSecretDigits / 2>())};
}

std::optional<ApiKey> ParseApiKey(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, kPrefix)) return std::nullopt;
  const absl::string_view id = text.substr(0, ApiKey::kIdDigits);
  text.remove_prefix(id.size());
  if (!IsHex(id, ApiKey::kIdDigits) || !absl::ConsumePrefix(&text, "_")) return std::nullopt;
  if (!IsHex(text, ApiKey::kSecretDigits)) return std::nullopt;
  return ApiKey{.id = std::string(id), .secret = std::string(text)};
}

std::string KeyHash::Text() const { return absl::StrCat(id, ":", Hex(salt), ":", Hex(digest)); }

KeyHash HashApiKey(const ApiKey& key) {
  KeyHash hash = {.id = key.id, .salt = Random<16>()};
  hash.digest = DigestOf(hash.salt, key.secret);
  return hash;
}

std::optional<KeyHash> ParseKeyHash(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  KeyHash hash;
  if (parts.size() != 3 || !IsHex(parts[0], ApiKey::kIdDigits)) return std::nullopt;
  if (!ParseHex(parts[1], hash.salt) || !ParseHex(parts[2], hash.digest)) return std::nullopt;
  hash.id = std::string(parts[0]);
  return hash;
}

std::array<uint8_t, 32> DigestOf(const std::array<uint8_t, 16>& salt, absl::string_view secret) {
  std::array<uint8_t, 32> digest;
  unsigned int bytes = 0;
  ROPEWAY_CHECK(HMAC(EVP_sha256(), salt.data(), salt.size(),
                     reinterpret_cast<const unsigned char*>(secret.data()), secret.size(), digest.data(),
                     &bytes) != nullptr &&
                bytes == digest.size());
  return digest;
}

}  // namespace ropeway::server
