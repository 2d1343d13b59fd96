// Fields of a JSON document from a model's folder, read with errors that name the file and the path.
//
// Such documents are untrusted. A view: the document outlives it. Not changed after it was made; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_HF_JSON_FIELDS_H_
#define ROPEWAY_ENGINE_TEXT_HF_JSON_FIELDS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace ropeway::hf {

using Json = nlohmann::ordered_json;

class JsonFields {
 public:
  // `path` is the file's name, followed by where in it `json` stands. INVALID_ARGUMENT unless it is an
  // object.
  static absl::StatusOr<JsonFields> Of(const Json& json, std::string path);

  // Null where the key is absent, or null.
  const Json* Find(std::string_view key) const;

  // The value of `key`, or the default where it is absent. INVALID_ARGUMENT for a value of another type.
  absl::StatusOr<bool> BoolOr(std::string_view key, bool or_default) const;
  absl::StatusOr<int64_t> IntOr(std::string_view key, int64_t or_default) const;
  absl::StatusOr<std::string> StringOr(std::string_view key, std::string_view or_default) const;

  // INVALID_ARGUMENT where the key is absent, too.
  absl::StatusOr<std::string> String(std::string_view key) const;
  absl::StatusOr<JsonFields> Object(std::string_view key) const;
  absl::StatusOr<std::vector<JsonFields>> Objects(std::string_view key) const;  // of an array
  absl::StatusOr<const Json*> Array(std::string_view key) const;

  std::string PathOf(std::string_view key) const;
  const std::string& path() const { return path_; }
  // INVALID_ARGUMENT and UNIMPLEMENTED with the path of `key` in front ("": of the object itself).
  absl::Status Invalid(std::string_view key, std::string_view message) const;
  absl::Status Unsupported(std::string_view key, std::string_view message) const;
  // UNIMPLEMENTED where `key` has the value `value` that is not one of `known`.
  absl::Status UnknownValue(std::string_view key, std::string_view value, std::string_view known) const;

 private:
  JsonFields(const Json& json, std::string path) : json_(&json), path_(std::move(path)) {}

  const Json* json_;
  std::string path_;
};

// A whole file. INVALID_ARGUMENT where it is no JSON.
absl::StatusOr<Json> ParseJsonFile(std::string_view text, std::string_view file);

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_JSON_FIELDS_H_
