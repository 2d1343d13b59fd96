// Runs one sequence at a time through a model and shows every logit: for looking at models, not for serving.
//
// One thread at a time uses a runner.
#ifndef ROPEWAY_ENGINE_INSPECT_SEQUENCE_RUNNER_H_
#define ROPEWAY_ENGINE_INSPECT_SEQUENCE_RUNNER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/api/token.h"
#include "engine/base/metadata.h"
#include "engine/base/thread_pool.h"
#include "engine/exec/cpu/pass.h"
#include "engine/tensor/aligned_buffer.h"

namespace ropeway {

struct SequenceRunnerOptions {
  std::string model;                       // a GGUF file or a Hugging Face folder
  std::string kernels = "auto";            // as SelectKernels takes them
  std::optional<kernels::KvType> kv_type;  // float32 for "ref" where missing, bf16 for the others
  int threads = 0;                         // 0: as many as processors may be used
};

class SequenceRunner {
 public:
  // Called with the position of a token and the logits that follow it, [vocab_size], which live for the call.
  using Visitor = std::function<void(int32_t position, absl::Span<const float> logits)>;

  static absl::StatusOr<std::unique_ptr<SequenceRunner>> Open(const SequenceRunnerOptions& options);

  const DecoderSpec& spec() const { return decoder_->spec(); }
  const Metadata& metadata() const { return metadata_; }
  const char* kernels_name() const { return decoder_->table().name; }

  // Forgets the sequence and makes room for one of `capacity` tokens. INVALID_ARGUMENT above the context that
  // the model was made for, RESOURCE_EXHAUSTED above what memory holds.
  absl::Status Start(int64_t capacity);

  // Appends tokens to the sequence and visits, in order, those at positions >= first_visited.
  // REQUIRES: ids are of the vocabulary; the sequence stays within the capacity.
  void Append(absl::Span<const TokenId> ids, int32_t first_visited, const Visitor& visit);

 private:
  SequenceRunner(std::unique_ptr<const Decoder> decoder, Metadata metadata, const kernels::KvLayout& kv,
                 int threads);

  void AppendChunk(absl::Span<const TokenId> ids, int32_t first_visited, const Visitor& visit);

  const std::unique_ptr<const Decoder> decoder_;
  const Metadata metadata_;
  const kernels::KvLayout kv_;
  const std::unique_ptr<ThreadPool> pool_;
  Workspace workspace_;
  AlignedBuffer cache_;         // [L, P] pages
  std::vector<int32_t> pages_;  // [P] of the sequence: all of them, in order
  int32_t length_ = 0;          // tokens of the sequence so far
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_INSPECT_SEQUENCE_RUNNER_H_
