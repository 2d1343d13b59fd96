#include "server/auth/authenticator.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "engine/base/status_macros.h"

namespace ropeway::server {
namespace {

constexpr absl::string_view kScheme = "Bearer ";

bool MayDo(KeyRole role, Access access) {
  switch (access) {
    case Access::kGenerate:
      return role == KeyRole::kUser;
    case Access::kLook:
      return true;
    case Access::kMetrics:
      return role != KeyRole::kUser;
    case Access::kAdmin:
      return role == KeyRole::kAdmin;
  }
  return false;
}

// What is no "Bearer KEY" is looked for like a key, and not found.
absl::string_view KeyOf(absl::string_view authorization) {
  if (!absl::StartsWithIgnoreCase(authorization, kScheme)) return "";
  return absl::StripAsciiWhitespace(authorization.substr(kScheme.size()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Open(const std::string& path) {
  auto authenticator = std::make_unique<Authenticator>();
  authenticator->path_ = path;
  ASSIGN_OR_RETURN(const std::function<void()> use, authenticator->ReadAgain());
  use();
  return authenticator;
}

size_t Authenticator::num_keys() const { return asks() ? ring()->size() : 0; }

absl::StatusOr<std::function<void()>> Authenticator::ReadAgain() {
  ASSIGN_OR_RETURN(const std::vector<KeyEntry> entries, ReadKeyFile(path_));
  return [this, ring = std::make_shared<const KeyRing>(entries)] {
    absl::MutexLock lock(&mutex_);
    ring_ = ring;
  };
}

absl::StatusOr<IdentityPtr> Authenticator::Admit(const Credentials& credentials, Access access) const {
  // Nobody is an admin without a key.
  if (!asks() && access == Access::kAdmin) return absl::PermissionDeniedError("not permitted");
  if (!asks()) return anybody_;
  const std::shared_ptr<const KeyRing> keys = ring();
  IdentityPtr identity = credentials.authorization ? keys->FindKey(KeyOf(*credentials.authorization))
                                                   : keys->FindSubject(credentials.subject);
  if (identity == nullptr) return absl::UnauthenticatedError("not authenticated");
  if (!MayDo(identity->role, access)) return absl::PermissionDeniedError("not permitted");
  return identity;
}

std::shared_ptr<const KeyRing> Authenticator::ring() const {
  absl::MutexLock lock(&mutex_);
  return ring_;
}

}  // namespace ropeway::server
