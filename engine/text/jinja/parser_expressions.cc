#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/parser.h"

namespace ropeway::jinja {

absl::StatusOr<ExpressionPtr> Parser::ParseTuple(bool with_conditional, bool parenthesised) {
  const int line = current().line;
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  const auto at_end = [&] {
    const Token& token = current();
    return token.kind == TokenKind::kVariableEnd || token.kind == TokenKind::kBlockEnd || token.Is(")") ||
           token.IsName("recursive");
  };
  while (!at_end()) {
    ASSIGN_OR_RETURN(ExpressionPtr item, with_conditional ? ParseExpression() : ParseOr());
    items.push_back(std::move(item));
    if (!SkipSymbol(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && items.size() == 1) return std::move(items[0]);
  if (!is_tuple && !parenthesised) return Unexpected();
  return Make(line, SequenceNode{SequenceKind::kTuple, std::move(items)});
}

absl::StatusOr<ExpressionPtr> Parser::ParseExpression() {
  const Nesting nesting(depth_);
  RETURN_IF_ERROR(CheckDepth());
  const int line = current().line;
  ASSIGN_OR_RETURN(ExpressionPtr expression, ParseOr());
  if (!current().IsName("if")) return expression;
  const bool soft = std::exchange(context_.soft, true);
  int chained = 0;
  while (SkipName("if")) {
    if (++chained > max_depth_)
      return SyntaxError(line, absl::StrCat("passes the limit max_depth = ", max_depth_));
    ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    ExpressionPtr otherwise;
    if (SkipName("else")) {
      ASSIGN_OR_RETURN(otherwise, ParseExpression());
    }
    expression =
        Make(line, ConditionalNode{std::move(condition), std::move(expression), std::move(otherwise)});
  }
  context_.soft = soft;
  return expression;
}

absl::StatusOr<ExpressionPtr> Parser::ParseOr() {
  const int line = current().line;
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseAnd());
  if (!current().IsName("or")) return first;
  LogicalNode node{.is_and = false};
  node.operands.push_back(std::move(first));
  while (SkipName("or")) {
    ASSIGN_OR_RETURN(ExpressionPtr operand, ParseAnd());
    node.operands.push_back(std::move(operand));
  }
  return Make(line, std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseAnd() {
  const int line = current().line;
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseNot());
  if (!current().IsName("and")) return first;
  LogicalNode node{.is_and = true};
  node.operands.push_back(std::move(first));
  while (SkipName("and")) {
    ASSIGN_OR_RETURN(ExpressionPtr operand, ParseNot());
    node.operands.push_back(std::move(operand));
  }
  return Make(line, std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseNot() {
  const int line = current().line;
  if (!SkipName("not")) return ParseComparison();
  const Nesting nesting(depth_);
  RETURN_IF_ERROR(CheckDepth());
  ASSIGN_OR_RETURN(ExpressionPtr operand, ParseNot());
  return Make(line, UnaryNode{UnaryOperator::kNot, std::move(operand)});
}

absl::StatusOr<ExpressionPtr> Parser::ParseComparison() {
  constexpr std::pair<std::string_view, CompareOperator> kOperators[] = {
      {"==", CompareOperator::kEqual},  {"!=", CompareOperator::kNotEqual},
      {"<", CompareOperator::kLess},    {"<=", CompareOperator::kLessOrEqual},
      {">", CompareOperator::kGreater}, {">=", CompareOperator::kGreaterOrEqual}};
  const int line = current().line;
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseSum());
  CompareNode node;
  while (true) {
    std::optional<CompareOperator> found;
    for (const auto& [symbol, op] : kOperators) {
      if (!found.has_value() && SkipSymbol(symbol)) found = op;
    }
    if (!found.has_value() && SkipName("in")) found = CompareOperator::kIn;
    if (!found.has_value() && current().IsName("not") && Look().IsName("in")) {
      Next();
      Next();
      found = CompareOperator::kNotIn;
    }
    if (!found.has_value()) break;
    ASSIGN_OR_RETURN(ExpressionPtr operand, ParseSum());
    node.rest.emplace_back(*found, std::move(operand));
  }
  if (node.rest.empty()) return first;
  node.first = std::move(first);
  return Make(line, std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseArithmetic(Operators operators,
                                                      absl::StatusOr<ExpressionPtr> (Parser::*operand)()) {
  const int line = current().line;
  ASSIGN_OR_RETURN(ExpressionPtr first, (this->*operand)());
  ArithmeticNode node;
  while (true) {
    std::optional<BinaryOperator> found;
    for (const auto& [symbol, op] : operators) {
      if (!found.has_value() && SkipSymbol(symbol)) found = op;
    }
    if (!found.has_value()) break;
    ASSIGN_OR_RETURN(ExpressionPtr next, (this->*operand)());
    node.rest.emplace_back(*found, std::move(next));
  }
  if (node.rest.empty()) return first;
  node.first = std::move(first);
  return Make(line, std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseSum() {
  return ParseArithmetic({{"+", BinaryOperator::kAdd}, {"-", BinaryOperator::kSubtract}},
                         &Parser::ParseConcat);
}

absl::StatusOr<ExpressionPtr> Parser::ParseConcat() {
  const int line = current().line;
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseProduct());
  if (!current().Is("~")) return first;
  ConcatNode node;
  node.parts.push_back(std::move(first));
  while (SkipSymbol("~")) {
    ASSIGN_OR_RETURN(ExpressionPtr part, ParseProduct());
    node.parts.push_back(std::move(part));
  }
  return Make(line, std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseProduct() {
  return ParseArithmetic({{"*", BinaryOperator::kMultiply},
                          {"/", BinaryOperator::kDivide},
                          {"//", BinaryOperator::kFloorDivide},
                          {"%", BinaryOperator::kModulo}},
                         &Parser::ParsePower);
}

absl::StatusOr<ExpressionPtr> Parser::ParsePower() {
  const int line = current().line;
  ASSIGN_OR_RETURN(ExpressionPtr first, ParseUnary(true));
  if (!current().Is("**")) return first;
  ArithmeticNode node;
  node.first = std::move(first);
  while (SkipSymbol("**")) {
    ASSIGN_OR_RETURN(ExpressionPtr exponent, ParseUnary(true));
    node.rest.emplace_back(BinaryOperator::kPower, std::move(exponent));
  }
  return Make(line, std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseUnary(bool with_filters) {
  const Nesting nesting(depth_);
  RETURN_IF_ERROR(CheckDepth());
  const int line = current().line;
  ExpressionPtr expression;
  if (current().Is("-") || current().Is("+")) {
    const UnaryOperator op = current().Is("-") ? UnaryOperator::kNegate : UnaryOperator::kPlus;
    Next();
    ASSIGN_OR_RETURN(ExpressionPtr operand, ParseUnary(false));
    expression = Make(line, UnaryNode{op, std::move(operand)});
  } else {
    ASSIGN_OR_RETURN(expression, ParsePrimary());
  }
  ASSIGN_OR_RETURN(expression, ParsePostfix(std::move(expression)));
  if (!with_filters) return expression;
  return ParseFiltersAndTests(std::move(expression));
}

absl::StatusOr<ExpressionPtr> Parser::ParsePrimary() {
  const Token& token = current();
  if (token.kind == TokenKind::kName) return ParseName();
  if (token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat) return ParseNumber();
  if (token.kind == TokenKind::kString) {
    std::string text;
    for (; current().kind == TokenKind::kString; Next()) text += current().text;
    return Make(token.line, Literal{Value(Str::Literal(std::move(text)))});
  }
  if (token.Is("[")) return ParseList();
  if (token.Is("{")) return ParseDict();
  if (!SkipSymbol("(")) return Unexpected();
  ASSIGN_OR_RETURN(ExpressionPtr expression, ParseTuple(/*with_conditional=*/true, /*parenthesised=*/true));
  RETURN_IF_ERROR(Expect(")"));
  return expression;
}

absl::StatusOr<ExpressionPtr> Parser::ParseName() {
  const Token& token = current();
  Next();
  const std::string_view name = token.text;
  if (name == "true" || name == "True") return Make(token.line, Literal{Value(true)});
  if (name == "false" || name == "False") return Make(token.line, Literal{Value(false)});
  if (name == "none" || name == "None") return Make(token.line, Literal{Value(None())});
  reads_caller_ = reads_caller_ || name == "caller";
  reads_varargs_ = reads_varargs_ || name == "varargs";
  reads_kwargs_ = reads_kwargs_ || name == "kwargs";
  return Make(token.line, NameNode{Intern(name)});
}

absl::StatusOr<ExpressionPtr> Parser::ParseNumber() {
  const Token& token = current();
  Next();
  std::string_view text = token.text;
  if (token.kind == TokenKind::kFloat) {
    const std::optional<double> value = ParseDouble(text);
    if (!value.has_value()) return SyntaxError(token.line, absl::StrCat("malformed number ", token.text));
    return Make(token.line, Literal{Value(*value)});
  }
  int base = 10;
  if (text.size() > 1 && text[0] == '0') {
    const char mark = text[1];
    base = mark == 'x' || mark == 'X'   ? 16
           : mark == 'o' || mark == 'O' ? 8
           : mark == 'b' || mark == 'B' ? 2
                                        : 10;
    if (base != 10) text.remove_prefix(2);
  }
  const std::optional<Integer> value = ParseInteger(text, base);
  if (!value.has_value()) {
    return SyntaxError(token.line,
                       absl::StrCat("malformed number, or one of more than 127 bits: ", token.text));
  }
  return Make(token.line, Literal{Value(*value)});
}

absl::StatusOr<ExpressionPtr> Parser::ParseList() {
  const int line = current().line;
  SequenceNode node{.kind = SequenceKind::kList, .items = {}};
  RETURN_IF_ERROR(Expect("["));
  while (!SkipSymbol("]")) {
    if (!node.items.empty()) {
      RETURN_IF_ERROR(Expect(","));
      if (SkipSymbol("]")) break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression());
    node.items.push_back(std::move(item));
  }
  return Make(line, std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseDict() {
  const int line = current().line;
  DictNode node;
  RETURN_IF_ERROR(Expect("{"));
  while (!SkipSymbol("}")) {
    if (!node.entries.empty()) {
      RETURN_IF_ERROR(Expect(","));
      if (SkipSymbol("}")) break;
    }
    ASSIGN_OR_RETURN(ExpressionPtr key, ParseExpression());
    RETURN_IF_ERROR(Expect(":"));
    ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    node.entries.emplace_back(std::move(key), std::move(value));
  }
  return Make(line, std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParsePostfix(ExpressionPtr expression) {
  for (int chained = 0;; ++chained) {
    if (chained > max_depth_) {
      return SyntaxError(current().line, absl::StrCat("passes the limit max_depth = ", max_depth_));
    }
    const int line = current().line;
    if (current().Is(".")) {
      ASSIGN_OR_RETURN(expression, ParseAttribute(std::move(expression)));
    } else if (current().Is("[")) {
      ASSIGN_OR_RETURN(expression, ParseSubscript(std::move(expression)));
    } else if (current().Is("(")) {
      ASSIGN_OR_RETURN(CallArguments arguments, ParseArguments());
      if (const auto* name = std::get_if<NameNode>(&expression->node))
        calls_.emplace_back(name->symbol, line);
      expression = Make(line, CallNode{std::move(expression), std::move(arguments)});
    } else {
      return expression;
    }
  }
}

absl::StatusOr<ExpressionPtr> Parser::ParseFiltersAndTests(ExpressionPtr expression) {
  for (int chained = 0;; ++chained) {
    if (chained > max_depth_) {
      return SyntaxError(current().line, absl::StrCat("passes the limit max_depth = ", max_depth_));
    }
    const int line = current().line;
    if (SkipSymbol("|")) {
      ASSIGN_OR_RETURN(expression, ParseFilter(std::move(expression)));
    } else if (SkipName("is")) {
      ASSIGN_OR_RETURN(expression, ParseTest(std::move(expression)));
    } else if (current().Is("(")) {
      ASSIGN_OR_RETURN(CallArguments arguments, ParseArguments());
      if (const auto* name = std::get_if<NameNode>(&expression->node))
        calls_.emplace_back(name->symbol, line);
      expression = Make(line, CallNode{std::move(expression), std::move(arguments)});
    } else {
      return expression;
    }
  }
}

absl::StatusOr<ExpressionPtr> Parser::ParseAttribute(ExpressionPtr object) {
  const int line = current().line;
  Next();
  if (current().kind == TokenKind::kInteger) {
    ASSIGN_OR_RETURN(ExpressionPtr index, ParseNumber());
    return Make(line, ItemNode{std::move(object), std::move(index)});
  }
  ASSIGN_OR_RETURN(std::string name, ExpectName());
  return Make(line, AttributeNode{std::move(object), Str::Literal(std::move(name))});
}

absl::StatusOr<ExpressionPtr> Parser::ParseSubscript(ExpressionPtr object) {
  const int line = current().line;
  Next();
  ExpressionPtr parts[3];
  int colons = 0;
  while (!current().Is("]") && !current().Is(",")) {
    if (SkipSymbol(":")) {
      if (++colons > 2) return Unexpected();
      continue;
    }
    if (parts[colons] != nullptr) return Unexpected();
    ASSIGN_OR_RETURN(parts[colons], ParseExpression());
  }
  if (colons > 0) {
    RETURN_IF_ERROR(Expect("]"));
    return Make(line,
                SliceNode{std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])});
  }
  if (parts[0] == nullptr) return Unexpected();
  SequenceNode indices{.kind = SequenceKind::kTuple, .items = {}};
  indices.items.push_back(std::move(parts[0]));
  while (SkipSymbol(",")) {
    ASSIGN_OR_RETURN(ExpressionPtr index, ParseExpression());
    indices.items.push_back(std::move(index));
  }
  RETURN_IF_ERROR(Expect("]"));
  if (indices.items.size() == 1) return Make(line, ItemNode{std::move(object), std::move(indices.items[0])});
  return Make(line, ItemNode{std::move(object), Make(line, std::move(indices))});
}

absl::StatusOr<std::string> Parser::ParseDottedName() {
  ASSIGN_OR_RETURN(std::string name, ExpectName());
  while (SkipSymbol(".")) {
    ASSIGN_OR_RETURN(const std::string part, ExpectName());
    absl::StrAppend(&name, ".", part);
  }
  return name;
}

absl::StatusOr<ExpressionPtr> Parser::ParseFilter(ExpressionPtr target) {
  const int line = current().line;
  FilterNode node{.target = std::move(target), .name = {}, .filter = nullptr, .arguments = {}};
  ASSIGN_OR_RETURN(node.name, ParseDottedName());
  node.filter = FindFilter(node.name);
  if (node.filter == nullptr) RETURN_IF_ERROR(ReportUnknown(line, "filter", node.name));
  if (current().Is("(")) {
    ASSIGN_OR_RETURN(node.arguments, ParseArguments());
  }
  return Make(line, std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseFilterChain(ExpressionPtr target) {
  for (int chained = 0; SkipSymbol("|"); ++chained) {
    if (chained > max_depth_) {
      return SyntaxError(current().line, absl::StrCat("passes the limit max_depth = ", max_depth_));
    }
    ASSIGN_OR_RETURN(target, ParseFilter(std::move(target)));
  }
  return target;
}

absl::StatusOr<ExpressionPtr> Parser::ParseTest(ExpressionPtr target) {
  const int line = current().line;
  const bool negated = SkipName("not");
  TestNode node{.target = std::move(target), .name = {}, .test = nullptr, .arguments = {}};
  ASSIGN_OR_RETURN(node.name, ParseDottedName());
  node.test = FindTest(node.name);
  if (node.test == nullptr) RETURN_IF_ERROR(ReportUnknown(line, "test", node.name));
  const Token& next = current();
  const bool is_word =
      next.kind == TokenKind::kName && !next.IsName("else") && !next.IsName("or") && !next.IsName("and");
  if (next.Is("(")) {
    ASSIGN_OR_RETURN(node.arguments, ParseArguments());
  } else if (is_word || next.kind == TokenKind::kString || next.kind == TokenKind::kInteger ||
             next.kind == TokenKind::kFloat || next.Is("[") || next.Is("{")) {
    if (next.IsName("is")) return SyntaxError(line, "You cannot chain multiple tests with is");
    ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    node.arguments.positional.push_back(std::move(argument));
  }
  ExpressionPtr test = Make(line, std::move(node));
  if (!negated) return test;
  return Make(line, UnaryNode{UnaryOperator::kNot, std::move(test)});
}

absl::StatusOr<CallArguments> Parser::ParseArguments() {
  const int line = current().line;
  const auto invalid = [&] { return SyntaxError(line, "invalid syntax for function call expression"); };
  CallArguments arguments;
  RETURN_IF_ERROR(Expect("("));
  for (bool first = true; !SkipSymbol(")"); first = false) {
    if (!first) {
      RETURN_IF_ERROR(Expect(","));
      if (SkipSymbol(")")) break;
    }
    if (SkipSymbol("*")) {
      if (arguments.spread != nullptr || arguments.spread_keyword != nullptr) return invalid();
      ASSIGN_OR_RETURN(arguments.spread, ParseExpression());
    } else if (SkipSymbol("**")) {
      if (arguments.spread_keyword != nullptr) return invalid();
      ASSIGN_OR_RETURN(arguments.spread_keyword, ParseExpression());
    } else if (current().kind == TokenKind::kName && Look().Is("=")) {
      if (arguments.spread_keyword != nullptr) return invalid();
      Str name = Str::Literal(current().text);
      Next();
      Next();
      ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      arguments.keyword.emplace_back(std::move(name), std::move(value));
    } else {
      if (!arguments.keyword.empty() || arguments.spread != nullptr || arguments.spread_keyword != nullptr) {
        return invalid();
      }
      ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      arguments.positional.push_back(std::move(value));
    }
  }
  return arguments;
}

}  // namespace ropeway::jinja
