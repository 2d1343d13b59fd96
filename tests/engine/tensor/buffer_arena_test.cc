#include "engine/tensor/buffer_arena.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

bool IsZero(const AlignedBuffer& buffer) {
  return std::all_of(buffer.data(), buffer.data() + buffer.bytes(), [](uint8_t byte) { return byte == 0; });
}

TEST(BufferArenaTest, BuffersFollowEachOtherFromOneHugePageToTheNext) {
  constexpr int64_t kBytes = 345'601, kRounded = 345'664;
  BufferArena arena;
  const AlignedBuffer first = arena.Take(kBytes);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data()) % (2 << 20), 0u);
  std::vector<AlignedBuffer> buffers;
  for (int64_t i = 1; i <= 20; ++i) {
    buffers.push_back(arena.Take(kBytes));
    EXPECT_EQ(buffers.back().data() - first.data(), i * kRounded);
    EXPECT_EQ(buffers.back().bytes(), kBytes);
  }
}

TEST(BufferArenaTest, BuffersAreZeroedAndTheirOwn) {
  BufferArena arena;
  std::vector<AlignedBuffer> buffers;
  for (const int64_t bytes :
       {0, 1, 63, 64, 65, 5'000'000, 1, 7'000'000, 8'000'000, 8'000'000, 8'000'000, 3}) {
    buffers.push_back(arena.Take(bytes));
    EXPECT_EQ(buffers.back().bytes(), bytes);
    EXPECT_TRUE(IsZero(buffers.back()));
    std::memset(buffers.back().data(), static_cast<int>(buffers.size()), static_cast<size_t>(bytes));
  }
  for (size_t i = 0; i < buffers.size(); ++i)
    EXPECT_EQ(std::count(buffers[i].data(), buffers[i].data() + buffers[i].bytes(), i + 1),
              buffers[i].bytes());
}

TEST(BufferArenaTest, ALargeBufferHasMemoryOfItsOwn) {
  BufferArena arena;
  const AlignedBuffer before = arena.Take(64), large = arena.Take(BufferArena::kLargest + 1),
                      after = arena.Take(64);
  EXPECT_EQ(after.data() - before.data(), 64);
  EXPECT_EQ(large.bytes(), BufferArena::kLargest + 1);
  EXPECT_TRUE(IsZero(large));
}

TEST(BufferArenaTest, BuffersOutliveTheArena) {
  AlignedBuffer kept;
  {
    BufferArena arena;
    AlignedBuffer buffer = arena.Take(100), other = arena.Take(100);
    kept = std::move(buffer);
  }
  std::memset(kept.data(), 7, 100);
  EXPECT_EQ(kept.data()[99], 7);
}

}  // namespace
}  // namespace ropeway
