#include "client/cli/parse_messages.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/answer_json.h"
#include "client/cli/numbers.h"
#include "nlohmann/json.hpp"

namespace ropeway::client {
namespace {

using Json = nlohmann::ordered_json;

// Reads JSON through without keeping it, and keeps what is wrong with it.
class JsonCheck final : public nlohmann::json_sax<Json> {
 public:
  const absl::Status& status() const { return status_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t& digits) override {
    if (digits.find_first_of(".eE") != string_t::npos) return true;
    return Fail(absl::StrCat("it has an integer of more than 64 bits, ", Quoted(digits)));
  }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return Open(); }
  bool key(string_t&) override { return true; }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open(); }
  bool end_array() override { return Close(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("it is not valid JSON at byte ", position));
  }

 private:
  bool Open() {
    if (++depth_ <= kMaxMessageDepth) return true;
    return Fail(absl::StrCat("it is nested more than ", kMaxMessageDepth, " deep"));
  }
  bool Close() {
    --depth_;
    return true;
  }
  bool Fail(const std::string& why) {
    status_ = absl::InvalidArgumentError(why);
    return false;
  }

  int depth_ = 0;
  absl::Status status_;
};

// Null and what is missing are the same.
const Json* Find(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

absl::Status TakeString(const Json& object, const char* key, std::string& value) {
  const Json* const found = Find(object, key);
  if (found == nullptr) return absl::OkStatus();
  if (!found->is_string())
    return absl::InvalidArgumentError(
        absl::StrCat("\"", key, "\" must be a string, is ", found->type_name()));
  value = found->get<std::string>();
  return absl::OkStatus();
}

absl::StatusOr<std::string> ParsePart(const Json& part) {
  if (!part.is_object())
    return absl::InvalidArgumentError(absl::StrCat("must be an object, is ", part.type_name()));
  std::string type;
  if (absl::Status status = TakeString(part, "type", type); !status.ok()) return status;
  if (type != "text")
    return absl::InvalidArgumentError(absl::StrCat("\"type\" must be \"text\", is ", Quoted(type)));
  const Json* const text = Find(part, "text");
  if (text == nullptr || !text->is_string()) return absl::InvalidArgumentError("\"text\" must be a string");
  return text->get<std::string>();
}

absl::Status TakeContent(const Json& object, ChatMessage& message) {
  const Json* const content = Find(object, "content");
  if (content == nullptr) return absl::OkStatus();
  if (content->is_string()) {
    message.text = content->get<std::string>();
    return absl::OkStatus();
  }
  if (!content->is_array() || content->empty())
    return absl::InvalidArgumentError("\"content\" must be a string or an array of at least one part");
  for (const Json& part : *content) {
    absl::StatusOr<std::string> text = ParsePart(part);
    if (!text.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"content\"[", message.parts.size(), "]: ", text.status().message()));
    }
    message.parts.push_back(*std::move(text));
  }
  return absl::OkStatus();
}

absl::StatusOr<ChatMessage> ParseMessage(const Json& json) {
  if (!json.is_object())
    return absl::InvalidArgumentError(absl::StrCat("must be an object, is ", json.type_name()));
  ChatMessage message;
  absl::Status status = TakeString(json, "role", message.role);
  status.Update(TakeContent(json, message));
  status.Update(TakeString(json, "name", message.name));
  status.Update(TakeString(json, "reasoning_content", message.reasoning_content));
  status.Update(TakeString(json, "tool_call_id", message.tool_call_id));
  if (!status.ok()) return status;
  if (message.role.empty()) return absl::InvalidArgumentError("\"role\" is missing");
  if (const Json* const calls = Find(json, "tool_calls")) message.tool_calls_json = Dump(*calls);
  return message;
}

}  // namespace

absl::StatusOr<std::vector<ChatMessage>> ParseMessages(const std::string& json) {
  JsonCheck check;
  if (!Json::sax_parse(json, &check)) return check.status();
  const Json array = Json::parse(json, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!array.is_array())
    return absl::InvalidArgumentError(
        absl::StrCat("it must be an array of messages, is ", array.type_name()));
  std::vector<ChatMessage> messages;
  for (const Json& element : array) {
    absl::StatusOr<ChatMessage> message = ParseMessage(element);
    if (!message.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("message ", messages.size(), ": ", message.status().message()));
    }
    messages.push_back(*std::move(message));
  }
  return messages;
}

}  // namespace ropeway::client
