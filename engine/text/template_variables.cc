#include "engine/text/template_variables.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/jinja/number.h"

namespace ropeway {
namespace {

using Json = nlohmann::ordered_json;

// Builds the document from the parser's events.
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(int max_depth) : max_depth_(max_depth) {}

  bool null() override { return Add(Json()); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t& text) override;
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(Json::object()); }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override;
  bool parse_error(size_t position, const std::string&, const Json::exception&) override;

  absl::StatusOr<Json> Take();

 private:
  // An array or object that is still open, and where the members of an object stand in it: searching
  // ordered_json would take quadratic time.
  struct Container {
    Json value;
    absl::flat_hash_map<std::string, size_t> members;
    size_t member = 0;  // that the next value belongs to
  };

  bool Add(Json value);
  bool Open(Json value);
  bool Close();

  const int max_depth_;
  std::vector<Container> open_;
  Json document_;
  absl::Status status_;
};

bool Builder::number_float(number_float_t value, const string_t& text) {
  if (text.find_first_of(".eE") != std::string::npos) return Add(value);
  if (!jinja::ParseInteger(text).has_value()) return Add(value);
  return Add(Json::binary(std::vector<uint8_t>(text.begin(), text.end()), kBigIntegerSubtype));
}

bool Builder::key(string_t& name) {
  Container& object = open_.back();
  auto& members = object.value.get_ref<Json::object_t&>();
  const auto [entry, inserted] = object.members.try_emplace(name, members.size());
  // The base vector's emplace_back, for the map's own searches for the key.
  if (inserted) static_cast<Json::object_t::Container&>(members).emplace_back(name, Json());
  object.member = entry->second;
  return true;
}

bool Builder::Add(Json value) {
  if (open_.empty()) {
    document_ = std::move(value);
  } else if (Json& parent = open_.back().value; parent.is_array()) {
    parent.get_ref<Json::array_t&>().push_back(std::move(value));
  } else {
    (parent.get_ref<Json::object_t&>().begin() + static_cast<ptrdiff_t>(open_.back().member))->second =
        std::move(value);
  }
  return true;
}

bool Builder::Open(Json value) {
  if (open_.size() >= static_cast<size_t>(max_depth_)) {
    status_ = absl::InvalidArgumentError(absl::StrCat("JSON nests deeper than max_depth = ", max_depth_));
    return false;
  }
  open_.push_back({std::move(value), {}, 0});
  return true;
}

bool Builder::Close() {
  Json value = std::move(open_.back().value);
  open_.pop_back();
  return Add(std::move(value));
}

bool Builder::parse_error(size_t position, const std::string&, const Json::exception&) {
  status_ = absl::InvalidArgumentError(absl::StrCat("not valid JSON at byte ", position));
  return false;
}

absl::StatusOr<Json> Builder::Take() {
  if (!status_.ok()) return status_;
  return std::move(document_);
}

}  // namespace

absl::StatusOr<Json> ParseTemplateVariables(std::string_view text, int max_depth) {
  Builder builder(max_depth);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.Take();
}

}  // namespace ropeway
