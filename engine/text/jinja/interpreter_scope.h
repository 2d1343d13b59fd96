// Guards that the parts of the interpreter share.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_INTERPRETER_SCOPE_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_INTERPRETER_SCOPE_H_

#include "engine/text/jinja/interpreter.h"

namespace ropeway::jinja {

class Interpreter::ScopeGuard {
 public:
  ScopeGuard(Interpreter& interpreter, Scope* parent)
      : interpreter_(interpreter), outer_(interpreter.scope_), inner_(interpreter.NewScope(parent)) {
    interpreter_.scope_ = inner_;
  }
  ~ScopeGuard() {
    interpreter_.scope_ = outer_;
    interpreter_.ReleaseScope(inner_);
  }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Interpreter& interpreter_;
  Scope* const outer_;
  Scope* const inner_;
};

class Interpreter::Capture {
 public:
  explicit Capture(Interpreter& interpreter)
      : interpreter_(interpreter), outer_(interpreter.out_), builder_(interpreter.budget_) {
    interpreter_.out_ = &builder_;
  }
  ~Capture() { interpreter_.out_ = outer_; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  Str Build() { return builder_.Build(); }

 private:
  Interpreter& interpreter_;
  StrBuilder* const outer_;
  StrBuilder builder_;
};

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_INTERPRETER_SCOPE_H_
