#include "engine/text/jinja/template.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/base/utf8.h"
#include "engine/text/jinja/from_json.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/parser.h"
#include "engine/text/jinja/print.h"

namespace ropeway::jinja {

Template::Template(std::unique_ptr<const Program> program) : program_(std::move(program)) {
  for (const std::string& name : program_->symbols) {
    symbols_.emplace(name, static_cast<Symbol>(symbols_.size()));
  }
}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

absl::StatusOr<Template> Template::Parse(std::string_view source, const TemplateLimits& limits) {
  if (static_cast<int64_t>(source.size()) > limits.max_source_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(source.size(), " bytes pass the limit max_source_bytes = ", limits.max_source_bytes));
  }
  if (const size_t bad = FindInvalidUtf8(source); bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("not valid UTF-8 at byte ", bad));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<const Program> program, jinja::Parse(source, limits));
  return Template(std::move(program));
}

absl::StatusOr<Str> Template::Render(const nlohmann::ordered_json& variables,
                                     bool (*is_trusted)(std::string_view), absl::CivilSecond now,
                                     const TemplateLimits& limits) const {
  if (!variables.is_object()) return absl::InvalidArgumentError("template variables: not a JSON object");
  Budget budget(limits);
  std::vector<std::optional<Value>> values(program_->symbols.size());
  for (const auto& [name, json] : variables.items()) {
    const auto symbol = symbols_.find(name);
    if (symbol == symbols_.end()) continue;  // the template never reads it
    absl::StatusOr<Value> value = FromJson(json, is_trusted(name), budget);
    if (!value.ok()) return absl::InvalidArgumentError(absl::StrCat(name, ": ", value.status().message()));
    values[static_cast<size_t>(symbol->second)] = *std::move(value);
  }
  return Interpreter(*program_, std::move(values), now, budget).Render();
}

const std::vector<std::string>& Template::warnings() const { return program_->warnings; }

absl::StatusOr<std::string> DumpJson(const nlohmann::ordered_json& value, const TemplateLimits& limits) {
  Budget budget(limits);
  ASSIGN_OR_RETURN(const Value converted, FromJson(value, /*trusted=*/false, budget));
  const JsonFormat format = {.item_separator = Str::Literal(", "), .key_separator = Str::Literal(": ")};
  ASSIGN_OR_RETURN(const Str text, ToJson(converted, format, budget));
  if (budget.exhausted()) return budget.status();
  return std::string(text.view());
}

}  // namespace ropeway::jinja
