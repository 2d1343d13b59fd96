// Key-value metadata of a model file: what a GGUF header carries beside its tensors.
//
// It stands between the weight readers, which fill it, and those who read it (architecture, tokenizer,
// template), so that neither needs to know the other. Values come from an untrusted file: getters check type
// and range and name the key in their errors. Immutable after it was filled; const methods are thread-safe.
#ifndef ROPEWAY_ENGINE_BASE_METADATA_H_
#define ROPEWAY_ENGINE_BASE_METADATA_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ropeway {

// Integers of every width are int64_t (unsigned 64-bit values above its range are refused by the readers);
// floats of every width are double.
using MetadataValue = std::variant<bool, int64_t, double, std::string, std::vector<bool>,
                                   std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

class Metadata {
 public:
  // ALREADY_EXISTS when the key is there.
  absl::Status Add(std::string key, MetadataValue value);

  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  const MetadataValue* Find(std::string_view key) const;  // null when absent

  // The value under `key`. NOT_FOUND when absent, INVALID_ARGUMENT when of another type; both name the key.
  // An integer is given for a double, never the other way round.
  absl::StatusOr<bool> GetBool(std::string_view key) const;
  absl::StatusOr<int64_t> GetInt(std::string_view key) const;
  absl::StatusOr<double> GetDouble(std::string_view key) const;
  absl::StatusOr<std::string> GetString(std::string_view key) const;
  // Pointers live as long as this object.
  absl::StatusOr<const std::vector<std::string>*> GetStrings(std::string_view key) const;
  absl::StatusOr<const std::vector<int64_t>*> GetInts(std::string_view key) const;
  absl::StatusOr<const std::vector<double>*> GetDoubles(std::string_view key) const;
  absl::StatusOr<const std::vector<bool>*> GetBools(std::string_view key) const;

  // Keys in the order of the file.
  const std::vector<std::string>& keys() const { return keys_; }

 private:
  std::vector<std::string> keys_;
  absl::flat_hash_map<std::string, MetadataValue> values_;
};

// `or_default` where the key is absent; an error only when it is there with another type.
template <typename T>
absl::StatusOr<T> ValueOr(absl::StatusOr<T> value, T or_default) {
  if (absl::IsNotFound(value.status())) return or_default;
  return value;
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_METADATA_H_
