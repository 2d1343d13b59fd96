#include "engine/model/gguf_file.h"

#include <sys/stat.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/gguf_writer.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway {
namespace {

using ::ropeway::testing::GgufBytes;
using ::ropeway::testing::GgufModel;
using ::ropeway::testing::GgufPair;
using ::ropeway::testing::GgufString;
using ::ropeway::testing::GgufTensorInfo;
using ::ropeway::testing::IsOk;
using ::ropeway::testing::LittleEndian;
using ::ropeway::testing::RandomRows;
using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<GgufContent> Parse(const std::string& bytes, const GgufLimits& limits = {}) {
  return ParseGguf({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, limits);
}

std::string Header(uint64_t tensors, uint64_t pairs, uint32_t version = 3) {
  return "GGUF" + LittleEndian(version) + LittleEndian(tensors) + LittleEndian(pairs);
}

std::string ErrorOf(const std::string& bytes, const GgufLimits& limits = {}) {
  const absl::StatusOr<GgufContent> content = Parse(bytes, limits);
  EXPECT_THAT(content, StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  return std::string(content.status().message());
}

// A pair whose value is given as bytes.
std::string RawPair(const std::string& key, uint32_t type, const std::string& value) {
  return GgufString(key) + LittleEndian(type) + value;
}

TEST(GgufFileTest, ReadsEveryValueType) {
  const std::string bytes =
      Header(0, 14) + RawPair("u8", 0, "\xFF") + RawPair("i8", 1, "\xFF") + RawPair("u16", 2, "\xFF\xFF") +
      RawPair("i16", 3, "\xFF\xFF") + RawPair("u32", 4, LittleEndian(~uint32_t{0})) +
      RawPair("i32", 5, LittleEndian(int32_t{-5})) + RawPair("f32", 6, LittleEndian(1.5f)) +
      RawPair("bool", 7, "\1") + RawPair("string", 8, GgufString("text")) +
      RawPair("u64", 10, LittleEndian(uint64_t{1} << 62)) + RawPair("i64", 11, LittleEndian(int64_t{-7})) +
      RawPair("f64", 12, LittleEndian(2.5)) + GgufPair("strings", std::vector<std::string>{"a", "", "b"}) +
      GgufPair("floats", std::vector<double>{0.5, -1});
  ASSERT_OK_AND_ASSIGN(const GgufContent content, Parse(bytes));
  const Metadata& metadata = content.metadata;
  EXPECT_EQ(*metadata.GetInt("u8"), 255);
  EXPECT_EQ(*metadata.GetInt("i8"), -1);
  EXPECT_EQ(*metadata.GetInt("u16"), 65535);
  EXPECT_EQ(*metadata.GetInt("i16"), -1);
  EXPECT_EQ(*metadata.GetInt("u32"), 4294967295);
  EXPECT_EQ(*metadata.GetInt("i32"), -5);
  EXPECT_EQ(*metadata.GetDouble("f32"), 1.5);
  EXPECT_TRUE(*metadata.GetBool("bool"));
  EXPECT_EQ(*metadata.GetString("string"), "text");
  EXPECT_EQ(*metadata.GetInt("u64"), int64_t{1} << 62);
  EXPECT_EQ(*metadata.GetInt("i64"), -7);
  EXPECT_EQ(*metadata.GetDouble("f64"), 2.5);
  EXPECT_THAT(**metadata.GetStrings("strings"), ElementsAre("a", "", "b"));
  EXPECT_THAT(**metadata.GetDoubles("floats"), ElementsAre(0.5, -1));
}

TEST(GgufFileTest, ReadsTensorsOfEveryType) {
  for (const uint32_t version : {2u, 3u})
    for (const uint32_t alignment : {8u, 32u, 256u}) {
      GgufModel model{.version = version, .alignment = alignment};
      for (int i = 0; i < kNumDTypes; ++i) {
        const DType type = static_cast<DType>(i);
        model.tensors.push_back({NameOf(type), type, {3, 512}, RandomRows(type, 3, 512, i)});
      }
      const std::string bytes = GgufBytes(model);
      ASSERT_OK_AND_ASSIGN(const GgufContent content, Parse(bytes));
      EXPECT_EQ(content.version, version);
      ASSERT_EQ(content.tensors.size(), static_cast<size_t>(kNumDTypes));
      for (const auto& tensor : model.tensors) {
        const TensorView& view = content.tensors.at(tensor.name);
        EXPECT_EQ(view.type, tensor.type);
        EXPECT_THAT(view.shape, ElementsAre(3, 512));
        EXPECT_EQ(std::string(reinterpret_cast<const char*>(view.data), view.bytes()), tensor.bytes);
      }
    }
}

// Data begins at a multiple of the alignment, which is the end of the header itself now and then.
TEST(GgufFileTest, FindsDataBehindHeadersOfAnyLength) {
  for (size_t more = 0; more < 64; ++more) {
    GgufModel model;
    model["text"] = std::string(more, 'x');
    model.tensors.push_back({"t", DType::kF32, {8}, RandomRows(DType::kF32, 1, 8, 1)});
    const std::string bytes = GgufBytes(model);
    ASSERT_OK_AND_ASSIGN(const GgufContent content, Parse(bytes));
    const TensorView& view = content.tensors.at("t");
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(view.data), view.bytes()), model.tensors[0].bytes)
        << more;
  }
}

TEST(GgufFileTest, RefusesEveryTruncation) {
  GgufModel model;
  model["key"] = std::vector<std::string>{"a", "bc"};
  model["other"] = int64_t{1};
  model.tensors.push_back({"t", DType::kQ8_0, {2, 32}, RandomRows(DType::kQ8_0, 2, 32, 1)});
  const std::string bytes = GgufBytes(model);
  ASSERT_OK(Parse(bytes));
  for (size_t size = 0; size < bytes.size(); ++size) {
    // A copy of its own lets AddressSanitizer see reads beyond the end.
    const std::vector<uint8_t> part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_THAT(ParseGguf(part), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_)) << size;
  }
}

TEST(GgufFileTest, RefusesBadHeaders) {
  EXPECT_THAT(ErrorOf("GGML" + std::string(20, '\0')), HasSubstr("does not begin with 'GGUF'"));
  EXPECT_THAT(ErrorOf("GG"), HasSubstr("ends at byte 2 inside the magic number"));
  for (const uint32_t version : {0u, 1u, 4u, 4u << 24})
    EXPECT_THAT(Parse(Header(0, 0, version)),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("supported are 2 and 3")));
  for (const uint32_t version : {1u, 2u, 3u})
    EXPECT_THAT(Parse(Header(0, 0, version << 24)),
                StatusIs(absl::StatusCode::kUnimplemented,
                         HasSubstr(absl::StrCat("a big-endian file of GGUF version ", version))));
  EXPECT_THAT(ErrorOf(Header(~uint64_t{0}, 0)),
              HasSubstr("at most 131072 tensors, has 18446744073709551615"));
  EXPECT_THAT(ErrorOf(Header(0, ~uint64_t{0})), HasSubstr("at most 65536 metadata pairs"));
  EXPECT_THAT(ErrorOf(Header(0, 1)), HasSubstr("inside metadata key 0"));
  EXPECT_THAT(ErrorOf(Header(1, 0)), HasSubstr("inside the name of tensor 0"));
}

TEST(GgufFileTest, RefusesBadMetadata) {
  const struct {
    std::string pair;
    const char* says;
  } cases[] = {
      {LittleEndian(~uint64_t{0}) + "x", "metadata key 0: a string may have at most 1024 bytes"},
      {GgufString(std::string(1025, 'k')), "at most 1024 bytes, has 1025"},
      {LittleEndian(uint64_t{100}) + "x", "inside metadata key 0"},
      {RawPair("k", 13, ""), "metadata key 'k' has the unknown value type 13"},
      {RawPair("k", 7, "\2"), "metadata key 'k': a bool must be 0 or 1, is 2"},
      {RawPair("k", 8, LittleEndian(~uint64_t{0})), "metadata key 'k': a string may have at most 16777216"},
      {RawPair("k", 8, LittleEndian(uint64_t{5}) + "1234"), "inside metadata key 'k'"},
      {RawPair("k", 10, LittleEndian(uint64_t{1} << 63)), "metadata key 'k' must be below 2^63"},
      {RawPair("k", 9, LittleEndian(uint32_t{4}) + LittleEndian(~uint64_t{0})),
       "metadata key 'k' may have at most 16777216 elements"},
      {RawPair("k", 9, LittleEndian(uint32_t{4}) + LittleEndian(uint64_t{1} << 24)),
       "inside metadata key 'k' of 16777216 elements"},
      {RawPair("k", 9, LittleEndian(uint32_t{8}) + LittleEndian(uint64_t{2}) + GgufString("only one")),
       "inside metadata key 'k'"},
      {RawPair("k", 9, LittleEndian(uint32_t{9}) + LittleEndian(uint64_t{1})),
       "metadata key 'k' has the unknown value type 9"},
      {RawPair("k", 9, LittleEndian(uint32_t{99}) + LittleEndian(uint64_t{0})), "unknown value type 99"},
      {RawPair("general.alignment", 4, LittleEndian(uint32_t{0})),
       "'general.alignment' must be a power of two"},
      {RawPair("general.alignment", 4, LittleEndian(uint32_t{48})),
       "'general.alignment' must be a power of two"},
      {RawPair("general.alignment", 4, LittleEndian(uint32_t{4})), "in [8, 65536], is 4"},
      {RawPair("general.alignment", 4, LittleEndian(uint32_t{1} << 17)), "in [8, 65536], is 131072"},
      {RawPair("general.alignment", 4, LittleEndian(uint32_t{1} << 31)), "in [8, 65536], is 2147483648"},
      {RawPair("general.alignment", 8, GgufString("32")), "'general.alignment' must be an integer"},
  };
  for (const auto& test : cases) EXPECT_THAT(ErrorOf(Header(0, 1) + test.pair), HasSubstr(test.says));
  EXPECT_THAT(ErrorOf(Header(0, 2) + GgufPair("k", true) + GgufPair("k", false)),
              HasSubstr("metadata key 'k' appears twice"));
  EXPECT_THAT(ErrorOf(Header(0, 1) + GgufPair("k\x1b[2J", true)),
              HasSubstr("metadata key 0 must be UTF-8 without control characters, is 'k\\x1b[2J'"));
  EXPECT_THAT(ErrorOf(Header(0, 1) + GgufPair("k", std::vector<bool>(3)), {.max_array_elements = 2}),
              HasSubstr("at most 2 elements, has 3"));
}

// A file may be as large as a disk, and its header all of it.
TEST(GgufFileTest, RefusesHeadersWithoutEnd) {
  const std::string bytes =
      Header(0, 2) + GgufPair("a", std::string(50, 'x')) + GgufPair("k", std::vector<std::string>(8));
  ASSERT_OK(Parse(bytes, {.max_header_bytes = bytes.size()}));
  for (size_t most = 0; most < bytes.size(); ++most)
    EXPECT_THAT(ErrorOf(bytes, {.max_header_bytes = most}),
                HasSubstr(absl::StrCat("must end within the first ", most, " bytes of the file")));
}

// A file with one tensor, and `data` bytes of data.
std::string WithTensor(const std::string& info, size_t data = 64) {
  std::string bytes = Header(1, 0) + info;
  bytes.append((32 - bytes.size() % 32) % 32 + data, '\0');
  return bytes;
}

TEST(GgufFileTest, RefusesBadTensors) {
  constexpr uint32_t kF32 = 0, kQ4K = 12;
  ASSERT_OK(Parse(WithTensor(GgufTensorInfo("t", {4, 4}, kF32, 0))));
  EXPECT_THAT(ErrorOf(WithTensor(GgufTensorInfo("t\xFF", {4, 4}, kF32, 0))),
              HasSubstr("the name of tensor 0 must be UTF-8 without control characters, is 't\\xff'"));
  const uint64_t huge = uint64_t{1} << 30;
  const struct {
    std::string info;
    const char* says;
  } cases[] = {
      {GgufTensorInfo("t", {}, kF32, 0), "tensor 't' must have 1 to 4 dimensions, has 0"},
      {GgufTensorInfo("t", {1, 1, 1, 1, 1}, kF32, 0), "tensor 't' must have 1 to 4 dimensions, has 5"},
      {GgufTensorInfo("t", {0}, kF32, 0), "an extent must be in [1, 2^31), is 0"},
      {GgufTensorInfo("t", {~uint64_t{0}}, kF32, 0),
       "an extent must be in [1, 2^31), is 18446744073709551615"},
      {GgufTensorInfo("t", {huge, huge, huge, huge}, kF32, 0), "tensor 't' is larger than any file"},
      {GgufTensorInfo("t", {huge, 1 << 28, 2}, kF32, 0), "tensor 't' needs"},
      {GgufTensorInfo("t", {32}, kQ4K, 0), "rows of type Q4_K must be a multiple of 256 wide, are 32"},
      {GgufTensorInfo("t", {4}, kF32, 4), "its offset must be a multiple of 32, is 4"},
      {GgufTensorInfo("t", {17}, kF32, 0),
       "tensor 't' needs 68 bytes at offset 0 of the data, beyond the end"},
      {GgufTensorInfo("t", {4}, kF32, 64), "beyond the end"},
      {GgufTensorInfo("t", {4}, kF32, ~uint64_t{31}), "beyond the end"},
  };
  for (const auto& test : cases) EXPECT_THAT(ErrorOf(WithTensor(test.info)), HasSubstr(test.says));
  for (const uint32_t type : {4u, 5u, 9u, 15u, 16u, 29u, 31u, 38u, 40u, ~0u})
    EXPECT_THAT(Parse(WithTensor(GgufTensorInfo("t", {256}, type, 0))),
                StatusIs(absl::StatusCode::kUnimplemented,
                         AllOf(HasSubstr("tensor 't' has the type"), HasSubstr("F32, F16, BF16, Q4_0"))));
  EXPECT_THAT(Parse(WithTensor(GgufTensorInfo("t", {256}, 31, 0))).status().message(),
              HasSubstr("tensor 't' has the type 31 (Q4_0_4_4), which is not supported"));
  std::string twice = Header(2, 0) + GgufTensorInfo("t", {4}, kF32, 0) + GgufTensorInfo("t", {4}, kF32, 32);
  twice.append(128, '\0');
  EXPECT_THAT(ErrorOf(twice), HasSubstr("tensor 't' appears twice"));
}

TEST(GgufFileTest, RefusesTensorsThatOverlap) {
  constexpr uint32_t kF32 = 0;
  const auto file = [](uint64_t a_offset, uint64_t b_offset) {
    std::string bytes =
        Header(2, 0) + GgufTensorInfo("a", {16}, kF32, a_offset) + GgufTensorInfo("b", {8}, kF32, b_offset);
    bytes.append(256, '\0');
    return bytes;
  };
  ASSERT_OK(Parse(file(0, 64)));
  ASSERT_OK(Parse(file(32, 0)));
  EXPECT_THAT(ErrorOf(file(0, 32)),
              HasSubstr("tensor 'b' at offset 32 of the data overlaps tensor 'a', which ends at 64"));
  EXPECT_THAT(ErrorOf(file(0, 0)), HasSubstr("overlaps"));
  EXPECT_THAT(ErrorOf(file(64, 96)), HasSubstr("tensor 'b' at offset 96 of the data overlaps tensor 'a'"));
}

TEST(GgufFileTest, OpensFilesAndNamesThemInErrors) {
  const ropeway::testing::TempFolder folder;
  const std::string path = folder.Write("model.gguf", Header(0, 1) + GgufPair("k", true));
  ASSERT_OK_AND_ASSIGN(GgufFile file, GgufFile::Open(path));
  EXPECT_TRUE(file.content.metadata.Has("k"));
  EXPECT_THAT(GgufFile::Open(folder.File("none")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
  EXPECT_THAT(GgufFile::Open(folder.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("regular file")));
  ASSERT_EQ(mkfifo(folder.File("pipe").c_str(), 0600), 0);
  EXPECT_THAT(GgufFile::Open(folder.File("pipe")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a named pipe, not a regular file")));
  EXPECT_THAT(GgufFile::Open("/dev/zero"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a device, not a regular file")));
  EXPECT_THAT(GgufFile::Open(folder.Write("empty", "")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(folder.File("empty"))));
  EXPECT_THAT(
      GgufFile::Open(folder.Write("bad", "12345678")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(folder.File("bad") + "': not a GGUF file")));
}

}  // namespace
}  // namespace ropeway
