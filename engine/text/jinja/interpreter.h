// Walks the syntax tree of a template and writes its text.
//
// One Interpreter renders once. Not thread-safe; several may share a Program.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_INTERPRETER_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_INTERPRETER_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/budget.h"
#include "engine/text/jinja/value.h"

namespace ropeway::jinja {

// The variables of a block, with those around it reached through `parent`.
class Scope {
 public:
  const Value* Find(Symbol symbol) const;  // here, not in the parents
  void Set(Symbol symbol, Value value);

 private:
  friend class Interpreter;
  Scope* parent_ = nullptr;
  bool captured_ = false;  // a macro was defined inside and may outlive the block
  std::vector<std::pair<Symbol, Value>> variables_;
};

class Interpreter {
 public:
  // `program` and `budget` outlive the interpreter. `variables` are by symbol; nullopt where the request has
  // none.
  Interpreter(const Program& program, std::vector<std::optional<Value>> variables, absl::CivilSecond now,
              Budget& budget);

  // INVALID_ARGUMENT with the line for what fails, and with nothing but its message for what the template
  // raises.
  absl::StatusOr<Str> Render();

  // For native functions.
  Budget& budget() { return budget_; }
  absl::CivilSecond now() const { return now_; }
  Namespace* NewNamespace();
  absl::StatusOr<Value> Call(const Value& callee, const Arguments& arguments);
  absl::Status Raise(std::string message);  // what raise_exception() returns

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  // Enters a scope for as long as it lives.
  class ScopeGuard;
  // Writes to a builder of its own for as long as it lives.
  class Capture;

  // Scopes.
  Scope* NewScope(Scope* parent);
  void ReleaseScope(Scope* scope);
  void CaptureScopes(Scope* scope);
  Value Lookup(Symbol symbol) const;
  absl::Status Assign(const Target& target, const Value& value);

  // Statements (interpreter_statements.cc).
  absl::StatusOr<Flow> Execute(const Body& body);
  absl::StatusOr<Flow> ExecuteStatement(const Statement& statement);
  absl::StatusOr<Flow> Execute(const DataNode& node);
  absl::StatusOr<Flow> Execute(const OutputNode& node);
  absl::StatusOr<Flow> Execute(const ForNode& node);
  absl::StatusOr<Flow> Execute(const IfNode& node);
  absl::StatusOr<Flow> Execute(const SetNode& node);
  absl::StatusOr<Flow> Execute(const SetBlockNode& node);
  absl::StatusOr<Flow> Execute(const MacroStatement& node);
  absl::StatusOr<Flow> Execute(const CallBlockNode& node);
  absl::StatusOr<Flow> Execute(const FilterBlockNode& node);
  absl::StatusOr<Flow> Execute(const WithNode& node);
  absl::StatusOr<Flow> Execute(const ScopeNode& node);
  absl::StatusOr<Flow> Execute(const BreakNode&) { return Flow::kBreak; }
  absl::StatusOr<Flow> Execute(const ContinueNode&) { return Flow::kContinue; }
  absl::StatusOr<Flow> RunLoop(const ForNode& node, const Value& iterable, Scope* outer, int depth);
  absl::StatusOr<Flow> RunIterations(const ForNode& node, const std::shared_ptr<Loop>& loop, Scope* outer);
  absl::StatusOr<std::optional<Value>> NextMatch(const ForNode& node, ValueIterator& iterator, Scope* outer);
  absl::StatusOr<Value> FilterText(const Expression& filter, Str text);
  absl::Status Write(const Str& text);

  // Expressions (interpreter_expressions.cc).
  absl::StatusOr<Value> Evaluate(const Expression& expression);
  absl::StatusOr<Value> EvaluateOr(const ExpressionPtr& expression, Value otherwise);
  absl::StatusOr<Value> Evaluate(const Literal& node) { return node.value; }
  absl::StatusOr<Value> Evaluate(const NameNode& node) { return Lookup(node.symbol); }
  absl::StatusOr<Value> Evaluate(const SequenceNode& node);
  absl::StatusOr<Value> Evaluate(const DictNode& node);
  absl::StatusOr<Value> Evaluate(const AttributeNode& node);
  absl::StatusOr<Value> Evaluate(const ItemNode& node);
  absl::StatusOr<Value> Evaluate(const SliceNode& node);
  absl::StatusOr<Value> Evaluate(const CallNode& node);
  absl::StatusOr<Value> Evaluate(const FilterNode& node);
  absl::StatusOr<Value> Evaluate(const TestNode& node);
  absl::StatusOr<Value> Evaluate(const UnaryNode& node);
  absl::StatusOr<Value> Evaluate(const ArithmeticNode& node);
  absl::StatusOr<Value> Evaluate(const ConcatNode& node);
  absl::StatusOr<Value> Evaluate(const CompareNode& node);
  absl::StatusOr<Value> Evaluate(const LogicalNode& node);
  absl::StatusOr<Value> Evaluate(const ConditionalNode& node);
  absl::StatusOr<Arguments> EvaluateArguments(const CallArguments& node);
  absl::StatusOr<Value> CallMacro(const MacroNode& macro, Scope* closure, const Arguments& arguments);
  absl::Status BindMacro(const MacroNode& macro, const Arguments& arguments);
  absl::Status BindSurplus(const MacroNode& macro, const Arguments& arguments);
  absl::StatusOr<Value> CallLoop(const Loop& loop, const Arguments& arguments);

  const Program& program_;
  Budget& budget_;
  const absl::CivilSecond now_;
  const std::vector<Value> globals_;  // by symbol: variables of the request, functions, or an undefined value
  std::vector<std::unique_ptr<Namespace>> namespaces_;
  std::vector<std::unique_ptr<Scope>> scopes_;
  std::vector<Scope*> free_scopes_;
  Scope* scope_;
  StrBuilder* out_ = nullptr;
  const StrBuilder* page_ = nullptr;   // the text of the whole template, which is bounded by max_output_bytes
  const Value* block_text_ = nullptr;  // what the filters of a block apply to
  int depth_ = 0;
  int line_ = 1;
  bool raised_ = false;
};

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_INTERPRETER_H_
