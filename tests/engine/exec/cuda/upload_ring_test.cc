// The way of bytes to a device: all of them arrive, with as little memory as there is, and an error of the device at
// any call ends it in order.
#include "engine/exec/cuda/upload_ring.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "engine/base/splitmix.h"
#include "engine/base/thread_pool.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

using cuda::emulation::EmulatedRuntime;
using ::testing::HasSubstr;

constexpr int64_t kBytes = 10000, kPieceBytes = 700;  // the last piece is shorter
constexpr int64_t kAhead = 64;                        // where a piece begins in its buffer
constexpr int64_t kPinnedBytes = 1 << 16;

uint8_t ByteAt(int64_t i) { return static_cast<uint8_t>(SplitMix(static_cast<uint64_t>(i))); }

class UploadRingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(runtime_.Bind(), 0);
    ASSERT_OK_AND_ASSIGN(device_, CudaMemory::Make(runtime_, MemoryKind::kDevice, kBytes, "a test"));
    ASSERT_OK_AND_ASSIGN(pinned_, CudaMemory::Make(runtime_, MemoryKind::kPinned, kBytes, "a test"));
    ASSERT_EQ(runtime_.CreateStream(&stream_), 0);
  }
  void TearDown() override { runtime_.DestroyStream(stream_); }

  // Puts all pieces, each in two runs, while helpers fill buffers.
  absl::Status Upload(int buffers, int helpers) {
    ASSIGN_OR_RETURN(const std::unique_ptr<UploadRing> ring,
                     UploadRing::Make(runtime_, {.buffers = buffers, .buffer_bytes = kAhead + kPieceBytes}));
    ASSIGN_OR_RETURN(const std::unique_ptr<ThreadPool> pool, ThreadPool::Make({.threads = 1 + helpers}));
    absl::Status status;
    pool->Run([&](Team& team) {
      if (team.index() > 0) return ring->Work();
      status = PutAll(*ring);
      if (status.ok()) status = ring->Finish();
      ring->Close();
    });
    return status;
  }

  absl::Status PutAll(UploadRing& ring) {
    for (int64_t first = 0; first < kBytes; first += kPieceBytes) {
      const int64_t bytes = std::min(kPieceBytes, kBytes - first), half = bytes / 2;
      const auto fill = [this, first, bytes](uint8_t* buffer) {
        for (int64_t i = 0; i < bytes; ++i) buffer[kAhead + i] = ByteAt(first + i);
        if (filled_++ == no_memory_at_) throw std::bad_alloc();
      };
      RETURN_IF_ERROR(ring.Put(
          {.fill = fill,
           .runs = {{.offset = kAhead, .bytes = half, .to = device_.data() + first},
                    {.offset = kAhead + half, .bytes = bytes - half, .to = device_.data() + first + half}}}));
    }
    return absl::OkStatus();
  }

  void ExpectAllArrived() {
    ASSERT_EQ(runtime_.Copy(pinned_.data(), device_.data(), kBytes, cuda::CopyKind::kDeviceToHost, stream_),
              0);
    ASSERT_EQ(runtime_.Synchronize(stream_), 0);
    for (int64_t i = 0; i < kBytes; ++i) ASSERT_EQ(pinned_.data()[i], ByteAt(i)) << i;
  }

  EmulatedRuntime runtime_{{.memory_bytes = 1 << 20, .pinned_bytes = kPinnedBytes}};
  CudaMemory device_, pinned_;
  cuda::Stream stream_;
  std::atomic<int> filled_ = 0;
  int no_memory_at_ = -1;  // of the pieces, as they are filled
};

TEST_F(UploadRingTest, BringsEveryByteWhereItBelongs) {
  for (const int buffers : {1, 2, 3, 50})
    for (const int helpers : {1, 2, 5}) {
      SCOPED_TRACE(::testing::Message() << buffers << " buffers, " << helpers << " helpers");
      filled_ = 0;
      const int allocations = runtime_.counts().allocations;
      ASSERT_EQ(runtime_.Fill(device_.data(), 0, kBytes, stream_), 0);
      ASSERT_EQ(runtime_.Synchronize(stream_), 0);
      ASSERT_OK(Upload(buffers, helpers));
      ExpectAllArrived();
      EXPECT_EQ(filled_, (kBytes + kPieceBytes - 1) / kPieceBytes);
      EXPECT_LE(runtime_.counts().allocations - allocations, buffers);
    }
}

// Where the host has no pinned memory for a second buffer, or for a later one, those that there are must do.
TEST_F(UploadRingTest, MakesDoWithTheBuffersThereIsMemoryFor) {
  for (const int buffers : {1, 2, 3}) {
    SCOPED_TRACE(buffers);
    filled_ = 0;
    ASSERT_EQ(runtime_.Fill(device_.data(), 0, kBytes, stream_), 0);
    ASSERT_EQ(runtime_.Synchronize(stream_), 0);
    const int64_t left = buffers * (kAhead + kPieceBytes) + kPieceBytes;
    ASSERT_OK_AND_ASSIGN(const CudaMemory taken, CudaMemory::Make(runtime_, MemoryKind::kPinned,
                                                                  kPinnedBytes - kBytes - left, "a test"));
    const int allocations = runtime_.counts().allocations;
    ASSERT_OK(Upload(8, 3));
    ExpectAllArrived();
    EXPECT_LE(runtime_.counts().allocations - allocations, buffers + 1);  // it is asked for once more
  }
}

TEST_F(UploadRingTest, NeedsOneBuffer) {
  ASSERT_OK_AND_ASSIGN(const CudaMemory taken, CudaMemory::Make(runtime_, MemoryKind::kPinned,
                                                                kPinnedBytes - kBytes - 100, "a test"));
  EXPECT_THAT(Upload(8, 3), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("pinned host memory")));
}

TEST_F(UploadRingTest, BringsNothing) {
  ASSERT_OK_AND_ASSIGN(const auto ring, UploadRing::Make(runtime_, {.buffer_bytes = 100}));
  EXPECT_OK(ring->Finish());
}

// Helpers that have not begun when the ring is closed do not begin: what is left is let go.
TEST_F(UploadRingTest, LetsGoWhatNobodyFills) {
  const auto held = std::make_shared<int>(7);
  {
    ASSERT_OK_AND_ASSIGN(const auto ring, UploadRing::Make(runtime_, {.buffers = 2, .buffer_bytes = 100}));
    ASSERT_OK(ring->Put({.fill = [held](uint8_t*) { FAIL(); }}));
    ring->Close();
    ring->Work();
  }
  EXPECT_EQ(held.use_count(), 1);
}

// The error comes back, whichever call it is of but one for a buffer that need not be; no thread waits for ever, and no
// memory is kept.
TEST_F(UploadRingTest, EndsWithTheErrorOfAnyCall) {
  constexpr int kMost = 1000;
  int calls = 0;
  for (; calls < kMost; ++calls) {
    SCOPED_TRACE(calls);
    runtime_.InjectError(cuda::emulation::kInvalidValue, calls);
    filled_ = 0;
    const absl::Status status = Upload(3, 2);
    bool is_left = false;
    for (int i = 0; i < kMost && !is_left; ++i) is_left = runtime_.Synchronize(stream_) != 0;
    runtime_.InjectError(0, -1);
    if (is_left) break;
    // Else of a buffer, or of the end, whose errors matter to nobody.
    if (status.ok())
      EXPECT_EQ(filled_, (kBytes + kPieceBytes - 1) / kPieceBytes);
    else
      EXPECT_THAT(status.message(), HasSubstr("injected by the test"));
  }
  EXPECT_GE(calls, 45);  // two runs and a wait for each of 15 pieces
  EXPECT_LT(calls, kMost);
  ASSERT_OK(Upload(3, 2));
  ExpectAllArrived();
}

// A helper without memory: the error comes back, whether or not others wait for its buffer.
TEST_F(UploadRingTest, EndsWhereAHelperHasNoMemory) {
  for (const int buffers : {1, 3})
    for (const int last : {0, 7, 14}) {
      SCOPED_TRACE(::testing::Message() << buffers << " buffers, piece " << last);
      filled_ = 0;
      no_memory_at_ = last;
      EXPECT_THAT(Upload(buffers, 2), StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
    }
  no_memory_at_ = -1;
  ASSERT_OK(Upload(3, 2));
  ExpectAllArrived();
}

TEST_F(UploadRingTest, EndsWhereTheDeviceIsLost) {
  runtime_.InjectError(cuda::emulation::kKernelFailed, 20);
  EXPECT_THAT(Upload(3, 2),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("copying weights to the device")));
}

}  // namespace
}  // namespace ropeway::testing
