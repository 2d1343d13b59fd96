// A model on an executor, to be looked at: one sequence at a time, every logit shown.
//
// One thread at a time uses a probe.
#ifndef ROPEWAY_ENGINE_INSPECT_MODEL_PROBE_H_
#define ROPEWAY_ENGINE_INSPECT_MODEL_PROBE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/api/step.h"
#include "engine/api/token.h"
#include "engine/exec/cuda/backend.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

struct ModelProbeOptions {
  std::string model;             // a GGUF file or a Hugging Face folder
  std::string device = "cpu";    // or "cuda"
  std::string kernels = "auto";  // of a CPU, as SelectKernels takes them
  std::string kv_type;           // "f32" or "bf16"; "": f32 for "ref" and for GPUs, bf16 for other kernels
  int threads = 0;               // 0: as many as processors may be used
  std::string rope_scaling;      // instead of the file's (rope_override.h); "": the file's
  std::string weights = "file";  // or "q8_0": packed to 8 bits; or, of "cuda", "fp8"

  // Tests open backends of their own.
  std::function<absl::StatusOr<const cuda::Backend*>()> open_backend = [] { return OpenCudaBackend(); };
};

class ModelProbe {
 public:
  // Called with the position of a token and the logits that follow it, [vocab_size], which live for the call.
  using Visitor = std::function<void(int32_t position, absl::Span<const float> logits)>;

  static absl::StatusOr<std::unique_ptr<ModelProbe>> Open(const ModelProbeOptions& options);

  int32_t vocab_size() const { return executor_->limits().vocab_size; }
  // What ends a generation, as the vocabulary of the file or the folder says; none where there is no vocabulary.
  const std::vector<TokenId>& end_ids() const { return end_ids_; }

  // Forgets the sequence and makes room for one of `capacity` tokens. INVALID_ARGUMENT above the context that
  // the model was made for, RESOURCE_EXHAUSTED above what memory holds.
  absl::Status Start(const AdmittedLengths& lengths);

  // Appends tokens to the sequence and visits, in order, those at positions >= first_visited.
  // REQUIRES: ids are of the vocabulary; the sequence stays within the capacity.
  absl::Status Append(absl::Span<const TokenId> ids, int32_t first_visited, const Visitor& visit);

 private:
  // The logits of some tokens of a plan, in any order, one at a time.
  using VisitLogits = std::function<absl::Status(
      const StepPlan& plan, absl::Span<const int32_t> indices,
      const std::function<void(int32_t index, absl::Span<const float> logits)>& visit)>;

  struct OnDevice {
    std::unique_ptr<Executor> executor;
    VisitLogits visit_logits;
  };
  static absl::StatusOr<OnDevice> OpenOnCpu(const ModelProbeOptions& options, OpenedModel model);
  static absl::StatusOr<OnDevice> OpenOnCuda(const ModelProbeOptions& options, const OpenedModel& model);

  ModelProbe(OnDevice on_device, int32_t context_length, std::vector<TokenId> end_ids)
      : executor_(std::move(on_device.executor)),
        visit_logits_(std::move(on_device.visit_logits)),
        context_length_(context_length),
        end_ids_(std::move(end_ids)) {}

  absl::Status AppendChunk(absl::Span<const TokenId> ids, int32_t first_visited, const Visitor& visit);

  const std::unique_ptr<Executor> executor_;
  const VisitLogits visit_logits_;
  const int32_t context_length_;
  const std::vector<TokenId> end_ids_;
  std::vector<PageId> pages_;  // of the sequence
  AdmittedLengths lengths_;    // of the sequence
  int32_t length_ = 0;         // tokens of the sequence so far
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_INSPECT_MODEL_PROBE_H_
