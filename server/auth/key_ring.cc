#include "server/auth/key_ring.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "openssl/crypto.h"

namespace ropeway::server {
namespace {

// Its hexadecimal digits as a number; 0 where it is none.
uint64_t NumberOf(absl::string_view id) {
  uint64_t number = 0;
  return absl::SimpleHexAtoi(id, &number) ? number : 0;
}

// All ones where `equal`, without a branch.
uint64_t MaskOf(bool equal) { return uint64_t{0} - static_cast<uint64_t>(equal); }

}  // namespace

KeyRing::KeyRing(const std::vector<KeyEntry>& entries) : size_(entries.size()) {
  const ApiKey nobody = NewApiKey();
  const KeyHash unknown = HashApiKey(nobody);
  ids_.push_back(NumberOf(unknown.id));
  locks_.push_back({.salt = unknown.salt, .digest = unknown.digest});
  for (const KeyEntry& entry : entries) {
    const auto identity = std::make_shared<const Identity>(Identity{.name = entry.name,
                                                                    .role = entry.role,
                                                                    .tenant = entry.tenant,
                                                                    .any_tenant = entry.any_tenant,
                                                                    .limits = entry.limits});
    if (entry.hash) {
      ids_.push_back(NumberOf(entry.hash->id));
      locks_.push_back({.salt = entry.hash->salt, .digest = entry.hash->digest, .identity = identity});
    }
    if (!entry.subject.empty()) subjects_.emplace(entry.subject, identity);
  }
}

IdentityPtr KeyRing::FindKey(absl::string_view text) const {
  const ApiKey key = ParseApiKey(text).value_or(
      ApiKey{.id = std::string(ApiKey::kIdDigits, '-'), .secret = std::string(ApiKey::kSecretDigits, '-')});
  const uint64_t id = NumberOf(key.id);
  uint64_t found = 0;
  for (uint64_t i = 1; i < ids_.size(); ++i) found |= i & MaskOf(ids_[i] == id);
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
