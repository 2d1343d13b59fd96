// Who may share the computed beginnings of prompts with whom.
//
// A salt is HMAC-SHA-256(secret, tenant and rotation), cut to 128 bits: requests find each other's prefixes
// only where their salts are equal, so that no tenant learns, from the time that an answer takes, what
// another one asked, and no keys are shared that were turned in different ways. Immutable; thread-safe.
#ifndef ROPEWAY_SERVER_FRONT_PREFIX_SALTS_H_
#define ROPEWAY_SERVER_FRONT_PREFIX_SALTS_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/api/request.h"
#include "server/config/choices.h"

namespace ropeway::server {

class PrefixSalts {
 public:
  // An empty secret stands for a random one, so that nobody knows it and no other process shares it.
  PrefixSalts(PrefixCache scope, absl::string_view secret);

  PrefixCache scope() const { return scope_; }

  // None where nothing is shared. `rotation_choices`: what keys depend on beside tokens and positions, as
  // Executor::RotationChoices gives it.
  std::optional<PrefixSalt> Of(absl::string_view tenant,
                               absl::Span<const double> rotation_choices = {}) const;

 private:
  const PrefixCache scope_;
  const std::string secret_;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_PREFIX_SALTS_H_
