// Kernels that a rank uses only after they gave the bytes of others on its device: those by warpgroups (wgmma) and by bulk
// copies. Where one is wanted and not taken, the log says why.
//
// Not thread-safe; constant once a rank is loaded.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_CHECKED_KERNELS_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_CHECKED_KERNELS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/fp8.h"
#include "engine/kernels/cuda/ops.h"
#include "engine/kernels/cuda/runtime.h"
#include "engine/tensor/dtype.h"

namespace ropeway {

// What the device has and nobody turned off.
struct WantedKernels {
  cuda::Element element;
  cuda::AttentionShape attention;         // its warpgroups attend prompts
  std::vector<DType> product_types = {};  // of weights that warpgroups may multiply
  bool fp8_warpgroups = false;            // multiply prompts by fp8 weights
  bool bulk_copies = false;               // bring dense weights for few tokens
};

class CheckedKernels {
 public:
  // Computes a little both ways and waits for the stream. An error is of the device.
  absl::Status Check(const WantedKernels& wanted, const cuda::KernelTable& kernels,
                     const cuda::Fp8KernelTable* fp8_kernels, cuda::Runtime& runtime, cuda::Stream stream);
  // Behind Check: maps the pages of keys and values of so many layers, one layer's behind the other's, if prompts are to be
  // attended by warpgroups.
  absl::Status MapPages(cuda::KvPages kv, int64_t num_pages, int num_layers, cuda::Runtime& runtime);

  bool product_warpgroups() const { return product_warpgroups_.used; }
  bool fp8_warpgroups() const { return fp8_warpgroups_.used; }
  bool bulk_copies() const { return bulk_copies_.used; }
  // [L]; empty where warpgroups attend no prompts.
  absl::Span<const cuda::KvMaps> kv_maps() const { return kv_maps_; }

  // A line for each kernel that was wanted, for the log.
  std::vector<std::string> Lines() const;

 private:
  struct Kernel {
    bool wanted = false, used = false;
    std::string why_not = {};

    void Take(std::string why) {
      wanted = true;
      used = why.empty();
      why_not = std::move(why);
    }
  };

  Kernel product_warpgroups_, attention_, fp8_warpgroups_, bulk_copies_;
  std::vector<cuda::KvMaps> kv_maps_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_CHECKED_KERNELS_H_
