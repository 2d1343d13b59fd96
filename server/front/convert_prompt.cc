#include "server/front/convert_prompt.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/detokenizer.h"
#include "engine/text/template_variables.h"
#include "nlohmann/json.hpp"

namespace ropeway::server {
namespace {

using Json = nlohmann::ordered_json;

constexpr absl::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool"};
// Template variables that have fields of their own, or come from the model.
constexpr absl::string_view kReservedArguments[] = {
    "messages", "tools", "add_generation_prompt", "continue_final_message", "bos_token", "eos_token"};

template <size_t N>
bool Contains(const absl::string_view (&list)[N], absl::string_view value) {
  return std::find(std::begin(list), std::end(list), value) != std::end(list);
}

// How deeply arrays and objects nest. Checked before parsing, since what walks a JSON value is recursive.
int32_t JsonDepth(absl::string_view text) {
  int32_t depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

absl::Status WithField(absl::string_view field, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(field, ": ", status.message()));
}

absl::StatusOr<Json> ParseJson(absl::string_view text, Json::value_t type, absl::string_view field) {
  const absl::string_view type_name = type == Json::value_t::array ? "an array" : "an object";
  const int32_t depth = JsonDepth(text);
  if (depth > kMaxJsonDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must nest at most ", kMaxJsonDepth, " deep, nests ", depth));
  }
  auto value = ParseTemplateVariables({text.data(), text.size()}, kMaxJsonDepth);
  if (!value.ok()) return WithField(field, value.status());
  if (value->type() != type) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must be ", type_name, " in JSON, is of type ", value->type_name()));
  }
  return value;
}

absl::Status CheckPromptBytes(size_t bytes, absl::string_view field, const RequestLimits& limits) {
  if (bytes <= static_cast<size_t>(limits.max_prompt_bytes)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be at most ", limits.max_prompt_bytes, " bytes, is ", bytes));
}

absl::StatusOr<Json> ContentOf(const v1::ChatMessage& message, absl::string_view field) {
  if (message.has_text()) return Json(message.text());
  if (!message.has_parts()) return Json(nullptr);
  if (message.parts().parts().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(field, ".parts must not be empty"));
  }
  Json parts = Json::array();
  for (const v1::ContentPart& part : message.parts().parts()) {
    if (!part.has_text()) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, ".parts[", parts.size(), "] must set one kind of content, sets none"));
    }
    parts.push_back({{"type", "text"}, {"text", part.text()}});
  }
  return parts;
}

absl::StatusOr<Json> MessageOf(const v1::ChatMessage& message, const std::string& field) {
  if (!Contains(kRoles, message.role())) {
    const std::string shown = absl::Utf8SafeCHexEscape(message.role().substr(0, 32));
    return absl::InvalidArgumentError(absl::StrCat(
        field, ".role must be one of system, developer, user, assistant, tool; is \"", shown, "\""));
  }
  Json result = {{"role", message.role()}};
  ASSIGN_OR_RETURN(result["content"], ContentOf(message, field));
  if (!message.tool_calls_json().empty()) {
    ASSIGN_OR_RETURN(result["tool_calls"], ParseJson(message.tool_calls_json(), Json::value_t::array,
                                                     absl::StrCat(field, ".tool_calls_json")));
  }
  if (!message.tool_call_id().empty()) result["tool_call_id"] = message.tool_call_id();
  if (!message.name().empty()) result["name"] = message.name();
  if (!message.reasoning_content().empty()) result["reasoning_content"] = message.reasoning_content();
  return result;
}

std::string Spelling(const Tokenizer& tokenizer, TokenId id) {
  return id == kNoToken ? "" : std::string(tokenizer.TokenText(id));
}

// Whether the last message can be gone on with.
absl::Status CheckContinue(const v1::ChatInput& input) {
  if (!input.continue_final_message()) return absl::OkStatus();
  const auto refuse = [](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("chat.continue_final_message must not be set: ", why));
  };
  const v1::ChatMessage& last = *input.messages().rbegin();
  if (input.add_generation_prompt()) return refuse("add_generation_prompt is set, too");
  if (last.role() != "assistant") return refuse("the last message is not the assistant's");
  if (!last.tool_calls_json().empty()) return refuse("the last message calls tools");
  if (last.text().empty() && !last.has_parts()) return refuse("the last message has no content");
  return absl::OkStatus();
}

// The variables that the template sees.
absl::StatusOr<Json> TemplateVariables(const v1::ChatInput& input, const Tokenizer& tokenizer) {
  Json variables = Json::object();
  if (!input.template_arguments_json().empty()) {
    ASSIGN_OR_RETURN(variables, ParseJson(input.template_arguments_json(), Json::value_t::object,
                                          "chat.template_arguments_json"));
  }
  for (const absl::string_view name : kReservedArguments) {
    if (variables.contains(std::string(name))) {
      return absl::InvalidArgumentError(
          absl::StrCat("chat.template_arguments_json must not set \"", name, "\""));
    }
  }
  Json messages = Json::array();
  for (const v1::ChatMessage& message : input.messages()) {
    ASSIGN_OR_RETURN(Json one, MessageOf(message, absl::StrCat("chat.messages[", messages.size(), "]")));
    messages.push_back(std::move(one));
  }
  variables["messages"] = std::move(messages);
  if (!input.tools_json().empty()) {
    ASSIGN_OR_RETURN(variables["tools"],
                     ParseJson(input.tools_json(), Json::value_t::array, "chat.tools_json"));
  }
  variables["add_generation_prompt"] =
      input.has_add_generation_prompt() ? input.add_generation_prompt() : !input.continue_final_message();
  variables["bos_token"] = Spelling(tokenizer, tokenizer.bos_id());
  variables["eos_token"] = Spelling(tokenizer, tokenizer.eos_id());
  return variables;
}

}  // namespace

absl::Status CheckModelName(absl::string_view name, const ServedModel& model) {
  if (name.empty() || name == model.facts.name) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("model \"", absl::Utf8SafeCHexEscape(name.substr(0, 128)),
                                          "\" is not served here; \"", model.facts.name, "\" is"));
}

absl::StatusOr<std::vector<TokenId>> EncodeText(const v1::TextInput& input, const ServedModel& model,
                                                const RequestLimits& limits) {
  RETURN_IF_ERROR(CheckPromptBytes(input.text().size(), "text.text", limits));
  // The caller vouches for the whole text with parse_special.
  const TextSegment segment = {.text = input.text(), .trusted = input.parse_special()};
  auto ids = model.tokenizer->Encode(absl::MakeConstSpan(&segment, 1),
                                     {.parse_special = input.parse_special(),
                                      .add_special = input.has_add_special() ? input.add_special() : true});
  if (!ids.ok()) return WithField("text.text", ids.status());
  return ids;
}

absl::StatusOr<std::vector<TextSegment>> RenderChat(const v1::ChatInput& input, const ServedModel& model,
                                                    const RequestLimits& limits, absl::CivilSecond now) {
  if (model.chat_templates.empty()) {
    return absl::InvalidArgumentError("chat must not be set: the model has no chat template; give text");
  }
  if (input.messages().empty()) return absl::InvalidArgumentError("chat.messages must not be empty");
  if (input.messages_size() > limits.max_chat_messages) {
    return absl::InvalidArgumentError(absl::StrCat("chat.messages must be at most ", limits.max_chat_messages,
                                                   ", are ", input.messages_size()));
  }
  RETURN_IF_ERROR(CheckContinue(input));
  Conversation conversation = {.template_name = input.template_name(),
                               .continue_final_message = input.continue_final_message()};
  ASSIGN_OR_RETURN(conversation.variables, TemplateVariables(input, *model.tokenizer));
  auto segments = model.chat_templates.Render(std::move(conversation), now);
  if (!segments.ok()) return WithField("chat", segments.status());
  size_t bytes = 0;
  for (const TextSegment& segment : *segments) bytes += segment.text.size();
  RETURN_IF_ERROR(CheckPromptBytes(bytes, "chat, rendered,", limits));
  return segments;
}

absl::StatusOr<std::vector<TokenId>> EncodeChat(const v1::ChatInput& input, const ServedModel& model,
                                                const RequestLimits& limits, absl::CivilSecond now) {
  ASSIGN_OR_RETURN(const std::vector<TextSegment> segments, RenderChat(input, model, limits, now));
  // The template itself writes the special tokens that it wants.
  auto ids = model.tokenizer->Encode(segments, {.parse_special = true, .add_special = false});
  if (!ids.ok()) return WithField("chat", ids.status());
  return ids;
}

absl::Status CheckTokenIds(absl::Span<const int32_t> ids, absl::string_view field,
                           const Tokenizer& tokenizer) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < tokenizer.vocab_size()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(field, "[", i, "] must be in [0, ", tokenizer.vocab_size(), "), is ", ids[i]));
  }
  return absl::OkStatus();
}

absl::string_view ShownBytes(const Tokenizer& tokenizer, TokenId id) {
  const auto shown = tokenizer.IsControl(id) ? tokenizer.TokenText(id) : tokenizer.TokenBytes(id);
  return absl::string_view(shown.data(), shown.size());
}

std::string DecodeTokens(absl::Span<const TokenId> ids, const Tokenizer& tokenizer, bool show_special) {
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (const TokenId id : ids) {
    if (show_special && tokenizer.IsControl(id)) {
      text += detokenizer.Flush();
      text += tokenizer.TokenText(id);
    } else {
      text += detokenizer.Push(id);
    }
  }
  text += detokenizer.Flush();
  return text;
}

}  // namespace ropeway::server
