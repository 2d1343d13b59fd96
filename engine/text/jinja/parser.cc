#include "engine/text/jinja/parser.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/text/jinja/builtins.h"

namespace ropeway::jinja {
namespace {

std::string Describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData:
      return "template data";
    case TokenKind::kBlockBegin:
      return "begin of statement block";
    case TokenKind::kBlockEnd:
      return "end of statement block";
    case TokenKind::kVariableBegin:
      return "begin of print statement";
    case TokenKind::kVariableEnd:
      return "end of print statement";
    case TokenKind::kEnd:
      return "end of template";
    default:
      return absl::StrCat("'", token.text, "'");
  }
}

}  // namespace

absl::Status SyntaxError(int line, std::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", std::string(message)));
}

Parser::Parser(std::vector<Token> tokens, const TemplateLimits& limits)
    : tokens_(std::move(tokens)), max_depth_(limits.max_depth), program_(std::make_unique<Program>()) {
  program_->loop = Intern("loop");
  program_->caller = Intern("caller");
  program_->varargs = Intern("varargs");
  program_->kwargs = Intern("kwargs");
  bound_ = {program_->loop, program_->caller, program_->varargs, program_->kwargs};
}

absl::StatusOr<std::unique_ptr<const Program>> Parser::Run() {
  ASSIGN_OR_RETURN(program_->body, ParseBody({}));
  RETURN_IF_ERROR(CheckCalls());
  return std::move(program_);
}

bool Parser::SkipSymbol(std::string_view symbol) {
  if (!current().Is(symbol)) return false;
  Next();
  return true;
}

bool Parser::SkipName(std::string_view name) {
  if (!current().IsName(name)) return false;
  Next();
  return true;
}

absl::Status Parser::Expect(std::string_view symbol) {
  if (SkipSymbol(symbol)) return absl::OkStatus();
  return SyntaxError(current().line,
                     absl::StrCat("expected token '", std::string(symbol), "', got ", Describe(current())));
}

absl::StatusOr<std::string> Parser::ExpectName() {
  if (current().kind != TokenKind::kName) {
    return SyntaxError(current().line, absl::StrCat("expected a name, got ", Describe(current())));
  }
  std::string name = current().text;
  Next();
  return name;
}

absl::Status Parser::ExpectBlockEnd() {
  if (current().kind != TokenKind::kBlockEnd) {
    return SyntaxError(current().line,
                       absl::StrCat("expected end of statement block, got ", Describe(current())));
  }
  Next();
  return absl::OkStatus();
}

absl::Status Parser::Unexpected() const {
  return SyntaxError(current().line, absl::StrCat("unexpected ", Describe(current())));
}

absl::Status Parser::CheckDepth() const {
  if (depth_ <= max_depth_) return absl::OkStatus();
  return SyntaxError(current().line, absl::StrCat("passes the limit max_depth = ", max_depth_));
}

Symbol Parser::Intern(std::string_view name) {
  const auto [entry, inserted] =
      symbols_.try_emplace(std::string(name), static_cast<Symbol>(program_->symbols.size()));
  if (inserted) program_->symbols.emplace_back(name);
  return entry->second;
}

absl::Status Parser::ReportUnknown(int line, std::string_view kind, std::string_view name) {
  if (kind == "filter" && IsMissingFilter(name)) {
    return SyntaxError(line, absl::StrCat("Jinja's filter '", std::string(name), "' is not supported."));
  }
  const std::string message = absl::StrCat("No ", std::string(kind), " named '", std::string(name), "'.");
  if (!context_.soft) return SyntaxError(line, message);
  program_->warnings.push_back(absl::StrCat("line ", line, ": ", message));
  return absl::OkStatus();
}

// Calls of names that nothing gives a value to. Variables of a request are never functions.
absl::Status Parser::CheckCalls() {
  for (const auto& [symbol, line] : calls_) {
    const std::string& name = program_->symbols[static_cast<size_t>(symbol)];
    if (bound_.contains(symbol) || FindFunction(name) != nullptr) continue;
    if (IsMissingFunction(name)) {
      return SyntaxError(line, absl::StrCat("Jinja's function '", name, "' is not supported."));
    }
    program_->warnings.push_back(absl::StrCat("line ", line, ": No function named '", name, "'."));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<const Program>> Parse(std::string_view source, const TemplateLimits& limits) {
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens), limits).Run();
}

}  // namespace ropeway::jinja
