#include "engine/exec/cpu/pack_cache.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/memory_nodes.h"
#include "engine/exec/cpu/executor.h"
#include "engine/exec/cpu/weight_placement.h"
#include "engine/kernels/cpu/pack.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/exec/executor_runs.h"
#include "tests/kernels/kernel_inputs.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using kernels::PackedMatrix;
using kernels::PackRequest;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A model as far as the cache asks for one.
class NamedModel final : public TensorSource {
 public:
  explicit NamedModel(std::string name) : name_(std::move(name)) {}
  absl::StatusOr<WeightTensor> Find(const TensorId&) const override { return absl::NotFoundError(name_); }
  absl::StatusOr<DType> TypeOf(const TensorId&) const override { return DType::kF32; }
  std::string NameOf(const TensorId&) const override { return name_; }
  std::vector<StoredTensor> Stored() const override { return {{name_, {DType::kF32, {0}, nullptr}}}; }

 private:
  const std::string name_;
};

// By the caller, the last piece first.
void Backwards(int64_t count, absl::FunctionRef<void(int64_t)> body) {
  while (count > 0) body(--count);
}

struct Matrix {
  DType type;
  std::vector<uint8_t> bytes;
  int64_t rows, columns;
};

constexpr int64_t kHeaderBytes = 48, kEntryBytes = 48;

class PackCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const DType type : kernels::kAllTypes) {
      const int64_t columns = 2 * std::max(InfoOf(type).block_columns, 32);
      matrices_.push_back({type, kernels::RandomWeights(type, 64, columns, 7), 64, columns});
    }
    // More than one piece of a digest.
    matrices_.push_back({DType::kF32, kernels::RandomWeights(DType::kF32, 320, 512, 8), 320, 512});
  }

  std::string Path() const { return File("ropeway-"); }
  std::string File(const std::string& begin) const {
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
      if (entry.path().filename().string().rfind(begin, 0) == 0) return entry.path().string();
    return "";
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void Write(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }

  // Packs everything through the cache and expects what packing gives.
  PackCacheOutcome Run(const std::string& model = "model") const { return RunIn(folder_.path(), model); }
  PackCacheOutcome RunIn(const std::string& folder, const std::string& model = "model") const {
    PackCache cache(folder, NamedModel(model));
    const PackRequest::ForPieces for_pieces = Backwards;
    std::vector<PackedMatrix> kept;
    for (size_t i = 0; i < matrices_.size(); ++i) {
      const Matrix& m = matrices_[i];
      // Every second one as gate and up.
      const int64_t half_bytes = m.rows / 2 * RowBytes(m.type, m.columns);
      const TensorView halves[2] = {{m.type, {m.rows / 2, m.columns}, m.bytes.data()},
                                    {m.type, {m.rows / 2, m.columns}, m.bytes.data() + half_bytes}};
      const PackRequest request{.parts = halves, .interleave = i % 2 == 1, .for_pieces = &for_pieces};
      const PackedMatrix expected = kernels::PackPanels(request);
      const PackedMatrix& got = kept.emplace_back(cache.Pack(request));
      EXPECT_EQ(got.type, expected.type);
      EXPECT_EQ(got.activation, expected.activation);
      EXPECT_EQ(got.interleaved, expected.interleaved);
      EXPECT_EQ(got.rows, expected.rows);
      EXPECT_EQ(got.columns, expected.columns);
      EXPECT_EQ(got.num_panels, expected.num_panels);
      EXPECT_EQ(got.panel_bytes, expected.panel_bytes);
      EXPECT_EQ(got.data.bytes(), expected.data.bytes());
      EXPECT_EQ(std::memcmp(got.data.data(), expected.data.data(), expected.data.bytes()), 0)
          << NameOf(m.type);
    }
    return cache.Finish(Backwards);
  }
  int all() const { return static_cast<int>(matrices_.size()); }

  // That the file is whole: all is read from it.
  void ExpectWhole() const {
    const PackCacheOutcome outcome = Run();
    EXPECT_EQ(outcome.trouble, "");
    EXPECT_EQ(outcome.read, all());
    EXPECT_EQ(outcome.packed, 0);
    EXPECT_FALSE(outcome.is_written);
  }

  const TempFolder folder_;
  std::vector<Matrix> matrices_;
};

TEST_F(PackCacheTest, GivesTheNextTimeWhatWasPacked) {
  const PackCacheOutcome first = Run();
  EXPECT_EQ(first.trouble, "");
  EXPECT_EQ(first.read, 0);
  EXPECT_EQ(first.packed, all());
  EXPECT_TRUE(first.is_written);
  EXPECT_EQ(first.path, Path());
  EXPECT_EQ(File(std::filesystem::path(first.path).filename().string() + ".new"), "");
  ExpectWhole();
}

TEST_F(PackCacheTest, PacksAnewWhatChanged) {
  Run();
  matrices_[3].bytes[5] ^= 1;
  const PackCacheOutcome outcome = Run();
  EXPECT_EQ(outcome.trouble, "");
  EXPECT_EQ(outcome.read, all() - 1);
  EXPECT_EQ(outcome.packed, 1);
  EXPECT_TRUE(outcome.is_written);
  ExpectWhole();
}

TEST_F(PackCacheTest, ModelsHaveFilesOfTheirOwn) {
  Run("one");
  EXPECT_EQ(Run("other").read, 0);
  EXPECT_EQ(Run("one").read, all());
  EXPECT_EQ(Run("other").read, all());
}

TEST_F(PackCacheTest, AnotherModelsFileGivesNothing) {
  Run();
  const std::string content = Read(Path());
  for (Matrix& matrix : matrices_)
    matrix.bytes = kernels::RandomWeights(matrix.type, matrix.rows, matrix.columns, 99);
  Write(Path(), content);
  const PackCacheOutcome outcome = Run();
  EXPECT_EQ(outcome.trouble, "has nothing of this model");
  EXPECT_EQ(outcome.read, 0);
  EXPECT_TRUE(outcome.is_written);
  ExpectWhole();
}

TEST_F(PackCacheTest, AFileCutShortIsMadeWholeAgain) {
  Run();
  const std::string content = Read(Path());
  const size_t index_end = kHeaderBytes + matrices_.size() * kEntryBytes;
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{47}, size_t{48}, index_end - 1, index_end,
                             content.size() / 2, content.size() - 1}) {
    Write(Path(), content.substr(0, bytes));
    const PackCacheOutcome outcome = Run();
    EXPECT_EQ(outcome.trouble, "is cut short") << bytes;
    EXPECT_EQ(outcome.packed, all()) << bytes;
    EXPECT_TRUE(outcome.is_written) << bytes;
    ExpectWhole();
  }
}

TEST_F(PackCacheTest, EveryDamagedByteIsNoticed) {
  Run();
  const std::string content = Read(Path());
  const size_t index_end = kHeaderBytes + matrices_.size() * kEntryBytes;
  for (size_t i = 0; i < content.size(); i += i < index_end ? 1 : 9973) {
    std::string damaged = content;
    damaged[i] ^= 0x10;
    Write(Path(), damaged);
    const PackCacheOutcome outcome = Run();
    // A file that says it is shorter than it is is no harm as long as its matrices are there.
    EXPECT_EQ(outcome.read + outcome.packed, all()) << i;
    EXPECT_EQ(outcome.is_written, outcome.packed > 0) << i;
    EXPECT_EQ(outcome.trouble.empty(), outcome.packed == 0) << i << ": " << outcome.trouble;
    if (i >= index_end) {
      EXPECT_LE(outcome.packed, 1) << i;
    }
  }
}

// Numbers that would overflow sums or exhaust memory, under digests that are right.
TEST_F(PackCacheTest, HostileNumbersAreRefused) {
  Run();
  const std::string content = Read(Path());
  const auto with = [&](size_t at, uint64_t value) {
    std::string changed = content;
    std::memcpy(&changed[at], &value, sizeof value);
    const size_t index_bytes = matrices_.size() * kEntryBytes;
    const ContentDigest index = DigestOf(
        absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(changed.data()) + kHeaderBytes, index_bytes));
    std::memcpy(&changed[32], index.data(), sizeof index);
    Write(Path(), changed);
    const PackCacheOutcome outcome = Run();
    EXPECT_TRUE(outcome.is_written);
    return outcome.trouble;
  };
  const size_t offset = kHeaderBytes + 32, bytes = kHeaderBytes + 40;
  constexpr uint64_t kPanels = kernels::kPanelsVersion;
  EXPECT_EQ(with(8, 2), absl::StrCat("has version 2.0, not 1.", kPanels));
  EXPECT_EQ(with(8, 1 | (kPanels - 1) << 32),
            absl::StrCat("has version 1.", kPanels - 1, ", not 1.", kPanels));
  EXPECT_EQ(with(0, 0), "is no file of packed matrices");
  EXPECT_EQ(with(16, UINT64_MAX), "must have at most 1048576 matrices, has 18446744073709551615");
  EXPECT_EQ(with(16, 1 << 20), "is cut short");
  EXPECT_EQ(with(24, UINT64_MAX), "is cut short");
  EXPECT_EQ(with(offset, UINT64_MAX), "has a matrix beyond its end");
  EXPECT_EQ(with(offset, content.size()), "has a matrix beyond its end");
  EXPECT_EQ(with(bytes, UINT64_MAX), "has a matrix beyond its end");
  EXPECT_EQ(with(bytes, UINT64_MAX - 4095), "has a matrix beyond its end");
  EXPECT_EQ(with(bytes, 64), "has a matrix of a wrong size");
  EXPECT_EQ(with(bytes, 0), "has a matrix of a wrong size");
  EXPECT_EQ(with(offset, 0), "has a damaged matrix");
}

TEST_F(PackCacheTest, GoesOnWhereNoFileCanBe) {
  EXPECT_THAT(RunIn(folder_.Write("file", "")).trouble, HasSubstr("Not a directory"));
  EXPECT_THAT(RunIn("/proc/nowhere").trouble, HasSubstr("cannot be written"));
  const PackCacheOutcome deep = RunIn(folder_.File("a/b/c"));
  EXPECT_EQ(deep.trouble, "");
  EXPECT_TRUE(deep.is_written);
}

TEST_F(PackCacheTest, GoesOnWhereSomethingElseHasTheName) {
  const std::string path = Run().path;
  std::filesystem::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(Run().trouble, HasSubstr("is a named pipe, not a regular file"));
  ExpectWhole();  // a file took its place
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  const PackCacheOutcome outcome = Run();
  EXPECT_THAT(outcome.trouble, HasSubstr("is a directory, not a regular file"));
  EXPECT_EQ(outcome.packed, all());
  EXPECT_FALSE(outcome.is_written);
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
}

TEST_F(PackCacheTest, OneProcessAtATimeWrites) {
  const std::string path = Run().path, temporary = path + ".new";
  std::filesystem::remove(path);
  // What a killed process left behind is written over.
  Write(temporary, std::string(100'000, 'x'));
  const int descriptor = open(temporary.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(flock(descriptor, LOCK_EX), 0);
  const PackCacheOutcome outcome = Run();
  EXPECT_EQ(outcome.trouble, "cannot be written: another process is at it");
  EXPECT_FALSE(outcome.is_written);
  close(descriptor);
  EXPECT_TRUE(Run().is_written);
  ExpectWhole();
  // Nothing is written through a link.
  std::filesystem::remove(path);
  const std::string victim = folder_.Write("victim", "precious");
  std::filesystem::create_symlink(victim, temporary);
  EXPECT_THAT(Run().trouble, StartsWith("cannot be written"));
  EXPECT_EQ(Read(victim), "precious");
  // Nor into a file that has another name, too.
  std::filesystem::remove(temporary);
  std::filesystem::create_hard_link(victim, temporary);
  EXPECT_EQ(Run().trouble, "cannot be written: its name is not that of one file alone");
  EXPECT_TRUE(Read(victim) == "precious");
}

// As a full disk does, a limit of sizes cuts the file short: nothing of it stays.
TEST_F(PackCacheTest, LeavesNothingWhereItCannotWriteAll) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit less{.rlim_cur = 100'000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &less), 0);
  const PackCacheOutcome outcome = Run();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  EXPECT_THAT(outcome.trouble, StartsWith("cannot be written"));
  EXPECT_FALSE(outcome.is_written);
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  EXPECT_TRUE(Run().is_written);
}

// A whole model answers alike with and without, the first and the second time.
TEST(PackCacheExecutorTest, ChangesNoLogits) {
  const TempFolder model, cache;
  ASSERT_OK(WriteTinyModel("llama_base", model.path()));
  const std::vector<TokenId> ids = {5, 9, 200, 31, 7, 7, 7, 300, 64, 12, 90};
  const std::vector<PageId> pages = {1};
  const auto run = [&](const std::string& folder, const std::string& kernels, PackCacheOutcome& outcome) {
    absl::StatusOr<OpenedModel> opened = OpenModel(model.path());
    auto executor = CpuExecutor::Make(
        *std::move(opened),
        {.kernels = kernels, .threads = 2, .pack_cache = folder, .kv_cache_bytes = 1 << 20});
    EXPECT_OK(executor.status());
    outcome = (*executor)->decoder().weights().pack_cache;
    return LogitsOf(**executor, ids, pages, 4);
  };
  PackCacheOutcome none, first, second, ref;
  const std::vector<float> expected = run("", "auto", none);
  EXPECT_EQ(none.path, "");
  EXPECT_EQ(run(cache.path(), "auto", first), expected);
  EXPECT_TRUE(first.is_written);
  EXPECT_EQ(run(cache.path(), "auto", second), expected);
  EXPECT_EQ(second.trouble, "");
  EXPECT_EQ(second.packed, 0);
  EXPECT_EQ(second.read, first.packed);
  // The reference's layout is another one.
  run(cache.path(), "ref", ref);
  EXPECT_EQ(ref.path, "");
}

TEST(WeightPlacementTest, SaysWhereMemoryComesFrom) {
  ASSERT_OK_AND_ASSIGN(const auto pool, ThreadPool::Make({.threads = 2}));
  EXPECT_EQ(WeightPlacement({}, *pool).description(), "");
  EXPECT_EQ(WeightPlacement({.nodes = {0}, .all_nodes = 1}, *pool).description(), "");
  EXPECT_EQ(WeightPlacement({.nodes = {3}, .all_nodes = 4}, *pool).description(), "on node 3");
  const bool may_choose = TakeMemoryInTurn({}).ok();
  // Of two nodes one at least is there.
  EXPECT_THAT(WeightPlacement({.nodes = {0, 1}, .all_nodes = 2}, *pool).description(),
              StartsWith(may_choose ? "in turn over nodes 0,1" : "as it comes over nodes 0,1: "));
  // Of these none is: the start goes on.
  EXPECT_THAT(WeightPlacement({.nodes = {1022, 1023}, .all_nodes = 2}, *pool).description(),
              StartsWith("as it comes over nodes 1022,1023: "));
}

}  // namespace
}  // namespace ropeway::testing
