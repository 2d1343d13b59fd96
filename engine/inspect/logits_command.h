// `logits` and `generate`: what a model computes for token ids, without tokenizer, server or sampling.
//
//   ropeway_inspect logits MODEL     {"ids": [...], "last": n}
//       {"logits": the last n rows of the vocabulary's width, "logprobs": of ids[1:]}
//     "last" is 1 where it is missing; a sequence with fewer tokens gives all its rows. Log-probabilities are
//     natural.
//   ropeway_inspect generate MODEL   {"ids": [...], "max_tokens": m, "ignore_eos": false}
//       {"ids": the likeliest continuation, "margins": best logit minus second best}
//     Ends after m tokens (16 where missing) or with an end token, which is the last id given; "ignore_eos"
//     goes on. Among equal logits the lowest id wins.
//
// Each line of input gives one line: an answer, or {"error": ...}. Members that are not named here are
// ignored. Numbers that JSON does not have (infinities, NaN) are null.
#ifndef ROPEWAY_ENGINE_INSPECT_LOGITS_COMMAND_H_
#define ROPEWAY_ENGINE_INSPECT_LOGITS_COMMAND_H_

#include <string>
#include <string_view>

#include "engine/inspect/model_probe.h"

namespace CLI {
class App;
}

namespace ropeway {

// The subcommands of `app`. `exit_code` and `app` outlive the parsing.
void AddLogitsCommand(CLI::App& app, int* exit_code);
void AddGenerateCommand(CLI::App& app, int* exit_code);

// The answers to one line, without the newline.
std::string LogitsLine(ModelProbe& probe, std::string_view line);
std::string GenerateLine(ModelProbe& probe, std::string_view line);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_INSPECT_LOGITS_COMMAND_H_
