// Functions that every template has.
#include <time.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/arguments.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/print.h"

namespace ropeway::jinja {
namespace {

using Result = absl::StatusOr<Value>;

constexpr int64_t kMaxRange = 100'000;  // as in Jinja's sandbox

Result RaiseException(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"message"}, 1));
  return interpreter.Raise(std::string(ToText(*bound[0], interpreter.budget()).view()));
}

Result Range(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"start", "stop", "step"}, 1));
  ASSIGN_OR_RETURN(Integer start, bound.IntegerOr(0, 0));
  ASSIGN_OR_RETURN(Integer stop, bound.IntegerOr(1, 0));
  ASSIGN_OR_RETURN(const Integer step, bound.IntegerOr(2, 1));
  if (bound[1] == nullptr) stop = std::exchange(start, 0);
  if (step == 0) return ValueError("range() arg 3 must not be zero");
  const std::optional<Integer> span = step > 0 ? Subtract(stop, start) : Subtract(start, stop);
  const Integer stride = step > 0 ? step : -step;
  if (!span.has_value() || (*span > 0 && (*span - 1) / stride >= kMaxRange)) {
    return ValueError(
        absl::StrCat("Range too big. The sandbox blocks ranges larger than MAX_RANGE (", kMaxRange, ")."));
  }
  return MakeRange(start, stop, step, interpreter.budget());
}

// The entries of dict(...) and namespace(...): those of a mapping or of pairs, then the keywords.
absl::StatusOr<Value> CollectEntries(Interpreter& interpreter, const Arguments& arguments) {
  Budget& budget = interpreter.budget();
  DictBuilder builder(budget);
  if (arguments.positional.size() > 1) return TypeError("expected at most 1 argument");
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (const Dict* dict = source.AsDict()) {
      for (const auto& [key, value] : dict->entries) RETURN_IF_ERROR(builder.Set(key, value));
    } else {
      ASSIGN_OR_RETURN(const std::vector<Value> pairs, Items(source, budget));
      for (const Value& pair : pairs) {
        ASSIGN_OR_RETURN(const std::vector<Value> parts, Items(pair, budget));
        if (parts.size() != 2) return ValueError("a dictionary is made from pairs");
        RETURN_IF_ERROR(builder.Set(parts[0], parts[1]));
      }
    }
  }
  for (const auto& [name, value] : arguments.keyword) RETURN_IF_ERROR(builder.Set(Value(name), value));
  return builder.Build();
}

Result MakeDict(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  return CollectEntries(interpreter, arguments);
}

Result MakeNamespace(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Value entries, CollectEntries(interpreter, arguments));
  Namespace* space = interpreter.NewNamespace();
  for (const auto& [key, value] : entries.AsDict()->entries) {
    space->attributes.emplace_back(std::string(ToText(key, interpreter.budget()).view()), value);
  }
  return Value(space);
}

// joiner(sep): empty text when called first, the separator afterwards. Its state is a namespace.
Result CallJoiner(Interpreter&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  return std::exchange(*self.AsNamespace()->Find("next"), *self.AsNamespace()->Find("separator"));
}

Result MakeJoiner(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"sep"}));
  Namespace* state = interpreter.NewNamespace();
  state->attributes.emplace_back("next", Str());
  state->attributes.emplace_back("separator", bound[0] == nullptr ? Value(Str::Literal(", ")) : *bound[0]);
  auto callable = std::make_shared<Callable>();
  callable->name = "joiner";
  callable->native = CallJoiner;
  callable->self = Value(state);
  return Value(std::shared_ptr<const Callable>(std::move(callable)));
}

tm ToTm(absl::CivilSecond now) {
  tm time = {};
  time.tm_sec = now.second();
  time.tm_min = now.minute();
  time.tm_hour = now.hour();
  time.tm_mday = now.day();
  time.tm_mon = now.month() - 1;
  time.tm_year = static_cast<int>(now.year() - 1900);
  // Monday is 0 for absl, Sunday for tm.
  time.tm_wday = (static_cast<int>(absl::GetWeekday(now)) + 1) % 7;
  time.tm_yday = absl::GetYearDay(now) - 1;
  time.tm_zone = "";
  return time;
}

// Python fills in %f, %z and %Z itself; a time without a zone has empty ones.
std::string ResolvePythonFields(std::string_view format) {
  std::string result;
  for (size_t i = 0; i < format.size(); ++i) {
    const char next = format[i] == '%' && i + 1 < format.size() ? format[i + 1] : 0;
    if (next == 'f') result += "000000";
    if (next != 'f' && next != 'z' && next != 'Z') {
      result += format[i];
      if (next != 0) result += next;
    }
    if (next != 0) ++i;
  }
  return result;
}

Result StrftimeNow(Interpreter& interpreter, const Value&, const Arguments& arguments) {
  constexpr size_t kMaxExpansion = 256;  // of a byte of the format
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"format"}, 1));
  ASSIGN_OR_RETURN(const Str format, bound.TextOr(0, Str()));
  const tm time = ToTm(interpreter.now());
  StrBuilder out(interpreter.budget());
  // In pieces of one kind, so that what a request wrote stays untrusted. A final space tells an empty result
  // from one that does not fit.
  format.ForEachRun([&](std::string_view piece, bool trusted) {
    const std::string resolved = ResolvePythonFields(piece) + ' ';
    if (!interpreter.budget().Allocate(static_cast<int64_t>(resolved.size() * kMaxExpansion))) return;
    std::string buffer(resolved.size() * kMaxExpansion, '\0');
    const size_t size = strftime(buffer.data(), buffer.size(), resolved.c_str(), &time);
    if (size > 0) out.Append(std::string_view(buffer).substr(0, size - 1), trusted);
  });
  return Value(out.Build());
}

constexpr NamedNative kFunctions[] = {
    {"raise_exception", RaiseException},
    {"strftime_now", StrftimeNow},
    {"namespace", MakeNamespace},
    {"range", Range},
    {"dict", MakeDict},
    {"joiner", MakeJoiner},
};

}  // namespace

bool IsMissingFunction(std::string_view name) { return name == "cycler" || name == "lipsum"; }

Native FindFunction(std::string_view name) { return FindNative(kFunctions, name); }

}  // namespace ropeway::jinja
