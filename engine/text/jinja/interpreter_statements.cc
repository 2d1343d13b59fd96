#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/interpreter_scope.h"
#include "engine/text/jinja/loop.h"
#include "engine/text/jinja/print.h"

namespace ropeway::jinja {

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const Body& body) {
  for (const Statement& statement : body) {
    ASSIGN_OR_RETURN(const Flow flow, ExecuteStatement(statement));
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteStatement(const Statement& statement) {
  line_ = statement.line;
  if (!budget_.Step() || !budget_.CheckEvaluationDepth(depth_ + 1)) return budget_.status();
  ++depth_;
  absl::StatusOr<Flow> flow = std::visit([this](const auto& node) { return Execute(node); }, statement.node);
  --depth_;
  return flow;
}

absl::Status Interpreter::Write(const Str& text) {
  out_->Append(text);
  if (out_ == page_ && !budget_.CheckOutput(static_cast<int64_t>(page_->size()))) return budget_.status();
  return absl::OkStatus();
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const DataNode& node) {
  RETURN_IF_ERROR(Write(node.text));
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const OutputNode& node) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(*node.value));
  RETURN_IF_ERROR(Write(ToText(value, budget_)));
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const IfNode& node) {
  for (const auto& [condition, body] : node.branches) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*condition));
    if (Truthy(value)) return Execute(body);
  }
  return Execute(node.otherwise);
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const ForNode& node) {
  ASSIGN_OR_RETURN(const Value iterable, Evaluate(*node.iterable));
  return RunLoop(node, iterable, scope_, /*depth=*/1);
}

// The next item for which the condition of `node` holds.
absl::StatusOr<std::optional<Value>> Interpreter::NextMatch(const ForNode& node, ValueIterator& iterator,
                                                            Scope* outer) {
  while (true) {
    if (!budget_.Step()) return budget_.status();
    ASSIGN_OR_RETURN(std::optional<Value> item, iterator.Next());
    if (!item.has_value() || node.condition == nullptr) return item;
    const ScopeGuard scope(*this, outer);
    RETURN_IF_ERROR(Assign(node.target, *item));
    ASSIGN_OR_RETURN(const Value matches, Evaluate(*node.condition));
    if (Truthy(matches)) return item;
  }
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunLoop(const ForNode& node, const Value& iterable,
                                                       Scope* outer, int depth) {
  ASSIGN_OR_RETURN(ValueIterator iterator, ValueIterator::Over(iterable));
  const auto next_item = [this, &node, iterator, outer]() mutable {
    return NextMatch(node, iterator, outer);
  };
  const auto loop = std::make_shared<Loop>(next_item, &node, outer, depth);
  absl::StatusOr<Flow> flow = RunIterations(node, loop, outer);
  loop->Finish();
  return flow;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunIterations(const ForNode& node,
                                                             const std::shared_ptr<Loop>& loop,
                                                             Scope* outer) {
  // As in Jinja, `else` runs unless an iteration came to its end, so after `break` in the first one, too.
  bool completed = false;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, loop->Advance());
    if (!more) break;
    const ScopeGuard scope(*this, outer);
    scope_->Set(program_.loop, Value(loop));
    RETURN_IF_ERROR(Assign(node.target, loop->current()));
    ASSIGN_OR_RETURN(const Flow flow, Execute(node.body));
    if (flow == Flow::kBreak) break;
    completed = completed || flow == Flow::kNormal;
  }
  if (completed) return Flow::kNormal;
  const ScopeGuard scope(*this, outer);
  return Execute(node.otherwise);
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const SetNode& node) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(*node.value));
  RETURN_IF_ERROR(Assign(node.target, value));
  return Flow::kNormal;
}

// Applies the filters of a block to its text.
absl::StatusOr<Value> Interpreter::FilterText(const Expression& filter, Str text) {
  const Value value(std::move(text));
  const Value* outer = std::exchange(block_text_, &value);
  absl::StatusOr<Value> result = Evaluate(filter);
  block_text_ = outer;
  return result;
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const SetBlockNode& node) {
  Value value;
  Flow flow = Flow::kNormal;
  {
    Capture capture(*this);
    const ScopeGuard scope(*this, scope_);
    ASSIGN_OR_RETURN(flow, Execute(node.body));
    value = capture.Build();
  }
  if (flow != Flow::kNormal) return flow;
  if (node.filter != nullptr) {
    ASSIGN_OR_RETURN(value, FilterText(*node.filter, *value.AsStr()));
  }
  RETURN_IF_ERROR(Assign(node.target, value));
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const MacroStatement& node) {
  auto callable = std::make_shared<Callable>();
  callable->name = node.macro->name;
  callable->macro = node.macro.get();
  callable->scope = scope_;
  CaptureScopes(scope_);
  budget_.Allocate(sizeof(Callable));
  scope_->Set(node.macro->symbol, Value(std::shared_ptr<const Callable>(std::move(callable))));
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const CallBlockNode& node) {
  auto caller = std::make_shared<Callable>();
  caller->name = node.caller->name;
  caller->macro = node.caller.get();
  caller->scope = scope_;
  CaptureScopes(scope_);
  budget_.Allocate(sizeof(Callable));
  const CallNode& call = std::get<CallNode>(node.call->node);
  ASSIGN_OR_RETURN(const Value callee, Evaluate(*call.callee));
  ASSIGN_OR_RETURN(Arguments arguments, EvaluateArguments(call.arguments));
  arguments.keyword.emplace_back(Str::Literal("caller"),
                                 Value(std::shared_ptr<const Callable>(std::move(caller))));
  ASSIGN_OR_RETURN(const Value result, Call(callee, arguments));
  RETURN_IF_ERROR(Write(ToText(result, budget_)));
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const FilterBlockNode& node) {
  Str text;
  {
    Capture capture(*this);
    const ScopeGuard scope(*this, scope_);
    ASSIGN_OR_RETURN(const Flow flow, Execute(node.body));
    if (flow != Flow::kNormal) return flow;
    text = capture.Build();
  }
  ASSIGN_OR_RETURN(const Value value, FilterText(*node.filter, std::move(text)));
  RETURN_IF_ERROR(Write(ToText(value, budget_)));
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const WithNode& node) {
  std::vector<Value> values;
  for (const auto& [target, expression] : node.assignments) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*expression));
    values.push_back(std::move(value));
  }
  const ScopeGuard scope(*this, scope_);
  for (size_t i = 0; i < values.size(); ++i) RETURN_IF_ERROR(Assign(node.assignments[i].first, values[i]));
  return Execute(node.body);
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const ScopeNode& node) {
  const ScopeGuard scope(*this, scope_);
  return Execute(node.body);
}

}  // namespace ropeway::jinja
