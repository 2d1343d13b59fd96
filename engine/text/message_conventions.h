// What a chat template takes for granted about the messages that it is given, and messages brought into that
// shape.
//
// Templates differ in what they make of a turn that only calls tools, of a call's arguments, and of content
// in parts. No file says it, so the template itself is asked: it renders small conversations of words that
// occur nowhere else, once when a model is loaded, and what became of the words tells.
//
// Pure functions; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_MESSAGE_CONVENTIONS_H_
#define ROPEWAY_ENGINE_TEXT_MESSAGE_CONVENTIONS_H_

#include "absl/status/status.h"
#include "engine/text/chat_template.h"
#include "nlohmann/json.hpp"

namespace ropeway {

struct MessageConventions {
  // How a turn that calls tools and says nothing is shown to the template.
  enum class Silence { kEmptyText, kAbsent, kNull };
  // What the arguments of a tool call are: an object that the template walks through, a text of JSON that it
  // prints, an object or a text that is no JSON, or whatever the request gives.
  enum class Arguments { kAsGiven, kObject, kObjectOrText, kText };
  // What content is: a text, a list of parts, or whatever the request gives.
  enum class Content { kAsGiven, kText, kParts };

  Silence silence = Silence::kEmptyText;
  Arguments arguments = Arguments::kAsGiven;
  Content system = Content::kText;
  Content user = Content::kText;
  Content assistant = Content::kText;
  Content tool = Content::kText;
};

// Renders about 30 conversations of two to four short messages, each within a fraction of the template's
// limits.
MessageConventions FindConventions(const ChatTemplate& chat_template);

// Changes `messages`, an array of objects. Parts become a text by joining their texts as they are.
// INVALID_ARGUMENT naming the message for arguments that must be an object in JSON and are not.
absl::Status ApplyConventions(const MessageConventions& conventions, nlohmann::ordered_json& messages);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_MESSAGE_CONVENTIONS_H_
