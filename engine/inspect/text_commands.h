// ropeway_inspect tokenize and detokenize: filters of JSON lines. Every line of input gets one line of
// output; a bad one
// {"error": "..."}.
#ifndef ROPEWAY_ENGINE_INSPECT_TEXT_COMMANDS_H_
#define ROPEWAY_ENGINE_INSPECT_TEXT_COMMANDS_H_

#include <string>

#include "CLI/CLI.hpp"
#include "engine/text/tokenizer.h"

namespace ropeway {

// {"text", "parse_special" (false), "add_special" (true)} -> {"ids"}
std::string TokenizeLine(const Tokenizer& tokenizer, const std::string& line);

// {"ids"} -> {"stream": what is shown after each id, "flush": what the end adds}; control tokens show nothing
std::string DetokenizeLine(const Tokenizer& tokenizer, const std::string& line);

void AddTextCommands(CLI::App& app, int* exit_code);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_INSPECT_TEXT_COMMANDS_H_
