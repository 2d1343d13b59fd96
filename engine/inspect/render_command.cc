#include "engine/inspect/render_command.h"

#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/metadata.h"
#include "engine/base/status_macros.h"
#include "engine/model/gguf_file.h"
#include "engine/text/template_variables.h"
#include "nlohmann/json.hpp"

namespace ropeway {
namespace {

using Json = nlohmann::ordered_json;

using Defaults = std::vector<std::pair<std::string, std::string>>;

struct RenderOptions {
  std::string model;
  std::string template_file;
};

struct TemplateSource {
  std::string text;
  Defaults defaults;
};

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.good() && !file.eof()) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  return text;
}

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

absl::StatusOr<std::string> Render(const ChatTemplate& chat_template, std::string_view line,
                                   const std::vector<std::pair<std::string, std::string>>& defaults) {
  ASSIGN_OR_RETURN(Json variables, ParseTemplateVariables(line));
  if (!variables.is_object()) return absl::InvalidArgumentError("not a JSON object");
  ASSIGN_OR_RETURN(const absl::CivilSecond now, TakeNow(variables));
  for (const auto& [name, value] : defaults) {
    if (!variables.contains(name)) variables[name] = value;
  }
  ASSIGN_OR_RETURN(const std::vector<TextSegment> segments, chat_template.Render(variables, now));
  return JoinSegments(segments);
}

// Adds the spelling of the token whose id is under `key` as the variable `name`, where the vocabulary has
// one.
absl::Status AddToken(const Metadata& metadata, std::string_view key, const std::string& name,
                      Defaults& defaults) {
  ASSIGN_OR_RETURN(const int64_t id, ValueOr(metadata.GetInt(key), int64_t{-1}));
  if (id < 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string>* tokens, metadata.GetStrings("tokenizer.ggml.tokens"));
  if (static_cast<size_t>(id) >= tokens->size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(key), ": ", id, " is not below the vocabulary's ", tokens->size()));
  }
  defaults.emplace_back(name, (*tokens)[static_cast<size_t>(id)]);
  return absl::OkStatus();
}

absl::StatusOr<TemplateSource> ReadModel(const std::string& path) {
  ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  const Metadata& metadata = file.content.metadata;
  TemplateSource source;
  ASSIGN_OR_RETURN(source.text, metadata.GetString("tokenizer.chat_template"));
  RETURN_IF_ERROR(AddToken(metadata, "tokenizer.ggml.bos_token_id", "bos_token", source.defaults));
  RETURN_IF_ERROR(AddToken(metadata, "tokenizer.ggml.eos_token_id", "eos_token", source.defaults));
  return source;
}

absl::Status Run(const RenderOptions& options) {
  TemplateSource source;
  if (options.template_file.empty()) {
    ASSIGN_OR_RETURN(source, ReadModel(options.model));
  } else {
    ASSIGN_OR_RETURN(source.text, ReadFile(options.template_file));
  }
  // A template that cannot be parsed is the answer to every line.
  const absl::StatusOr<ChatTemplate> chat_template = ChatTemplate::Parse(source.text);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << RenderLine(chat_template, line, source.defaults) << '\n' << std::flush;
  }
  return absl::OkStatus();
}

}  // namespace

std::string RenderLine(const absl::StatusOr<ChatTemplate>& chat_template, std::string_view line,
                       const std::vector<std::pair<std::string, std::string>>& defaults) {
  const absl::StatusOr<std::string> text =
      chat_template.ok() ? Render(*chat_template, line, defaults) : chat_template.status();
  const Json answer = text.ok() ? Json({{"text", *text}}) : Json({{"error", text.status().message()}});
  return answer.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

void AddRenderCommand(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<RenderOptions>();
  CLI::App* command =
      app.add_subcommand("render", "Fill a chat template, one JSON object of variables a line");
  CLI::Option_group* source = command->add_option_group("source");
  source->add_option("MODEL", options->model, "A GGUF file with a chat template");
  source->add_option("--template", options->template_file, "A file with a Jinja template");
  source->require_option(1);
  command->callback([options, exit_code] {
    const absl::Status status = Run(*options);
    if (status.ok()) return;
    std::cerr << "render: " << status.message() << '\n';
    *exit_code = 2;
  });
}

}  // namespace ropeway
