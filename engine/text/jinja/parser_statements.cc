#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/parser.h"

namespace ropeway::jinja {

// Statements up to a tag named in `ends`, whose name is left as the current token.
absl::StatusOr<Body> Parser::ParseBody(std::initializer_list<std::string_view> ends) {
  const Nesting nesting(depth_);
  RETURN_IF_ERROR(CheckDepth());
  Body body;
  while (true) {
    const Token& token = current();
    if (token.kind == TokenKind::kEnd) {
      if (ends.size() == 0) return body;
      return SyntaxError(token.line, absl::StrCat("unexpected end of template, looking for '",
                                                  std::string(*(ends.end() - 1)), "'"));
    }
    if (token.kind == TokenKind::kBlockBegin) {
      const Token& name = Look();
      const auto closes = [&](std::string_view end) { return name.IsName(end); };
      if (std::any_of(ends.begin(), ends.end(), closes)) {
        Next();
        return body;
      }
    }
    RETURN_IF_ERROR(ParseStatement(body));
  }
}

// A body that ends with the tag `end`, which is consumed.
absl::StatusOr<Body> Parser::ParseClosedBody(std::string_view end) {
  RETURN_IF_ERROR(ExpectBlockEnd());
  ASSIGN_OR_RETURN(Body body, ParseBody({end}));
  Next();
  RETURN_IF_ERROR(ExpectBlockEnd());
  return body;
}

absl::Status Parser::ParseStatement(Body& body) {
  const Token& token = current();
  if (token.kind == TokenKind::kData) {
    body.push_back({token.line, DataNode{Str::Literal(token.text)}});
    Next();
    return absl::OkStatus();
  }
  if (token.kind == TokenKind::kVariableBegin) {
    Next();
    ASSIGN_OR_RETURN(ExpressionPtr value, ParseTuple(/*with_conditional=*/true));
    if (current().kind != TokenKind::kVariableEnd) {
      return SyntaxError(current().line,
                         absl::StrCat("expected end of print statement, got '", current().text, "'"));
    }
    Next();
    body.push_back({token.line, OutputNode{std::move(value)}});
    return absl::OkStatus();
  }
  if (token.kind != TokenKind::kBlockBegin) return Unexpected();
  Next();
  ASSIGN_OR_RETURN(Statement statement, ParseTag());
  body.push_back(std::move(statement));
  return absl::OkStatus();
}

absl::StatusOr<Statement> Parser::ParseTag() {
  const Token& token = current();
  const bool in_loop = context_.loops > 0;
  ASSIGN_OR_RETURN(const std::string tag, ExpectName());
  if (tag == "for") return ParseFor();
  if (tag == "if") return ParseIf();
  if (tag == "set") return ParseSet();
  if (tag == "macro") return ParseMacro();
  if (tag == "call") return ParseCallBlock();
  if (tag == "filter") return ParseFilterBlock();
  if (tag == "with") return ParseWith();
  if (tag == "generation") return ParseGeneration();
  if (tag == "print") {
    ConcatNode values;
    do {
      ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      values.parts.push_back(std::move(value));
    } while (SkipSymbol(","));
    RETURN_IF_ERROR(ExpectBlockEnd());
    return Statement{token.line, OutputNode{Make(token.line, std::move(values))}};
  }
  if (tag == "break" || tag == "continue") {
    if (!in_loop) return SyntaxError(token.line, absl::StrCat("'", tag, "' outside of a loop"));
    RETURN_IF_ERROR(ExpectBlockEnd());
    if (tag == "break") return Statement{token.line, BreakNode{}};
    return Statement{token.line, ContinueNode{}};
  }
  return SyntaxError(token.line, absl::StrCat("Encountered unknown tag '", tag, "'."));
}

absl::StatusOr<Target> Parser::ParseSingleTarget(bool with_namespace) {
  const Nesting nesting(depth_);
  RETURN_IF_ERROR(CheckDepth());
  if (SkipSymbol("(")) {
    ASSIGN_OR_RETURN(Target target, ParseTarget(with_namespace));
    RETURN_IF_ERROR(Expect(")"));
    return target;
  }
  const Token& token = current();
  ASSIGN_OR_RETURN(const std::string name, ExpectName());
  if (name == "loop" && !with_namespace)
    return SyntaxError(token.line, "can't assign to the special variable loop");
  if (name == "true" || name == "false" || name == "none" || name == "True" || name == "False" ||
      name == "None") {
    return SyntaxError(token.line, absl::StrCat("can't assign to '", name, "'"));
  }
  Target target;
  target.symbol = Intern(name);
  bound_.insert(target.symbol);
  if (with_namespace && SkipSymbol(".")) {
    ASSIGN_OR_RETURN(target.attribute, ExpectName());
  }
  return target;
}

absl::StatusOr<Target> Parser::ParseTarget(bool with_namespace) {
  ASSIGN_OR_RETURN(Target first, ParseSingleTarget(with_namespace));
  if (!current().Is(",")) return first;
  Target tuple;
  tuple.parts.push_back(std::move(first));
  while (SkipSymbol(",")) {
    if (current().IsName("in") || current().Is("=") || current().Is(")")) break;
    ASSIGN_OR_RETURN(Target part, ParseSingleTarget(with_namespace));
    tuple.parts.push_back(std::move(part));
  }
  return tuple;
}

absl::StatusOr<Statement> Parser::ParseFor() {
  const int line = current().line;
  ForNode node;
  ASSIGN_OR_RETURN(node.target, ParseTarget(/*with_namespace=*/false));
  if (!SkipName("in")) return SyntaxError(current().line, "expected 'in'");
  ASSIGN_OR_RETURN(node.iterable, ParseTuple(/*with_conditional=*/false));
  const Context outer = context_;
  context_.soft = false;
  if (SkipName("if")) {
    ASSIGN_OR_RETURN(node.condition, ParseExpression());
  }
  node.recursive = SkipName("recursive");
  RETURN_IF_ERROR(ExpectBlockEnd());
  ++context_.loops;
  ASSIGN_OR_RETURN(node.body, ParseBody({"else", "endfor"}));
  --context_.loops;
  if (SkipName("else")) {
    ASSIGN_OR_RETURN(node.otherwise, ParseClosedBody("endfor"));
  } else {
    Next();
    RETURN_IF_ERROR(ExpectBlockEnd());
  }
  context_ = outer;
  return Statement{line, std::move(node)};
}

absl::StatusOr<Statement> Parser::ParseIf() {
  const int line = current().line;
  IfNode node;
  const bool soft = std::exchange(context_.soft, true);
  while (true) {
    ASSIGN_OR_RETURN(ExpressionPtr condition, ParseTuple(/*with_conditional=*/false));
    RETURN_IF_ERROR(ExpectBlockEnd());
    ASSIGN_OR_RETURN(Body body, ParseBody({"elif", "else", "endif"}));
    node.branches.emplace_back(std::move(condition), std::move(body));
    if (!SkipName("elif")) break;
  }
  if (SkipName("else")) {
    ASSIGN_OR_RETURN(node.otherwise, ParseClosedBody("endif"));
  } else {
    Next();
    RETURN_IF_ERROR(ExpectBlockEnd());
  }
  context_.soft = soft;
  return Statement{line, std::move(node)};
}

absl::StatusOr<Statement> Parser::ParseSet() {
  const int line = current().line;
  ASSIGN_OR_RETURN(Target target, ParseTarget(/*with_namespace=*/true));
  if (SkipSymbol("=")) {
    ASSIGN_OR_RETURN(ExpressionPtr value, ParseTuple(/*with_conditional=*/true));
    RETURN_IF_ERROR(ExpectBlockEnd());
    return Statement{line, SetNode{std::move(target), std::move(value)}};
  }
  SetBlockNode node{.target = std::move(target), .filter = nullptr, .body = {}};
  ASSIGN_OR_RETURN(node.filter, ParseFilterChain(nullptr));
  const bool soft = std::exchange(context_.soft, false);
  ASSIGN_OR_RETURN(node.body, ParseClosedBody("endset"));
  context_.soft = soft;
  return Statement{line, std::move(node)};
}

absl::Status Parser::ParseSignature(MacroNode& macro) {
  RETURN_IF_ERROR(Expect("("));
  while (!SkipSymbol(")")) {
    if (!macro.parameters.empty()) RETURN_IF_ERROR(Expect(","));
    ASSIGN_OR_RETURN(std::string name, ExpectName());
    macro.parameters.push_back(Intern(name));
    bound_.insert(macro.parameters.back());
    macro.parameter_names.push_back(std::move(name));
    if (SkipSymbol("=")) {
      ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      macro.defaults.push_back(std::move(value));
    } else if (!macro.defaults.empty()) {
      return SyntaxError(current().line, "non-default argument follows default argument");
    }
  }
  return absl::OkStatus();
}

absl::Status Parser::ParseMacroBody(MacroNode& macro, std::string_view end) {
  const Context outer = std::exchange(context_, Context());
  const bool caller = std::exchange(reads_caller_, false);
  const bool varargs = std::exchange(reads_varargs_, false);
  const bool kwargs = std::exchange(reads_kwargs_, false);
  ASSIGN_OR_RETURN(macro.body, ParseClosedBody(end));
  macro.uses_caller = reads_caller_;
  macro.uses_varargs = reads_varargs_;
  macro.uses_kwargs = reads_kwargs_;
  reads_caller_ = reads_caller_ || caller;
  reads_varargs_ = reads_varargs_ || varargs;
  reads_kwargs_ = reads_kwargs_ || kwargs;
  context_ = outer;
  return absl::OkStatus();
}

absl::StatusOr<Statement> Parser::ParseMacro() {
  const int line = current().line;
  auto macro = std::make_unique<MacroNode>();
  ASSIGN_OR_RETURN(macro->name, ExpectName());
  macro->symbol = Intern(macro->name);
  bound_.insert(macro->symbol);
  RETURN_IF_ERROR(ParseSignature(*macro));
  RETURN_IF_ERROR(ParseMacroBody(*macro, "endmacro"));
  return Statement{line, MacroStatement{std::move(macro)}};
}

absl::StatusOr<Statement> Parser::ParseCallBlock() {
  const int line = current().line;
  auto caller = std::make_unique<MacroNode>();
  caller->name = "caller";
  caller->symbol = -1;
  if (current().Is("(")) RETURN_IF_ERROR(ParseSignature(*caller));
  ASSIGN_OR_RETURN(ExpressionPtr call, ParseExpression());
  if (!std::holds_alternative<CallNode>(call->node)) return SyntaxError(line, "expected call");
  RETURN_IF_ERROR(ParseMacroBody(*caller, "endcall"));
  return Statement{line, CallBlockNode{std::move(caller), std::move(call)}};
}

absl::StatusOr<Statement> Parser::ParseFilterBlock() {
  const int line = current().line;
  FilterBlockNode node;
  const bool soft = std::exchange(context_.soft, false);
  ASSIGN_OR_RETURN(node.filter, ParseFilter(nullptr));
  ASSIGN_OR_RETURN(node.filter, ParseFilterChain(std::move(node.filter)));
  ASSIGN_OR_RETURN(node.body, ParseClosedBody("endfilter"));
  context_.soft = soft;
  return Statement{line, std::move(node)};
}

absl::StatusOr<Statement> Parser::ParseWith() {
  const int line = current().line;
  WithNode node;
  while (current().kind != TokenKind::kBlockEnd) {
    if (!node.assignments.empty()) RETURN_IF_ERROR(Expect(","));
    ASSIGN_OR_RETURN(Target target, ParseTarget(/*with_namespace=*/false));
    RETURN_IF_ERROR(Expect("="));
    ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    node.assignments.emplace_back(std::move(target), std::move(value));
  }
  const bool soft = std::exchange(context_.soft, false);
  ASSIGN_OR_RETURN(node.body, ParseClosedBody("endwith"));
  context_.soft = soft;
  return Statement{line, std::move(node)};
}

absl::StatusOr<Statement> Parser::ParseGeneration() {
  const int line = current().line;
  const Context outer = std::exchange(context_, Context());
  ASSIGN_OR_RETURN(Body body, ParseClosedBody("endgeneration"));
  context_ = outer;
  return Statement{line, ScopeNode{std::move(body)}};
}

}  // namespace ropeway::jinja
