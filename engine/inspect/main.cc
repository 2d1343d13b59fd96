// ropeway_inspect: looks into model files, tokenizers and chat templates without a server.
//
// Exit codes: 0; 1 where the output cannot be written, or a file was cut while it was read; 2 where the
// command line or the model is wrong, with one line that says why.
#include <charconv>
#include <cstdint>
#include <iostream>
#include <string>
#include <system_error>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
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

// `code`, unless the output is lost: on a full disk, say.
int AfterOutput(int code) {
  if (std::cout.flush()) return code;
  std::cerr << "ropeway_inspect: cannot write the output\n";
  return kExitNoOutput;
}

// Lets every whole number be decimal. CLI11 alone takes "010" for 8, hexadecimal numbers, and "" for 0.
void ReadDecimals(CLI::App& app) {
  const auto read = [](std::string& text) {
    int64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || stop != end) return absl::StrCat("must be a whole number, is '", text, "'");
    text = absl::StrCat(number);
    return std::string();
  };
  for (CLI::Option* option : app.get_options())
    if (absl::StartsWith(option->get_type_name(), "INT")) option->transform(CLI::Validator(read, ""));
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) ReadDecimals(*command);
}

// The arguments, last one first as CLI11 takes them, with "--name=" in two: CLI11 alone would give the flag
// the next argument as its value.
std::vector<std::string> ReversedArguments(int argc, char** argv) {
  std::vector<std::string> reversed;
  for (int i = argc - 1; i > 0; --i) {
    absl::string_view argument = argv[i];
    const bool has_empty_value =
        absl::StartsWith(argument, "--") && argument.find('=') == argument.size() - 1;
    if (has_empty_value) {
      reversed.emplace_back();
      argument.remove_suffix(1);
    }
    reversed.emplace_back(argument);
  }
  return reversed;
}

}  // namespace

int main(int argc, char** argv) {
  ropeway::ExplainLostMappings();
  CLI::App app("Looks into model files, tokenizers and chat templates", "ropeway_inspect");
  // Where one is required, CLI11 does not tell which word is no command.
  app.require_subcommand(0, 1);
  int exit_code = 0;
  ropeway::AddInfoCommand(app, &exit_code);
  ropeway::AddTextCommands(app, &exit_code);
  ropeway::AddRenderCommand(app, &exit_code);
  ropeway::AddLogitsCommand(app, &exit_code);
  ropeway::AddGenerateCommand(app, &exit_code);
  ReadDecimals(app);
  try {
    app.parse(ReversedArguments(argc, argv));
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? AfterOutput(app.exit(error)) : WrongUsage(error.what());
  }
  if (app.get_subcommands().empty()) return WrongUsage("a command is missing");
  return AfterOutput(exit_code);
}
