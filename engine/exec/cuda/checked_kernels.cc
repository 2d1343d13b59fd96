#include "engine/exec/cuda/checked_kernels.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cuda/attention_check.h"
#include "engine/exec/cuda/fp8_check.h"
#include "engine/exec/cuda/product_check.h"
#include "engine/exec/cuda/stream_check.h"

namespace ropeway {

absl::Status CheckedKernels::Check(const WantedKernels& wanted, const cuda::KernelTable& kernels,
                                   const cuda::Fp8KernelTable* fp8_kernels, cuda::Runtime& runtime,
                                   cuda::Stream stream) {
  const cuda::Element element = wanted.element;
  if (!wanted.product_types.empty()) {
    ASSIGN_OR_RETURN(std::string why,
                     WhyNoProductsByWarpgroups(element, wanted.product_types, kernels, runtime, stream));
    product_warpgroups_.Take(std::move(why));
  }
  if (wanted.attention.warpgroups) {
    ASSIGN_OR_RETURN(std::string why, WhyNoWarpgroups(wanted.attention, element, kernels, runtime, stream));
    attention_.Take(std::move(why));
  }
  if (wanted.fp8_warpgroups) {
    ASSIGN_OR_RETURN(const bool keep, Fp8WarpgroupsKeepBytes(element, *fp8_kernels, runtime, stream));
    fp8_warpgroups_.Take(keep ? "" : "wgmma gives other bytes or none");
  }
  if (wanted.bulk_copies) {
    ASSIGN_OR_RETURN(std::string why, WhyNoBulkCopies(element, kernels, runtime, stream));
    bulk_copies_.Take(std::move(why));
  }
  return absl::OkStatus();
}

absl::Status CheckedKernels::MapPages(cuda::KvPages kv, int64_t num_pages, int num_layers,
                                      cuda::Runtime& runtime) {
  if (!attention_.used) return absl::OkStatus();
  std::vector<cuda::KvMaps> maps(num_layers);
  for (cuda::KvMaps& layer : maps) {
    ASSIGN_OR_RETURN(std::string why, MapKeysAndValues(runtime, kv, num_pages, layer));
    attention_.Take(std::move(why));
    if (!attention_.used) return absl::OkStatus();
    kv.data += kv.page_bytes() * num_pages;
  }
  kv_maps_ = std::move(maps);
  return absl::OkStatus();
}

std::vector<std::string> CheckedKernels::Lines() const {
  constexpr absl::string_view kWgmma = "wgmma, whose bytes are those of mma.sync";
  std::vector<std::string> lines;
  const auto add = [&](const Kernel& kernel, absl::string_view taken, absl::string_view instead) {
    if (kernel.wanted)
      lines.push_back(kernel.used ? std::string(taken) : absl::StrCat(instead, ", since ", kernel.why_not));
  };
  add(product_warpgroups_, absl::StrCat("products: ", kWgmma, ", where it is the fastest"),
      "products: no wgmma");
  add(attention_, absl::StrCat("attention of prompts: ", kWgmma), "attention of prompts: mma.sync");
  add(fp8_warpgroups_, absl::StrCat("products of prompts by fp8: ", kWgmma),
      "products of prompts by fp8: mma.sync");
  add(bulk_copies_, "products for few tokens: bulk copies, whose bytes are those of cp.async",
      "products for few tokens: cp.async");
  return lines;
}

}  // namespace ropeway
