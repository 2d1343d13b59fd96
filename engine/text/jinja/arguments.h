// Matches the arguments of a call with the parameters of a native function.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_ARGUMENTS_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_ARGUMENTS_H_

#include <initializer_list>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/jinja/value.h"

namespace ropeway::jinja {

class BoundArguments {
 public:
  // Parameters are given by position or by name; the first `num_required` must be. A TypeError for too many,
  // too few, unknown or doubled ones.
  static absl::StatusOr<BoundArguments> Bind(const Arguments& arguments,
                                             std::initializer_list<std::string_view> parameters,
                                             size_t num_required = 0);

  // Null where parameter `i` was not given.
  const Value* operator[](size_t i) const { return values_[i]; }

  // The value of parameter `i` or the default; a TypeError when it is of another type.
  absl::StatusOr<Integer> IntegerOr(size_t i, Integer otherwise) const;
  absl::StatusOr<Str> TextOr(size_t i, const Str& otherwise) const;
  bool TruthyOr(size_t i, bool otherwise) const;

 private:
  std::vector<const Value*> values_;
};

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_ARGUMENTS_H_
