// From a template's source to its syntax tree: Jinja's grammar without include, import, extends and block.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_PARSER_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_PARSER_H_

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/lexer.h"
#include "engine/text/template_limits.h"

namespace ropeway::jinja {

// INVALID_ARGUMENT with the line where `source` does not parse, or with the limit that it passes.
absl::StatusOr<std::unique_ptr<const Program>> Parse(std::string_view source, const TemplateLimits& limits);

// Recursive descent over the tokens; used once.
class Parser {
 public:
  Parser(std::vector<Token> tokens, const TemplateLimits& limits);
  absl::StatusOr<std::unique_ptr<const Program>> Run();

 private:
  // What an expression or a body stands in.
  struct Context {
    bool soft = false;  // in an if: an unknown filter or test is an error only when it is reached
    int loops = 0;      // around the statement, inside of the same macro
  };
  // Counts the nesting as long as it lives.
  class Nesting;

  // Tokens.
  const Token& current() const { return tokens_[position_]; }
  const Token& Look() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  void Next() { position_ = std::min(position_ + 1, tokens_.size() - 1); }
  bool SkipSymbol(std::string_view symbol);
  bool SkipName(std::string_view name);
  absl::Status Expect(std::string_view symbol);
  absl::StatusOr<std::string> ExpectName();
  absl::Status ExpectBlockEnd();
  absl::Status Unexpected() const;
  absl::Status CheckDepth() const;
  Symbol Intern(std::string_view name);
  // What is unknown is an error at once, or a warning inside of an if.
  absl::Status ReportUnknown(int line, std::string_view kind, std::string_view name);
  absl::Status CheckCalls();
  template <typename Node>
  ExpressionPtr Make(int line, Node node);

  // Statements (parser_statements.cc).
  absl::StatusOr<Body> ParseBody(std::initializer_list<std::string_view> ends);
  absl::Status ParseStatement(Body& body);
  absl::StatusOr<Statement> ParseTag();
  absl::StatusOr<Statement> ParseFor();
  absl::StatusOr<Statement> ParseIf();
  absl::StatusOr<Statement> ParseSet();
  absl::StatusOr<Statement> ParseMacro();
  absl::StatusOr<Statement> ParseCallBlock();
  absl::StatusOr<Statement> ParseFilterBlock();
  absl::StatusOr<Statement> ParseWith();
  absl::StatusOr<Statement> ParseGeneration();
  absl::Status ParseSignature(MacroNode& macro);
  absl::Status ParseMacroBody(MacroNode& macro, std::string_view end);
  absl::StatusOr<Body> ParseClosedBody(std::string_view end);
  absl::StatusOr<Target> ParseTarget(bool with_namespace);
  absl::StatusOr<Target> ParseSingleTarget(bool with_namespace);

  // Expressions (parser_expressions.cc), from the loosest to the tightest.
  absl::StatusOr<ExpressionPtr> ParseTuple(bool with_conditional, bool parenthesised = false);
  absl::StatusOr<ExpressionPtr> ParseExpression();
  absl::StatusOr<ExpressionPtr> ParseOr();
  absl::StatusOr<ExpressionPtr> ParseAnd();
  absl::StatusOr<ExpressionPtr> ParseNot();
  absl::StatusOr<ExpressionPtr> ParseComparison();
  absl::StatusOr<ExpressionPtr> ParseSum();
  absl::StatusOr<ExpressionPtr> ParseConcat();
  absl::StatusOr<ExpressionPtr> ParseProduct();
  absl::StatusOr<ExpressionPtr> ParsePower();
  absl::StatusOr<ExpressionPtr> ParseUnary(bool with_filters);
  absl::StatusOr<ExpressionPtr> ParsePrimary();
  absl::StatusOr<ExpressionPtr> ParseName();
  absl::StatusOr<ExpressionPtr> ParseNumber();
  absl::StatusOr<ExpressionPtr> ParseList();
  absl::StatusOr<ExpressionPtr> ParseDict();
  absl::StatusOr<ExpressionPtr> ParsePostfix(ExpressionPtr expression);
  absl::StatusOr<ExpressionPtr> ParseFiltersAndTests(ExpressionPtr expression);
  absl::StatusOr<ExpressionPtr> ParseAttribute(ExpressionPtr object);
  absl::StatusOr<ExpressionPtr> ParseSubscript(ExpressionPtr object);
  absl::StatusOr<ExpressionPtr> ParseFilter(ExpressionPtr target);
  absl::StatusOr<ExpressionPtr> ParseFilterChain(ExpressionPtr target);
  absl::StatusOr<ExpressionPtr> ParseTest(ExpressionPtr target);
  absl::StatusOr<CallArguments> ParseArguments();
  absl::StatusOr<std::string> ParseDottedName();

  using Operators = std::initializer_list<std::pair<std::string_view, BinaryOperator>>;
  // operand (operator operand)*
  absl::StatusOr<ExpressionPtr> ParseArithmetic(Operators operators,
                                                absl::StatusOr<ExpressionPtr> (Parser::*operand)());

  std::vector<Token> tokens_;
  size_t position_ = 0;
  const int max_depth_;
  int depth_ = 0;
  Context context_;
  // Whether the body being parsed reads these names.
  bool reads_caller_ = false;
  bool reads_varargs_ = false;
  bool reads_kwargs_ = false;
  std::unique_ptr<Program> program_;
  std::vector<std::pair<Symbol, int>> calls_;  // of names, with their lines
  absl::flat_hash_set<Symbol> bound_;          // names that the template itself gives a value
  absl::flat_hash_map<std::string, Symbol> symbols_;
};

class Parser::Nesting {
 public:
  explicit Nesting(int& depth) : depth_(depth) { ++depth_; }
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  int& depth_;
};

template <typename Node>
ExpressionPtr Parser::Make(int line, Node node) {
  return std::make_unique<const Expression>(Expression{line, std::move(node)});
}

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_PARSER_H_
