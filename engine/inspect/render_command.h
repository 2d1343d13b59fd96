// `render`: fills a chat template, one JSON object of variables a line.
//
//   ropeway_inspect render MODEL             the template and the BOS and EOS strings of a GGUF file
//   ropeway_inspect render --template FILE   a template alone
//
// Each line has the template's variables ("messages", "tools", "add_generation_prompt", "bos_token", ...) and
// "now", the ISO date and time that strftime_now() formats (the present when it is missing). Each gives one
// line:
// {"text": ...} or {"error": ...}.
#ifndef ROPEWAY_ENGINE_INSPECT_RENDER_COMMAND_H_
#define ROPEWAY_ENGINE_INSPECT_RENDER_COMMAND_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/chat_template.h"

namespace CLI {
class App;
}

namespace ropeway {

// The subcommand of `app`. `exit_code` and `app` outlive the parsing.
void AddRenderCommand(CLI::App& app, int* exit_code);

// The answer to one line, without the newline. `defaults` are variables for lines that do not give them.
std::string RenderLine(const absl::StatusOr<ChatTemplate>& chat_template, std::string_view line,
                       const std::vector<std::pair<std::string, std::string>>& defaults);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_INSPECT_RENDER_COMMAND_H_
