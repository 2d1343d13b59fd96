// ropeway_inspect: looks into model files, tokenizers and chat templates without a server.
#include "CLI/CLI.hpp"
#include "engine/inspect/info_command.h"
#include "engine/inspect/logits_command.h"
#include "engine/inspect/render_command.h"
#include "engine/inspect/text_commands.h"

int main(int argc, char** argv) {
  CLI::App app("Looks into model files, tokenizers and chat templates");
  app.require_subcommand(1);
  int exit_code = 0;
  ropeway::AddInfoCommand(app, &exit_code);
  ropeway::AddTextCommands(app, &exit_code);
  ropeway::AddRenderCommand(app, &exit_code);
  ropeway::AddLogitsCommand(app, &exit_code);
  ropeway::AddGenerateCommand(app, &exit_code);
  CLI11_PARSE(app, argc, argv);
  return exit_code;
}
