// Reads weights by role, brought into the form that both executors load: vectors as floats with everything
// folded in that costs nothing there, matrices as they are stored, cut for one rank of a tensor-parallel
// group.
//
// Rank r of n holds heads [r H / n, (r + 1) H / n), their keys and values, and the same part of the
// feed-forward layer, of each expert: rows of query, key, value, gate and up, columns of the attention output and of
// down, whose products are then sums over ranks. Norms, embedding, narrow rows of latent attention, routers and
// the output layer are whole.
//
// Const methods are thread-safe.
#ifndef ROPEWAY_ENGINE_MODEL_WEIGHT_READER_H_
#define ROPEWAY_ENGINE_MODEL_WEIGHT_READER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

struct Shard {
  int rank = 0, size = 1;
};

// INVALID_ARGUMENT naming what a group of `size` ranks does not divide; UNIMPLEMENTED for a model whose
// parts need each other in mid-layer.
absl::Status CheckTensorParallel(const DecoderSpec& spec, int size);

// The spec of one rank: fewer heads, KV heads and feed-forward columns.
DecoderSpec ShardOf(const DecoderSpec& spec, int size);

// A norm's vectors, ready to multiply and add: offset and scale are in them, ones stand for a weight that
// the model does not have.
struct NormVectors {
  std::vector<float> weight;
  std::vector<float> bias;  // empty where there is none
};

class WeightReader {
 public:
  struct Options {
    Shard shard;
    int32_t max_model_len = 0;   // positions that are served
    bool shapes_only = false;    // matrices may come without their bytes: for counting them
    bool alike_experts = false;  // matrices of one role come in one type for all experts of a layer: float32
                                 // where they differ
  };

  // `spec` is that of the whole model. Both outlive the reader.
  WeightReader(const DecoderSpec& spec, const TensorSource& tensors, const Options& options)
      : spec_(spec), tensors_(tensors), options_(options) {}

  const DecoderSpec& spec() const { return spec_; }
  const Options& options() const { return options_; }

  // A tensor as floats, whole. NOT_FOUND where the model has none.
  absl::StatusOr<std::vector<float>> Values(const TensorId& id) const;
  // Of the residual stream: [D]; empty vectors where the model has no such norm. `scale` multiplies the
  // result.
  absl::StatusOr<NormVectors> Norm(WeightRole role, int layer, bool present, float scale = 1) const;
  // Of the heads of this rank: [heads, E].
  absl::StatusOr<NormVectors> HeadNorm(WeightRole role, int layer) const;
  // A number for each query head of this rank; empty where the model has none.
  absl::StatusOr<std::vector<float>> QueryHeads(WeightRole role, int layer) const;
  // Factors of queries at positions [0, max_model_len); empty where the layer has none.
  std::vector<float> QueryFactors(int layer) const;
  // What is added to embeddings at positions [0, max_model_len): [max_model_len, D]; empty for nothing.
  absl::StatusOr<std::vector<float>> InputPositions() const;

  enum class Cut { kWhole, kRows, kColumns };
  // `expert` is -1 for roles of no expert.
  absl::StatusOr<WeightTensor> Matrix(WeightRole role, int layer, Cut cut, int expert = -1) const;
  // The same as float32, whatever its type.
  absl::StatusOr<WeightTensor> FloatMatrix(WeightRole role, int layer, Cut cut, int expert = -1) const;
  // Whether the matrices of a role are of several types among the experts of a layer.
  absl::StatusOr<bool> ExpertsDiffer(WeightRole role, int layer) const;
  // The biases of matrices, side by side, cut as they are (those of columns are whole); empty where there
  // are none.
  absl::StatusOr<std::vector<float>> Biases(const std::vector<WeightRole>& roles, int layer, Cut cut,
                                            int expert = -1) const;
  // Of a layer with latent attention, this rank's heads with their rotated columns first. `LatentKeys` has zeros where a
  // key's rotated columns come to stand: [H E, kv_rank]. Where files have keys and values apart, both are float32.
  absl::StatusOr<WeightTensor> LatentQueries(int layer) const;  // [H E, query_rank or D]
  absl::StatusOr<WeightTensor> LatentKeys(int layer) const;
  absl::StatusOr<WeightTensor> LatentValues(int layer) const;  // [H Ev, kv_rank]
  // What the activation of a layer takes beside its arguments.
  absl::StatusOr<ActivationNumbers> Numbers(int layer) const;

 private:
  absl::StatusOr<WeightTensor> FindMatrix(const TensorId& id) const;
  absl::StatusOr<WeightTensor> LatentKeysApart(int layer) const;
  WeightTensor PartOfRank(WeightTensor tensor, Cut cut) const;

  const DecoderSpec& spec_;
  const TensorSource& tensors_;
  const Options options_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_WEIGHT_READER_H_
