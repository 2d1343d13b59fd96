#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/interpreter_scope.h"
#include "engine/text/jinja/lookup.h"
#include "engine/text/jinja/loop.h"
#include "engine/text/jinja/operators.h"
#include "engine/text/jinja/print.h"

namespace ropeway::jinja {

absl::StatusOr<Value> Interpreter::Evaluate(const Expression& expression) {
  line_ = expression.line;
  if (!budget_.Step() || !budget_.CheckEvaluationDepth(depth_ + 1)) return budget_.status();
  ++depth_;
  absl::StatusOr<Value> value =
      std::visit([this](const auto& node) { return Evaluate(node); }, expression.node);
  --depth_;
  return value;
}

absl::StatusOr<Value> Interpreter::EvaluateOr(const ExpressionPtr& expression, Value otherwise) {
  if (expression == nullptr) return otherwise;
  return Evaluate(*expression);
}

absl::StatusOr<Value> Interpreter::Evaluate(const SequenceNode& node) {
  std::vector<Value> items;
  items.reserve(node.items.size());
  for (const ExpressionPtr& item : node.items) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*item));
    items.push_back(std::move(value));
  }
  return MakeSequence(node.kind, std::move(items), budget_);
}

absl::StatusOr<Value> Interpreter::Evaluate(const DictNode& node) {
  DictBuilder builder(budget_);
  for (const auto& [key_node, value_node] : node.entries) {
    ASSIGN_OR_RETURN(const Value key, Evaluate(*key_node));
    ASSIGN_OR_RETURN(Value value, Evaluate(*value_node));
    RETURN_IF_ERROR(builder.Set(key, std::move(value)));
  }
  return builder.Build();
}

absl::StatusOr<Value> Interpreter::Evaluate(const AttributeNode& node) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(*node.object));
  return GetAttribute(object, node.name, budget_);
}

absl::StatusOr<Value> Interpreter::Evaluate(const ItemNode& node) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(*node.object));
  ASSIGN_OR_RETURN(const Value index, Evaluate(*node.index));
  return GetItem(object, index, budget_);
}

absl::StatusOr<Value> Interpreter::Evaluate(const SliceNode& node) {
  ASSIGN_OR_RETURN(const Value object, Evaluate(*node.object));
  ASSIGN_OR_RETURN(const Value start, EvaluateOr(node.start, None()));
  ASSIGN_OR_RETURN(const Value stop, EvaluateOr(node.stop, None()));
  ASSIGN_OR_RETURN(const Value step, EvaluateOr(node.step, None()));
  return GetSlice(object, start, stop, step, budget_);
}

absl::StatusOr<Value> Interpreter::Evaluate(const CallNode& node) {
  ASSIGN_OR_RETURN(const Value callee, Evaluate(*node.callee));
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node.arguments));
  return Call(callee, arguments);
}

absl::StatusOr<Value> Interpreter::Evaluate(const FilterNode& node) {
  Value target;
  if (node.target == nullptr) {
    target = *block_text_;
  } else {
    ASSIGN_OR_RETURN(target, Evaluate(*node.target));
  }
  if (node.filter == nullptr) return TypeError(absl::StrCat("No filter named '", node.name, "' found."));
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node.arguments));
  return node.filter(*this, target, arguments);
}

absl::StatusOr<Value> Interpreter::Evaluate(const TestNode& node) {
  ASSIGN_OR_RETURN(const Value target, Evaluate(*node.target));
  if (node.test == nullptr) return TypeError(absl::StrCat("No test named '", node.name, "' found."));
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node.arguments));
  return node.test(*this, target, arguments);
}

absl::StatusOr<Value> Interpreter::Evaluate(const UnaryNode& node) {
  ASSIGN_OR_RETURN(const Value operand, Evaluate(*node.operand));
  return ApplyUnary(node.op, operand);
}

absl::StatusOr<Value> Interpreter::Evaluate(const ArithmeticNode& node) {
  ASSIGN_OR_RETURN(Value value, Evaluate(*node.first));
  for (const auto& [op, operand_node] : node.rest) {
    ASSIGN_OR_RETURN(const Value operand, Evaluate(*operand_node));
    ASSIGN_OR_RETURN(value, ApplyBinary(op, value, operand, budget_));
  }
  return value;
}

absl::StatusOr<Value> Interpreter::Evaluate(const ConcatNode& node) {
  StrBuilder out(budget_);
  for (const ExpressionPtr& part : node.parts) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*part));
    out.Append(ToText(value, budget_));
  }
  return Value(out.Build());
}

absl::StatusOr<Value> Interpreter::Evaluate(const CompareNode& node) {
  ASSIGN_OR_RETURN(Value left, Evaluate(*node.first));
  bool holds = true;
  for (const auto& [op, operand_node] : node.rest) {
    ASSIGN_OR_RETURN(Value right, Evaluate(*operand_node));
    ASSIGN_OR_RETURN(holds, ApplyCompare(op, left, right, budget_));
    if (!holds) break;
    left = std::move(right);
  }
  return Value(holds);
}

absl::StatusOr<Value> Interpreter::Evaluate(const LogicalNode& node) {
  Value value;
  for (const ExpressionPtr& operand : node.operands) {
    ASSIGN_OR_RETURN(value, Evaluate(*operand));
    if (Truthy(value) != node.is_and) break;
  }
  return value;
}

absl::StatusOr<Value> Interpreter::Evaluate(const ConditionalNode& node) {
  ASSIGN_OR_RETURN(const Value condition, Evaluate(*node.condition));
  if (Truthy(condition)) return Evaluate(*node.then);
  if (node.otherwise != nullptr) return Evaluate(*node.otherwise);
  return MakeUndefined("the inline if-expression evaluated to false and no else section was defined.");
}

absl::StatusOr<Arguments> Interpreter::EvaluateArguments(const CallArguments& node) {
  Arguments arguments;
  for (const ExpressionPtr& expression : node.positional) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*expression));
    arguments.positional.push_back(std::move(value));
  }
  for (const auto& [name, expression] : node.keyword) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*expression));
    arguments.keyword.emplace_back(name, std::move(value));
  }
  if (node.spread != nullptr) {
    ASSIGN_OR_RETURN(const Value spread, Evaluate(*node.spread));
    ASSIGN_OR_RETURN(std::vector<Value> items, Items(spread, budget_));
    for (Value& item : items) arguments.positional.push_back(std::move(item));
  }
  if (node.spread_keyword != nullptr) {
    ASSIGN_OR_RETURN(const Value spread, Evaluate(*node.spread_keyword));
    const Dict* dict = spread.AsDict();
    if (dict == nullptr) return TypeError("argument after ** must be a mapping");
    for (const auto& [key, value] : dict->entries) {
      if (!key.AsStr()) return TypeError("keywords must be strings");
      if (!budget_.Allocate(sizeof(Dict::Entry))) return budget_.status();
      arguments.keyword.emplace_back(*key.AsStr(), value);
    }
  }
  return arguments;
}

absl::StatusOr<Value> Interpreter::Call(const Value& callee, const Arguments& arguments) {
  if (const Undefined* undefined = callee.AsUndefined()) return UndefinedError(*undefined);
  if (const Loop* loop = callee.AsLoop()) return CallLoop(*loop, arguments);
  const Callable* callable = callee.AsCallable();
  if (callable == nullptr) {
    return TypeError(absl::StrCat("'", std::string(TypeName(callee)), "' object is not callable"));
  }
  if (callable->macro != nullptr) return CallMacro(*callable->macro, callable->scope, arguments);
  return callable->native(*this, callable->self, arguments);
}

// loop(items) in a recursive loop.
absl::StatusOr<Value> Interpreter::CallLoop(const Loop& loop, const Arguments& arguments) {
  if (!loop.node()->recursive || loop.finished()) {
    return TypeError("The loop must have the 'recursive' marker to be called recursively.");
  }
  if (arguments.positional.size() != 1) return TypeError("loop() takes one argument");
  Capture capture(*this);
  RETURN_IF_ERROR(RunLoop(*loop.node(), arguments.positional[0], loop.scope(), loop.depth() + 1).status());
  return Value(capture.Build());
}

absl::StatusOr<Value> Interpreter::CallMacro(const MacroNode& macro, Scope* closure,
                                             const Arguments& arguments) {
  Capture capture(*this);
  const ScopeGuard scope(*this, closure);
  RETURN_IF_ERROR(BindMacro(macro, arguments));
  RETURN_IF_ERROR(Execute(macro.body).status());
  return Value(capture.Build());
}

absl::Status Interpreter::BindMacro(const MacroNode& macro, const Arguments& arguments) {
  const size_t num_parameters = macro.parameters.size();
  const size_t first_default = num_parameters - macro.defaults.size();
  RETURN_IF_ERROR(BindSurplus(macro, arguments));
  // The loops below are quadratic; templates pass a handful of arguments.
  const auto pairs = static_cast<int64_t>(num_parameters * (num_parameters + arguments.keyword.size()));
  if (!budget_.Work(pairs)) return budget_.status();
  // All given arguments come first: a default may read a parameter.
  std::vector<bool> given(num_parameters, false);
  for (size_t i = 0; i < num_parameters; ++i) {
    if (i < arguments.positional.size()) {
      scope_->Set(macro.parameters[i], arguments.positional[i]);
      given[i] = true;
    }
    for (const auto& [name, value] : arguments.keyword) {
      if (name.view() != macro.parameter_names[i]) continue;
      if (given[i]) {
        return TypeError(
            absl::StrCat("macro '", macro.name, "' got two values for '", macro.parameter_names[i], "'"));
      }
      scope_->Set(macro.parameters[i], value);
      given[i] = true;
    }
  }
  for (size_t i = 0; i < num_parameters; ++i) {
    if (given[i]) continue;
    Value value = MakeUndefined(absl::StrCat("parameter '", macro.parameter_names[i], "' was not provided"));
    if (i >= first_default) {
      ASSIGN_OR_RETURN(value, Evaluate(*macro.defaults[i - first_default]));
    }
    scope_->Set(macro.parameters[i], std::move(value));
  }
  return absl::OkStatus();
}

// The arguments beyond the parameters: varargs, kwargs and caller, for macros that read these.
absl::Status Interpreter::BindSurplus(const MacroNode& macro, const Arguments& arguments) {
  std::vector<Value> varargs;
  for (size_t i = macro.parameters.size(); i < arguments.positional.size(); ++i) {
    varargs.push_back(arguments.positional[i]);
  }
  if (!varargs.empty() && !macro.uses_varargs) {
    return TypeError(absl::StrCat("macro '", macro.name, "' takes not more than ", macro.parameters.size(),
                                  " argument(s)"));
  }
  if (macro.uses_varargs) scope_->Set(program_.varargs, MakeTuple(std::move(varargs), budget_));
  Value caller = MakeUndefined("No caller defined");
  DictBuilder kwargs(budget_);
  for (const auto& [name, value] : arguments.keyword) {
    const auto& names = macro.parameter_names;
    if (std::find(names.begin(), names.end(), name.view()) != names.end()) continue;
    if (macro.uses_caller && name.view() == "caller") {
      caller = value;
    } else if (macro.uses_kwargs) {
      RETURN_IF_ERROR(kwargs.Set(Value(name), value));
    } else {
      return TypeError(absl::StrCat("macro '", macro.name, "' takes no keyword argument '",
                                    std::string(name.view()), "'"));
    }
  }
  if (macro.uses_kwargs) scope_->Set(program_.kwargs, kwargs.Build());
  if (macro.uses_caller) scope_->Set(program_.caller, std::move(caller));
  return absl::OkStatus();
}

}  // namespace ropeway::jinja
