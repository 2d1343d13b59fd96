// The door of the Jinja interpreter: a template's source to a program, and a program with variables to text.
//
// All else in this folder is its inside. Thread-safe: immutable after it was parsed.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_TEMPLATE_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_TEMPLATE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "engine/text/jinja/str.h"
#include "engine/text/template_limits.h"
#include "nlohmann/json.hpp"

namespace ropeway::jinja {

struct Program;

class Template {
 public:
  // INVALID_ARGUMENT with the line where `source` does not parse, calls for what Jinja has and this
  // interpreter has not, or passes a limit.
  static absl::StatusOr<Template> Parse(std::string_view source, const TemplateLimits& limits);

  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // `variables` is an object. Strings of those for which `is_trusted(name)` come out as trusted text.
  // INVALID_ARGUMENT as of Interpreter::Render, or naming the variable that cannot be read.
  absl::StatusOr<Str> Render(const nlohmann::ordered_json& variables, bool (*is_trusted)(std::string_view),
                             absl::CivilSecond now, const TemplateLimits& limits) const;

  // What fails where a rendering comes there, since neither Jinja nor transformers has it; one line each.
  const std::vector<std::string>& warnings() const;

 private:
  Template(std::unique_ptr<const Program> program);

  std::unique_ptr<const Program> program_;
  absl::flat_hash_map<std::string, int> symbols_;  // the names of program_->symbols
};

// json.dumps(value, ensure_ascii=False). INVALID_ARGUMENT where `limits` do not allow it.
absl::StatusOr<std::string> DumpJson(const nlohmann::ordered_json& value, const TemplateLimits& limits);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_TEMPLATE_H_
