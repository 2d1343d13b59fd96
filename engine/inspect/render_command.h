// `render`: fills a chat template, one JSON object of variables a line.
//
//   ropeway_inspect render MODEL             the template and the BOS and EOS strings of a GGUF file or a
//                                            folder
//   ropeway_inspect render --template FILE   a template alone
//   --name NAME                              one of several templates of a model
//   --as_served                              messages brought into the shape that the template takes, as the
//                                            server does; "continue_final_message" goes on with the last one
//
// Each line has the template's variables ("messages", "tools", "add_generation_prompt", "bos_token", ...) and
// "now", the ISO date and time that strftime_now() formats (the present when it is missing). Each gives one
// line: {"text": ...} or {"error": ...}.
#ifndef ROPEWAY_ENGINE_INSPECT_RENDER_COMMAND_H_
#define ROPEWAY_ENGINE_INSPECT_RENDER_COMMAND_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/chat_templates.h"

namespace CLI {
class App;
}

namespace ropeway {

// The subcommand of `app`. `exit_code` and `app` outlive the parsing.
void AddRenderCommand(CLI::App& app, int* exit_code);

struct RenderLineOptions {
  // Variables for lines that do not give them.
  std::vector<std::pair<std::string, std::string>> defaults;
  std::string template_name;
  bool as_served = false;
};

// The answer to one line, without the newline.
std::string RenderLine(const ChatTemplates& templates, std::string_view line,
                       const RenderLineOptions& options);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_INSPECT_RENDER_COMMAND_H_
