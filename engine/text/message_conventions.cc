#include "engine/text/message_conventions.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/template_variables.h"

namespace ropeway {
namespace {

using Json = nlohmann::ordered_json;
using Silence = MessageConventions::Silence;
using Arguments = MessageConventions::Arguments;
using Content = MessageConventions::Content;

// Words that no template writes by itself.
constexpr char kName[] = "QzNameQz", kKey[] = "QzKeyQz", kValue[] = "QzValueQz";
constexpr char kFirst[] = "QzFirstQz", kSecond[] = "QzSecondQz";

constexpr Silence kSilences[] = {Silence::kEmptyText, Silence::kAbsent, Silence::kNull};

// Of a rendering that is only a question: enough for the longest of real templates by far.
TemplateLimits ProbeLimits(TemplateLimits limits) {
  limits.max_steps = std::min<int64_t>(limits.max_steps, 200'000);
  limits.max_output_bytes = std::min<int64_t>(limits.max_output_bytes, 1 << 20);
  limits.max_allocated_bytes = std::min<int64_t>(limits.max_allocated_bytes, 16 << 20);
  return limits;
}

Json TextPart(const std::string& text) { return {{"type", "text"}, {"text", text}}; }

bool Holds(const std::string& text, const char* word) { return text.find(word) != std::string::npos; }

// How a probed conversation goes on around the turn that calls a tool.
struct Setting {
  bool with_tools;
  bool with_result;
};
// Some templates fail with the one, some without the other.
constexpr Setting kSettings[] = {{true, true}, {false, true}, {true, false}, {false, false}};

class Probe {
 public:
  explicit Probe(const ChatTemplate& chat_template)
      : template_(chat_template), limits_(ProbeLimits(chat_template.limits())) {}

  MessageConventions Run() {
    FindSilenceAndArguments();
    result_.user = ContentOf("user").value_or(Content::kText);
    result_.system = ContentOf("system").value_or(result_.user);
    result_.assistant = ContentOf("assistant").value_or(result_.user);
    result_.tool = ContentOf("tool").value_or(result_.user);
    return result_;
  }

 private:
  // nullopt where the template refuses the messages.
  std::optional<std::string> Render(Json messages, bool with_tools) const {
    Json variables = {{"messages", std::move(messages)},
                      {"add_generation_prompt", false},
                      {"bos_token", "<s>"},
                      {"eos_token", "</s>"}};
    if (with_tools) {
      const Json property = {{"type", "string"}, {"description", "A word."}};
      const Json parameters = {
          {"type", "object"}, {"properties", {{"word", property}}}, {"required", Json::array({"word"})}};
      const Json function = {{"name", "look_up"}, {"description", "Looks up."}, {"parameters", parameters}};
      variables["tools"] = Json::array({{{"type", "function"}, {"function", function}}});
    }
    const auto segments = template_.Render(variables, absl::CivilSecond(2026, 1, 2), limits_);
    if (!segments.ok()) return std::nullopt;
    return JoinSegments(*segments);
  }

  // A user's turn, one that calls a tool and says nothing, and the tool's answer.
  static Json ToolTurns(Silence silence, const Json& arguments, bool with_result) {
    const Json function = {{"name", kName}, {"arguments", arguments}};
    // Mistral's templates want nine letters and digits.
    const Json call = {{"id", "call00001"}, {"type", "function"}, {"function", function}};
    Json turn = {{"role", "assistant"}};
    if (silence == Silence::kEmptyText) turn["content"] = "";
    if (silence == Silence::kNull) turn["content"] = nullptr;
    turn["tool_calls"] = Json::array({call});
    Json messages = Json::array({{{"role", "user"}, {"content", "Hello"}}, std::move(turn)});
    if (with_result) {
      messages.push_back(
          {{"role", "tool"}, {"content", "Answer"}, {"tool_call_id", "call00001"}, {"name", kName}});
    }
    return messages;
  }

  static Json ObjectArguments() { return {{kKey, kValue}}; }
  static Json TextArguments() { return absl::StrCat("{\"", kKey, "\": \"", kValue, "\"}"); }

  // A call rendered with a way to be silent; arguments as an object and as a text, nullopt where it is not
  // shown.
  struct Rendered {
    std::optional<std::string> object, text;
    bool renders = false;  // at least, the call left out
    size_t bytes() const { return object.has_value() ? object->size() : text->size(); }
    bool shows() const { return object.has_value() || text.has_value(); }
  };

  Rendered RenderCall(Silence silence, const Setting& setting) const {
    Rendered rendered;
    const auto with = [&](const Json& arguments) -> std::optional<std::string> {
      std::optional<std::string> text =
          Render(ToolTurns(silence, arguments, setting.with_result), setting.with_tools);
      rendered.renders = rendered.renders || text.has_value();
      if (text.has_value() && Holds(*text, kName) && Holds(*text, kValue)) return text;
      return std::nullopt;
    };
    rendered.object = with(ObjectArguments());
    rendered.text = with(TextArguments());
    return rendered;
  }

  // In the first setting where a call is shown: the way to be silent that writes the least. What the others
  // write beside the call is a "None", or a turn of its own that says nothing.
  void FindSilenceAndArguments() {
    std::optional<Silence> renders;
    for (const Setting& setting : kSettings) {
      std::optional<Rendered> best;
      for (const Silence silence : kSilences) {
        Rendered rendered = RenderCall(silence, setting);
        if (rendered.renders && !renders.has_value()) {
          renders = silence;
          setting_ = setting;
        }
        if (!rendered.shows() || (best.has_value() && best->bytes() <= rendered.bytes())) continue;
        best = std::move(rendered);
        result_.silence = silence;
      }
      if (!best.has_value()) continue;
      result_.arguments = ArgumentsFrom(best->object, best->text);
      setting_ = setting;
      return;
    }
    result_.silence = renders.value_or(Silence::kEmptyText);
  }

  // From what became of arguments given as an object and as a text; at least one was shown.
  static Arguments ArgumentsFrom(const std::optional<std::string>& object,
                                 const std::optional<std::string>& text) {
    if (!object.has_value()) return Arguments::kText;
    if (!text.has_value()) return Arguments::kObject;
    if (*object == *text) return Arguments::kAsGiven;
    // A text that was quoted once more was meant to be an object; an object that Python's repr() spells was
    // meant to be a text.
    if (Holds(*text, absl::StrCat("\\\"", kKey, "\\\"").c_str())) return Arguments::kObject;
    if (Holds(*object, absl::StrCat("'", kKey, "'").c_str())) return Arguments::kText;
    return Arguments::kObjectOrText;
  }

  // A conversation in which a message of `role` has `content`.
  Json MessagesWith(const std::string& role, Json content) const {
    if (role == "user") return Json::array({{{"role", "user"}, {"content", std::move(content)}}});
    Json user = {{"role", "user"}, {"content", "Hello"}};
    if (role == "tool") {
      const bool as_text = result_.arguments == Arguments::kText;
      Json messages = ToolTurns(result_.silence, as_text ? TextArguments() : ObjectArguments(), true);
      messages.back()["content"] = std::move(content);
      return messages;
    }
    Json message = {{"role", role}, {"content", std::move(content)}};
    if (role == "system") return Json::array({std::move(message), std::move(user)});
    return Json::array({std::move(user), std::move(message)});
  }

  // nullopt where the template shows neither a text nor parts of `role`.
  std::optional<Content> ContentOf(const std::string& role) const {
    const bool with_tools = role == "tool" && setting_.with_tools;
    const auto text = Render(MessagesWith(role, absl::StrCat(kFirst, kSecond)), with_tools);
    const auto parts =
        Render(MessagesWith(role, Json::array({TextPart(kFirst), TextPart(kSecond)})), with_tools);
    const bool takes_text = text.has_value() && Holds(*text, absl::StrCat(kFirst, kSecond).c_str());
    const bool takes_parts = parts.has_value() && ShowsParts(*parts);
    if (takes_text && takes_parts) return Content::kAsGiven;
    if (takes_text) return Content::kText;
    if (takes_parts) return Content::kParts;
    return std::nullopt;
  }

  // Both texts are there, and what stands between them is not how a list is spelt.
  static bool ShowsParts(const std::string& rendered) {
    const size_t first = rendered.find(kFirst), second = rendered.find(kSecond);
    if (first == std::string::npos || second == std::string::npos || second < first) return false;
    const size_t end = first + sizeof(kFirst) - 1;
    return rendered.substr(end, second - end).find("text") == std::string::npos;
  }

  const ChatTemplate& template_;
  const TemplateLimits limits_;
  MessageConventions result_;
  Setting setting_ = kSettings[0];
};

bool CallsTools(const Json& message) {
  const auto calls = message.find("tool_calls");
  return calls != message.end() && calls->is_array() && !calls->empty();
}

// Whether `content` is a list of nothing but text parts.
bool IsTextParts(const Json& content) {
  if (!content.is_array()) return false;
  for (const Json& part : content) {
    const bool is_text = part.is_object() && part.contains("text") && part["text"].is_string();
    if (!is_text) return false;
  }
  return true;
}

void ApplyToContent(Content convention, Json& content) {
  if (convention == Content::kParts && content.is_string()) {
    content = Json::array({TextPart(content.get<std::string>())});
  }
  if (convention == Content::kText && IsTextParts(content)) {
    std::string joined;
    for (const Json& part : content) joined += part["text"].get_ref<const std::string&>();
    content = std::move(joined);
  }
}

void ApplySilence(Silence silence, Json& message) {
  const auto content = message.find("content");
  const bool says_nothing =
      content == message.end() || content->is_null() || *content == "" || *content == Json::array();
  if (!says_nothing) return;
  if (!CallsTools(message) || silence == Silence::kEmptyText) {
    message["content"] = "";
  } else if (silence == Silence::kNull) {
    message["content"] = nullptr;
  } else {
    message.erase("content");
  }
}

absl::Status ApplyToArguments(Arguments convention, const std::string& field, Json& arguments) {
  if (convention == Arguments::kText && arguments.is_object()) {
    ASSIGN_OR_RETURN(arguments, jinja::DumpJson(arguments, {}));
  }
  const bool wants_object = convention == Arguments::kObject || convention == Arguments::kObjectOrText;
  if (!wants_object || !arguments.is_string()) return absl::OkStatus();
  const std::string text = arguments.get<std::string>();
  absl::StatusOr<Json> object = text.empty() ? Json::object() : ParseTemplateVariables(text);
  if (object.ok() && object->is_object()) {
    arguments = *std::move(object);
    return absl::OkStatus();
  }
  if (convention == Arguments::kObjectOrText) return absl::OkStatus();
  const std::string reason =
      object.ok() ? absl::StrCat("is of type ", object->type_name()) : std::string(object.status().message());
  return absl::InvalidArgumentError(
      absl::StrCat(field, " must be a JSON object, as the model's chat template walks through it; ", reason));
}

// A call is {"function": {"name", "arguments"}} or, without the wrapping, {"name", "arguments"}.
absl::Status ApplyToCalls(Arguments convention, const std::string& field, Json& calls) {
  if (!calls.is_array()) return absl::OkStatus();
  for (size_t i = 0; i < calls.size(); ++i) {
    Json* call = &calls[i];
    std::string place = absl::StrCat(field, "[", i, "]");
    if (!call->is_object()) continue;
    if (const auto function = call->find("function"); function != call->end() && function->is_object()) {
      call = &*function;
      place += ".function";
    }
    const auto arguments = call->find("arguments");
    if (arguments == call->end()) continue;
    RETURN_IF_ERROR(ApplyToArguments(convention, place + ".arguments", *arguments));
  }
  return absl::OkStatus();
}

Content ContentFor(const MessageConventions& conventions, const std::string& role) {
  if (role == "assistant") return conventions.assistant;
  if (role == "tool") return conventions.tool;
  if (role == "system" || role == "developer") return conventions.system;
  return conventions.user;
}

}  // namespace

MessageConventions FindConventions(const ChatTemplate& chat_template) { return Probe(chat_template).Run(); }

absl::Status ApplyConventions(const MessageConventions& conventions, Json& messages) {
  for (size_t i = 0; i < messages.size(); ++i) {
    Json& message = messages[i];
    if (!message.is_object()) continue;
    const auto role = message.find("role");
    const bool has_role = role != message.end() && role->is_string();
    const Content content_convention = ContentFor(conventions, has_role ? role->get<std::string>() : "");
    ApplySilence(conventions.silence, message);
    if (const auto content = message.find("content"); content != message.end()) {
      ApplyToContent(content_convention, *content);
    }
    if (const auto calls = message.find("tool_calls"); calls != message.end()) {
      RETURN_IF_ERROR(
          ApplyToCalls(conventions.arguments, absl::StrCat("messages[", i, "].tool_calls"), *calls));
    }
  }
  return absl::OkStatus();
}

}  // namespace ropeway
