// A generation request that passed validation: what the scheduler and the engine know of a user's wish.
#ifndef ROPEWAY_ENGINE_API_REQUEST_H_
#define ROPEWAY_ENGINE_API_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "engine/api/token.h"
#include "engine/base/admitted_lengths.h"
#include "engine/base/siphash.h"

namespace ropeway {

using RequestId = uint64_t;

// How a token is chosen from logits. Applied in this order: logit_bias, penalties, (min_tokens masks end
// tokens), temperature, top_k, top_p, min_p, coin. Greedy (temperature 0) takes the largest logit, the lowest
// id among equals.
struct SamplingParams {
  float temperature = 1;  // >= 0; 0 is greedy
  int32_t top_k = 0;      // keep the k likeliest; 0 keeps all
  float top_p = 1;        // (0, 1]; keep the smallest set with this probability mass
  float min_p = 0;        // [0, 1); drop tokens less likely than min_p times the likeliest
  // > 0; divides positive and multiplies negative logits of tokens seen (prompt too)
  float repetition_penalty = 1;
  float presence_penalty = 0;   // [-2, 2]; subtracted once from logits of tokens generated
  float frequency_penalty = 0;  // [-2, 2]; subtracted once per occurrence among tokens generated
  std::vector<std::pair<TokenId, float>> logit_bias;  // added to logits; ids distinct, ascending
  uint64_t seed = 0;          // the coin of token i of sample s is a function of (seed, s, i) alone
  int32_t num_logprobs = -1;  // -1: none; 0: of the chosen token; k: and of the k likeliest
};

// What the keys and values of a prompt depend on beside its tokens, and who may share them: requests find
// each other's prefixes only where theirs are equal. A secret, since else the time that an answer takes would
// tell what others asked.
using PrefixSalt = Hash128;

struct ValidRequest {
  RequestId id = 0;             // unique among live requests
  std::vector<TokenId> prompt;  // not empty; each in [0, vocab_size)
  SamplingParams sampling;
  int32_t max_tokens = 0;                 // >= 1; prompt + max_tokens <= max_model_len
  int32_t min_tokens = 0;                 // no end token before this many
  std::vector<TokenId> stop_token_ids;    // the model's end tokens (not under ignore_eos) and the user's own
  std::vector<std::string> stop_strings;  // texts that end a sample; not empty, valid UTF-8
  bool include_stop_string = false;       // deliver the one that matched, too
  int32_t num_samples = 1;                // parallel samples that share the prompt's pages
  int32_t prompt_logprobs = -1;           // -1: none; k: of each prompt token, and of the k likeliest
  absl::Time arrival = absl::UnixEpoch();
  absl::Time deadline = absl::InfiniteFuture();
  std::string tenant;  // fair queueing key; may be empty
  // None: the request neither finds the prefixes of others nor leaves its own behind.
  std::optional<PrefixSalt> prefix_salt;
  int32_t priority = 0;  // larger is served first within a tenant
};

inline AdmittedLengths LengthsOf(const ValidRequest& request) {
  return {.prompt_length = static_cast<int32_t>(request.prompt.size()), .max_new_tokens = request.max_tokens};
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_API_REQUEST_H_
