#include "engine/text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/format.h"

namespace ropeway::jinja {
namespace {

std::string_view Sign(BinaryOperator op) {
  switch (op) {
    case BinaryOperator::kAdd:
      return "+";
    case BinaryOperator::kSubtract:
      return "-";
    case BinaryOperator::kMultiply:
      return "*";
    case BinaryOperator::kDivide:
      return "/";
    case BinaryOperator::kFloorDivide:
      return "//";
    case BinaryOperator::kModulo:
      return "%";
    case BinaryOperator::kPower:
      return "**";
  }
  return "";
}

absl::Status Unsupported(BinaryOperator op, const Value& left, const Value& right) {
  return TypeError(absl::StrCat("unsupported operand type(s) for ", std::string(Sign(op)), ": '",
                                std::string(TypeName(left)), "' and '", std::string(TypeName(right)), "'"));
}

absl::Status DivisionByZero() { return ValueError("division by zero"); }

double AsDouble(const Value& value) {
  if (const double* number = value.AsFloat()) return *number;
  return static_cast<double>(*value.AsIndex());
}

absl::StatusOr<Value> OfFloats(BinaryOperator op, double left, double right) {
  const bool divides =
      op == BinaryOperator::kDivide || op == BinaryOperator::kFloorDivide || op == BinaryOperator::kModulo;
  if (divides && right == 0) return DivisionByZero();
  switch (op) {
    case BinaryOperator::kAdd:
      return Value(left + right);
    case BinaryOperator::kSubtract:
      return Value(left - right);
    case BinaryOperator::kMultiply:
      return Value(left * right);
    case BinaryOperator::kDivide:
      return Value(left / right);
    case BinaryOperator::kFloorDivide:
      return Value(std::floor((left - FloorModulo(left, right)) / right + 0.5));
    case BinaryOperator::kModulo:
      return Value(FloorModulo(left, right));
    case BinaryOperator::kPower:
      break;
  }
  if (left == 0 && right < 0) return DivisionByZero();
  const double result = std::pow(left, right);
  if (std::isnan(result) && !std::isnan(left) && !std::isnan(right))
    return ValueError("the power is a complex number");
  if (std::isinf(result) && !std::isinf(left) && !std::isinf(right))
    return ValueError("the power is out of range");
  return Value(result);
}

absl::StatusOr<Value> OfIntegers(BinaryOperator op, Integer left, Integer right) {
  const auto checked = [&](std::optional<Integer> result) -> absl::StatusOr<Value> {
    if (result.has_value()) return Value(*result);
    return ValueError(absl::StrCat("the result of ", std::string(Sign(op)), " needs more than 127 bits"));
  };
  const bool divides =
      op == BinaryOperator::kDivide || op == BinaryOperator::kFloorDivide || op == BinaryOperator::kModulo;
  if (divides && right == 0) return DivisionByZero();
  switch (op) {
    case BinaryOperator::kAdd:
      return checked(Add(left, right));
    case BinaryOperator::kSubtract:
      return checked(Subtract(left, right));
    case BinaryOperator::kMultiply:
      return checked(Multiply(left, right));
    case BinaryOperator::kDivide:
      return Value(static_cast<double>(left) / static_cast<double>(right));
    case BinaryOperator::kFloorDivide:
      return Value(FloorDivide(left, right));
    case BinaryOperator::kModulo:
      return Value(FloorModulo(left, right));
    case BinaryOperator::kPower:
      break;
  }
  if (right < 0) return OfFloats(op, static_cast<double>(left), static_cast<double>(right));
  return checked(Power(left, right));
}

absl::StatusOr<Value> AddValues(const Value& left, const Value& right, Budget& budget) {
  const Str* a = left.AsStr();
  const Str* b = right.AsStr();
  if (a != nullptr && b != nullptr) {
    if (!a->markup() && !b->markup()) return Value(Concat(*a, *b, budget));
    return Value(Concat(Escape(*a, budget), Escape(*b, budget), budget).WithMarkup(true));
  }
  const bool same_kind = (left.AsList() && right.AsList()) || (left.AsTuple() && right.AsTuple());
  if (same_kind) {
    const auto& first = left.AsSequence()->items;
    const auto& second = right.AsSequence()->items;
    if (!budget.Work(static_cast<int64_t>((first.size() + second.size()) * sizeof(Value))))
      return budget.status();
    std::vector<Value> items = first;
    items.insert(items.end(), second.begin(), second.end());
    return MakeSequence(left.AsList() ? SequenceKind::kList : SequenceKind::kTuple, std::move(items), budget);
  }
  if (a != nullptr) {
    return TypeError(
        absl::StrCat("can only concatenate str (not \"", std::string(TypeName(right)), "\") to str"));
  }
  return Unsupported(BinaryOperator::kAdd, left, right);
}

// A text or list, `times` times over; nullopt when `left` is neither.
std::optional<Value> Repeat(const Value& left, Integer times, Budget& budget) {
  const int64_t count = std::max<int64_t>(Clamp64(times), 0);
  if (const Str* text = left.AsStr()) {
    StrBuilder out(budget);
    out.Repeat(*text, count);
    return Value(out.Build().WithMarkup(text->markup()));
  }
  if (!left.AsList() && !left.AsTuple()) return std::nullopt;
  const auto& source = left.AsSequence()->items;
  const auto bytes = static_cast<int64_t>(std::max<size_t>(1, source.size()) * sizeof(Value));
  const bool fits = count <= std::numeric_limits<int64_t>::max() / bytes && budget.Allocate(count * bytes);
  if (!fits) budget.Allocate(std::numeric_limits<int64_t>::max());
  std::vector<Value> items;
  for (int64_t i = 0; fits && !source.empty() && i < count; ++i) {
    items.insert(items.end(), source.begin(), source.end());
  }
  return MakeSequence(left.AsList() ? SequenceKind::kList : SequenceKind::kTuple, std::move(items), budget);
}

absl::StatusOr<Value> Multiply(const Value& left, const Value& right, Budget& budget) {
  std::optional<Value> repeated;
  if (const auto times = right.AsIndex()) repeated = Repeat(left, *times, budget);
  const auto times = left.AsIndex();
  if (!repeated.has_value() && times.has_value()) repeated = Repeat(right, *times, budget);
  if (repeated.has_value()) return *std::move(repeated);
  return Unsupported(BinaryOperator::kMultiply, left, right);
}

bool IsNumber(const Value& value) { return value.AsFloat() != nullptr || value.AsIndex().has_value(); }

}  // namespace

absl::StatusOr<Value> ApplyBinary(BinaryOperator op, const Value& left, const Value& right, Budget& budget) {
  if (op == BinaryOperator::kModulo && left.AsStr()) return FormatPercent(*left.AsStr(), right, budget);
  if (const Undefined* undefined = left.AsUndefined()) return UndefinedError(*undefined);
  if (const Undefined* undefined = right.AsUndefined()) return UndefinedError(*undefined);
  if (IsNumber(left) && IsNumber(right)) {
    if (left.AsFloat() || right.AsFloat()) return OfFloats(op, AsDouble(left), AsDouble(right));
    return OfIntegers(op, *left.AsIndex(), *right.AsIndex());
  }
  if (op == BinaryOperator::kAdd) return AddValues(left, right, budget);
  if (op == BinaryOperator::kMultiply) return Multiply(left, right, budget);
  return Unsupported(op, left, right);
}

absl::StatusOr<Value> ApplyUnary(UnaryOperator op, const Value& operand) {
  if (op == UnaryOperator::kNot) return Value(!Truthy(operand));
  if (const Undefined* undefined = operand.AsUndefined()) return UndefinedError(*undefined);
  const bool negates = op == UnaryOperator::kNegate;
  if (const double* number = operand.AsFloat()) return Value(negates ? -*number : *number);
  if (const auto integer = operand.AsIndex()) return Value(negates ? -*integer : *integer);
  return TypeError(absl::StrCat("bad operand type for unary ", negates ? "-" : "+", ": '",
                                std::string(TypeName(operand)), "'"));
}

absl::StatusOr<bool> ApplyCompare(CompareOperator op, const Value& left, const Value& right, Budget& budget) {
  switch (op) {
    case CompareOperator::kEqual:
      return Equal(left, right, budget);
    case CompareOperator::kNotEqual:
      return !Equal(left, right, budget);
    case CompareOperator::kLess:
      return Less(left, right, budget);
    case CompareOperator::kLessOrEqual:
      return LessOrEqual(left, right, budget);
    case CompareOperator::kGreater:
      return Less(right, left, budget);
    case CompareOperator::kGreaterOrEqual:
      return LessOrEqual(right, left, budget);
    case CompareOperator::kIn:
      return Contains(right, left, budget);
    case CompareOperator::kNotIn: {
      ASSIGN_OR_RETURN(const bool contains, Contains(right, left, budget));
      return !contains;
    }
  }
  return false;
}

Str Escape(const Str& text, Budget& budget) {
  if (text.markup()) return text;
  StrBuilder out(budget);
  text.ForEachRun([&](std::string_view piece, bool trusted) {
    std::string escaped;
    for (const char c : piece) {
      if (c == '&') {
        escaped += "&amp;";
      } else if (c == '<') {
        escaped += "&lt;";
      } else if (c == '>') {
        escaped += "&gt;";
      } else if (c == '\'') {
        escaped += "&#39;";
      } else if (c == '"') {
        escaped += "&#34;";
      } else {
        escaped += c;
      }
    }
    out.Append(escaped, trusted);
  });
  return out.Build().WithMarkup(true);
}

}  // namespace ropeway::jinja
