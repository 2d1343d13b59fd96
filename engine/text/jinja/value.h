// The values of a template: those of Python that templates meet.
//
// Values are immutable and cheap to copy, with three exceptions: a namespace, which the interpreter owns and
// values point to; a generator, which remembers how far it was read; a loop. Lists cannot contain themselves,
// and how deep they nest is bounded when they are made, so that walks over values need no limit of their own;
// they do count steps, since a list may contain another many times over. Not thread-safe, literals of a
// template excepted.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_VALUE_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_VALUE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/jinja/budget.h"
#include "engine/text/jinja/number.h"
#include "engine/text/jinja/str.h"

namespace ropeway::jinja {

class Interpreter;
class Loop;
class Value;
struct Callable;
struct Dict;
struct Generator;
struct Namespace;
struct Sequence;
struct Undefined;

struct None {};

class Value {
 public:
  Value() : rep_(None()) {}
  Value(None none) : rep_(none) {}                // NOLINT: values convert as in a template
  Value(bool value) : rep_(value) {}              // NOLINT
  Value(int value) : rep_(Integer(value)) {}      // NOLINT
  Value(int64_t value) : rep_(Integer(value)) {}  // NOLINT
  Value(Integer value) : rep_(value) {}           // NOLINT
  Value(double value) : rep_(value) {}            // NOLINT
  Value(Str value) : rep_(std::move(value)) {}    // NOLINT
  Value(Namespace* value) : rep_(value) {}        // NOLINT
  template <typename T>
  Value(std::shared_ptr<T> value)  // NOLINT
      : rep_(std::shared_ptr<SharedAs<T>>(std::move(value))) {}
  Value(const char*) = delete;  // say where the text comes from: Str::Literal("...")

  // Null when the value is of another kind.
  const Str* AsStr() const { return std::get_if<Str>(&rep_); }
  const Integer* AsInteger() const { return std::get_if<Integer>(&rep_); }
  const double* AsFloat() const { return std::get_if<double>(&rep_); }
  const bool* AsBool() const { return std::get_if<bool>(&rep_); }
  const Undefined* AsUndefined() const { return Get<const Undefined>(); }
  const Sequence* AsSequence() const { return Get<const Sequence>(); }
  const Dict* AsDict() const { return Get<const Dict>(); }
  const Callable* AsCallable() const { return Get<const Callable>(); }
  Generator* AsGenerator() const { return Get<Generator>(); }
  Loop* AsLoop() const { return Get<Loop>(); }
  Namespace* AsNamespace() const {
    auto* found = std::get_if<Namespace*>(&rep_);
    return found == nullptr ? nullptr : *found;
  }
  bool IsNone() const { return std::holds_alternative<None>(rep_); }
  bool IsUndefined() const { return AsUndefined() != nullptr; }
  // An integer or a bool, which counts as 0 or 1.
  std::optional<Integer> AsIndex() const;
  // A list; a tuple.
  const Sequence* AsList() const;
  const Sequence* AsTuple() const;

 private:
  template <typename T>
  using SharedAs = std::conditional_t<std::is_same_v<std::remove_const_t<T>, Generator> ||
                                          std::is_same_v<std::remove_const_t<T>, Loop>,
                                      T, const T>;
  template <typename T>
  T* Get() const {
    auto* found = std::get_if<std::shared_ptr<T>>(&rep_);
    return found == nullptr ? nullptr : found->get();
  }

  std::variant<None, bool, Integer, double, Str, std::shared_ptr<const Undefined>,
               std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>, std::shared_ptr<const Callable>,
               std::shared_ptr<Generator>, std::shared_ptr<Loop>, Namespace*>
      rep_;
};

// What a missing variable, attribute or element gives: it acts as empty or fails, depending on its use.
struct Undefined {
  std::string message;  // of the failure
};

enum class SequenceKind { kList, kTuple, kGroup, kRange, kKeys, kValues, kItems };

struct Sequence {
  SequenceKind kind = SequenceKind::kList;
  std::vector<Value> items;
  int depth = 1;
  bool hashable = false;
  struct {
    Integer start = 0, stop = 0, step = 1;
  } range;  // of kRange
};

// An insertion-ordered mapping with hashed lookup.
struct Dict {
  using Entry = std::pair<Value, Value>;
  std::vector<Entry> entries;
  int depth = 1;

  const Value* Find(const Value& key, Budget& budget) const;  // null when absent; REQUIRES: key is hashable
  const Value* Find(std::string_view key) const;

 private:
  friend class DictBuilder;
  // Index of the entry with `key`; entries.size() when absent.
  size_t FindEntry(const Value& key, Budget& budget) const;
  // The slot of the entry with `key`, or the free one where it belongs.
  size_t FindSlot(const Value& key, uint64_t hash, Budget& budget) const;
  std::vector<uint32_t> slots;  // 1 + index into entries, 0 when free; a power of two, at most half full
};

// A value that is read once, front to back. Its items were computed at once; an error on the way is kept
// until the reader comes there.
struct Generator {
  std::vector<Value> items;
  size_t next = 0;
  absl::Status end = absl::OkStatus();
  int depth = 1;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  Value* Find(std::string_view name);
};

// Positional and keyword arguments of a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<Str, Value>> keyword;
};

// Filters, tests, methods and functions written in C++. `self` is what is filtered, tested or called on.
using Native = absl::StatusOr<Value> (*)(Interpreter& interpreter, const Value& self,
                                         const Arguments& arguments);

struct MacroNode;
class Scope;

struct Callable {
  std::string name;
  // A native function, or a macro with the scope that it was defined in (owned by the interpreter).
  Native native = nullptr;
  Value self;
  const MacroNode* macro = nullptr;
  Scope* scope = nullptr;
};

// Makers, which charge the budget and bound the depth.
Value MakeSequence(SequenceKind kind, std::vector<Value> items, Budget& budget);
inline Value MakeList(std::vector<Value> items, Budget& budget) {
  return MakeSequence(SequenceKind::kList, std::move(items), budget);
}
inline Value MakeTuple(std::vector<Value> items, Budget& budget) {
  return MakeSequence(SequenceKind::kTuple, std::move(items), budget);
}
// REQUIRES: step != 0.
Value MakeRange(Integer start, Integer stop, Integer step, Budget& budget);
Value MakeGenerator(std::vector<Value> items, absl::Status end, Budget& budget);
Value MakeUndefined(std::string message);

class DictBuilder {
 public:
  explicit DictBuilder(Budget& budget);
  // A key that is there keeps its place and gets the new value. TypeError when `key` cannot be hashed.
  absl::Status Set(const Value& key, Value value);
  size_t size() const { return dict_->entries.size(); }
  Value Build();

 private:
  void Rehash();

  Budget& budget_;
  std::shared_ptr<Dict> dict_;
};

// Python's name of the type: "str", "int", "dict".
std::string_view TypeName(const Value& value);
bool Truthy(const Value& value);
// ==, which never fails.
bool Equal(const Value& left, const Value& right, Budget& budget);
// <; a TypeError when the two have no order.
absl::StatusOr<bool> Less(const Value& left, const Value& right, Budget& budget);
absl::StatusOr<bool> LessOrEqual(const Value& left, const Value& right, Budget& budget);
// The `in` operator.
absl::StatusOr<bool> Contains(const Value& container, const Value& item, Budget& budget);
// len(); a TypeError for what has none.
absl::StatusOr<Integer> Length(const Value& value);
bool Hashable(const Value& value);
// How deep `value` nests; 0 for scalars.
int DepthOf(const Value& value);

// Goes through the items of an iterable: of a dict its keys, of a string its code points.
class ValueIterator {
 public:
  // A TypeError when `iterable` is not one; an undefined value is empty.
  static absl::StatusOr<ValueIterator> Over(const Value& iterable);
  // nullopt at the end; the error that a generator ends with.
  absl::StatusOr<std::optional<Value>> Next();

 private:
  Value iterable_;
  size_t position_ = 0;
};

// All items as a vector.
absl::StatusOr<std::vector<Value>> Items(const Value& iterable, Budget& budget);

// Errors with the names that template writers know.
absl::Status TypeError(std::string_view message);
absl::Status ValueError(std::string_view message);
absl::Status UndefinedError(const Undefined& undefined);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_VALUE_H_
