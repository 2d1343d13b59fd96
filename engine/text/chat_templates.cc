#include "engine/text/chat_templates.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "engine/base/utf8.h"
#include "engine/text/continue_message.h"

namespace ropeway {
namespace {

constexpr char kKey[] = "tokenizer.chat_template";
constexpr size_t kMaxTemplates = 64;
constexpr size_t kMaxNameBytes = 64;

bool HasTools(const nlohmann::ordered_json& variables) {
  const auto tools = variables.find("tools");
  return tools != variables.end() && tools->is_array() && !tools->empty();
}

// Names stand on the wire and in the log.
bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && Printable(name) == name;
}

}  // namespace

ChatTemplates::ChatTemplates(std::vector<Source> sources) {
  for (Source& source : sources) {
    if (!IsName(source.name) || Named(source.name) != nullptr || entries_.size() == kMaxTemplates) {
      problems_.push_back(absl::StrCat("chat template \"", Printable(source.name),
                                       "\" is passed over: names are printable, at most ", kMaxNameBytes,
                                       " bytes, all different, and at most ", kMaxTemplates));
      continue;
    }
    Entry entry = {.name = std::move(source.name),
                   .source = ReplaceInvalidUtf8(source.text),
                   .parsed = ChatTemplate::Parse(source.text),
                   .conventions = {}};
    if (entry.parsed.ok()) entry.conventions = FindConventions(*entry.parsed);
    entries_.push_back(std::move(entry));
  }
}

absl::StatusOr<ChatTemplates> ChatTemplates::Read(const Metadata& metadata) {
  std::vector<Source> sources;
  for (const std::string& key : metadata.keys()) {
    absl::string_view name = key;
    if (!absl::ConsumePrefix(&name, kKey) || (!name.empty() && !absl::ConsumePrefix(&name, "."))) continue;
    ASSIGN_OR_RETURN(std::string text, metadata.GetString(key));
    if (text.empty()) continue;
    sources.push_back({key == kKey ? "default" : std::string(name), std::move(text)});
  }
  return ChatTemplates(std::move(sources));
}

const ChatTemplates::Entry* ChatTemplates::Named(std::string_view name) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.name == name; });
  return found == entries_.end() ? nullptr : &*found;
}

absl::StatusOr<const ChatTemplates::Entry*> ChatTemplates::Choose(std::string_view name,
                                                                  bool has_tools) const {
  if (entries_.empty()) return absl::NotFoundError("the model has no chat template; give text");
  const Entry* entry = Named(name);
  const std::string listed = absl::StrJoin(names(), ", ");
  if (!name.empty() && entry == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model has no chat template \"", Printable(name), "\"; it has ", listed));
  }
  if (name.empty() && has_tools) entry = Named("tool_use");
  if (entry == nullptr) entry = Named("default");
  if (entry == nullptr && entries_.size() == 1) entry = &entries_.front();
  if (entry == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model has no default chat template; name one of ", listed));
  }
  return entry;
}

absl::StatusOr<std::vector<TextSegment>> ChatTemplates::Render(Conversation conversation,
                                                               absl::CivilSecond now) const {
  nlohmann::ordered_json& variables = conversation.variables;
  ASSIGN_OR_RETURN(const Entry* entry, Choose(conversation.template_name, HasTools(variables)));
  RETURN_IF_ERROR(entry->parsed.status());
  RETURN_IF_ERROR(ApplyConventions(entry->conventions, variables["messages"]));
  if (!conversation.continue_final_message) return entry->parsed->Render(variables, now);
  return RenderToContinue(*entry->parsed, variables, now);
}

absl::StatusOr<const ChatTemplate*> ChatTemplates::Find(std::string_view name, bool has_tools) const {
  ASSIGN_OR_RETURN(const Entry* entry, Choose(name, has_tools));
  RETURN_IF_ERROR(entry->parsed.status());
  return &*entry->parsed;
}

std::vector<std::string> ChatTemplates::names() const {
  std::vector<std::string> names;
  for (const Entry& entry : entries_) names.push_back(entry.name);
  return names;
}

std::string ChatTemplates::default_source() const {
  const absl::StatusOr<const Entry*> entry = Choose("", /*has_tools=*/false);
  return entry.ok() ? (*entry)->source : "";
}

std::vector<std::string> ChatTemplates::Problems() const {
  std::vector<std::string> problems = problems_;
  for (const Entry& entry : entries_) {
    const std::string which = absl::StrCat("chat template \"", entry.name, "\": ");
    if (!entry.parsed.ok()) {
      problems.push_back(absl::StrCat(
          which, "chats are refused: ", Printable(std::string(entry.parsed.status().message()))));
      continue;
    }
    for (const std::string& warning : entry.parsed->warnings()) {
      problems.push_back(absl::StrCat(which, "a chat that comes there is refused: ", Printable(warning)));
    }
  }
  return problems;
}

}  // namespace ropeway
