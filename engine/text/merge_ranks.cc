#include "engine/text/merge_ranks.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ropeway {

absl::StatusOr<MergeRanks> MergeRanks::Read(const Metadata& metadata, const Vocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const auto* lines, metadata.GetStrings("tokenizer.ggml.merges"));
  MergeRanks ranks;
  ranks.merges_.reserve(lines->size());
  for (size_t i = 0; i < lines->size(); ++i) {
    const std::string_view line = (*lines)[i];
    // The left token may begin with a space itself.
    const size_t space = line.find(' ', 1);
    if (space == std::string_view::npos)
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer.ggml.merges: line ", i, " must be 'left right'"));
    const std::string_view left = line.substr(0, space), right = line.substr(space + 1);
    const TokenId left_id = vocabulary.Find(left), right_id = vocabulary.Find(right);
    const TokenId merged = vocabulary.Find(std::string(left).append(right));
    if (left_id == kNoToken || right_id == kNoToken || merged == kNoToken) continue;
    ranks.merges_.try_emplace(Key(left_id, right_id), Merged{merged, static_cast<int64_t>(i)});
  }
  return ranks;
}

}  // namespace ropeway
