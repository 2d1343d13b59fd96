#include "server/config/config.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "server/config/setting.h"

namespace ropeway::server {

absl::Status Config::Validate() const {
  for (const Setting& setting : Settings()) RETURN_IF_ERROR(setting.check(*this));
  if (model.empty())
    return absl::InvalidArgumentError(
        "--model is required: the path of a GGUF file or a Hugging Face folder");
  if (listen.empty()) return absl::InvalidArgumentError("--listen must be HOST:PORT, is empty");
  if (tls_cert.empty() != tls_key.empty()) {
    return absl::InvalidArgumentError(tls_cert.empty() ? "--tls_key needs its --tls_cert"
                                                       : "--tls_cert needs its --tls_key");
  }
  if (!tls_client_ca.empty() && tls_cert.empty())
    return absl::InvalidArgumentError("--tls_client_ca needs --tls_cert and --tls_key");
  if (keys_file.empty() && !admin_listen.empty())
    return absl::InvalidArgumentError("--admin_listen needs --keys_file");
  if (keys_file.empty() && health_needs_key == Needed::kYes)
    return absl::InvalidArgumentError("--health_needs_key=yes needs --keys_file");
  if (keys_file.empty() && metrics_needs_key == Needed::kYes)
    return absl::InvalidArgumentError("--metrics_needs_key=yes needs --keys_file");
  if (max_model_len == 1)
    return absl::InvalidArgumentError(
        "--max_model_len must be 0 or at least 2, for a prompt and an answer, is 1");
  return device == Device::kCpu ? ValidateWithoutGpu("--device=cpu") : absl::OkStatus();
}

absl::Status Config::ValidateWithoutGpu(absl::string_view why) const {
  const auto refused = [why](absl::string_view setting, absl::string_view must_be, absl::string_view value) {
    return absl::InvalidArgumentError(
        absl::StrCat(setting, " must be ", must_be, " without a GPU, is ", value, " (", why, ")"));
  };
  const auto only_on_gpu = [&](absl::string_view setting, absl::Span<const absl::string_view> words,
                               absl::string_view word) {
    return refused(setting, absl::StrCat("one of ", absl::StrJoin(words, ", ")),
                   absl::StrCat("\"", word, "\""));
  };
  if (!IsOnCpu(kv_type)) return only_on_gpu("--kv_type", kCpuKvWords, WordOf(kv_type));
  if (!IsOnCpu(weights)) return only_on_gpu("--weights", kCpuWeightWords, WordOf(weights));
  if (tensor_parallel > 1) return refused("--tensor_parallel", "1", absl::StrCat(tensor_parallel));
  return absl::OkStatus();
}

}  // namespace ropeway::server
