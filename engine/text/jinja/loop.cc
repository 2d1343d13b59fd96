#include "engine/text/jinja/loop.h"

#include "engine/base/status_macros.h"

namespace ropeway::jinja {

absl::StatusOr<std::optional<Value>> Loop::Fetch() {
  if (next_item_ == nullptr) return std::nullopt;
  return next_item_();
}

absl::StatusOr<bool> Loop::Advance() {
  std::optional<Value> item;
  if (ahead_.empty()) {
    ASSIGN_OR_RETURN(item, Fetch());
  } else {
    item = std::move(ahead_.front());
    ahead_.pop_front();
  }
  if (!item.has_value()) return false;
  if (index0_ >= 0) previous_ = std::move(current_);
  current_ = *std::move(item);
  index0_ += 1;
  return true;
}

void Loop::Finish() {
  next_item_ = nullptr;
  ahead_.clear();
  previous_.reset();
  current_ = None();
  changed_.reset();
}

absl::StatusOr<const Value*> Loop::Peek() {
  if (ahead_.empty()) {
    ASSIGN_OR_RETURN(std::optional<Value> item, Fetch());
    if (!item.has_value()) return nullptr;
    ahead_.push_back(*std::move(item));
  }
  return &ahead_.front();
}

absl::StatusOr<Integer> Loop::Length() {
  while (true) {
    ASSIGN_OR_RETURN(std::optional<Value> item, Fetch());
    if (!item.has_value()) break;
    ahead_.push_back(*std::move(item));
  }
  return index0_ + 1 + static_cast<Integer>(ahead_.size());
}

bool Loop::Changed(const Value& value, Budget& budget) {
  const bool changed = !changed_.has_value() || !Equal(*changed_, value, budget);
  changed_ = value;
  return changed;
}

absl::StatusOr<std::optional<Value>> Loop::Attribute(std::string_view name) {
  if (name == "index0") return Value(index0_);
  if (name == "index") return Value(index0_ + 1);
  if (name == "first") return Value(index0_ == 0);
  if (name == "depth") return Value(depth_);
  if (name == "depth0") return Value(depth_ - 1);
  if (name == "previtem")
    return previous_.has_value() ? *previous_ : MakeUndefined("there is no previous item");
  if (name == "last" || name == "nextitem") {
    ASSIGN_OR_RETURN(const Value* next, Peek());
    if (name == "last") return Value(next == nullptr);
    return next == nullptr ? MakeUndefined("there is no next item") : *next;
  }
  if (name == "length" || name == "revindex" || name == "revindex0") {
    ASSIGN_OR_RETURN(const Integer length, Length());
    if (name == "length") return Value(length);
    return Value(length - index0_ - (name == "revindex" ? 0 : 1));
  }
  return std::nullopt;
}

}  // namespace ropeway::jinja
