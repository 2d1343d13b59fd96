// The tests of `is`.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/arguments.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/print.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// A test without arguments that looks at the value alone.
template <bool (*predicate)(const Value&)>
Result Simple(Interpreter&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  return Value(predicate(self));
}

bool IsDefined(const Value& v) { return !v.IsUndefined(); }
bool IsUndefined(const Value& v) { return v.IsUndefined(); }
bool IsNone(const Value& v) { return v.IsNone(); }
bool IsString(const Value& v) { return v.AsStr() != nullptr; }
bool IsMapping(const Value& v) { return v.AsDict() != nullptr; }
bool IsBoolean(const Value& v) { return v.AsBool() != nullptr; }
bool IsTrue(const Value& v) { return v.AsBool() && *v.AsBool(); }
bool IsFalse(const Value& v) { return v.AsBool() && !*v.AsBool(); }
bool IsInteger(const Value& v) { return v.AsInteger() != nullptr; }
bool IsFloat(const Value& v) { return v.AsFloat() != nullptr; }
bool IsNumber(const Value& v) { return v.AsFloat() || v.AsIndex().has_value(); }
// An undefined value counts, although calling it fails.
bool IsCallable(const Value& v) { return v.AsCallable() || v.AsLoop() || v.IsUndefined(); }
bool IsIterable(const Value& v) {
  return v.AsStr() || v.AsSequence() || v.AsDict() || v.AsGenerator() || v.IsUndefined() || v.AsLoop();
}
bool IsSequence(const Value& v) {
  if (const Sequence* sequence = v.AsSequence()) {
    return v.AsList() || v.AsTuple() || sequence->kind == SequenceKind::kRange;
  }
  return v.AsStr() || v.AsDict() || v.IsUndefined();
}
bool IsEscaped(const Value& v) { return v.AsStr() && v.AsStr()->markup(); }

template <CompareOperator op>
Result Comparison(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"other"}, 1));
  ASSIGN_OR_RETURN(const bool holds, ApplyCompare(op, self, *bound[0], interpreter.budget()));
  return Value(holds);
}

Result Remainder(Interpreter& interpreter, const Value& self, const Value& divisor) {
  return ApplyBinary(BinaryOperator::kModulo, self, divisor, interpreter.budget());
}

template <int remainder>
Result Parity(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  if (self.AsStr()) return TypeError("not all arguments converted during string formatting");
  ASSIGN_OR_RETURN(const Value rest, Remainder(interpreter, self, Value(2)));
  return Value(Equal(rest, Value(remainder), interpreter.budget()));
}

Result DivisibleBy(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"num"}, 1));
  ASSIGN_OR_RETURN(const Value rest, Remainder(interpreter, self, *bound[0]));
  return Value(Equal(rest, Value(0), interpreter.budget()));
}

Result SameAs(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"other"}, 1));
  return Value(TypeName(self) == TypeName(*bound[0]) && Equal(self, *bound[0], interpreter.budget()));
}

// Whether the text has cased letters, all of the one case.
template <bool (*has_case)(char32_t), bool (*has_other_case)(char32_t)>
Result AllOfCase(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  const Str text = ToText(self, interpreter.budget());
  interpreter.budget().Work(static_cast<int64_t>(text.size()));
  bool any = false;
  for (size_t i = 0; i < text.size();) {
    const CodePoint next = DecodeAt(text.view(), i);
    if (has_other_case(next.value)) return Value(false);
    any = any || has_case(next.value);
    i += next.bytes;
  }
  return Value(any);
}

template <Native (*find)(std::string_view)>
Result Exists(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  const Str name = ToText(self, interpreter.budget());
  return Value(find(name.view()) != nullptr);
}

constexpr NamedNative kTests[] = {
    {"defined", Simple<IsDefined>},
    {"undefined", Simple<IsUndefined>},
    {"none", Simple<IsNone>},
    {"string", Simple<IsString>},
    {"mapping", Simple<IsMapping>},
    {"sequence", Simple<IsSequence>},
    {"iterable", Simple<IsIterable>},
    {"boolean", Simple<IsBoolean>},
    {"true", Simple<IsTrue>},
    {"false", Simple<IsFalse>},
    {"integer", Simple<IsInteger>},
    {"float", Simple<IsFloat>},
    {"number", Simple<IsNumber>},
    {"callable", Simple<IsCallable>},
    {"escaped", Simple<IsEscaped>},
    {"odd", Parity<1>},
    {"even", Parity<0>},
    {"divisibleby", DivisibleBy},
    {"sameas", SameAs},
    {"lower", AllOfCase<IsLower, IsUpper>},
    {"upper", AllOfCase<IsUpper, IsLower>},
    {"filter", Exists<FindFilter>},
    {"test", Exists<FindTest>},
    {"in", Comparison<CompareOperator::kIn>},
    {"eq", Comparison<CompareOperator::kEqual>},
    {"==", Comparison<CompareOperator::kEqual>},
    {"equalto", Comparison<CompareOperator::kEqual>},
    {"ne", Comparison<CompareOperator::kNotEqual>},
    {"!=", Comparison<CompareOperator::kNotEqual>},
    {"lt", Comparison<CompareOperator::kLess>},
    {"<", Comparison<CompareOperator::kLess>},
    {"lessthan", Comparison<CompareOperator::kLess>},
    {"le", Comparison<CompareOperator::kLessOrEqual>},
    {"<=", Comparison<CompareOperator::kLessOrEqual>},
    {"gt", Comparison<CompareOperator::kGreater>},
    {">", Comparison<CompareOperator::kGreater>},
    {"greaterthan", Comparison<CompareOperator::kGreater>},
    {"ge", Comparison<CompareOperator::kGreaterOrEqual>},
    {">=", Comparison<CompareOperator::kGreaterOrEqual>},
};

}  // namespace

Native FindTest(std::string_view name) { return FindNative(kTests, name); }

}  // namespace ropeway::jinja
