// A chat template of a model: Jinja as published templates use it, interpreted with limits.
//
// Thread-safe: immutable after it was parsed. Templates are untrusted: parsing and rendering are bounded by
// TemplateLimits and every failure is a Status.
#ifndef ROPEWAY_ENGINE_TEXT_CHAT_TEMPLATE_H_
#define ROPEWAY_ENGINE_TEXT_CHAT_TEMPLATE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "absl/types/span.h"
#include "engine/text/jinja/template.h"
#include "engine/text/template_limits.h"
#include "engine/text/tokenizer.h"
#include "nlohmann/json.hpp"

namespace ropeway {

class ChatTemplate {
 public:
  // INVALID_ARGUMENT with the line of the template where it does not parse or needs what is not there.
  static absl::StatusOr<ChatTemplate> Parse(std::string_view source, const TemplateLimits& limits = {});

  // Renders with `variables` (an object: "messages", "tools", "add_generation_prompt", "bos_token", ...) as
  // they are; `now` is what strftime_now() formats. Untrusted is the text that comes from "messages", "tools"
  // and "documents" and from strings inside of any other array or object; trusted is what the template wrote
  // and what comes from strings like "bos_token". Adjacent segments of a kind are joined. INVALID_ARGUMENT
  // with nothing but its message for what the template raises; with the line for any other failure and for a
  // limit that was passed.
  absl::StatusOr<std::vector<TextSegment>> Render(const nlohmann::ordered_json& variables,
                                                  absl::CivilSecond now) const {
    return Render(variables, now, limits_);
  }
  absl::StatusOr<std::vector<TextSegment>> Render(const nlohmann::ordered_json& variables,
                                                  absl::CivilSecond now, const TemplateLimits& limits) const;

  // Unknown filters, tests and functions that are an error only where a chat comes to them; one line each.
  const std::vector<std::string>& warnings() const { return parsed_.warnings(); }
  const TemplateLimits& limits() const { return limits_; }

 private:
  ChatTemplate(jinja::Template parsed, const TemplateLimits& limits)
      : parsed_(std::move(parsed)), limits_(limits) {}

  jinja::Template parsed_;
  TemplateLimits limits_;
};

// The text of all segments.
std::string JoinSegments(absl::Span<const TextSegment> segments);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_CHAT_TEMPLATE_H_
