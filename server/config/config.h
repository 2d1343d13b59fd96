// Everything that can be set about a server. What each setting does stands in server/config/settings.inc.
//
// Plain values: whoever reads flags, environment or settings files fills a Config and calls Validate() before
// anything else sees it.
#ifndef ROPEWAY_SERVER_CONFIG_CONFIG_H_
#define ROPEWAY_SERVER_CONFIG_CONFIG_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/config/choices.h"
#include "server/config/per_device.h"
#include "server/config/request_limits.h"

namespace ropeway::server {

struct Config {
#define GROUP(name)
#define SETTING(type, name, default_value, rule, unit, help) type name = default_value;
#define REQUEST_LIMIT(...)
#include "server/config/settings.inc"

  RequestLimits request;

  // INVALID_ARGUMENT naming the setting, the bound and the value.
  absl::Status Validate() const;

  // The same of what only a GPU can do, which a server that computes on its CPU for the reason `why` cannot.
  absl::Status ValidateWithoutGpu(absl::string_view why) const;
};

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_CONFIG_CONFIG_H_
