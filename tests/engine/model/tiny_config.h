// The config.json of tiny models, with changes, and what is read from it.
#ifndef ROPEWAY_TESTS_ENGINE_MODEL_TINY_CONFIG_H_
#define ROPEWAY_TESTS_ENGINE_MODEL_TINY_CONFIG_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/model/hf_config.h"
#include "nlohmann/json.hpp"
#include "tests/testing/status_matchers.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {

inline nlohmann::ordered_json ConfigOf(const std::string& case_name, const char* key = "config") {
  const absl::StatusOr<nlohmann::ordered_json> golden = ReadTinyGolden(case_name);
  EXPECT_OK(golden);
  return (*golden)[key];
}

inline DecoderSpec SpecOf(const std::string& case_name) {
  const absl::StatusOr<DecoderSpec> spec = SpecFromHfConfig(ConfigOf(case_name).dump());
  EXPECT_OK(spec);
  return *spec;
}

// The config of a case with some fields set; null removes one.
inline absl::StatusOr<DecoderSpec> With(const std::string& case_name, const nlohmann::ordered_json& changes,
                                        const char* key = "config") {
  nlohmann::ordered_json config = ConfigOf(case_name, key);
  for (const auto& item : changes.items())
    if (item.value().is_null())
      config.erase(item.key());
    else
      config[item.key()] = item.value();
  return SpecFromHfConfig(config.dump());
}

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_ENGINE_MODEL_TINY_CONFIG_H_
