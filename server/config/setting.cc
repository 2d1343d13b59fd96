#include "server/config/setting.h"

#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "server/config/setting_value.h"

namespace ropeway::server {
namespace {

absl::Status Refused(absl::string_view called, absl::string_view must_be, absl::string_view is) {
  return absl::InvalidArgumentError(absl::StrCat(called, " must be ", must_be, ", is ", is));
}

// How a setting is read into and checked as a T, by its rule. Each has
//   Parse(called, text, value)   reads and checks
//   Check(called, value)         checks
//   Format(value), RangeText(), Extremes()
template <typename T, typename Rule>
struct Values;

// Numbers and durations.
template <typename T, typename U>
struct Values<T, Range<U>> {
  Range<U> range;

  absl::Status Parse(absl::string_view called, absl::string_view text, T& value) const {
    const absl::Status parsed = ParseValue(text, value);
    if (absl::IsInvalidArgument(parsed))
      return Refused(called, absl::StrCat(parsed.message(), " in ", range.Text()), Quoted(text));
    if (!parsed.ok() || !range.Holds(value)) return Refused(called, absl::StrCat("in ", range.Text()), text);
    return absl::OkStatus();
  }
  absl::Status Check(absl::string_view called, const T& value) const {
    if (range.Holds(value)) return absl::OkStatus();
    return Refused(called, absl::StrCat("in ", range.Text()), Format(value));
  }
  static std::string Format(const T& value) { return FormatValue(U(value)); }
  std::string RangeText() const { return range.Text(); }
  std::vector<std::string> Extremes() const {
    return {range.open ? FormatValue((range.least + range.most) / 1024) : FormatValue(range.least),
            FormatValue(range.most)};
  }
};

template <typename T>
struct Values<T, OneOf> {
  OneOf rule;

  absl::Status Parse(absl::string_view called, absl::string_view text, T& value) const {
    const std::optional<T> found = FromWord<T>(text);
    if (!found) {
      return absl::InvalidArgumentError(
          absl::StrCat(called, " must be one of ", RangeText(), "; is ", Quoted(text)));
    }
    value = *found;
    return absl::OkStatus();
  }
  absl::Status Check(absl::string_view, const T&) const { return absl::OkStatus(); }
  static std::string Format(const T& value) { return std::string(WordOf(value)); }
  std::string RangeText() const { return absl::StrJoin(Words<T>::kAll, ", "); }
  std::vector<std::string> Extremes() const { return {std::begin(Words<T>::kAll), std::end(Words<T>::kAll)}; }
};

template <typename T>
struct Values<T, TextRule> {
  TextRule rule;

  absl::Status Parse(absl::string_view called, absl::string_view text, T& value) const {
    value = std::string(text);
    return Check(called, value);
  }
  absl::Status Check(absl::string_view called, const T& value) const {
    if (value.empty()) return absl::OkStatus();
    const absl::Status checked = rule.check(value);
    if (checked.ok()) return checked;
    return absl::InvalidArgumentError(absl::StrCat(called, " ", checked.message()));
  }
  static std::string Format(const T& value) { return value; }
  std::string RangeText() const { return ""; }
  std::vector<std::string> Extremes() const { return {}; }
};

// A value that depends on the device is read and checked as one that does not.
template <typename T, typename U>
struct Values<PerDevice<T>, Range<U>> {
  Range<U> range;

  absl::Status Parse(absl::string_view called, absl::string_view text, PerDevice<T>& value) const {
    T number;
    RETURN_IF_ERROR((Values<T, Range<U>>{range}.Parse(called, text, number)));
    value = number;
    return absl::OkStatus();
  }
  absl::Status Check(absl::string_view called, const PerDevice<T>& value) const {
    RETURN_IF_ERROR((Values<T, Range<U>>{range}.Check(called, value.On(Device::kCpu))));
    return Values<T, Range<U>>{range}.Check(called, value.On(Device::kCuda));
  }
  static std::string Format(const PerDevice<T>& value) {
    return absl::StrCat(value.On(Device::kCpu), "; on a GPU ", value.On(Device::kCuda));
  }
  std::string RangeText() const { return range.Text(); }
  std::vector<std::string> Extremes() const { return Values<T, Range<U>>{range}.Extremes(); }
};

// What an empty value means.
template <typename T, typename Rule>
T WhereEmpty(const Rule&, const T& default_value) {
  return default_value;
}
std::string WhereEmpty(const TextRule& rule, const std::string& default_value) {
  return rule.may_be_none ? "" : default_value;
}

// `Field` gives the field of a Config, const or not.
template <typename T, typename Rule, typename Field>
Setting MakeSetting(Setting setting, Rule rule, Field field) {
  const Values<T, Rule> values{rule};
  Config defaults;
  const T default_value = field(defaults);
  setting.default_text = values.Format(default_value);
  setting.range = values.RangeText();
  setting.extremes = values.Extremes();
  setting.set = [values, field](absl::string_view called, absl::string_view text, Config& config) {
    return values.Parse(called, text, field(config));
  };
  setting.set_empty = [field, empty = WhereEmpty(rule, default_value)](Config& config) {
    field(config) = empty;
  };
  setting.check = [values, field, called = absl::StrCat("--", setting.name)](const Config& config) {
    return values.Check(called, field(config));
  };
  return setting;
}

}  // namespace

std::vector<Setting> Settings() {
  std::vector<Setting> settings;
  absl::string_view group;
#define GROUP(name) group = name;
#define FIELD(place, type, name, rule, unit, help) \
  settings.push_back(MakeSetting<type>(            \
      Setting{group, #name, unit, help}, rule, [](auto& config) -> auto& { return config.place; }));
#define SETTING(type, name, default_value, rule, unit, help) FIELD(name, type, name, rule, unit, help)
#define REQUEST_LIMIT(type, name, default_value, rule, unit, help) \
  FIELD(request.name, type, name, rule, unit, help)
#include "server/config/settings.inc"
#undef FIELD
  return settings;
}

}  // namespace ropeway::server
