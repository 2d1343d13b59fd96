#include "engine/text/jinja/lookup.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/loop.h"
#include "engine/text/jinja/print.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

// How messages name a value: None, 'list object'.
std::string ObjectName(const Value& object) {
  if (object.IsNone()) return "None";
  return absl::StrCat(std::string(TypeName(object)), " object");
}

Value MissingAttribute(const Value& object, const Str& name, Budget& budget) {
  return MakeUndefined(absl::StrCat("'", ObjectName(object), "' has no attribute ",
                                    std::string(Repr(name.WithMarkup(false), budget).view())));
}

Value MissingItem(const Value& object, const Value& index, Budget& budget) {
  if (const Str* name = index.AsStr()) return MissingAttribute(object, *name, budget);
  return MakeUndefined(
      absl::StrCat(ObjectName(object), " has no element ", std::string(Repr(index, budget).view())));
}

// Methods that change their object, which the sandbox keeps from templates.
bool ChangesObject(const Value& object, std::string_view name) {
  constexpr std::string_view kListMethods[] = {"append", "clear",  "extend",  "insert",
                                               "pop",    "remove", "reverse", "sort"};
  constexpr std::string_view kDictMethods[] = {"clear", "pop", "popitem", "setdefault", "update"};
  const auto has = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  return (object.AsList() && has(kListMethods)) || (object.AsDict() && has(kDictMethods));
}

Native FindMethod(const Value& object, std::string_view name) {
  if (object.AsStr()) return FindStringMethod(name);
  if (object.AsDict()) return FindDictMethod(name);
  if (object.AsList()) return FindListMethod(name);
  if (object.AsTuple()) return FindTupleMethod(name);
  if (object.AsLoop()) return FindLoopMethod(name);
  return nullptr;
}

// A method or attribute; nullopt when there is none.
absl::StatusOr<std::optional<Value>> FindAttribute(const Value& object, const Str& name, Budget& budget) {
  const std::string_view text = name.view();
  if (const Native method = FindMethod(object, text)) {
    auto callable = std::make_shared<Callable>();
    callable->name = std::string(text);
    callable->native = method;
    callable->self = object;
    return Value(std::shared_ptr<const Callable>(std::move(callable)));
  }
  const bool is_internal =
      text.size() > 4 && text.substr(0, 2) == "__" && text.substr(text.size() - 2) == "__";
  if (ChangesObject(object, text) || is_internal) {
    return MakeUndefined(absl::StrCat("access to attribute '", std::string(text), "' of '",
                                      std::string(TypeName(object)), "' object is unsafe."));
  }
  if (Namespace* space = object.AsNamespace()) {
    budget.Work(static_cast<int64_t>(4 * space->attributes.size()));
    if (const Value* value = space->Find(text)) return *value;
  }
  if (Loop* loop = object.AsLoop()) return loop->Attribute(text);
  const Sequence* sequence = object.AsSequence();
  if (sequence != nullptr && sequence->kind == SequenceKind::kGroup) {
    if (text == "grouper") return sequence->items[0];
    if (text == "list") return sequence->items[1];
  }
  const Callable* callable = object.AsCallable();
  if (callable != nullptr && text == "name") return Value(Str::Literal(callable->name));
  return std::nullopt;
}

// The value under a key or at a position; nullopt when there is none.
std::optional<Value> FindItem(const Value& object, const Value& index, Budget& budget) {
  if (const Dict* dict = object.AsDict()) {
    const Value* found = Hashable(index) ? dict->Find(index, budget) : nullptr;
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  const Sequence* sequence = object.AsSequence();
  const bool is_view =
      sequence != nullptr && !object.AsList() && !object.AsTuple() && sequence->kind != SequenceKind::kRange;
  const std::optional<Integer> position = index.AsIndex();
  if (!position.has_value() || is_view || (sequence == nullptr && object.AsStr() == nullptr))
    return std::nullopt;
  const Str* text = object.AsStr();
  const Integer length = text != nullptr ? Integer(CountCodePoints(*text)) : Integer(sequence->items.size());
  const Integer i = *position < 0 ? *position + length : *position;
  if (i < 0 || i >= length) return std::nullopt;
  if (text == nullptr) return sequence->items[static_cast<size_t>(i)];
  budget.Work(static_cast<int64_t>(text->known_ascii() ? 1 : 2 * text->size()));
  const size_t begin = OffsetOf(*text, static_cast<size_t>(i));
  return Value(text->Slice(begin, begin + DecodeAt(text->view(), begin).bytes));
}

// The indices that a slice stands for.
struct Indices {
  Integer start;
  Integer step;
  Integer count;
};

absl::StatusOr<std::optional<Integer>> SliceIndex(const Value& value) {
  if (value.IsNone()) return std::nullopt;
  const std::optional<Integer> index = value.AsIndex();
  if (!index.has_value()) {
    return TypeError("slice indices must be integers or None or have an __index__ method");
  }
  return index;
}

absl::StatusOr<Indices> ResolveSlice(const Value& start, const Value& stop, const Value& step,
                                     Integer length) {
  ASSIGN_OR_RETURN(const std::optional<Integer> first, SliceIndex(start));
  ASSIGN_OR_RETURN(const std::optional<Integer> end, SliceIndex(stop));
  ASSIGN_OR_RETURN(const std::optional<Integer> stride, SliceIndex(step));
  Indices indices;
  indices.step = std::clamp<Integer>(stride.value_or(1), -length - 1, length + 1);
  if (stride == Integer(0)) return ValueError("slice step cannot be zero");
  const bool forward = indices.step > 0;
  const Integer low = forward ? 0 : -1;
  const Integer high = forward ? length : length - 1;
  const auto resolve = [&](std::optional<Integer> index, Integer otherwise) {
    if (!index.has_value()) return otherwise;
    const Integer bounded = std::clamp<Integer>(*index, -length - 1, length + 1);
    return std::clamp<Integer>(bounded < 0 ? bounded + length : bounded, low, high);
  };
  indices.start = resolve(first, forward ? low : high);
  const Integer limit = resolve(end, forward ? high : low);
  const Integer span = forward ? limit - indices.start : indices.start - limit;
  const Integer stride_size = forward ? indices.step : -indices.step;
  indices.count = span <= 0 ? Integer(0) : (span - 1) / stride_size + 1;
  return indices;
}

Value SliceText(const Str& text, const Indices& indices, Budget& budget) {
  const auto start = static_cast<size_t>(indices.start);
  const auto count = static_cast<size_t>(indices.count);
  budget.Work(static_cast<int64_t>(2 * text.size()));
  if (count == 0) return Str().WithMarkup(text.markup());
  if (indices.step == 1) {
    const size_t begin = OffsetOf(text, start);
    return text.Slice(begin, begin + OffsetOf(text.From(begin), count));
  }
  std::vector<size_t> offsets;
  if (!budget.Allocate(static_cast<int64_t>(text.size() * sizeof(size_t)))) return Str();
  for (size_t i = 0; i < text.size(); i += DecodeAt(text.view(), i).bytes) offsets.push_back(i);
  offsets.push_back(text.size());
  StrBuilder out(budget);
  for (size_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(indices.start + indices.step * static_cast<Integer>(i));
    out.Append(text.Slice(offsets[at], offsets[at + 1]));
  }
  return out.Build().WithMarkup(text.markup());
}

Value SliceSequence(const Sequence& sequence, const Indices& indices, Budget& budget) {
  if (sequence.kind == SequenceKind::kRange) {
    const Integer start = sequence.range.start + indices.start * sequence.range.step;
    const Integer step = indices.step * sequence.range.step;
    return MakeRange(start, start + indices.count * step, step, budget);
  }
  std::vector<Value> items;
  for (Integer i = 0; i < indices.count && budget.Work(sizeof(Value)); ++i) {
    items.push_back(sequence.items[static_cast<size_t>(indices.start + i * indices.step)]);
  }
  const bool is_list = sequence.kind == SequenceKind::kList;
  return MakeSequence(is_list ? SequenceKind::kList : SequenceKind::kTuple, std::move(items), budget);
}

}  // namespace

absl::StatusOr<Value> GetAttribute(const Value& object, const Str& name, Budget& budget) {
  if (const Undefined* undefined = object.AsUndefined()) return UndefinedError(*undefined);
  ASSIGN_OR_RETURN(std::optional<Value> attribute, FindAttribute(object, name, budget));
  if (attribute.has_value()) return *std::move(attribute);
  if (const Dict* dict = object.AsDict()) {
    if (const Value* found = dict->Find(name.view())) return *found;
  }
  return MissingAttribute(object, name, budget);
}

absl::StatusOr<Value> GetItem(const Value& object, const Value& index, Budget& budget) {
  if (const Undefined* undefined = object.AsUndefined()) return UndefinedError(*undefined);
  if (std::optional<Value> item = FindItem(object, index, budget)) return *std::move(item);
  if (const Str* name = index.AsStr()) {
    ASSIGN_OR_RETURN(std::optional<Value> attribute, FindAttribute(object, *name, budget));
    if (attribute.has_value()) return *std::move(attribute);
  }
  return MissingItem(object, index, budget);
}

absl::StatusOr<Value> GetSlice(const Value& object, const Value& start, const Value& stop, const Value& step,
                               Budget& budget) {
  if (const Undefined* undefined = object.AsUndefined()) return UndefinedError(*undefined);
  const Sequence* sequence = object.AsSequence();
  const bool sliceable = object.AsStr() || object.AsList() || object.AsTuple() ||
                         (sequence != nullptr && sequence->kind == SequenceKind::kRange);
  if (!sliceable) {
    return TypeError(absl::StrCat("'", std::string(TypeName(object)), "' object is not subscriptable"));
  }
  ASSIGN_OR_RETURN(const Integer length, Length(object));
  ASSIGN_OR_RETURN(const Indices indices, ResolveSlice(start, stop, step, length));
  if (const Str* text = object.AsStr()) return SliceText(*text, indices, budget);
  return SliceSequence(*sequence, indices, budget);
}

absl::StatusOr<Value> GetPath(const Value& object, const Value& path, Budget& budget) {
  const Str* text = path.AsStr();
  if (text == nullptr) return GetItem(object, path, budget);
  Value value = object;
  for (size_t begin = 0; begin <= text->size();) {
    const size_t end = std::min(text->view().find('.', begin), text->size());
    const Str part = text->Slice(begin, end);
    const bool is_number = !part.empty() && std::all_of(part.view().begin(), part.view().end(),
                                                        [](char c) { return c >= '0' && c <= '9'; });
    const std::optional<Integer> number = is_number ? ParseInteger(part.view()) : std::nullopt;
    ASSIGN_OR_RETURN(value, GetItem(value, number.has_value() ? Value(*number) : Value(part), budget));
    begin = end + 1;
  }
  return value;
}

}  // namespace ropeway::jinja
