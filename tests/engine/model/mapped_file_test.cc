#include "engine/model/mapped_file.h"

#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TempFolder;
using ::testing::HasSubstr;

constexpr size_t kBytes = 1 << 20;

TEST(MappedFileTest, MapsWhatIsThereAndMoves) {
  const TempFolder folder;
  ASSERT_OK_AND_ASSIGN(MappedFile file, MappedFile::Open(folder.Write("a", "content")));
  const MappedFile moved = std::move(file);
  EXPECT_EQ(std::string(moved.bytes().begin(), moved.bytes().end()), "content");
}

TEST(MappedFileTest, SaysWhatIsNoFile) {
  const TempFolder folder;
  EXPECT_THAT(MappedFile::Open(folder.Write("empty", "")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty' is empty")));
  EXPECT_THAT(MappedFile::Open(folder.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a directory, not a regular file")));
}

// Reads the last byte of a file that somebody has cut to its first page.
void ReadWhatWasCut(const std::string& path) {
  ExplainLostMappings();
  const absl::StatusOr<MappedFile> before = MappedFile::Open(path), file = MappedFile::Open(path);
  if (!file.ok() || truncate(path.c_str(), 4096) != 0) std::exit(2);
  std::exit(file->bytes()[kBytes - 1] == 'x' ? 3 : 4);
}

TEST(MappedFileDeathTest, TellsWhichByteOfWhichFileIsLost) {
  const TempFolder folder;
  const std::string path = folder.Write("weights", std::string(kBytes, 'x'));
  EXPECT_EXIT(ReadWhatWasCut(path), ::testing::ExitedWithCode(1),
              "fatal: '.*weights' was changed while it was in use and has no byte 1048575 any more");
}

TEST(MappedFileDeathTest, LeavesOtherFaultsAlone) {
  EXPECT_EXIT(
      {
        ExplainLostMappings();
        raise(SIGBUS);
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace ropeway
