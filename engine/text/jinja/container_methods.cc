// Methods of lists, tuples, dictionaries and `loop`.
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/arguments.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/loop.h"
#include "engine/text/jinja/print.h"

namespace ropeway::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Result Copy(Interpreter&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  return self;  // values do not change
}

Result Count(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"value"}, 1));
  Budget& budget = interpreter.budget();
  int count = 0;
  for (const Value& item : self.AsSequence()->items) {
    if (!budget.Work(sizeof(Value))) break;
    count += Equal(item, *bound[0], budget) ? 1 : 0;
  }
  return Value(count);
}

Result Index(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"value"}, 1));
  Budget& budget = interpreter.budget();
  const auto& items = self.AsSequence()->items;
  for (size_t i = 0; i < items.size() && budget.Work(sizeof(Value)); ++i) {
    if (Equal(items[i], *bound[0], budget)) return Value(Integer(i));
  }
  return ValueError(absl::StrCat(std::string(Repr(*bound[0], budget).view()), " is not in list"));
}

Result Get(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  if (!arguments.keyword.empty()) return TypeError("dict.get() takes no keyword arguments");
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"key", "default"}, 1));
  if (!Hashable(*bound[0])) {
    return TypeError(absl::StrCat("unhashable type: '", std::string(TypeName(*bound[0])), "'"));
  }
  if (const Value* found = self.AsDict()->Find(*bound[0], interpreter.budget())) return *found;
  return bound[1] == nullptr ? Value(None()) : *bound[1];
}

template <SequenceKind kind>
Result View(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  Budget& budget = interpreter.budget();
  std::vector<Value> items;
  for (const auto& [key, value] : self.AsDict()->entries) {
    if (!budget.Work(sizeof(Value))) break;
    if constexpr (kind == SequenceKind::kKeys) items.push_back(key);
    if constexpr (kind == SequenceKind::kValues) items.push_back(value);
    if constexpr (kind == SequenceKind::kItems) items.push_back(MakeTuple({key, value}, budget));
  }
  return MakeSequence(kind, std::move(items), budget);
}

Result Cycle(Interpreter&, const Value& self, const Arguments& arguments) {
  const auto& values = arguments.positional;
  if (values.empty()) return TypeError("no items for cycling given");
  return values[static_cast<size_t>(
      FloorModulo(self.AsLoop()->index0(), static_cast<Integer>(values.size())))];
}

Result Changed(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const Value values = MakeTuple(arguments.positional, interpreter.budget());
  return Value(self.AsLoop()->Changed(values, interpreter.budget()));
}

constexpr NamedNative kLoopMethods[] = {{"cycle", Cycle}, {"changed", Changed}};
constexpr NamedNative kListMethods[] = {{"copy", Copy}, {"count", Count}, {"index", Index}};
constexpr NamedNative kTupleMethods[] = {{"count", Count}, {"index", Index}};
constexpr NamedNative kDictMethods[] = {
    {"get", Get},
    {"items", View<SequenceKind::kItems>},
    {"keys", View<SequenceKind::kKeys>},
    {"values", View<SequenceKind::kValues>},
    {"copy", Copy},
};

}  // namespace

Native FindListMethod(std::string_view name) { return FindNative(kListMethods, name); }
Native FindTupleMethod(std::string_view name) { return FindNative(kTupleMethods, name); }
Native FindDictMethod(std::string_view name) { return FindNative(kDictMethods, name); }
Native FindLoopMethod(std::string_view name) { return FindNative(kLoopMethods, name); }

}  // namespace ropeway::jinja
