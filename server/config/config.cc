#include "server/config/config.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "server/config/setting.h"

namespace ropeway::server {

absl::Status Config::Validate() const {
  for (const Setting& setting : Settings()) RETURN_IF_ERROR(setting.check(*this));
  if (model.empty()) return absl::InvalidArgumentError("--model is required: the path of a GGUF file");
  if (listen.empty()) return absl::InvalidArgumentError("--listen must be HOST:PORT, is empty");
  if (device != Device::kCpu || IsOnCpu(kv_type)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--kv_type (with --device=cpu) must be one of ",
                                                 absl::StrJoin(kCpuKvWords, ", "), "; is \"", WordOf(kv_type),
                                                 "\""));
}

}  // namespace ropeway::server
