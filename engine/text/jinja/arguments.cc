#include "engine/text/jinja/arguments.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace ropeway::jinja {

absl::StatusOr<BoundArguments> BoundArguments::Bind(const Arguments& arguments,
                                                    std::initializer_list<std::string_view> parameters,
                                                    size_t num_required) {
  if (arguments.positional.size() > parameters.size()) {
    return TypeError(absl::StrCat("takes at most ", parameters.size(), " arguments, ",
                                  arguments.positional.size(), " were given"));
  }
  BoundArguments bound;
  bound.values_.resize(parameters.size(), nullptr);
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound.values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.keyword) {
    const auto* found = std::find(parameters.begin(), parameters.end(), name.view());
    if (found == parameters.end()) {
      return TypeError(absl::StrCat("got an unexpected keyword argument '", std::string(name.view()), "'"));
    }
    const Value*& slot = bound.values_[static_cast<size_t>(found - parameters.begin())];
    if (slot != nullptr) {
      return TypeError(absl::StrCat("got multiple values for argument '", std::string(name.view()), "'"));
    }
    slot = &value;
  }
  for (size_t i = 0; i < num_required; ++i) {
    if (bound.values_[i] == nullptr) {
      return TypeError(
          absl::StrCat("missing required argument '", std::string(*(parameters.begin() + i)), "'"));
    }
  }
  return bound;
}

absl::StatusOr<Integer> BoundArguments::IntegerOr(size_t i, Integer otherwise) const {
  if (values_[i] == nullptr) return otherwise;
  const std::optional<Integer> integer = values_[i]->AsIndex();
  if (integer.has_value()) return *integer;
  return TypeError(
      absl::StrCat("'", std::string(TypeName(*values_[i])), "' object cannot be interpreted as an integer"));
}

absl::StatusOr<Str> BoundArguments::TextOr(size_t i, const Str& otherwise) const {
  if (values_[i] == nullptr) return otherwise;
  if (const Str* text = values_[i]->AsStr()) return *text;
  return TypeError(absl::StrCat("expected a string, got ", std::string(TypeName(*values_[i]))));
}

bool BoundArguments::TruthyOr(size_t i, bool otherwise) const {
  return values_[i] == nullptr ? otherwise : Truthy(*values_[i]);
}

}  // namespace ropeway::jinja
