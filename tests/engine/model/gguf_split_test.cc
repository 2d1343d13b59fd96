#include "engine/model/gguf_split.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/model/tensor_source.h"
#include "tests/testing/gguf_writer.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway {
namespace {

using ::ropeway::testing::GgufBytes;
using ::ropeway::testing::GgufModel;
using ::ropeway::testing::IsOk;
using ::ropeway::testing::MakeTinyGguf;
using ::ropeway::testing::SplitGguf;
using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TempFolder;
using ::ropeway::testing::WriteSplitGguf;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Bytes(const TensorView& view) {
  return std::string(reinterpret_cast<const char*>(view.data), static_cast<size_t>(view.bytes()));
}

TEST(GgufSplitTest, SaysWhatTheSameModelInOneFileSays) {
  for (const char* name : {"llama_base", "gemma3_text", "qwen2"})
    for (const bool empty_first : {false, true}) {
      const TempFolder folder;
      ASSERT_OK_AND_ASSIGN(const GgufModel file, MakeTinyGguf(name));
      ASSERT_OK_AND_ASSIGN(const OpenedModel whole, OpenModel(folder.Write("w.gguf", GgufBytes(file))));
      ASSERT_OK_AND_ASSIGN(const OpenedModel split,
                           OpenModel(WriteSplitGguf(SplitGguf(file, 3, empty_first), folder)));
      EXPECT_EQ(split.spec, whole.spec);
      const std::vector<StoredTensor> stored = split.tensors->Stored(), expected = whole.tensors->Stored();
      ASSERT_EQ(stored.size(), expected.size());
      for (size_t i = 0; i < stored.size(); ++i) {
        EXPECT_EQ(stored[i].name, expected[i].name);
        EXPECT_EQ(Bytes(stored[i].view), Bytes(expected[i].view)) << stored[i].name;
      }
    }
}

// Files that were joined say 0 and keep the other keys; converters write 1 where one file is enough.
TEST(GgufSplitTest, TakesAModelOfOneFileUnderAnyName) {
  for (const int64_t count : {0, 1}) {
    const TempFolder folder;
    ASSERT_OK_AND_ASSIGN(GgufModel file, MakeTinyGguf("llama_base"));
    file["split.no"] = int64_t{7};
    file["split.count"] = count;
    EXPECT_OK(OpenModel(folder.Write("any.gguf", GgufBytes(file))));
  }
}

// Opens a model of three files after a change of them.
absl::Status OpenChanged(const std::function<void(std::vector<GgufModel>&)>& change) {
  const absl::StatusOr<GgufModel> model = MakeTinyGguf("llama_base");
  EXPECT_OK(model);
  std::vector<GgufModel> files = SplitGguf(*model, 3);
  change(files);
  const TempFolder folder;
  return OpenModel(WriteSplitGguf(files, folder)).status();
}

void Erase(const std::string& key, GgufModel& file) {
  std::erase_if(file.metadata, [&](const auto& pair) { return pair.first == key; });
}

TEST(GgufSplitTest, RefusesFilesThatContradictEachOther) {
  const std::string third = "file 3 of 3 of a model: '", name = "m-00003-of-00003.gguf': ";
  const struct {
    size_t file;
    const char* key;
    MetadataValue value;
    std::string says;
  } cases[] = {
      {0, "split.count", int64_t{-1}, "metadata key 'split.count' must be in [0, 4096], is -1"},
      {0, "split.count", int64_t{4097}, "metadata key 'split.count' must be in [0, 4096], is 4097"},
      {0, "split.count", std::string("3"), "metadata key 'split.count' must be an integer, is a string"},
      {0, "split.count", int64_t{4}, "name of file 1 of 4 of a model must end with '-00001-of-00004.gguf'"},
      {0, "split.no", int64_t{3}, "metadata key 'split.no' must be in [0, 2], is 3"},
      {0, "split.tensors.count", int64_t{0}, "'split.tensors.count' must be in [1, 131072], is 0"},
      {2, "split.no", int64_t{1}, name + "metadata key 'split.no' must be 2 in this file of the model, is 1"},
      {2, "split.count", int64_t{2}, name + "metadata key 'split.count' must be 3 in this file of the model"},
      {2, "split.tensors.count", int64_t{9}, name + "metadata key 'split.tensors.count' must be "},
      {2, "general.architecture", std::string("qwen2"),
       name + "metadata key 'general.architecture' has another value than in the first file"},
      {2, "llama.more", int64_t{1}, name + "metadata key 'llama.more' must stand in the first file"},
  };
  for (const auto& test : cases)
    EXPECT_THAT(OpenChanged([&](auto& files) { files[test.file][test.key] = test.value; }),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("m-00001-of-00003.gguf': "), HasSubstr(test.says),
                               HasSubstr(test.file == 2 ? third : ""))))
        << test.key;
  for (const char* key : {"split.no", "split.tensors.count"})
    EXPECT_THAT(OpenChanged([&](auto& files) { Erase(key, files[0]); }),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("metadata key '", key, "' is missing"))));
  EXPECT_THAT(OpenChanged([&](auto& files) { Erase("split.count", files[1]); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("file 2 of 3 of a model: ")));
  EXPECT_OK(OpenChanged([](auto& files) {
    Erase("split.tensors.count", files[1]);
    files[1]["general.architecture"] = std::string("llama");
    files[1]["general.quantization_version"] = int64_t{2};
    files[1].alignment = 64;
  }));
}

TEST(GgufSplitTest, RefusesTensorsThatAreThereTwiceOrNowhere) {
  EXPECT_THAT(OpenChanged([](auto& files) { files[2].tensors[0] = files[0].tensors[0]; }),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("m-00003-of-00003.gguf': tensor 'output.weight' is in an earlier"))));
  EXPECT_THAT(OpenChanged([](auto& files) { files[1].tensors.pop_back(); }),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'split.tensors.count' is 39, but the 3 files have 38 tensors")));
  EXPECT_THAT(
      OpenChanged([](auto& files) {
        files[1].tensors.push_back({"more", DType::kF32, {1}, std::string(4, '\0')});
      }),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("'split.tensors.count' is 39, but the files up to this one have 40 tensors")));
}

TEST(GgufSplitTest, NamesTheFileThatIsMissingOrWrong) {
  const TempFolder folder;
  ASSERT_OK_AND_ASSIGN(const GgufModel model, MakeTinyGguf("llama_base"));
  const std::string first = WriteSplitGguf(SplitGguf(model, 3), folder);
  const std::string second = folder.File("m-00002-of-00003.gguf");
  EXPECT_THAT(
      OpenModel(second),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr(absl::StrCat(second, "': is file 2 of 3 of a model: give the first, '", first))));
  const std::string renamed = folder.File("renamed.gguf");
  std::filesystem::copy_file(first, renamed);
  EXPECT_THAT(OpenModel(renamed), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("must end with '-00001-of-00003.gguf'")));
  std::filesystem::resize_file(second, std::filesystem::file_size(second) - 1);
  EXPECT_THAT(OpenModel(first), StatusIs(absl::StatusCode::kInvalidArgument,
                                         AllOf(HasSubstr(second), HasSubstr("beyond the end of the file"))));
  std::filesystem::remove(second);
  EXPECT_THAT(OpenModel(first),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr(absl::StrCat("file 2 of 3 of a model: cannot open '", second, "'"))));
}

TEST(GgufSplitTest, AFolderOfSuchFilesIsToldFromAHuggingFaceFolder) {
  const TempFolder folder;
  EXPECT_THAT(OpenModel(folder.path()), StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
  ASSERT_OK_AND_ASSIGN(const GgufModel model, MakeTinyGguf("llama_base"));
  const std::string first = WriteSplitGguf(SplitGguf(model, 3), folder);
  EXPECT_THAT(
      OpenModel(folder.path()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr(absl::StrCat(
                   "has no config.json, but GGUF files: give one of them instead, such as '", first, "'"))));
}

TEST(GgufSplitTest, NumbersAreNoPartOfTheName) {
  EXPECT_EQ(WithoutSplitNumber("m-Q4_K_M-00001-of-00012"), "m-Q4_K_M");
  for (const char* stem : {"m", "m-00001-of-0012", "-00001-of-00012", "m-0000x-of-00012", "m_00001-of-00012"})
    EXPECT_EQ(WithoutSplitNumber(stem), stem);
}

}  // namespace
}  // namespace ropeway
