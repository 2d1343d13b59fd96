// Prompts, from the wire to tokens. Pure functions; thread-safe.
#ifndef ROPEWAY_SERVER_FRONT_CONVERT_PROMPT_H_
#define ROPEWAY_SERVER_FRONT_CONVERT_PROMPT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/civil_time.h"
#include "absl/types/span.h"
#include "engine/api/token.h"
#include "engine/text/tokenizer.h"
#include "proto/ropeway/v1/ropeway.pb.h"
#include "server/config/request_limits.h"
#include "server/front/served_model.h"

namespace ropeway::server {

// Every function answers INVALID_ARGUMENT with the field, the bound and the value.

// NOT_FOUND unless `name` is empty or the served model's.
absl::Status CheckModelName(absl::string_view name, const ServedModel& model);

absl::StatusOr<std::vector<TokenId>> EncodeText(const v1::TextInput& input, const ServedModel& model,
                                                const RequestLimits& limits);

// Renders with the model's chat template; `now` is what templates that tell the date see.
absl::StatusOr<std::vector<TextSegment>> RenderChat(const v1::ChatInput& input, const ServedModel& model,
                                                    const RequestLimits& limits, absl::CivilSecond now);

absl::StatusOr<std::vector<TokenId>> EncodeChat(const v1::ChatInput& input, const ServedModel& model,
                                                const RequestLimits& limits, absl::CivilSecond now);

// Each in [0, vocab_size); `field` names them in the error.
absl::Status CheckTokenIds(absl::Span<const int32_t> ids, absl::string_view field,
                           const Tokenizer& tokenizer);

// How `id` is shown: the bytes that it stands for, or a control token's spelling.
absl::string_view ShownBytes(const Tokenizer& tokenizer, TokenId id);

// The text of `ids`, U+FFFD for what is not UTF-8. Control tokens are spelt where `show_special`, else left
// out.
std::string DecodeTokens(absl::Span<const TokenId> ids, const Tokenizer& tokenizer, bool show_special);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_CONVERT_PROMPT_H_
