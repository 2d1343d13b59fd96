// Conversations of the command line, as OpenAI's API takes them.
#ifndef ROPEWAY_CLIENT_CLI_PARSE_MESSAGES_H_
#define ROPEWAY_CLIENT_CLI_PARSE_MESSAGES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/types.h"

namespace ropeway::client {

// Arrays and objects within each other.
inline constexpr int kMaxMessageDepth = 64;

// A JSON array of messages:
//   role                what ChatMessage says
//   content             a string, or an array of {"type": "text", "text": string}
//   tool_calls          any JSON, as the chat template shall see it
//   name, reasoning_content, tool_call_id    strings
// All but the role may be missing or null; members of other names are ignored. INVALID_ARGUMENT names the
// message and the member that is wrong. Integers of more than 64 bits are refused, since they would come out
// rounded.
absl::StatusOr<std::vector<ChatMessage>> ParseMessages(const std::string& json);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_PARSE_MESSAGES_H_
