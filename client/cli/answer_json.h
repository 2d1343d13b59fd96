// Answers as the JSON that the command line prints.
#ifndef ROPEWAY_CLIENT_CLI_ANSWER_JSON_H_
#define ROPEWAY_CLIENT_CLI_ANSWER_JSON_H_

#include <string>

#include "client/types.h"
#include "nlohmann/json.hpp"

namespace ropeway::client {

// The one object that `generate --json` prints; its keys are stable:
//   text, token_ids, finish_reason, logprobs, stop_string | stop_token_id   of the first sample
//   prompt_token_ids, prompt_text, prompt_logprobs                          as the model saw the prompt
//   usage {prompt_tokens, completion_tokens, total_tokens}
//   samples [{text, token_ids, finish_reason, ...}]                         where more than one
//   request_id
//   receipt {queue_ms, prefill_ms, decode_ms, cached_tokens, recomputed_tokens, preemptions, seed}
//   error {code, message}      where the call failed; the rest is what arrived before
// Log-probabilities that were not asked for, and the receipt of a call that failed, are null.
nlohmann::ordered_json ToJson(const Answer& answer);
nlohmann::ordered_json ToJson(const ModelInfo& info);
nlohmann::ordered_json ToJson(const ServerInfo& info);
nlohmann::ordered_json ToJson(const Estimate& estimate);

// One line; bytes that are not UTF-8 become U+FFFD.
std::string Dump(const nlohmann::ordered_json& json);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_ANSWER_JSON_H_
