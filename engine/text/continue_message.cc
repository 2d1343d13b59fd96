#include "engine/text/continue_message.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

using Json = nlohmann::ordered_json;

// The text that ends `content`: itself, or the last of its parts. Null where there is none.
std::string* LastText(Json& content) {
  if (content.is_string()) return &content.get_ref<std::string&>();
  if (!content.is_array() || content.empty() || !content.back().is_object()) return nullptr;
  const auto text = content.back().find("text");
  return text != content.back().end() && text->is_string() ? &text->get_ref<std::string&>() : nullptr;
}

// A word that is not in `text`.
std::string FreshWord(const std::string& text) {
  std::string word = "QzContinueQz";
  while (absl::StrContains(text, word)) word = absl::StrCat(word, word.size());
  return word;
}

// Segments up to byte `end` of their text.
std::vector<TextSegment> CutAt(std::vector<TextSegment> segments, size_t end) {
  size_t begin = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    if (begin + segments[i].text.size() >= end) {
      segments[i].text.resize(end - begin);
      segments.resize(segments[i].text.empty() ? i : i + 1);
      break;
    }
    begin += segments[i].text.size();
  }
  return segments;
}

absl::Status CannotContinue() {
  return absl::InvalidArgumentError(
      "the last message cannot be continued: the chat template does not show the end of its text as it is");
}

}  // namespace

// The same conversation is rendered twice, as it is and with a word behind its last message: up to that word
// the two agree, unless the template takes off the white space in front of what closes the turn.
absl::StatusOr<std::vector<TextSegment>> RenderToContinue(const ChatTemplate& chat_template,
                                                          const Json& variables, absl::CivilSecond now) {
  ASSIGN_OR_RETURN(std::vector<TextSegment> segments, chat_template.Render(variables, now));
  const std::string text = JoinSegments(segments);
  Json marked = variables;
  std::string* const last = LastText(marked["messages"].back()["content"]);
  if (last == nullptr) return CannotContinue();
  const size_t spaces = last->size() - absl::StripTrailingAsciiWhitespace(*last).size();
  const std::string word = FreshWord(absl::StrCat(text, *last));
  last->append(word);
  ASSIGN_OR_RETURN(const std::vector<TextSegment> marked_segments, chat_template.Render(marked, now));
  const std::string marked_text = JoinSegments(marked_segments);
  const size_t end = marked_text.rfind(word);
  if (end == std::string::npos) return CannotContinue();
  for (const size_t cut : {end, end - std::min(end, spaces)}) {
    if (absl::StartsWith(text, absl::string_view(marked_text).substr(0, cut))) {
      return CutAt(std::move(segments), cut);
    }
  }
  return CannotContinue();
}

}  // namespace ropeway
