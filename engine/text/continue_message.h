// Renders a conversation whose last turn is not over: it ends behind the text of that turn, and the answer
// goes on from there.
//
// Pure functions; thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_CONTINUE_MESSAGE_H_
#define ROPEWAY_ENGINE_TEXT_CONTINUE_MESSAGE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "engine/text/chat_template.h"
#include "nlohmann/json.hpp"

namespace ropeway {

// `variables` as for ChatTemplate::Render; its last message has content. White space at the end of the
// content stays where the template leaves it there. INVALID_ARGUMENT where the template cannot show the
// conversation, or shows the end of its last message changed, so that there is nothing to go on from.
absl::StatusOr<std::vector<TextSegment>> RenderToContinue(const ChatTemplate& chat_template,
                                                          const nlohmann::ordered_json& variables,
                                                          absl::CivilSecond now);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_CONTINUE_MESSAGE_H_
