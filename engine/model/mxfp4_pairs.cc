#include "engine/model/mxfp4_pairs.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/base/status_macros.h"
#include "engine/tensor/quant_blocks.h"

namespace ropeway {
namespace {

constexpr char kBlocks[] = "_blocks", kScales[] = "_scales";
constexpr int64_t kBlockBytes = 16;

// The shape of the tensor that has these parts.
absl::StatusOr<std::vector<int64_t>> ShapeOf(const std::string& name, const ByteTensor& blocks,
                                             const ByteTensor& scales) {
  std::vector<int64_t> expected = scales.shape;
  expected.push_back(kBlockBytes);
  if (scales.shape.empty() || blocks.shape != expected)
    return absl::InvalidArgumentError(
        absl::StrCat("tensor '", name, kBlocks, "' must have the shape of '", name, kScales, "', [",
                     absl::StrJoin(scales.shape, ", "), "], and ", kBlockBytes,
                     " bytes for each of its numbers, has [", absl::StrJoin(blocks.shape, ", "), "]"));
  std::vector<int64_t> shape = scales.shape;
  if (__builtin_mul_overflow(shape.back(), int64_t{kInfoOf<DType::kMXFP4>.block_columns}, &shape.back()))
    return absl::InvalidArgumentError(absl::StrCat("tensor '", name, kScales, "' is larger than any file"));
  return shape;
}

}  // namespace

absl::Status JoinMxfp4(const ByteTensors& bytes, absl::flat_hash_map<std::string, TensorView>& tensors,
                       Mxfp4Pairs& pairs) {
  for (const auto& [part, tensor] : bytes) {
    absl::string_view stem = part;
    const bool is_blocks = absl::ConsumeSuffix(&stem, kBlocks);
    if (!is_blocks && !absl::ConsumeSuffix(&stem, kScales))
      return absl::UnimplementedError(absl::StrCat("tensor '", part,
                                                   "' has the type U8, which is supported as '...", kBlocks,
                                                   "' and '...", kScales, "' of MXFP4 alone"));
    const std::string name(stem);
    const auto other = bytes.find(absl::StrCat(name, is_blocks ? kScales : kBlocks));
    if (other == bytes.end())
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", name, is_blocks ? kScales : kBlocks, "' is missing beside '", part, "'"));
    if (!is_blocks) continue;
    ASSIGN_OR_RETURN(std::vector<int64_t> shape, ShapeOf(name, tensor, other->second));
    if (!tensors.emplace(name, TensorView{DType::kMXFP4, std::move(shape), nullptr}).second)
      return absl::InvalidArgumentError(absl::StrCat("tensor '", name, "' is there beside '", part, "'"));
    pairs[name] = {.blocks = tensor.data, .scales = other->second.data};
  }
  return absl::OkStatus();
}

void JoinMxfp4Row(const Mxfp4Pair& pair, int64_t row, int64_t columns, uint8_t* out) {
  const int64_t blocks = columns / kInfoOf<DType::kMXFP4>.block_columns;
  const uint8_t *scale = pair.scales + row * blocks, *codes = pair.blocks + row * blocks * kBlockBytes;
  // The code of a column of a block.
  const auto code = [&](int column) { return codes[column / 2] >> (column % 2 * 4) & 15; };
  for (int64_t i = 0; i < blocks; ++i, codes += kBlockBytes, out += sizeof(BlockMXFP4)) {
    out[0] = scale[i];
    for (int c = 0; c < kBlockBytes; ++c)
      out[1 + c] = static_cast<uint8_t>(code(c) | code(c + kBlockBytes) << 4);
  }
}

}  // namespace ropeway
