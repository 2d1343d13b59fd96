// A TensorSource over tensors that a reader found by name.
//
// Every tensor is either needed under the spec or refused, so once it was made, Find gives NOT_FOUND for
// roles alone that the model does not have.
#ifndef ROPEWAY_ENGINE_MODEL_NAMED_TENSORS_H_
#define ROPEWAY_ENGINE_MODEL_NAMED_TENSORS_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/mapped_file.h"
#include "engine/model/mxfp4_pairs.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

// Rows of a tensor that several roles share: `length` rows from `first` on, and so on every `stride` rows,
// `count` times. Queries, keys and values of two KV heads, each with three query heads of E rows:
//   q q q k v  q q q k v     queries: {0, 3 E, 5 E, 2}; keys: {3 E, E, 5 E, 2};
//   values: {4 E, E, 5 E, 2}
struct RowPattern {
  int64_t first = 0, length = 0, stride = 0, count = 1;

  int64_t rows() const { return length * count; }
  bool operator==(const RowPattern&) const = default;
};

// A stored tensor, or some rows of it.
struct StoredPart {
  std::string name;
  bool shared = false;      // with other roles: `rows` are this one's
  RowPattern rows;          // of the tensor as its roles mean it, after it was turned
  bool transposed = false;  // stored as [inputs, outputs]
  // The outermost dimension is the expert; what else is said holds for each of them.
  bool stacked = false;
  bool one_row = false;  // a vector that is stored as [1, its length]
};

class NamedTensors final : public TensorSource {
 public:
  using Map = absl::flat_hash_map<std::string, TensorView>;

  // What a reader found. Views of pairs have no data.
  struct Contents {
    Map tensors;
    Mxfp4Pairs pairs = {};
    std::vector<MappedFile> files;  // that all of them point into
  };

  struct Naming {
    // Where the files hold a tensor of the model: one part, or several, one below the other. Experts have one
    // part together where they are stacked, and one each where they are not.
    std::function<std::vector<StoredPart>(const TensorId& id)> parts_of;
    // Tensors without a role that change nothing; all others are refused.
    std::function<bool(absl::string_view name)> ignorable;
  };

  // INVALID_ARGUMENT for a tensor that is missing or of a wrong shape; UNIMPLEMENTED for one that nobody
  // would read.
  static absl::StatusOr<std::unique_ptr<NamedTensors>> Make(DecoderSpec spec, Contents contents,
                                                            Naming naming);

  // What the roles together need of one stored tensor.
  struct Need {
    std::vector<int64_t> shape;
    bool transposed = false;
  };
  using Needs = absl::flat_hash_map<std::string, Need>;
  static Needs NeededBy(const DecoderSpec& spec, const Naming& naming);

  absl::StatusOr<WeightTensor> Find(const TensorId& id) const override;
  absl::StatusOr<DType> TypeOf(const TensorId& id) const override;
  std::string NameOf(const TensorId& id) const override;
  std::vector<StoredTensor> Stored() const override;

 private:
  NamedTensors(DecoderSpec spec, Contents contents, Naming naming)
      : spec_(std::move(spec)),
        tensors_(std::move(contents.tensors)),
        pairs_(std::move(contents.pairs)),
        files_(std::move(contents.files)),
        naming_(std::move(naming)) {}

  absl::Status CheckAll() const;
  absl::Status CheckType(const TensorId& id, const StoredPart& part, const TensorView& view,
                         const std::string& first) const;
  void AppendPart(const StoredPart& part, int expert, std::vector<uint8_t>& bytes) const;
  void AppendPair(const StoredPart& part, int expert, std::vector<uint8_t>& bytes) const;

  const DecoderSpec spec_;
  const Map tensors_;
  const Mxfp4Pairs pairs_;
  const std::vector<MappedFile> files_;
  const Naming naming_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_NAMED_TENSORS_H_
