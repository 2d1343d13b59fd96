#include "engine/inspect/render_command.h"

#include <filesystem>
#include <iostream>
#include <memory>
#include <system_error>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/metadata.h"
#include "engine/base/printable.h"
#include "engine/base/regular_file.h"
#include "engine/base/status_macros.h"
#include "engine/model/gguf_file.h"
#include "engine/text/hf/folder.h"
#include "engine/text/template_variables.h"
#include "nlohmann/json.hpp"

namespace ropeway {
namespace {

using Json = nlohmann::ordered_json;

struct RenderOptions {
  std::string model;
  std::string template_file;
  RenderLineOptions line;
};

constexpr int64_t kMaxTemplateBytes = 16 << 20;

// The time under "now", which is taken out of `variables`.
absl::StatusOr<absl::CivilSecond> TakeNow(Json& variables) {
  const auto now = variables.find("now");
  if (now == variables.end()) return absl::ToCivilSecond(absl::Now(), absl::LocalTimeZone());
  if (!now->is_string()) return absl::InvalidArgumentError("now: not a string");
  const std::string text = now->get<std::string>();
  variables.erase("now");
  absl::Time time;
  std::string error;
  // The zone, where there is one, does not matter: the time is shown as it is written.
  for (const char* format : {"%Y-%m-%dT%H:%M:%E*S", "%Y-%m-%d %H:%M:%E*S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"}) {
    const std::string local = text.substr(0, text.find_first_of("Z+-", 10));
    if (absl::ParseTime(format, local, &time, &error)) return absl::ToCivilSecond(time, absl::UTCTimeZone());
  }
  return absl::InvalidArgumentError(absl::StrCat("now: not an ISO date and time: ", text));
}

absl::StatusOr<std::string> Render(const ChatTemplates& templates, std::string_view line,
                                   const RenderLineOptions& options) {
  ASSIGN_OR_RETURN(Json variables, ParseTemplateVariables(line));
  if (!variables.is_object()) return absl::InvalidArgumentError("not a JSON object");
  ASSIGN_OR_RETURN(const absl::CivilSecond now, TakeNow(variables));
  for (const auto& [name, value] : options.defaults) {
    if (!variables.contains(name)) variables[name] = value;
  }
  if (!options.as_served) {
    ASSIGN_OR_RETURN(const ChatTemplate* chat_template,
                     templates.Find(options.template_name, /*has_tools=*/false));
    ASSIGN_OR_RETURN(const std::vector<TextSegment> segments, chat_template->Render(variables, now));
    return JoinSegments(segments);
  }
  const auto messages = variables.find("messages");
  const bool has_messages = messages != variables.end() && messages->is_array() && !messages->empty();
  if (!has_messages) return absl::InvalidArgumentError("messages must be an array that is not empty");
  const auto flag = variables.find("continue_final_message");
  const bool continues = flag != variables.end() && flag->is_boolean() && flag->get<bool>();
  variables.erase("continue_final_message");
  ASSIGN_OR_RETURN(const std::vector<TextSegment> segments,
                   templates.Render({.variables = std::move(variables),
                                     .template_name = options.template_name,
                                     .continue_final_message = continues},
                                    now));
  return JoinSegments(segments);
}

// Adds the spelling of the token whose id is under `key` as the variable `name`, where the vocabulary has
// one.
void AddToken(const Tokenizer& tokenizer, TokenId id, const std::string& name, RenderLineOptions& line) {
  if (id != kNoToken) line.defaults.emplace_back(name, std::string(tokenizer.TokenText(id)));
}

absl::Status AddToken(const Metadata& metadata, std::string_view key, const std::string& name,
                      RenderLineOptions& line) {
  ASSIGN_OR_RETURN(const int64_t id, ValueOr(metadata.GetInt(key), int64_t{-1}));
  if (id < 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string>* tokens, metadata.GetStrings("tokenizer.ggml.tokens"));
  if (static_cast<size_t>(id) >= tokens->size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(key), ": ", id, " is not below the vocabulary's ", tokens->size()));
  }
  line.defaults.emplace_back(name, (*tokens)[static_cast<size_t>(id)]);
  return absl::OkStatus();
}

// The templates of a GGUF file or a folder; its BOS and EOS become defaults.
absl::StatusOr<ChatTemplates> ReadModel(const std::string& path, RenderLineOptions& line) {
  // Without an error to fill in, a name that is too long would throw.
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    ASSIGN_OR_RETURN(hf::FolderText text, hf::ReadFolderText(path, /*vocab_size=*/0));
    AddToken(*text.tokenizer, text.tokenizer->bos_id(), "bos_token", line);
    AddToken(*text.tokenizer, text.tokenizer->eos_id(), "eos_token", line);
    return std::move(text.chat_templates);
  }
  ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  const Metadata& metadata = file.content.metadata;
  RETURN_IF_ERROR(AddToken(metadata, "tokenizer.ggml.bos_token_id", "bos_token", line));
  RETURN_IF_ERROR(AddToken(metadata, "tokenizer.ggml.eos_token_id", "eos_token", line));
  return ChatTemplates::Read(metadata);
}

// A template that cannot be parsed is the answer to every line.
absl::StatusOr<ChatTemplates> ReadTemplates(RenderOptions& options) {
  if (options.template_file.empty()) {
    ASSIGN_OR_RETURN(ChatTemplates templates, ReadModel(options.model, options.line));
    if (templates.empty()) return absl::NotFoundError(absl::StrCat(options.model, " has no chat template"));
    return templates;
  }
  ASSIGN_OR_RETURN(std::string text, ReadRegularFile(options.template_file, kMaxTemplateBytes));
  return ChatTemplates({{"default", std::move(text)}});
}

absl::Status Run(RenderOptions options) {
  ASSIGN_OR_RETURN(const ChatTemplates templates, ReadTemplates(options));
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << RenderLine(templates, line, options.line) << '\n' << std::flush;
  }
  return absl::OkStatus();
}

}  // namespace

std::string RenderLine(const ChatTemplates& templates, std::string_view line,
                       const RenderLineOptions& options) {
  const absl::StatusOr<std::string> text = Render(templates, line, options);
  const Json answer = text.ok() ? Json({{"text", *text}}) : Json({{"error", text.status().message()}});
  return answer.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

void AddRenderCommand(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<RenderOptions>();
  CLI::App* command =
      app.add_subcommand("render", "Fill a chat template, one JSON object of variables a line");
  CLI::Option_group* source = command->add_option_group("source");
  source->add_option("MODEL", options->model, "A GGUF file or a folder with a chat template");
  source->add_option("--template", options->template_file, "A file with a Jinja template");
  source->require_option(1);
  command->add_option("--name", options->line.template_name, "Which of several templates of a model");
  command->add_flag("--as_served", options->line.as_served,
                    "Bring messages into the shape that the template takes, as the server does");
  command->callback([options, exit_code] {
    const absl::Status status = Run(*options);
    if (status.ok()) return;
    std::cerr << "render: " << Printable(std::string(status.message()), kMaxMessageBytes) << '\n';
    *exit_code = 2;
  });
}

}  // namespace ropeway
