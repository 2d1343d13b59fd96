// The keys of one architecture in a GGUF file, and which of them were read: "head_count" stands for
// "llama.head_count" and so on.
//
// Belongs to one reading; not thread-safe.
#ifndef ROPEWAY_ENGINE_MODEL_GGUF_KEYS_H_
#define ROPEWAY_ENGINE_MODEL_GGUF_KEYS_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/metadata.h"

namespace ropeway {

class GgufKeys {
 public:
  // `metadata` outlives the keys.
  GgufKeys(const Metadata& metadata, const std::string& architecture)
      : metadata_(metadata), prefix_(architecture + ".") {}

  // "metadata key 'llama.head_count'"
  std::string Quoted(absl::string_view key) const;

  bool Has(absl::string_view key) const { return metadata_.Has(Name(key)); }

  // NOT_FOUND where the key is absent; INVALID_ARGUMENT for a value of another type or out of range.
  absl::StatusOr<int32_t> Int(absl::string_view key);
  absl::StatusOr<int32_t> IntOr(absl::string_view key, int32_t or_default);
  absl::StatusOr<double> DoubleOr(absl::string_view key, double or_default);
  absl::StatusOr<bool> BoolOr(absl::string_view key, bool or_default);
  absl::StatusOr<std::string> StringOr(absl::string_view key, std::string or_default);
  // Null where the key is absent or no array of bools.
  const std::vector<bool>* Bools(absl::string_view key);

  // UNIMPLEMENTED when the key is there with another value, which would change what the model computes.
  absl::Status MustBe(absl::string_view key, double only);
  absl::Status MustBeBool(absl::string_view key, bool only);

  void Ignore(absl::string_view key) { Asked(key); }

  // UNIMPLEMENTED when the architecture has a key that nobody asked for, listing those that were.
  absl::Status Finish() const;

 private:
  std::string Name(absl::string_view key) const;
  std::string Asked(absl::string_view key) { return *asked_.insert(Name(key)).first; }
  // Some files say the same number for every layer.
  absl::StatusOr<int64_t> Uniform(const std::string& name) const;

  const Metadata& metadata_;
  const std::string prefix_;
  std::set<std::string> asked_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_GGUF_KEYS_H_
