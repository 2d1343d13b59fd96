#include "server/obs/log.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"

namespace ropeway::server {
namespace {

constexpr char kTimeFormat[] = "%Y-%m-%dT%H:%M:%E3S%Ez";

absl::string_view NameOf(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "";
}

bool IsPlain(absl::string_view value) {
  return !value.empty() && std::all_of(value.begin(), value.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) && c != '"' && c != '=' && c != '\\';
  });
}

std::string FormatLine(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields) {
  std::string line = absl::StrCat(absl::FormatTime(kTimeFormat, absl::Now(), absl::LocalTimeZone()), " ",
                                  NameOf(level), " ", event);
  for (const LogField& field : fields) {
    absl::StrAppend(&line, " ", field.key, "=");
    if (IsPlain(field.value)) {
      line += field.value;
    } else {
      // An apostrophe needs no escape between these quotes.
      absl::StrAppend(&line, "\"", absl::StrReplaceAll(absl::CHexEscape(field.value), {{"\\'", "'"}}), "\"");
    }
  }
  line += '\n';
  return line;
}

std::string GapLine(int64_t count) {
  return FormatLine(LogLevel::kWarning, "log lines dropped", {{"count", count}});
}

}  // namespace

Log::Log(LogLevel level, const LogWriter::Options& options) : level_(level), writer_(options, &GapLine) {}

void Log::Write(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields) const {
  if (level >= level_) writer_.Write(FormatLine(level, event, fields));
}

void Log::Debug(absl::string_view event, std::initializer_list<LogField> fields) const {
  Write(LogLevel::kDebug, event, fields);
}

void Log::Info(absl::string_view event, std::initializer_list<LogField> fields) const {
  Write(LogLevel::kInfo, event, fields);
}

void Log::Warning(absl::string_view event, std::initializer_list<LogField> fields) const {
  Write(LogLevel::kWarning, event, fields);
}

void Log::Error(absl::string_view event, std::initializer_list<LogField> fields) const {
  Write(LogLevel::kError, event, fields);
}

}  // namespace ropeway::server
