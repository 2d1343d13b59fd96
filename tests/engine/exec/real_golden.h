// Golden answers of real models; see tests/golden/models/README.md.
#ifndef ROPEWAY_TESTS_ENGINE_EXEC_REAL_GOLDEN_H_
#define ROPEWAY_TESTS_ENGINE_EXEC_REAL_GOLDEN_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/api/token.h"

namespace ropeway::testing {

inline constexpr char kSmolLm2[] = "smollm2";
inline constexpr char kGemma3[] = "gemma3-270m";

// Where the model lies; fetched by deploy/fetch_model.sh.
std::string RealModelPath(const std::string& model);

struct GoldenPrompt {
  std::vector<TokenId> ids;
  std::vector<double> logprobs;    // of each id given those before it; the first is NaN
  std::vector<TokenId> greedy;     // the continuation
  std::vector<float> margins;      // of each of its tokens: best logit minus second best
  std::vector<float> last_logits;  // after the last id, or empty
};

absl::StatusOr<GoldenPrompt> ReadGoldenPrompt(const std::string& model, const std::string& prompt);

struct GoldenText {
  std::vector<TokenId> ids;
  std::vector<double> logprobs;  // as those of a prompt
};

// The text whose perplexity is scored.
absl::StatusOr<GoldenText> ReadGoldenText(const std::string& model);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_ENGINE_EXEC_REAL_GOLDEN_H_
