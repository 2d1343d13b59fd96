#include "server/auth/key_ring.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "openssl/crypto.h"

namespace ropeway::server {
namespace {

template <size_t N>
std::array<char, N> Chars(const std::string& text) {
  std::array<char, N> chars = {};
  std::copy_n(text.begin(), std::min(N, text.size()), chars.begin());
  return chars;
}

// All ones where `equal`, without a branch.
uint64_t MaskOf(bool equal) { return uint64_t{0} - static_cast<uint64_t>(equal); }

}  // namespace

absl::StatusOr<std::string> Identity::TenantOf(absl::string_view asked) const {
  if (asked.empty() || asked == tenant) return tenant;
  if (any_tenant) return std::string(asked);
  return absl::PermissionDeniedError("not permitted");
}

KeyRing::KeyRing(const std::vector<KeyEntry>& entries) : size_(entries.size()) {
  const ApiKey nobody = NewApiKey();
  const KeyHash unknown = HashApiKey(nobody);
  locks_.push_back(
      {.id = Chars<ApiKey::kIdDigits>(unknown.id), .salt = unknown.salt, .digest = unknown.digest});
  for (const KeyEntry& entry : entries) {
    const auto identity = std::make_shared<const Identity>(Identity{.name = entry.name,
                                                                    .role = entry.role,
                                                                    .tenant = entry.tenant,
                                                                    .any_tenant = entry.any_tenant,
                                                                    .limits = entry.limits});
    if (entry.hash) {
      locks_.push_back({.id = Chars<ApiKey::kIdDigits>(entry.hash->id),
                        .salt = entry.hash->salt,
                        .digest = entry.hash->digest,
                        .identity = identity});
    }
    if (!entry.subject.empty()) subjects_.emplace(entry.subject, identity);
  }
}

IdentityPtr KeyRing::FindKey(absl::string_view text) const {
  const ApiKey key = ParseApiKey(text).value_or(
      ApiKey{.id = std::string(ApiKey::kIdDigits, '-'), .secret = std::string(ApiKey::kSecretDigits, '-')});
  uint64_t found = 0;
  for (uint64_t i = 1; i < locks_.size(); ++i)
    found |= i & MaskOf(CRYPTO_memcmp(locks_[i].id.data(), key.id.data(), ApiKey::kIdDigits) == 0);
  const Lock& lock = locks_[found];
  const std::array<uint8_t, 32> digest = DigestOf(lock.salt, key.secret);
  const bool opens = CRYPTO_memcmp(digest.data(), lock.digest.data(), digest.size()) == 0;
  return opens ? lock.identity : nullptr;
}

IdentityPtr KeyRing::FindSubject(absl::string_view subject) const {
  const auto found = subjects_.find(subject);
  return subject.empty() || found == subjects_.end() ? nullptr : found->second;
}

}  // namespace ropeway::server
