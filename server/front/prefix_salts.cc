#include "server/front/prefix_salts.h"

#include <array>
#include <cstring>
#include <random>

#include "absl/base/casts.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "openssl/evp.h"
#include "openssl/hmac.h"

namespace ropeway::server {
namespace {

constexpr int kRandomSecretBytes = 32;

std::string SecretOr(absl::string_view secret) {
  if (!secret.empty()) return std::string(secret);
  std::random_device random;
  std::string bytes;
  while (bytes.size() < kRandomSecretBytes) bytes.push_back(static_cast<char>(random()));
  return bytes;
}

PrefixSalt Hmac(absl::string_view secret, absl::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int bytes = 0;
  ROPEWAY_CHECK(HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                     reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(),
                     &bytes) != nullptr);
  PrefixSalt salt;
  ROPEWAY_CHECK(bytes >= sizeof salt);
  std::memcpy(salt.data(), digest.data(), sizeof salt);
  return salt;
}

}  // namespace

PrefixSalts::PrefixSalts(PrefixCache scope, absl::string_view secret)
    : scope_(scope), secret_(SecretOr(secret)) {}

std::optional<PrefixSalt> PrefixSalts::Of(absl::string_view tenant,
                                          absl::Span<const double> rotation_choices) const {
  // Before all else, and of digits alone: no tenant's name can be taken for it.
  std::string rotation = rotation_choices.empty() ? "" : "rotation:";
  for (const double choice : rotation_choices)
    absl::StrAppend(&rotation, absl::Hex(absl::bit_cast<uint64_t>(choice), absl::kZeroPad16));
  switch (scope_) {
    case PrefixCache::kTenant:
      return Hmac(secret_, absl::StrCat(rotation, "tenant:", tenant));
    case PrefixCache::kShared:
      return Hmac(secret_, absl::StrCat(rotation, "shared"));
    case PrefixCache::kOff:
      break;
  }
  return std::nullopt;
}

}  // namespace ropeway::server
