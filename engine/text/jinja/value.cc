#include "engine/text/jinja/value.h"

#include <algorithm>
#include <cmath>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/loop.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

// Charges for `items`; empties them when the budget runs out.
int BoundItems(std::vector<Value>& items, Budget& budget) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, DepthOf(item));
  const auto bytes = static_cast<int64_t>(items.size() * sizeof(Value) + sizeof(Sequence));
  if (!budget.Allocate(bytes) || !budget.Work(bytes) || !budget.CheckDepth(depth + 1)) {
    items.clear();
    depth = 0;
  }
  return depth + 1;
}

}  // namespace

int DepthOf(const Value& value) {
  if (const Sequence* sequence = value.AsSequence()) return sequence->depth;
  if (const Dict* dict = value.AsDict()) return dict->depth;
  if (const Generator* generator = value.AsGenerator()) return generator->depth;
  if (const Callable* callable = value.AsCallable()) return DepthOf(callable->self);
  return 0;
}

std::optional<Integer> Value::AsIndex() const {
  if (const Integer* integer = AsInteger()) return *integer;
  if (const bool* boolean = AsBool()) return Integer(*boolean ? 1 : 0);
  return std::nullopt;
}

const Sequence* Value::AsList() const {
  const Sequence* sequence = AsSequence();
  return sequence != nullptr && sequence->kind == SequenceKind::kList ? sequence : nullptr;
}

const Sequence* Value::AsTuple() const {
  const Sequence* sequence = AsSequence();
  if (sequence == nullptr) return nullptr;
  return sequence->kind == SequenceKind::kTuple || sequence->kind == SequenceKind::kGroup ? sequence
                                                                                          : nullptr;
}

Value MakeSequence(SequenceKind kind, std::vector<Value> items, Budget& budget) {
  auto sequence = std::make_shared<Sequence>();
  sequence->kind = kind;
  sequence->depth = BoundItems(items, budget);
  sequence->items = std::move(items);
  sequence->hashable =
      kind != SequenceKind::kList && std::all_of(sequence->items.begin(), sequence->items.end(), Hashable);
  return sequence;
}

Value MakeRange(Integer start, Integer stop, Integer step, Budget& budget) {
  auto sequence = std::make_shared<Sequence>();
  sequence->kind = SequenceKind::kRange;
  sequence->range = {start, stop, step};
  sequence->hashable = true;
  for (Integer i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (!budget.Allocate(sizeof(Value)) || !budget.Work(sizeof(Value))) break;
    sequence->items.emplace_back(i);
  }
  return sequence;
}

Value MakeGenerator(std::vector<Value> items, absl::Status end, Budget& budget) {
  auto generator = std::make_shared<Generator>();
  generator->depth = BoundItems(items, budget);
  generator->items = std::move(items);
  generator->end = std::move(end);
  return generator;
}

Value MakeUndefined(std::string message) {
  return std::make_shared<const Undefined>(Undefined{std::move(message)});
}

Value* Namespace::Find(std::string_view name) {
  for (auto& [key, value] : attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::string_view TypeName(const Value& value) {
  if (value.IsNone()) return "NoneType";
  if (value.AsBool()) return "bool";
  if (value.AsInteger()) return "int";
  if (value.AsFloat()) return "float";
  if (const Str* text = value.AsStr()) return text->markup() ? "Markup" : "str";
  if (value.IsUndefined()) return "Undefined";
  if (value.AsDict()) return "dict";
  if (value.AsGenerator()) return "generator";
  if (value.AsNamespace()) return "Namespace";
  if (value.AsLoop()) return "LoopContext";
  if (const Sequence* sequence = value.AsSequence()) {
    switch (sequence->kind) {
      case SequenceKind::kList:
        return "list";
      case SequenceKind::kTuple:
        return "tuple";
      case SequenceKind::kGroup:
        return "_GroupTuple";
      case SequenceKind::kRange:
        return "range";
      case SequenceKind::kKeys:
        return "dict_keys";
      case SequenceKind::kValues:
        return "dict_values";
      case SequenceKind::kItems:
        return "dict_items";
    }
  }
  const Callable* callable = value.AsCallable();
  return callable != nullptr && callable->macro != nullptr ? "Macro" : "builtin_function_or_method";
}

bool Truthy(const Value& value) {
  if (const bool* boolean = value.AsBool()) return *boolean;
  if (const Integer* integer = value.AsInteger()) return *integer != 0;
  if (const double* number = value.AsFloat()) return *number != 0;
  if (const Str* text = value.AsStr()) return !text->empty();
  if (const Sequence* sequence = value.AsSequence()) return !sequence->items.empty();
  if (const Dict* dict = value.AsDict()) return !dict->entries.empty();
  return !value.IsNone() && !value.IsUndefined();
}

absl::StatusOr<Integer> Length(const Value& value) {
  if (const Str* text = value.AsStr()) return Integer(CountCodePoints(*text));
  if (const Sequence* sequence = value.AsSequence()) return Integer(sequence->items.size());
  if (const Dict* dict = value.AsDict()) return Integer(dict->entries.size());
  if (value.IsUndefined()) return Integer(0);
  if (Loop* loop = value.AsLoop()) return loop->Length();
  return TypeError(absl::StrCat("object of type '", std::string(TypeName(value)), "' has no len()"));
}

absl::StatusOr<ValueIterator> ValueIterator::Over(const Value& iterable) {
  const bool can = iterable.AsSequence() || iterable.AsDict() || iterable.AsStr() || iterable.IsUndefined() ||
                   iterable.AsGenerator();
  if (!can) return TypeError(absl::StrCat("'", std::string(TypeName(iterable)), "' object is not iterable"));
  ValueIterator result;
  result.iterable_ = iterable;
  return result;
}

absl::StatusOr<std::optional<Value>> ValueIterator::Next() {
  if (const Sequence* sequence = iterable_.AsSequence()) {
    if (position_ == sequence->items.size()) return std::nullopt;
    return sequence->items[position_++];
  }
  if (const Dict* dict = iterable_.AsDict()) {
    if (position_ == dict->entries.size()) return std::nullopt;
    return dict->entries[position_++].first;
  }
  if (const Str* text = iterable_.AsStr()) {
    if (position_ == text->size()) return std::nullopt;
    const size_t begin = position_;
    position_ += DecodeAt(text->view(), begin).bytes;
    return Value(text->Slice(begin, position_));
  }
  if (Generator* generator = iterable_.AsGenerator()) {
    if (generator->next < generator->items.size()) return generator->items[generator->next++];
    absl::Status end = std::exchange(generator->end, absl::OkStatus());
    RETURN_IF_ERROR(end);
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<Value>> Items(const Value& iterable, Budget& budget) {
  ASSIGN_OR_RETURN(ValueIterator iterator, ValueIterator::Over(iterable));
  std::vector<Value> items;
  while (true) {
    ASSIGN_OR_RETURN(std::optional<Value> item, iterator.Next());
    if (!item.has_value()) return items;
    if (!budget.Allocate(sizeof(Value)) || !budget.Work(sizeof(Value))) return budget.status();
    items.push_back(*std::move(item));
  }
}

absl::Status TypeError(std::string_view message) { return absl::InvalidArgumentError(std::string(message)); }
absl::Status ValueError(std::string_view message) { return absl::InvalidArgumentError(std::string(message)); }
absl::Status UndefinedError(const Undefined& undefined) {
  return absl::InvalidArgumentError(undefined.message);
}

}  // namespace ropeway::jinja
