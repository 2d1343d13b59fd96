#include "server/process_limits.h"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/base/machine.h"
#include "tests/testing/patience.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TempFolder;
using ::testing::HasSubstr;

constexpr rlim_t kMebibyte = rlim_t{1} << 20;

// What is left of address space while it lives.
class AddressLimit {
 public:
  explicit AddressLimit(rlim_t free_bytes) {
    getrlimit(RLIMIT_AS, &before_);
    rlimit limit = before_;
    limit.rlim_cur = std::min<rlim_t>(kPlenty, before_.rlim_max);
    setrlimit(RLIMIT_AS, &limit);
    const auto used = limit.rlim_cur - static_cast<rlim_t>(LookAtMachine().free_address_bytes);
    limit.rlim_cur = used + free_bytes;
    setrlimit(RLIMIT_AS, &limit);
  }
  AddressLimit(const AddressLimit&) = delete;
  AddressLimit& operator=(const AddressLimit&) = delete;
  ~AddressLimit() { setrlimit(RLIMIT_AS, &before_); }

 private:
  static constexpr rlim_t kPlenty = rlim_t{1} << 45;
  rlimit before_;
};

// A sparse file.
std::string WriteLong(const TempFolder& folder, const std::string& name, rlim_t bytes) {
  const std::string path = folder.Write(name, "");
  std::filesystem::resize_file(path, bytes);
  return path;
}

// Three files, or a folder of three, of a quarter of a gigabyte each take twice 768 MiB beside the reserve of 768.
TEST(ProcessLimitsTest, CountsAllFilesOfAModel) {
  if (testing::kHasShadowMemory) GTEST_SKIP() << "a sanitizer needs more address space than the limits leave";
  const TempFolder folder;
  const std::string index = folder.Write(
      "model.safetensors.index.json",
      R"({"weight_map": {"a": "a.safetensors", "b": "b.safetensors", "c": "b.safetensors", "d": "d.safetensors"}})");
  for (const char* name : {"a", "b", "d", "of no index"})
    WriteLong(folder, std::string(name) + ".safetensors", 256 * kMebibyte);
  const std::string first = WriteLong(folder, "m-00001-of-00003.gguf", 256 * kMebibyte);
  for (const char* name : {"m-00002-of-00003.gguf", "m-00003-of-00003.gguf", "m-00002-of-00002.gguf"})
    WriteLong(folder, name, 256 * kMebibyte);
  for (const std::string& model : {first, folder.path()}) {
    SCOPED_TRACE(model);
    {
      const AddressLimit limit((3 * 768 - 1) * kMebibyte);
      EXPECT_THAT(CheckAddressSpace(model),
                  StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("2415919104 bytes are wanted")));
    }
    const AddressLimit limit((3 * 768 + 64) * kMebibyte);
    EXPECT_OK(CheckAddressSpace(model));
  }
}

TEST(ProcessLimitsTest, CountsOneFileWhereThereAreNoOthers) {
  if (testing::kHasShadowMemory) GTEST_SKIP() << "a sanitizer needs more address space than the limits leave";
  const TempFolder folder;
  const AddressLimit limit((768 + 2 * 512 + 64) * kMebibyte);
  for (const char* name : {"m.gguf", "m-00002-of-00003.gguf", "m-00001-of-00001.gguf", "model.safetensors"})
    WriteLong(folder, name, 512 * kMebibyte);
  for (const char* name : {"m.gguf", "m-00002-of-00003.gguf", "m-00001-of-00001.gguf", "none.gguf", ""})
    EXPECT_OK(CheckAddressSpace(folder.File(name))) << name;
  const std::string larger = WriteLong(folder, "m.safetensors", 600 * kMebibyte);
  EXPECT_THAT(CheckAddressSpace(larger),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("bytes are wanted")));
}

// More than there can be of address space counts as that much, and not as less than nothing.
TEST(ProcessLimitsTest, BoundsWhatSparseFilesClaim) {
  if (testing::kHasShadowMemory) GTEST_SKIP() << "a sanitizer needs more address space than the limits leave";
  const TempFolder folder;
  std::string first;
  for (const char* name :
       {"m-00004-of-00004.gguf", "m-00003-of-00004.gguf", "m-00002-of-00004.gguf", "m-00001-of-00004.gguf"})
    first = WriteLong(folder, name, rlim_t{1} << 43);
  const AddressLimit limit(1024 * kMebibyte);
  EXPECT_THAT(CheckAddressSpace(first),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("bytes are wanted")));
}

}  // namespace
}  // namespace ropeway::server
