#include "server/model_bundle.h"

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Of a large model all weights would be packed before anybody heard of it.
TEST(ModelBundleTest, AWrongTokenizerEndsTheLoadOfWeights) {
  const testing::TempFolder folder;
  ASSERT_OK(testing::WriteTinyModel("llama_base", folder.path()));
  folder.Write("tokenizer.json", "{}");
  Config config;
  config.model = folder.path();
  config.device = Device::kCpu;
  config.kv_cache_mb = 1;
  config.threads = 1;
  int read = 0, all = 0;
  const auto slowly = [&](int layers_done, int layers) {
    read = layers_done, all = layers;
    absl::SleepFor(absl::Seconds(1));
    return absl::OkStatus();
  };
  EXPECT_THAT(LoadModel(config, slowly).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(folder.path()), HasSubstr("tokenizer.json"))));
  EXPECT_TRUE(all == 0 || read < all) << read << " of " << all;
}

}  // namespace
}  // namespace ropeway::server
