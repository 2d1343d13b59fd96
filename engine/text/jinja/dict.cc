// Hashing, equality, order and membership of values, and the mapping that rests on them.
#include <algorithm>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/text_search.h"
#include "engine/text/jinja/value.h"

namespace ropeway::jinja {
namespace {

constexpr size_t kMaxScannedEntries = 8;  // smaller mappings are searched without a hash table

uint64_t HashText(std::string_view text) {
  return absl::Hash<absl::string_view>()(absl::string_view(text.data(), text.size()));
}

// Equal values have equal hashes: 1, 1.0 and True, and equal tuples.
uint64_t HashOf(const Value& value, Budget& budget) {
  if (const Str* text = value.AsStr()) return HashText(text->view());
  if (const auto index = value.AsIndex()) return absl::Hash<double>()(static_cast<double>(*index));
  if (const double* number = value.AsFloat()) return absl::Hash<double>()(*number);
  if (const Sequence* sequence = value.AsSequence()) {
    uint64_t hash = sequence->items.size();
    for (const Value& item : sequence->items) {
      if (!budget.Step()) break;
      hash = absl::HashOf(hash, HashOf(item, budget));
    }
    return hash;
  }
  return 0;
}

bool SequencesEqual(const Sequence& left, const Sequence& right, Budget& budget) {
  if (&left == &right) return true;
  if (left.items.size() != right.items.size()) return false;
  for (size_t i = 0; i < left.items.size(); ++i) {
    if (!budget.Step() || !Equal(left.items[i], right.items[i], budget)) return false;
  }
  return true;
}

bool DictsEqual(const Dict& left, const Dict& right, Budget& budget) {
  if (&left == &right) return true;
  if (left.entries.size() != right.entries.size()) return false;
  for (const auto& [key, value] : left.entries) {
    if (!budget.Step()) return false;
    const Value* other = right.Find(key, budget);
    if (other == nullptr || !Equal(value, *other, budget)) return false;
  }
  return true;
}

bool SameKind(const Sequence& left, const Sequence& right) {
  const auto plain = [](SequenceKind kind) {
    return kind == SequenceKind::kGroup ? SequenceKind::kTuple : kind;
  };
  return plain(left.kind) == plain(right.kind);
}

bool IsNumber(const Value& value) { return value.AsFloat() != nullptr || value.AsIndex().has_value(); }

// REQUIRES: both are numbers.
std::partial_ordering CompareNumbers(const Value& left, const Value& right) {
  const double* left_float = left.AsFloat();
  const double* right_float = right.AsFloat();
  if (left_float != nullptr && right_float != nullptr) return *left_float <=> *right_float;
  if (right_float != nullptr) return Compare(*left.AsIndex(), *right_float);
  if (left_float != nullptr) return 0 <=> Compare(*right.AsIndex(), *left_float);
  const Integer a = *left.AsIndex();
  const Integer b = *right.AsIndex();
  if (a == b) return std::partial_ordering::equivalent;
  return a < b ? std::partial_ordering::less : std::partial_ordering::greater;
}

// Three-way order of two values; `sign` is only for the message.
absl::StatusOr<std::partial_ordering> Order(const Value& left, const Value& right, std::string_view sign,
                                            Budget& budget) {
  budget.Step();
  if (budget.exhausted()) return budget.status();
  if (const Undefined* undefined = left.AsUndefined()) return UndefinedError(*undefined);
  if (const Undefined* undefined = right.AsUndefined()) return UndefinedError(*undefined);
  if (IsNumber(left) && IsNumber(right)) return CompareNumbers(left, right);
  if (left.AsStr() && right.AsStr()) {
    budget.Work(static_cast<int64_t>(std::min(left.AsStr()->size(), right.AsStr()->size())));
    return left.AsStr()->view().compare(right.AsStr()->view()) <=> 0;
  }
  const Sequence* a = left.AsSequence();
  const Sequence* b = right.AsSequence();
  const bool ordered = a && b && SameKind(*a, *b) && (left.AsList() || left.AsTuple());
  if (!ordered) {
    return TypeError(absl::StrCat("'", std::string(sign), "' not supported between instances of '",
                                  std::string(TypeName(left)), "' and '", std::string(TypeName(right)), "'"));
  }
  for (size_t i = 0; i < std::min(a->items.size(), b->items.size()); ++i) {
    if (!Equal(a->items[i], b->items[i], budget)) return Order(a->items[i], b->items[i], sign, budget);
  }
  return a->items.size() <=> b->items.size();
}

}  // namespace

bool Hashable(const Value& value) {
  if (const Sequence* sequence = value.AsSequence()) return sequence->hashable;
  return value.AsDict() == nullptr;
}

bool Equal(const Value& left, const Value& right, Budget& budget) {
  if (const Str* text = left.AsStr()) {
    const Str* other = right.AsStr();
    if (other == nullptr || text->size() != other->size()) return false;
    budget.Work(static_cast<int64_t>(text->size()));
    return text->view() == other->view();
  }
  if (IsNumber(left)) return IsNumber(right) && CompareNumbers(left, right) == 0;
  if (const Sequence* sequence = left.AsSequence()) {
    const Sequence* other = right.AsSequence();
    return other != nullptr && SameKind(*sequence, *other) && SequencesEqual(*sequence, *other, budget);
  }
  if (const Dict* dict = left.AsDict()) return right.AsDict() && DictsEqual(*dict, *right.AsDict(), budget);
  if (left.IsNone()) return right.IsNone();
  if (left.IsUndefined()) return right.IsUndefined();
  if (const Callable* callable = left.AsCallable()) return callable == right.AsCallable();
  if (left.AsNamespace()) return left.AsNamespace() == right.AsNamespace();
  if (left.AsLoop()) return left.AsLoop() == right.AsLoop();
  return left.AsGenerator() == right.AsGenerator();
}

absl::StatusOr<bool> Less(const Value& left, const Value& right, Budget& budget) {
  ASSIGN_OR_RETURN(const auto order, Order(left, right, "<", budget));
  return order < 0;
}

absl::StatusOr<bool> LessOrEqual(const Value& left, const Value& right, Budget& budget) {
  ASSIGN_OR_RETURN(const auto order, Order(left, right, "<=", budget));
  return order <= 0;
}

absl::StatusOr<bool> Contains(const Value& container, const Value& item, Budget& budget) {
  if (const Str* text = container.AsStr()) {
    const Str* part = item.AsStr();
    if (part == nullptr) {
      return TypeError(
          absl::StrCat("'in <string>' requires string as left operand, not ", std::string(TypeName(item))));
    }
    budget.Work(static_cast<int64_t>(text->size()));
    return FindText(text->view(), part->view()) != std::string_view::npos;
  }
  if (const Dict* dict = container.AsDict()) {
    if (!Hashable(item))
      return TypeError(absl::StrCat("unhashable type: '", std::string(TypeName(item)), "'"));
    return dict->Find(item, budget) != nullptr;
  }
  absl::StatusOr<ValueIterator> iterator = ValueIterator::Over(container);
  if (!iterator.ok()) {
    return TypeError(
        absl::StrCat("argument of type '", std::string(TypeName(container)), "' is not iterable"));
  }
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<Value> element, iterator->Next());
    if (!element.has_value() || !budget.Work(sizeof(Value))) return false;
    if (Equal(*element, item, budget)) return true;
  }
}

size_t Dict::FindSlot(const Value& key, uint64_t hash, Budget& budget) const {
  size_t slot = hash & (slots.size() - 1);
  while (slots[slot] != 0 && !Equal(entries[slots[slot] - 1].first, key, budget) && !budget.exhausted()) {
    slot = (slot + 1) & (slots.size() - 1);
  }
  return slot;
}

size_t Dict::FindEntry(const Value& key, Budget& budget) const {
  if (slots.empty()) {
    size_t i = 0;
    while (i < entries.size() && !Equal(entries[i].first, key, budget)) ++i;
    return i;
  }
  const size_t slot = FindSlot(key, HashOf(key, budget), budget);
  return slots[slot] == 0 || budget.exhausted() ? entries.size() : slots[slot] - 1;
}

const Value* Dict::Find(const Value& key, Budget& budget) const {
  const size_t i = FindEntry(key, budget);
  return i == entries.size() ? nullptr : &entries[i].second;
}

const Value* Dict::Find(std::string_view key) const {
  const auto matches = [&](const Entry& entry) {
    const Str* text = entry.first.AsStr();
    return text != nullptr && text->view() == key;
  };
  if (slots.empty()) {
    const auto found = std::find_if(entries.begin(), entries.end(), matches);
    return found == entries.end() ? nullptr : &found->second;
  }
  size_t slot = HashText(key) & (slots.size() - 1);
  while (slots[slot] != 0 && !matches(entries[slots[slot] - 1])) slot = (slot + 1) & (slots.size() - 1);
  return slots[slot] == 0 ? nullptr : &entries[slots[slot] - 1].second;
}

DictBuilder::DictBuilder(Budget& budget) : budget_(budget), dict_(std::make_shared<Dict>()) {
  budget_.Allocate(sizeof(Dict));
}

absl::Status DictBuilder::Set(const Value& key, Value value) {
  if (!Hashable(key)) return TypeError(absl::StrCat("unhashable type: '", std::string(TypeName(key)), "'"));
  if (!budget_.Allocate(sizeof(Dict::Entry) + 2 * sizeof(uint32_t))) return budget_.status();
  if (const size_t i = dict_->FindEntry(key, budget_); i < dict_->entries.size()) {
    dict_->entries[i].second = std::move(value);
    return absl::OkStatus();
  }
  dict_->entries.emplace_back(key, std::move(value));
  if (dict_->entries.size() <= kMaxScannedEntries) return absl::OkStatus();
  if (2 * dict_->entries.size() > dict_->slots.size()) {
    Rehash();
  } else {
    dict_->slots[dict_->FindSlot(key, HashOf(key, budget_), budget_)] =
        static_cast<uint32_t>(dict_->entries.size());
  }
  return absl::OkStatus();
}

void DictBuilder::Rehash() {
  dict_->slots.assign(std::max<size_t>(4 * kMaxScannedEntries, 2 * dict_->slots.size()), 0);
  for (size_t i = 0; i < dict_->entries.size(); ++i) {
    const Value& key = dict_->entries[i].first;
    dict_->slots[dict_->FindSlot(key, HashOf(key, budget_), budget_)] = static_cast<uint32_t>(i + 1);
  }
}

Value DictBuilder::Build() {
  int depth = 0;
  for (const auto& [key, value] : dict_->entries) depth = std::max({depth, DepthOf(key), DepthOf(value)});
  dict_->depth = depth + 1;
  if (!budget_.CheckDepth(dict_->depth)) return std::make_shared<const Dict>();
  return std::shared_ptr<const Dict>(std::move(dict_));
}

}  // namespace ropeway::jinja
