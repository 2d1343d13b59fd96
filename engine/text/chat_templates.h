// The chat templates of a model, by name, and conversations rendered with them.
//
// A file may hold one template, or several for several uses: "default", "tool_use", "rag". Immutable after it
// was made; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_CHAT_TEMPLATES_H_
#define ROPEWAY_ENGINE_TEXT_CHAT_TEMPLATES_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "engine/base/metadata.h"
#include "engine/text/chat_template.h"
#include "engine/text/message_conventions.h"
#include "nlohmann/json.hpp"

namespace ropeway {

struct Conversation {
  // "messages", "tools" and what else the template reads; messages as a client of OpenAI's API gives them.
  nlohmann::ordered_json variables;
  // Of the template; empty: chosen by whether there are tools.
  std::string template_name;
  // End behind the text of the last message instead of closing its turn.
  bool continue_final_message = false;
};

class ChatTemplates {
 public:
  struct Source {
    std::string name;
    std::string text;
  };

  ChatTemplates() = default;
  // A template that cannot be used keeps its place, and says why when it is chosen.
  explicit ChatTemplates(std::vector<Source> sources);

  // From tokenizer.chat_template and tokenizer.chat_template.NAME.
  static absl::StatusOr<ChatTemplates> Read(const Metadata& metadata);

  // INVALID_ARGUMENT: no such template, one that is broken, or what it refuses.
  absl::StatusOr<std::vector<TextSegment>> Render(Conversation conversation, absl::CivilSecond now) const;

  // The template `name`; where it is empty, the one for conversations with or without tools.
  absl::StatusOr<const ChatTemplate*> Find(std::string_view name, bool has_tools) const;

  bool empty() const { return entries_.empty(); }
  std::vector<std::string> names() const;  // in the order of the file
  // The template of a conversation without tools; "" where there is none. Always valid UTF-8.
  std::string default_source() const;
  // What is wrong with the templates, a line for each, for the log.
  std::vector<std::string> Problems() const;

 private:
  struct Entry {
    std::string name;
    std::string source;
    absl::StatusOr<ChatTemplate> parsed;
    MessageConventions conventions;
  };

  const Entry* Named(std::string_view name) const;
  absl::StatusOr<const Entry*> Choose(std::string_view name, bool has_tools) const;

  std::vector<Entry> entries_;
  std::vector<std::string> problems_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_CHAT_TEMPLATES_H_
