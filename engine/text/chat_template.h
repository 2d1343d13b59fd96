// A model's own chat template: the subset of Jinja that published templates use, interpreted with limits.
//
// Thread-safe: immutable after it was parsed. Templates are untrusted: parsing and rendering are bounded by
// TemplateLimits and every failure is a Status.
#ifndef ROPEWAY_ENGINE_TEXT_CHAT_TEMPLATE_H_
#define ROPEWAY_ENGINE_TEXT_CHAT_TEMPLATE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "engine/text/tokenizer.h"
#include "nlohmann/json.hpp"

namespace ropeway {

struct TemplateLimits {
  int64_t max_source_bytes = 1 << 20;
  int64_t max_steps = 2'000'000;  // statements and expressions evaluated
  int max_depth = 100;            // of nesting: expressions, blocks, macro calls
  int64_t max_output_bytes = 16 << 20;
};

class ChatTemplate {
 public:
  // INVALID_ARGUMENT with the line of the template where it does not parse.
  static absl::StatusOr<ChatTemplate> Parse(std::string_view source, const TemplateLimits& limits = {});

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // Renders with `variables` (an object: "messages", "tools", "add_generation_prompt", "bos_token", ...);
  // `now` is what strftime_now() formats. Segments that come from strings inside "messages", "tools" and
  // "documents" are untrusted, all others trusted; adjacent ones of a kind are joined. INVALID_ARGUMENT for
  // what the template raises, with its message, and for a limit that was reached.
  absl::StatusOr<std::vector<TextSegment>> Render(const nlohmann::ordered_json& variables,
                                                  absl::CivilSecond now) const;

 private:
  struct Program;
  explicit ChatTemplate(std::unique_ptr<const Program> program);
  std::unique_ptr<const Program> program_;
};

// The text of all segments.
std::string JoinSegments(absl::Span<const TextSegment> segments);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_CHAT_TEMPLATE_H_
