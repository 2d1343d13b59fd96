// The syntax tree of a template. Immutable after parsing, and then thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_AST_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_AST_H_

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/text/jinja/str.h"
#include "engine/text/jinja/value.h"

namespace ropeway::jinja {

// Index of a variable's name in Program::symbols.
using Symbol = int;

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;
struct Statement;
using Body = std::vector<Statement>;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<Str, ExpressionPtr>> keyword;
  ExpressionPtr spread;          // *sequence, or null
  ExpressionPtr spread_keyword;  // **mapping, or null
};

// --- Expressions ---

struct Literal {
  Value value;
};
struct NameNode {
  Symbol symbol;
};
struct SequenceNode {
  SequenceKind kind;  // kList or kTuple
  std::vector<ExpressionPtr> items;
};
struct DictNode {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
struct AttributeNode {  // object.name
  ExpressionPtr object;
  Str name;
};
struct ItemNode {  // object[index]
  ExpressionPtr object;
  ExpressionPtr index;
};
struct SliceNode {  // object[start:stop:step], each null where left out
  ExpressionPtr object;
  ExpressionPtr start;
  ExpressionPtr stop;
  ExpressionPtr step;
};
struct CallNode {
  ExpressionPtr callee;
  CallArguments arguments;
};
struct FilterNode {
  ExpressionPtr target;  // null at the start of a block's filters
  std::string name;
  Native filter;  // null when unknown, which is an error only where it is reached
  CallArguments arguments;
};
struct TestNode {
  ExpressionPtr target;
  std::string name;
  Native test;  // as of a filter
  CallArguments arguments;
};
enum class UnaryOperator { kNot, kNegate, kPlus };
struct UnaryNode {
  UnaryOperator op;
  ExpressionPtr operand;
};
enum class BinaryOperator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
// first op1 operand1 op2 operand2 ..., from left to right: long sums do not make deep trees.
struct ArithmeticNode {
  ExpressionPtr first;
  std::vector<std::pair<BinaryOperator, ExpressionPtr>> rest;
};
struct ConcatNode {  // a ~ b ~ c
  std::vector<ExpressionPtr> parts;
};
enum class CompareOperator { kEqual, kNotEqual, kLess, kLessOrEqual, kGreater, kGreaterOrEqual, kIn, kNotIn };
struct CompareNode {
  ExpressionPtr first;
  std::vector<std::pair<CompareOperator, ExpressionPtr>> rest;
};
struct LogicalNode {
  bool is_and;  // else `or`
  std::vector<ExpressionPtr> operands;
};
struct ConditionalNode {
  ExpressionPtr condition;
  ExpressionPtr then;
  ExpressionPtr otherwise;  // null where left out
};

struct Expression {
  int line;
  std::variant<Literal, NameNode, SequenceNode, DictNode, AttributeNode, ItemNode, SliceNode, CallNode,
               FilterNode, TestNode, UnaryNode, ArithmeticNode, ConcatNode, CompareNode, LogicalNode,
               ConditionalNode>
      node;
};

// --- Statements ---

// What a value is assigned to: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  Symbol symbol = -1;
  std::string attribute;      // of the namespace `symbol`; empty for a plain name
  std::vector<Target> parts;  // of a tuple; symbol is -1 then
};

struct DataNode {
  Str text;
};
struct OutputNode {
  ExpressionPtr value;
};
struct ForNode {
  Target target;
  ExpressionPtr iterable;
  ExpressionPtr condition;  // null where left out
  bool recursive = false;
  Body body;
  Body otherwise;
};
struct IfNode {
  std::vector<std::pair<ExpressionPtr, Body>> branches;  // if and elif
  Body otherwise;
};
struct SetNode {
  Target target;
  ExpressionPtr value;
};
struct SetBlockNode {
  Target target;
  ExpressionPtr filter;  // the last of a chain of filters, or null
  Body body;
};
struct MacroNode {
  std::string name;
  Symbol symbol;  // -1 for the body of a call block
  std::vector<Symbol> parameters;
  std::vector<std::string> parameter_names;
  std::vector<ExpressionPtr> defaults;  // of the last parameters
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
  Body body;
};
struct MacroStatement {
  std::unique_ptr<const MacroNode> macro;
};
struct CallBlockNode {
  std::unique_ptr<const MacroNode> caller;
  ExpressionPtr call;  // a CallNode
};
struct FilterBlockNode {
  ExpressionPtr filter;
  Body body;
};
struct WithNode {
  std::vector<std::pair<Target, ExpressionPtr>> assignments;
  Body body;
};
struct ScopeNode {  // {% generation %}
  Body body;
};
struct BreakNode {};
struct ContinueNode {};

struct Statement {
  int line;
  std::variant<DataNode, OutputNode, ForNode, IfNode, SetNode, SetBlockNode, MacroStatement, CallBlockNode,
               FilterBlockNode, WithNode, ScopeNode, BreakNode, ContinueNode>
      node;
};

// A parsed template. The names of the variables that the language itself binds are always there.
struct Program {
  std::vector<std::string> symbols;
  Symbol loop = -1;
  Symbol caller = -1;
  Symbol varargs = -1;
  Symbol kwargs = -1;
  Body body;
  std::vector<std::string> warnings;  // what is unknown, but an error only where it is reached
};

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_AST_H_
