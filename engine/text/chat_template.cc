#include "engine/text/chat_template.h"

#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/from_json.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/parser.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway {
namespace {

bool IsTrustedVariable(std::string_view name) {
  return name != "messages" && name != "tools" && name != "documents";
}

}  // namespace

struct ChatTemplate::Program {
  TemplateLimits limits;
  std::unique_ptr<const jinja::Program> program;
  absl::flat_hash_map<std::string, jinja::Symbol> symbols;  // the names of program->symbols
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(std::string_view source, const TemplateLimits& limits) {
  if (static_cast<int64_t>(source.size()) > limits.max_source_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("chat template: ", source.size(),
                     " bytes pass the limit max_source_bytes = ", limits.max_source_bytes));
  }
  if (const size_t bad = jinja::FindInvalidUtf8(source); bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("chat template: not valid UTF-8 at byte ", bad));
  }
  absl::StatusOr<std::unique_ptr<const jinja::Program>> parsed = jinja::Parse(source, limits);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("chat template: ", parsed.status().message()));
  }
  auto program = std::make_unique<Program>();
  program->limits = limits;
  program->program = *std::move(parsed);
  for (const std::string& name : program->program->symbols) {
    program->symbols.emplace(name, static_cast<jinja::Symbol>(program->symbols.size()));
  }
  return ChatTemplate(std::move(program));
}

absl::StatusOr<std::vector<TextSegment>> ChatTemplate::Render(const nlohmann::ordered_json& variables,
                                                              absl::CivilSecond now) const {
  if (!variables.is_object()) return absl::InvalidArgumentError("template variables: not a JSON object");
  const jinja::Program& program = *program_->program;
  jinja::Budget budget(program_->limits);
  std::vector<std::optional<jinja::Value>> values(program.symbols.size());
  for (const auto& [name, json] : variables.items()) {
    const auto symbol = program_->symbols.find(name);
    if (symbol == program_->symbols.end()) continue;  // the template never reads it
    absl::StatusOr<jinja::Value> value = jinja::FromJson(json, IsTrustedVariable(name), budget);
    if (!value.ok()) return absl::InvalidArgumentError(absl::StrCat(name, ": ", value.status().message()));
    values[static_cast<size_t>(symbol->second)] = *std::move(value);
  }
  jinja::Interpreter interpreter(program, std::move(values), now, budget);
  ASSIGN_OR_RETURN(const jinja::Str text, interpreter.Render());
  std::vector<TextSegment> segments;
  text.ForEachRun([&](std::string_view piece, bool trusted) {
    segments.push_back({.text = std::string(piece), .trusted = trusted});
  });
  return segments;
}

std::string JoinSegments(absl::Span<const TextSegment> segments) {
  std::string text;
  for (const TextSegment& segment : segments) text += segment.text;
  return text;
}

}  // namespace ropeway
