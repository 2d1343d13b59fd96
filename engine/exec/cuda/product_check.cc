#include "engine/exec/cuda/product_check.h"

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cuda/kernel_check.h"

namespace ropeway {
namespace {

// Of one processor's blocks so many rows are several jobs.
constexpr int kRows = 300, kMostColumns = 7 * 256;

// With parts of a group of columns, where a type's blocks are that small.
int ColumnsOf(DType type) { return InfoOf(type).block_columns == 256 ? kMostColumns : kMostColumns - 5 * 32; }

// Each of the kernels: few tokens by half tiles and by whole ones, more, and many. Of one processor the rows are many.
struct Case {
  int tokens, processors;
};
constexpr Case kCases[] = {{3, 64}, {10, 1}, {41, 1}, {43, 64}, {98, 64}, {100, 1}};
constexpr int kMostTokens = 100;

// Any codes; scales that are neither very large nor very small, nor no numbers at all.
std::vector<uint8_t> RandomPacked(DType type) {
  const cuda::PackedLayout layout = cuda::LayoutOf(type, kRows, ColumnsOf(type));
  std::vector<uint8_t> image(static_cast<size_t>(layout.bytes));
  const uint16_t varies = type == DType::kMXFP4 ? 0x807F : 0x83FF;
  const uint16_t exponent = type == DType::kMXFP4 ? 0x3F00 : 0x3000;
  for (size_t at = 0; at < image.size(); at += sizeof(uint16_t)) {
    auto bits = static_cast<uint16_t>(RandomBits(static_cast<uint64_t>(type), at));
    if (at >= static_cast<size_t>(layout.scales)) bits = static_cast<uint16_t>((bits & varies) | exponent);
    std::memcpy(&image[at], &bits, sizeof(bits));
  }
  return image;
}

class Products {
 public:
  Products(cuda::Element element, const cuda::KernelTable& kernels, cuda::Runtime& runtime,
           cuda::Stream stream)
      : element_(element),
        kernels_(kernels),
        runtime_(runtime),
        check_(runtime, stream, "checking products by warpgroups, which --wgmma=off leaves out") {}

  absl::Status Init() {
    ASSIGN_OR_RETURN(x_,
                     check_.Put(Rounded(element_, UnevenNumbers(int64_t{kMostTokens} * kMostColumns, 1))));
    return check_.MakeOutput(int64_t{kMostTokens} * kRows * 4);
  }

  absl::StatusOr<std::string> Compare(DType type) {
    if (cuda::IsPacked(type)) {
      ASSIGN_OR_RETURN(weights_, check_.Put(RandomPacked(type)));
    } else {
      ASSIGN_OR_RETURN(weights_,
                       check_.Put(Rounded(element_, UnevenNumbers(int64_t{kRows} * ColumnsOf(type), 2))));
    }
    for (const Case& c : kCases) {
      std::vector<uint8_t> bytes[2];
      for (const bool warpgroups : {false, true}) {
        RETURN_IF_ERROR(check_.FillOutput(warpgroups ? 0xFF : 0xFE));
        const cuda::ErrorCode error = Multiply(type, c, warpgroups);
        if (warpgroups && error != 0 && !runtime_.IsFatal(error))
          return absl::StrCat("the device does not take their kernel: ", runtime_.Describe(error));
        RETURN_IF_ERROR(check_.Check(error));
        ASSIGN_OR_RETURN(bytes[warpgroups], check_.ReadOutput());
        bytes[warpgroups].resize(static_cast<size_t>(c.tokens) * kRows * 4);
      }
      if (bytes[0] != bytes[1]) return absl::StrCat("wgmma gives other bytes with ", InfoOf(type).name);
    }
    return "";
  }

 private:
  cuda::ErrorCode Multiply(DType type, const Case& c, bool warpgroups) const {
    const auto matmul = cuda::IsPacked(type) ? kernels_.packed_matmul : kernels_.dense_matmul;
    return matmul({.weights = {type, kRows, ColumnsOf(type), weights_.data()},
                   .element = element_,
                   .out = cuda::Element::kF32,
                   .num_tokens = c.tokens,
                   .processors = c.processors,
                   .x = x_.data(),
                   .y = check_.output(),
                   .y_stride = kRows,
                   .warpgroups = warpgroups},
                  check_.stream());
  }

  const cuda::Element element_;
  const cuda::KernelTable& kernels_;
  cuda::Runtime& runtime_;
  KernelCheck check_;
  CudaMemory x_, weights_;
};

}  // namespace

absl::StatusOr<std::string> WhyNoProductsByWarpgroups(cuda::Element element, absl::Span<const DType> types,
                                                      const cuda::KernelTable& kernels,
                                                      cuda::Runtime& runtime, cuda::Stream stream) {
  Products products(element, kernels, runtime, stream);
  RETURN_IF_ERROR(products.Init());
  for (const DType type : types) {
    ASSIGN_OR_RETURN(std::string why, products.Compare(type));
    if (!why.empty()) return why;
  }
  return "";
}

}  // namespace ropeway
