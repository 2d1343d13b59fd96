#include "engine/text/jinja/interpreter.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/builtins.h"

namespace ropeway::jinja {
namespace {

// Of going past a variable in the search for another, compared with copying a byte.
constexpr int64_t kCostOfName = 4;

std::vector<Value> MakeGlobals(const Program& program, std::vector<std::optional<Value>> variables) {
  std::vector<Value> globals(program.symbols.size());
  for (size_t i = 0; i < globals.size(); ++i) {
    const std::string& name = program.symbols[i];
    if (variables[i].has_value()) {
      globals[i] = *std::move(variables[i]);
    } else if (const Native function = FindFunction(name)) {
      auto callable = std::make_shared<Callable>();
      callable->name = name;
      callable->native = function;
      globals[i] = Value(std::shared_ptr<const Callable>(std::move(callable)));
    } else {
      globals[i] = MakeUndefined(absl::StrCat("'", name, "' is undefined"));
    }
  }
  return globals;
}

}  // namespace

const Value* Scope::Find(Symbol symbol) const {
  for (const auto& [name, value] : variables_) {
    if (name == symbol) return &value;
  }
  return nullptr;
}

void Scope::Set(Symbol symbol, Value value) {
  for (auto& [name, there] : variables_) {
    if (name != symbol) continue;
    there = std::move(value);
    return;
  }
  variables_.emplace_back(symbol, std::move(value));
}

Interpreter::Interpreter(const Program& program, std::vector<std::optional<Value>> variables,
                         absl::CivilSecond now, Budget& budget)
    : program_(program),
      budget_(budget),
      now_(now),
      globals_(MakeGlobals(program, std::move(variables))),
      scope_(NewScope(nullptr)) {}

absl::StatusOr<Str> Interpreter::Render() {
  StrBuilder page(budget_);
  out_ = &page;
  page_ = &page;
  const absl::StatusOr<Flow> flow = Execute(program_.body);
  absl::Status status = budget_.exhausted() ? budget_.status() : flow.status();
  if (status.ok()) return page.Build();
  if (raised_ && !budget_.exhausted()) return status;
  return absl::InvalidArgumentError(absl::StrCat("line ", line_, ": ", status.message()));
}

absl::Status Interpreter::Raise(std::string message) {
  raised_ = true;
  return absl::InvalidArgumentError(message);
}

Namespace* Interpreter::NewNamespace() {
  budget_.Allocate(sizeof(Namespace));
  namespaces_.push_back(std::make_unique<Namespace>());
  return namespaces_.back().get();
}

Scope* Interpreter::NewScope(Scope* parent) {
  Scope* scope = nullptr;
  if (free_scopes_.empty()) {
    budget_.Allocate(sizeof(Scope));
    scopes_.push_back(std::make_unique<Scope>());
    scope = scopes_.back().get();
  } else {
    scope = free_scopes_.back();
    free_scopes_.pop_back();
  }
  scope->parent_ = parent;
  return scope;
}

void Interpreter::ReleaseScope(Scope* scope) {
  if (scope->captured_) return;  // kept until the end
  scope->variables_.clear();
  free_scopes_.push_back(scope);
}

void Interpreter::CaptureScopes(Scope* scope) {
  for (; scope != nullptr && !scope->captured_; scope = scope->parent_) scope->captured_ = true;
}

Value Interpreter::Lookup(Symbol symbol) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent_) {
    budget_.Work(kCostOfName * static_cast<int64_t>(scope->variables_.size()));
    if (const Value* value = scope->Find(symbol)) return *value;
  }
  return globals_[static_cast<size_t>(symbol)];
}

absl::Status Interpreter::Assign(const Target& target, const Value& value) {
  if (!target.attribute.empty()) {
    Namespace* space = Lookup(target.symbol).AsNamespace();
    if (space == nullptr) return TypeError("cannot assign attribute on non-namespace object");
    budget_.Work(kCostOfName * static_cast<int64_t>(space->attributes.size()));
    if (Value* there = space->Find(target.attribute)) {
      *there = value;
    } else {
      budget_.Allocate(static_cast<int64_t>(sizeof(Value) + target.attribute.size()));
      space->attributes.emplace_back(target.attribute, value);
    }
    return absl::OkStatus();
  }
  if (target.parts.empty()) {
    budget_.Work(kCostOfName * static_cast<int64_t>(scope_->variables_.size()));
    scope_->Set(target.symbol, value);
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<Value>> items = Items(value, budget_);
  if (!items.ok()) {
    return TypeError(absl::StrCat("cannot unpack non-iterable ", std::string(TypeName(value)), " object"));
  }
  if (items->size() != target.parts.size()) {
    return ValueError(absl::StrCat("cannot unpack ", items->size(), " values into ", target.parts.size()));
  }
  for (size_t i = 0; i < items->size(); ++i) RETURN_IF_ERROR(Assign(target.parts[i], (*items)[i]));
  return absl::OkStatus();
}

}  // namespace ropeway::jinja
