#include "engine/model/weight_files.h"

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway {
namespace {

using ::ropeway::testing::TempFolder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(WeightFilesTest, OfSeveralGgufFilesAre) {
  EXPECT_THAT(WeightFilesOf("a/m-00001-of-00003.gguf"),
              ElementsAre("a/m-00001-of-00003.gguf", "a/m-00002-of-00003.gguf", "a/m-00003-of-00003.gguf"));
  EXPECT_THAT(WeightFilesOf("-00001-of-04096.gguf"), SizeIs(1));
  EXPECT_THAT(WeightFilesOf("m-00001-of-04096.gguf"), SizeIs(4096));
}

TEST(WeightFilesTest, OtherFilesStandAlone) {
  for (const char* path :
       {"", "m", "m.gguf", ".gguf", "m-00002-of-00003.gguf", "m-00001-of-00000.gguf", "m-00001-of-99999.gguf",
        "m-00001-of-00001.gguf", "m-1-of-3.gguf", "m-00001-of-0000x.gguf", "m-00001-of--0003.gguf",
        "m-00001-of-00003.bin", "00001-of-00003.gguf"})
    EXPECT_THAT(WeightFilesOf(path), ElementsAre(path));
}

TEST(WeightFilesTest, OfAFolderAreTheSingleOneOrThoseOfItsIndex) {
  const TempFolder folder;
  EXPECT_THAT(WeightFilesOf(folder.path()), IsEmpty());
  const std::string index = "model.safetensors.index.json";
  folder.Write(index,
               R"({"weight_map": {"a": "2.safetensors", "b": "1.safetensors", "c": "2.safetensors"}})");
  EXPECT_THAT(WeightFilesOf(folder.path()),
              ElementsAre(folder.File("1.safetensors"), folder.File("2.safetensors")));
  folder.Write(index, R"({"weight_map": {"a": "../2.safetensors"}})");
  EXPECT_THAT(WeightFilesOf(folder.path()), IsEmpty());
  folder.Write("model.safetensors", "");
  EXPECT_THAT(WeightFilesOf(folder.path()), ElementsAre(folder.File("model.safetensors")));
}

}  // namespace
}  // namespace ropeway
