// The `loop` variable: where a for loop stands, with as much looking ahead as the template asks for.
//
// Items are fetched one by one, since a loop's condition may depend on what its body does. Not thread-safe.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_LOOP_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_LOOP_H_

#include <deque>
#include <functional>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/jinja/value.h"

namespace ropeway::jinja {

struct ForNode;

class Loop {
 public:
  // nullopt at the end.
  using NextItem = std::function<absl::StatusOr<std::optional<Value>>()>;

  Loop(NextItem next_item, const ForNode* node, Scope* scope, int depth)
      : next_item_(std::move(next_item)), node_(node), scope_(scope), depth_(depth) {}

  // Moves to the next item, which current() then is; false at the end.
  absl::StatusOr<bool> Advance();
  // Drops all values. A template may keep `loop` in a namespace, and loops over kept loops would make a chain
  // without bound.
  void Finish();

  const Value& current() const { return current_; }
  absl::StatusOr<Integer> Length();
  // The attribute `name`; nullopt when a loop has none of that name.
  absl::StatusOr<std::optional<Value>> Attribute(std::string_view name);

  // loop.changed(...): whether `value` differs from that of the last call.
  bool Changed(const Value& value, Budget& budget);

  // For loop(...) in a recursive loop, and loop.cycle(...).
  const ForNode* node() const { return node_; }
  Scope* scope() const { return scope_; }
  int depth() const { return depth_; }
  const Integer& index0() const { return index0_; }
  bool finished() const { return next_item_ == nullptr; }

 private:
  absl::StatusOr<std::optional<Value>> Fetch();
  absl::StatusOr<const Value*> Peek();  // null at the end

  NextItem next_item_;
  std::deque<Value> ahead_;  // fetched, but not yet current
  std::optional<Value> previous_;
  Value current_;
  std::optional<Value> changed_;
  Integer index0_ = -1;
  const ForNode* const node_;
  Scope* const scope_;  // that the loop stands in
  const int depth_;     // from 1
};

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_LOOP_H_
