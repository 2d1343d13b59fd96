#include "engine/base/metadata.h"

#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

TEST(MetadataTest, GivesBackWhatWasAdded) {
  Metadata metadata;
  ASSERT_OK(metadata.Add("count", int64_t{3}));
  ASSERT_OK(metadata.Add("words", std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(*metadata.GetInt("count"), 3);
  EXPECT_EQ(*metadata.GetDouble("count"), 3.0);
  EXPECT_EQ((*metadata.GetStrings("words"))->size(), 2);
  EXPECT_THAT(metadata.keys(), ::testing::ElementsAre("count", "words"));
}

TEST(MetadataTest, ErrorsNameTheKey) {
  Metadata metadata;
  ASSERT_OK(metadata.Add("count", int64_t{3}));
  EXPECT_THAT(metadata.Add("count", true), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("'count'")));
  EXPECT_THAT(metadata.GetString("count"), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("'count' must be a string, is an integer")));
  EXPECT_THAT(metadata.GetBool("other"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("'other'")));
  EXPECT_THAT(metadata.GetDouble("other"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("'other'")));
  ASSERT_OK(metadata.Add("half", 0.5));
  EXPECT_EQ(*metadata.GetDouble("half"), 0.5);
  EXPECT_THAT(metadata.GetInt("half"), StatusIs(absl::StatusCode::kInvalidArgument,
                                                HasSubstr("'half' must be an integer, is a float")));
  ASSERT_OK(metadata.Add("word", std::string("x")));
  EXPECT_THAT(metadata.GetDouble("word"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'word' must be a float, is a string")));
  EXPECT_EQ(*ValueOr<int64_t>(metadata.GetInt("other"), 7), 7);
  EXPECT_THAT(ValueOr<bool>(metadata.GetBool("count"), true),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'count'")));
}

}  // namespace
}  // namespace ropeway
