#include "engine/text/chat_template.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

bool IsTrustedVariable(std::string_view name) {
  return name != "messages" && name != "tools" && name != "documents";
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(std::string_view source, const TemplateLimits& limits) {
  absl::StatusOr<jinja::Template> parsed = jinja::Template::Parse(source, limits);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("chat template: ", parsed.status().message()));
  }
  return ChatTemplate(*std::move(parsed), limits);
}

absl::StatusOr<std::vector<TextSegment>> ChatTemplate::Render(const nlohmann::ordered_json& variables,
                                                              absl::CivilSecond now,
                                                              const TemplateLimits& limits) const {
  ASSIGN_OR_RETURN(const jinja::Str text, parsed_.Render(variables, IsTrustedVariable, now, limits));
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
