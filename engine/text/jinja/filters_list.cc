// Filters of lists and mappings.
#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/arguments.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/filters.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/lookup.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/print.h"
#include "engine/text/jinja/unicode.h"

namespace ropeway::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// Appends what an item gives: nothing, itself or something made from it.
using PerItem = std::function<absl::Status(const Value& item, std::vector<Value>& out)>;

// A generator over what `per_item` gives. An error is kept for when the reader comes to it.
Result Generate(Interpreter& interpreter, const Value& iterable, const PerItem& per_item) {
  Budget& budget = interpreter.budget();
  std::vector<Value> out;
  const auto run = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ValueIterator iterator, ValueIterator::Over(iterable));
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<Value> item, iterator.Next());
      if (!item.has_value()) return absl::OkStatus();
      if (!budget.Step()) return budget.status();
      RETURN_IF_ERROR(per_item(*item, out));
    }
  };
  absl::Status end = run();
  return MakeGenerator(std::move(out), std::move(end), budget);
}

// A generator that fails when it is read.
Result Failing(Interpreter& interpreter, std::string_view message) {
  return MakeGenerator({}, TypeError(message), interpreter.budget());
}

// What sorting and grouping go by: the item or its attribute, texts in lower case unless case counts.
Value IgnoreCase(const Value& value, bool case_sensitive, Budget& budget) {
  const Str* text = value.AsStr();
  if (case_sensitive || text == nullptr) return value;
  return Value(MapCase(*text, CaseMapping::kLower, budget));
}

Result KeyOf(const Value& item, const Value* attribute, bool case_sensitive, Budget& budget) {
  Value key = item;
  if (attribute != nullptr && !attribute->IsNone()) {
    ASSIGN_OR_RETURN(key, GetPath(item, *attribute, budget));
  }
  return IgnoreCase(key, case_sensitive, budget);
}

// What sort() goes by: the list of KeyOf for each of the attributes, which commas separate. That a list it is
// shows where attributes are missing: lists of undefined values are equal, while undefined values have no
// order.
Result SortKeyOf(const Value& item, const Value* attribute, bool case_sensitive, Budget& budget) {
  const Str* names = attribute == nullptr ? nullptr : attribute->AsStr();
  std::vector<Value> keys;
  if (names == nullptr) {
    ASSIGN_OR_RETURN(Value key, KeyOf(item, attribute, case_sensitive, budget));
    keys.push_back(std::move(key));
  }
  for (size_t begin = 0; names != nullptr && begin <= names->size();) {
    const size_t end = std::min(names->view().find(',', begin), names->size());
    const Value name(names->Slice(begin, end));
    ASSIGN_OR_RETURN(Value key, KeyOf(item, &name, case_sensitive, budget));
    keys.push_back(std::move(key));
    begin = end + 1;
  }
  return MakeList(std::move(keys), budget);
}

// Stable; an error when two keys have no order.
absl::Status SortByKey(std::vector<std::pair<Value, Value>>& keyed, bool reverse, Budget& budget) {
  absl::Status failure;
  const auto before = [&](const auto& a, const auto& b) {
    budget.Step();
    const absl::StatusOr<bool> less =
        reverse ? Less(b.first, a.first, budget) : Less(a.first, b.first, budget);
    if (!less.ok() && failure.ok()) failure = less.status();
    return less.ok() && *less;
  };
  std::stable_sort(keyed.begin(), keyed.end(), before);
  return failure;
}

std::vector<Value> Seconds(std::vector<std::pair<Value, Value>> keyed) {
  std::vector<Value> values;
  values.reserve(keyed.size());
  for (auto& [key, value] : keyed) values.push_back(std::move(value));
  return values;
}

Result Sort(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound,
                   BoundArguments::Bind(arguments, {"reverse", "case_sensitive", "attribute"}));
  Budget& budget = interpreter.budget();
  ASSIGN_OR_RETURN(const std::vector<Value> items, Items(self, budget));
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(Value key, SortKeyOf(item, bound[2], bound.TruthyOr(1, false), budget));
    keyed.emplace_back(std::move(key), item);
  }
  RETURN_IF_ERROR(SortByKey(keyed, bound.TruthyOr(0, false), budget));
  return MakeList(Seconds(std::move(keyed)), budget);
}

Result DictSort(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"case_sensitive", "by", "reverse"}));
  ASSIGN_OR_RETURN(const Str by, bound.TextOr(1, Str::Literal("key")));
  if (by.view() != "key" && by.view() != "value")
    return ValueError("You can only sort by either \"key\" or \"value\"");
  if (const Undefined* undefined = self.AsUndefined()) return UndefinedError(*undefined);
  const Dict* dict = self.AsDict();
  if (dict == nullptr)
    return TypeError(absl::StrCat("'", std::string(TypeName(self)), "' object has no attribute 'items'"));
  Budget& budget = interpreter.budget();
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : dict->entries) {
    if (!budget.Step()) return budget.status();
    keyed.emplace_back(IgnoreCase(by.view() == "key" ? key : value, bound.TruthyOr(0, false), budget),
                       MakeTuple({key, value}, budget));
  }
  RETURN_IF_ERROR(SortByKey(keyed, bound.TruthyOr(2, false), budget));
  return MakeList(Seconds(std::move(keyed)), budget);
}

Result GroupBy(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound,
                   BoundArguments::Bind(arguments, {"attribute", "default", "case_sensitive"}, 1));
  Budget& budget = interpreter.budget();
  ASSIGN_OR_RETURN(const std::vector<Value> items, Items(self, budget));
  const bool case_sensitive = bound.TruthyOr(2, false);
  std::vector<std::pair<Value, Value>> keyed;

  for (const Value& item : items) {
    ASSIGN_OR_RETURN(Value value, GetPath(item, *bound[0], budget));
    if (value.IsUndefined() && bound[1] != nullptr) value = *bound[1];
    keyed.emplace_back(IgnoreCase(value, case_sensitive, budget), MakeTuple({value, item}, budget));
  }
  RETURN_IF_ERROR(SortByKey(keyed, /*reverse=*/false, budget));
  if (budget.exhausted()) return budget.status();
  std::vector<Value> groups;
  for (size_t i = 0; i < keyed.size();) {
    const Value& grouper = keyed[i].second.AsSequence()->items[0];
    std::vector<Value> members;
    const Value& key = keyed[i].first;
    for (; i < keyed.size() && Equal(keyed[i].first, key, budget); ++i) {
      members.push_back(keyed[i].second.AsSequence()->items[1]);
    }
    if (members.empty()) ++i;  // a key that does not equal itself
    groups.push_back(
        MakeSequence(SequenceKind::kGroup, {grouper, MakeList(std::move(members), budget)}, budget));
  }
  return MakeList(std::move(groups), budget);
}

Result Unique(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"case_sensitive", "attribute"}));
  Budget& budget = interpreter.budget();
  const auto seen = std::make_shared<DictBuilder>(budget);
  return Generate(interpreter, self, [&](const Value& item, std::vector<Value>& out) -> absl::Status {
    ASSIGN_OR_RETURN(const Value key, KeyOf(item, bound[1], bound.TruthyOr(0, false), budget));
    const size_t before = seen->size();
    RETURN_IF_ERROR(seen->Set(key, Value(true)));
    if (seen->size() > before) out.push_back(item);
    return absl::OkStatus();
  });
}

template <bool want_max>
Result Extreme(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"case_sensitive", "attribute"}));
  Budget& budget = interpreter.budget();
  ASSIGN_OR_RETURN(const std::vector<Value> items, Items(self, budget));
  std::optional<std::pair<Value, Value>> best;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(Value key, KeyOf(item, bound[1], bound.TruthyOr(0, false), budget));
    bool better = !best.has_value();
    if (!better) {
      ASSIGN_OR_RETURN(better, want_max ? Less(best->first, key, budget) : Less(key, best->first, budget));
    }
    if (better) best.emplace(std::move(key), item);
  }
  if (!best.has_value()) return MakeUndefined("No aggregated item, sequence was empty.");
  return best->second;
}

Result Sum(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"attribute", "start"}));
  Budget& budget = interpreter.budget();
  ASSIGN_OR_RETURN(const std::vector<Value> items, Items(self, budget));
  Value sum = bound[1] == nullptr ? Value(0) : *bound[1];
  if (sum.AsStr()) return TypeError("sum() can't sum strings");
  for (const Value& item : items) {
    if (!budget.Step()) return budget.status();
    ASSIGN_OR_RETURN(const Value value, KeyOf(item, bound[0], /*case_sensitive=*/true, budget));
    ASSIGN_OR_RETURN(sum, ApplyBinary(BinaryOperator::kAdd, sum, value, budget));
  }
  return sum;
}

Result Join(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"d", "attribute"}));
  Budget& budget = interpreter.budget();
  const Str separator = bound[0] == nullptr ? Str() : ToText(*bound[0], budget);
  ASSIGN_OR_RETURN(ValueIterator iterator, ValueIterator::Over(self));
  StrBuilder out(budget);
  for (bool first = true;; first = false) {
    ASSIGN_OR_RETURN(const std::optional<Value> item, iterator.Next());
    if (!item.has_value()) return Value(out.Build());
    if (!budget.Step()) return budget.status();
    if (!first) out.Append(separator);
    ASSIGN_OR_RETURN(const Value value, KeyOf(*item, bound[1], /*case_sensitive=*/true, budget));
    out.Append(ToText(value, budget));
  }
}

Result List(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(std::vector<Value> items, Items(self, interpreter.budget()));
  return MakeList(std::move(items), interpreter.budget());
}

Result ItemsFilter(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  Budget& budget = interpreter.budget();
  if (self.IsUndefined()) return MakeGenerator({}, absl::OkStatus(), budget);
  const Dict* dict = self.AsDict();
  if (dict == nullptr) {
    return MakeGenerator({}, TypeError("Can only get item pairs from a mapping."), budget);
  }
  std::vector<Value> pairs;
  for (const auto& [key, value] : dict->entries) {
    if (!budget.Step()) break;
    pairs.push_back(MakeTuple({key, value}, budget));
  }
  return MakeGenerator(std::move(pairs), absl::OkStatus(), budget);
}

Result First(Interpreter&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(ValueIterator iterator, ValueIterator::Over(self));
  ASSIGN_OR_RETURN(std::optional<Value> item, iterator.Next());
  if (!item.has_value()) return MakeUndefined("No first item, sequence was empty.");
  return *std::move(item);
}

Result Last(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  if (self.AsGenerator()) return TypeError("'generator' object is not reversible");
  ASSIGN_OR_RETURN(std::vector<Value> items, Items(self, interpreter.budget()));
  if (items.empty()) return MakeUndefined("No last item, sequence was empty.");
  return std::move(items.back());
}

Result Reverse(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind(arguments, {}).status());
  Budget& budget = interpreter.budget();
  if (self.AsStr()) return GetSlice(self, None(), None(), Value(-1), budget);
  ASSIGN_OR_RETURN(std::vector<Value> items, Items(self, budget));
  std::reverse(items.begin(), items.end());
  return MakeGenerator(std::move(items), absl::OkStatus(), budget);
}

// attr(name): as `object.name`, but never a key.
Result Attr(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"name"}, 1));
  const Str name = ToText(*bound[0], interpreter.budget());
  ASSIGN_OR_RETURN(Value attribute, GetAttribute(self, name, interpreter.budget()));
  const Dict* dict = self.AsDict();
  if (dict == nullptr || attribute.AsCallable() || dict->Find(name.view()) == nullptr) return attribute;
  return MakeUndefined(absl::StrCat("'dict object' has no attribute '", std::string(name.view()), "'"));
}

// batch(size, fill): rows of `size`, the last one filled up.
Result Batch(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"linecount", "fill_with"}, 1));
  ASSIGN_OR_RETURN(const Integer size, bound.IntegerOr(0, 0));
  Budget& budget = interpreter.budget();
  ASSIGN_OR_RETURN(const std::vector<Value> items, Items(self, budget));
  std::vector<Value> rows, row;
  for (const Value& item : items) {
    if (!row.empty() && static_cast<Integer>(row.size()) == size) {
      rows.push_back(MakeList(std::exchange(row, {}), budget));
    }
    row.push_back(item);
  }
  if (!row.empty() && bound[1] != nullptr && !bound[1]->IsNone()) {
    while (static_cast<Integer>(row.size()) < size && budget.Allocate(sizeof(Value)))
      row.push_back(*bound[1]);
  }
  if (!row.empty()) rows.push_back(MakeList(std::move(row), budget));
  return MakeGenerator(std::move(rows), absl::OkStatus(), budget);
}

// slice(count, fill): `count` runs of nearly the same length, the shorter ones filled up.
Result SliceFilter(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"slices", "fill_with"}, 1));
  ASSIGN_OR_RETURN(const Integer count, bound.IntegerOr(0, 0));
  Budget& budget = interpreter.budget();
  ASSIGN_OR_RETURN(const std::vector<Value> items, Items(self, budget));
  if (count == 0) return ValueError("slice: slices must not be 0");
  std::vector<Value> runs;
  auto next = items.begin();
  const Integer length = static_cast<Integer>(items.size()), shortest = length / count,
                longer = length % count;
  for (Integer i = 0; i < count && budget.Step(); ++i) {
    const auto size = static_cast<ptrdiff_t>(shortest + (i < longer ? 1 : 0));
    std::vector<Value> run(next, next + size);
    next += size;
    if (bound[1] != nullptr && !bound[1]->IsNone() && i >= longer) run.push_back(*bound[1]);
    runs.push_back(MakeList(std::move(run), budget));
  }
  return MakeGenerator(std::move(runs), absl::OkStatus(), budget);
}

// Arguments from `first` on.
Arguments Tail(const Arguments& arguments, size_t first) {
  Arguments tail = arguments;
  tail.positional.erase(
      tail.positional.begin(),
      tail.positional.begin() + static_cast<ptrdiff_t>(std::min(first, tail.positional.size())));
  return tail;
}

// map(attribute=..., default=...)
Result MapAttribute(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, BoundArguments::Bind(arguments, {"attribute", "default"}, 1));
  Budget& budget = interpreter.budget();
  return Generate(interpreter, self, [&](const Value& item, std::vector<Value>& out) -> absl::Status {
    const bool has_default = bound[1] != nullptr && !bound[1]->IsNone();
    ASSIGN_OR_RETURN(Value value, GetPath(item, *bound[0], budget));
    if (has_default && value.IsUndefined()) value = *bound[1];
    out.push_back(std::move(value));
    return absl::OkStatus();
  });
}

Result Map(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Budget& budget = interpreter.budget();
  if (!Truthy(self)) return MakeGenerator({}, absl::OkStatus(), budget);
  if (arguments.positional.empty()) return MapAttribute(interpreter, self, arguments);
  const Str name = ToText(arguments.positional[0], budget);
  const Native filter = FindFilter(name.view());
  if (filter == nullptr) {
    return Failing(interpreter, absl::StrCat("No filter named '", std::string(name.view()), "'."));
  }
  const Arguments rest = Tail(arguments, 1);
  return Generate(interpreter, self, [&](const Value& item, std::vector<Value>& out) -> absl::Status {
    ASSIGN_OR_RETURN(Value value, filter(interpreter, item, rest));
    out.push_back(std::move(value));
    return absl::OkStatus();
  });
}

// select, reject, selectattr and rejectattr: the items (or those with an attribute) for which a test holds,
// or fails.
template <bool wanted, bool by_attribute>
Result Select(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  Budget& budget = interpreter.budget();
  if (!Truthy(self)) return MakeGenerator({}, absl::OkStatus(), budget);
  constexpr size_t kTestPosition = by_attribute ? 1 : 0;
  if (by_attribute && arguments.positional.empty()) {
    return Failing(interpreter, "Missing parameter for attribute name");
  }
  Native test = nullptr;
  if (arguments.positional.size() > kTestPosition) {
    const Str name = ToText(arguments.positional[kTestPosition], budget);
    test = FindTest(name.view());
    if (test == nullptr) {
      return Failing(interpreter, absl::StrCat("No test named '", std::string(name.view()), "'."));
    }
  }
  const Arguments rest = Tail(arguments, kTestPosition + 1);
  return Generate(interpreter, self, [&](const Value& item, std::vector<Value>& out) -> absl::Status {
    Value tested = item;
    if (by_attribute) {
      ASSIGN_OR_RETURN(tested, GetPath(item, arguments.positional[0], budget));
    }
    if (test != nullptr) {
      ASSIGN_OR_RETURN(tested, test(interpreter, tested, rest));
    }
    if (Truthy(tested) == wanted) out.push_back(item);
    return absl::OkStatus();
  });
}

constexpr NamedNative kFilters[] = {
    {"join", Join},
    {"list", List},
    {"items", ItemsFilter},
    {"map", Map},
    {"select", Select<true, false>},
    {"reject", Select<false, false>},
    {"selectattr", Select<true, true>},
    {"rejectattr", Select<false, true>},
    {"sort", Sort},
    {"dictsort", DictSort},
    {"groupby", GroupBy},
    {"unique", Unique},
    {"min", Extreme<false>},
    {"max", Extreme<true>},
    {"sum", Sum},
    {"first", First},
    {"last", Last},
    {"reverse", Reverse},
    {"attr", Attr},
    {"batch", Batch},
    {"slice", SliceFilter},
};

}  // namespace

Native FindListFilter(std::string_view name) { return FindNative(kFilters, name); }

}  // namespace ropeway::jinja
