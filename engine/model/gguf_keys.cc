#include "engine/model/gguf_keys.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"

namespace ropeway {

std::string GgufKeys::Name(absl::string_view key) const { return absl::StrCat(prefix_, key); }

std::string GgufKeys::Quoted(absl::string_view key) const {
  return absl::StrCat("metadata key '", Name(key), "'");
}

absl::StatusOr<int32_t> GgufKeys::Int(absl::string_view key) {
  ASSIGN_OR_RETURN(const int64_t value, Uniform(Asked(key)));
  if (value < 0 || value > INT32_MAX)
    return absl::InvalidArgumentError(absl::StrCat(Quoted(key), " must be in [0, 2^31), is ", value));
  return static_cast<int32_t>(value);
}

absl::StatusOr<int32_t> GgufKeys::IntOr(absl::string_view key, int32_t or_default) {
  return ValueOr<int32_t>(Int(key), or_default);
}

absl::StatusOr<double> GgufKeys::DoubleOr(absl::string_view key, double or_default) {
  return ValueOr<double>(metadata_.GetDouble(Asked(key)), or_default);
}

absl::StatusOr<bool> GgufKeys::BoolOr(absl::string_view key, bool or_default) {
  return ValueOr<bool>(metadata_.GetBool(Asked(key)), or_default);
}

absl::StatusOr<std::string> GgufKeys::StringOr(absl::string_view key, std::string or_default) {
  return ValueOr<std::string>(metadata_.GetString(Asked(key)), std::move(or_default));
}

const std::vector<bool>* GgufKeys::Bools(absl::string_view key) {
  const absl::StatusOr<const std::vector<bool>*> values = metadata_.GetBools(Asked(key));
  return values.ok() ? *values : nullptr;
}

absl::Status GgufKeys::MustBe(absl::string_view key, double only) {
  ASSIGN_OR_RETURN(const double value, DoubleOr(key, only));
  if (value == only) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(Quoted(key), " is ", value, "; only ", only, " is supported"));
}

absl::Status GgufKeys::MustBeBool(absl::string_view key, bool only) {
  ASSIGN_OR_RETURN(const bool value, BoolOr(key, only));
  if (value == only) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(Quoted(key), " is not supported unless it is ", only ? "true" : "false"));
}

absl::Status GgufKeys::Finish() const {
  for (const std::string& name : metadata_.keys())
    if (absl::StartsWith(name, prefix_) && !asked_.contains(name))
      return absl::UnimplementedError(absl::StrCat("metadata key '", name,
                                                   "' is not supported and may change what the model "
                                                   "computes; supported are ",
                                                   absl::StrJoin(asked_, ", ")));
  return absl::OkStatus();
}

absl::StatusOr<int64_t> GgufKeys::Uniform(const std::string& name) const {
  const auto values = metadata_.GetInts(name);
  if (!values.ok()) return metadata_.GetInt(name);
  const std::vector<int64_t>& all = **values;
  if (all.empty() || std::any_of(all.begin(), all.end(), [&](int64_t v) { return v != all[0]; }))
    return absl::UnimplementedError(
        absl::StrCat("metadata key '", name, "' differs between layers, which is not supported"));
  return all[0];
}

}  // namespace ropeway
