// The arithmetic of templates: Python's, on numbers, texts and lists.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_OPERATORS_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_OPERATORS_H_

#include "absl/status/statusor.h"
#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/value.h"

namespace ropeway::jinja {

absl::StatusOr<Value> ApplyBinary(BinaryOperator op, const Value& left, const Value& right, Budget& budget);
absl::StatusOr<Value> ApplyUnary(UnaryOperator op, const Value& operand);
absl::StatusOr<bool> ApplyCompare(CompareOperator op, const Value& left, const Value& right, Budget& budget);

// `text` with & < > ' " replaced by entities, as markup. Markup stays as it is.
Str Escape(const Str& text, Budget& budget);

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_OPERATORS_H_
