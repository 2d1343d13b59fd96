#include "engine/model/safetensors_file.h"

#include <cstring>
#include <string>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<uint8_t> FileOf(const std::string& header, size_t data_bytes) {
  std::vector<uint8_t> bytes(8 + header.size() + data_bytes);
  const uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  for (size_t i = 0; i < data_bytes; ++i) bytes[8 + header.size() + i] = static_cast<uint8_t>(i);
  return bytes;
}

TEST(SafetensorsFileTest, ReadsTensors) {
  const std::vector<uint8_t> file = FileOf(
      R"({"b": {"dtype": "F16", "shape": [2, 3], "data_offsets": [8, 20]}, "__metadata__": {"format": "pt"},
          "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
          "c": {"dtype": "BF16", "shape": [], "data_offsets": [20, 22]}}   )",
      22);
  ASSERT_OK_AND_ASSIGN(const auto tensors, ParseSafetensors(file));
  ASSERT_EQ(tensors.size(), 3u);
  const uint8_t* data = file.data() + file.size() - 22;
  EXPECT_EQ(tensors.at("a").type, DType::kF32);
  EXPECT_EQ(tensors.at("a").data, data);
  EXPECT_EQ(tensors.at("b").type, DType::kF16);
  EXPECT_THAT(tensors.at("b").shape, ElementsAre(2, 3));
  EXPECT_EQ(tensors.at("b").data, data + 8);
  EXPECT_EQ(tensors.at("c").type, DType::kBF16);
  EXPECT_EQ(tensors.at("c").bytes(), 2);
}

TEST(SafetensorsFileTest, RefusesBadEntries) {
  const struct {
    const char* entry;
    const char* says;
  } cases[] = {
      {"1", "tensor 'a' must be an object"},
      {R"({"shape": [2], "data_offsets": [0, 8]})", "tensor 'a' field 'dtype' is missing"},
      {R"({"dtype": "F32", "data_offsets": [0, 8]})", "'shape' must be an array"},
      {R"({"dtype": "F32", "shape": [2]})", "'data_offsets' must be an array"},
      {R"({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]})", "integers in [0, 2^63)"},
      {R"({"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]})", "integers in [0, 2^63)"},
      {R"({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})", "positive extents"},
      {R"({"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,2], "data_offsets": [0, 8]})", "at most 8 numbers"},
      {R"({"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]})",
       "larger than any file"},
      {R"({"dtype": "F32", "shape": [9223372036854775807], "data_offsets": [0, 0]})", "larger than any file"},
      {R"({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]})", "must span the 8 bytes"},
      {R"({"dtype": "F32", "shape": [2], "data_offsets": [8, 0]})", "must span the 8 bytes"},
      {R"({"dtype": "F32", "shape": [2], "data_offsets": [8]})", "must span the 8 bytes"},
      {R"({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]})", "must begin at byte 0"},
      {R"({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]})",
       "ends at byte 16 of the data, which has only 8"},
      {R"({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})", "the tensors end at byte 4"},
      {R"({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "a": 1)", "key 'a' appears twice"},
      {R"({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
           "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]})",
       "tensor 'b' must begin at byte 8"},
  };
  for (const auto& test : cases)
    EXPECT_THAT(ParseSafetensors(FileOf(std::string(R"({"a": )") + test.entry + "}", 8)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.says)))
        << test.entry;
}

TEST(SafetensorsFileTest, RefusesTypesByName) {
  EXPECT_THAT(
      ParseSafetensors(FileOf(R"({"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}})", 8)),
      StatusIs(absl::StatusCode::kUnimplemented,
               HasSubstr("'F8_E4M3' is not supported; supported are F32, F16, BF16")));
  EXPECT_THAT(
      ParseSafetensors(
          FileOf(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], "scale": 2}})", 8)),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("tensor 'a' field 'scale' is not supported")));
}

TEST(SafetensorsFileTest, RefusesBadHeaders) {
  const auto error = [](std::vector<uint8_t> file, const SafetensorsLimits& limits = {}) {
    return std::string(ParseSafetensors(file, limits).status().message());
  };
  EXPECT_THAT(error({}), HasSubstr("shorter than 8 bytes"));
  EXPECT_THAT(error(std::vector<uint8_t>(7)), HasSubstr("shorter than 8 bytes"));
  EXPECT_THAT(error(std::vector<uint8_t>(8)), HasSubstr("not valid JSON"));
  EXPECT_THAT(error(std::vector<uint8_t>(20, 0xFF)), HasSubstr("may have at most"));
  EXPECT_THAT(error(FileOf("[]", 0)), HasSubstr("must be a JSON object"));
  std::vector<uint8_t> truncated = FileOf("{}", 0);
  truncated.pop_back();
  EXPECT_THAT(error(truncated), HasSubstr("ends inside the header, which has 2 bytes"));
  EXPECT_THAT(error(FileOf("{}", 1)), HasSubstr("the tensors end at byte 0 of the data, which has 1"));
  EXPECT_THAT(error(FileOf("{}", 0), {.max_header_bytes = 1}), HasSubstr("may have at most 1 bytes, has 2"));
  EXPECT_THAT(error(FileOf(R"({"a": 1, "b": 2})", 0), {.max_tensors = 1}),
              HasSubstr("at most 1 tensors, has 2"));
}

}  // namespace
}  // namespace ropeway
