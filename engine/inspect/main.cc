// ropeway_inspect: looks into model files, tokenizers and chat templates without a server.
//
// Exit codes: 0; 1 where the output cannot be written, or a file was cut while it was read; 2 where the command
// line or the model is wrong, with one line that says why.
#include <iostream>

#include "CLI/CLI.hpp"
#include "absl/strings/str_replace.h"
#include "engine/inspect/info_command.h"
#include "engine/inspect/logits_command.h"
#include "engine/inspect/render_command.h"
#include "engine/inspect/text_commands.h"
#include "engine/model/mapped_file.h"

namespace {

constexpr int kExitNoOutput = 1;
constexpr int kExitUsage = 2;

int WrongUsage(absl::string_view message) {
  std::cerr << "ropeway_inspect: " << absl::StrReplaceAll(message, {{"\n", " "}}) << " (--help tells more)\n";
  return kExitUsage;
}

}  // namespace

int main(int argc, char** argv) {
  ropeway::ExplainLostMappings();
  CLI::App app("Looks into model files, tokenizers and chat templates", "ropeway_inspect");
  app.require_subcommand(0, 1);  // where it is required, CLI11 does not tell which word is no command
  int exit_code = 0;
  ropeway::AddInfoCommand(app, &exit_code);
  ropeway::AddTextCommands(app, &exit_code);
  ropeway::AddRenderCommand(app, &exit_code);
  ropeway::AddLogitsCommand(app, &exit_code);
  ropeway::AddGenerateCommand(app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : WrongUsage(error.what());
  }
  if (app.get_subcommands().empty()) return WrongUsage("a command is missing");
  // A full disk, say.
  if (!std::cout.flush()) {
    std::cerr << "ropeway_inspect: cannot write the output\n";
    return kExitNoOutput;
  }
  return exit_code;
}
