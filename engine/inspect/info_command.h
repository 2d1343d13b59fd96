// `info`: what a model file says and what it needs.
//
//   ropeway_inspect info MODEL    metadata, spec, memory, tensors, as text
//
// A GGUF file whose model is not supported, or that holds a vocabulary only, is shown with the reason.
#ifndef ROPEWAY_ENGINE_INSPECT_INFO_COMMAND_H_
#define ROPEWAY_ENGINE_INSPECT_INFO_COMMAND_H_

#include <string>

#include "absl/status/statusor.h"

namespace CLI {
class App;
}

namespace ropeway {

// The subcommand of `app`. `exit_code` and `app` outlive the parsing.
void AddInfoCommand(CLI::App& app, int* exit_code);

// The whole text, or why the model at `path` cannot be read at all.
absl::StatusOr<std::string> InfoText(const std::string& path);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_INSPECT_INFO_COMMAND_H_
