#include "engine/exec/cuda/graph_cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <string>
#include <vector>

namespace {

int allocations_left = -1;  // until one fails; -1: all succeed

}  // namespace

// Not inlined: g++ warns where it sees one half of a pair alone.
[[gnu::noinline]] void* operator new(size_t bytes) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  void* const memory = std::malloc(bytes > 0 ? bytes : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
// A sanitizer's own would go with a delete that is not its.
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return std::malloc(bytes > 0 ? bytes : 1);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace ropeway {
namespace {

// Only destroys graphs, and tells which.
class CountingRuntime final : public cuda::Runtime {
 public:
  CountingRuntime() { destroyed.reserve(64); }  // a runtime destroys graphs where there is no memory, too
  cuda::ErrorCode Bind() override { return 0; }
  cuda::ErrorCode Info(cuda::DeviceInfo*) override { return 0; }
  cuda::ErrorCode Malloc(void**, size_t) override { return 0; }
  cuda::ErrorCode Free(void*) override { return 0; }
  cuda::ErrorCode MallocHost(void**, size_t) override { return 0; }
  cuda::ErrorCode FreeHost(void*) override { return 0; }
  cuda::ErrorCode CreateStream(cuda::Stream*) override { return 0; }
  cuda::ErrorCode DestroyStream(cuda::Stream) override { return 0; }
  cuda::ErrorCode Synchronize(cuda::Stream) override { return 0; }
  cuda::ErrorCode CreateEvent(cuda::Event*) override { return 0; }
  cuda::ErrorCode DestroyEvent(cuda::Event) override { return 0; }
  cuda::ErrorCode Record(cuda::Event, cuda::Stream) override { return 0; }
  cuda::ErrorCode Wait(cuda::Event) override { return 0; }
  cuda::ErrorCode Copy(void*, const void*, size_t, cuda::CopyKind, cuda::Stream) override { return 0; }
  cuda::ErrorCode Fill(void*, int, size_t, cuda::Stream) override { return 0; }
  cuda::ErrorCode EncodeTensorMap(const cuda::TensorMapLayout&, cuda::TensorMap*) override { return 0; }
  cuda::ErrorCode BeginCapture(cuda::Stream) override { return 0; }
  cuda::ErrorCode EndCapture(cuda::Stream, cuda::Graph*) override { return 0; }
  cuda::ErrorCode Launch(cuda::Graph, cuda::Stream) override { return 0; }
  cuda::ErrorCode DestroyGraph(cuda::Graph graph) override {
    destroyed.push_back(graph.native);
    return 0;
  }
  std::string Describe(cuda::ErrorCode) const override { return ""; }
  bool IsFatal(cuda::ErrorCode) const override { return false; }

  std::vector<void*> destroyed;
};

class GraphCacheTest : public ::testing::Test {
 protected:
  cuda::Graph Graph(int i) { return {.native = &places_[i]}; }

  CountingRuntime runtime_;
  int places_[8];
};

TEST_F(GraphCacheTest, FindsByAllOfTheKey) {
  GraphCache cache(runtime_, 4);
  cache.Insert({.rows = 1, .max_pages = 2}, Graph(0));
  cache.Insert({.rows = 2, .max_pages = 4}, Graph(1));
  EXPECT_EQ(cache.Find({.rows = 1, .max_pages = 2})->native, Graph(0).native);
  EXPECT_EQ(cache.Find({.rows = 2, .max_pages = 4})->native, Graph(1).native);
  EXPECT_EQ(cache.Find({.rows = 2, .max_pages = 2}), nullptr);
  EXPECT_EQ(cache.Find({.rows = 1, .max_pages = 4}), nullptr);
}

TEST_F(GraphCacheTest, TheOneUsedLongestAgoLeaves) {
  GraphCache cache(runtime_, 3);
  for (int i = 0; i < 3; ++i) cache.Insert({.rows = i}, Graph(i));
  EXPECT_NE(cache.Find({.rows = 0}), nullptr);
  cache.Insert({.rows = 3}, Graph(3));
  EXPECT_EQ(runtime_.destroyed, std::vector<void*>{Graph(1).native});
  EXPECT_EQ(cache.Find({.rows = 1}), nullptr);
  cache.Insert({.rows = 4}, Graph(4));
  EXPECT_EQ(runtime_.destroyed.back(), Graph(2).native);
  EXPECT_EQ(cache.size(), 3u);
  EXPECT_NE(cache.Find({.rows = 0}), nullptr);
}

// A graph for whose place there is no memory is destroyed, and what was there stays.
TEST_F(GraphCacheTest, NoMemoryLeaksNoGraph) {
  GraphCache cache(runtime_, 2);
  cache.Insert({.rows = 0}, Graph(0));
  cache.Insert({.rows = 1}, Graph(1));
  int failures = 0;
  for (bool failed = true; failed; failures += failed) {
    ASSERT_LT(failures, 100);
    allocations_left = failures;
    try {
      cache.Insert({.rows = 2}, Graph(2));
      failed = false;
    } catch (const std::bad_alloc&) {
    }
    allocations_left = -1;
    if (!failed) break;
    ASSERT_EQ(runtime_.destroyed, std::vector<void*>{Graph(2).native});
    runtime_.destroyed.clear();
    EXPECT_EQ(cache.Find({.rows = 2}), nullptr);
    EXPECT_EQ(cache.size(), 2u);
  }
  EXPECT_GE(failures, 2);  // an entry and its place
  EXPECT_EQ(runtime_.destroyed, std::vector<void*>{Graph(0).native});
  EXPECT_NE(cache.Find({.rows = 1}), nullptr);
  EXPECT_NE(cache.Find({.rows = 2}), nullptr);
}

TEST_F(GraphCacheTest, NothingIsLeftBehind) {
  {
    GraphCache cache(runtime_, 3);
    for (int i = 0; i < 5; ++i) cache.Insert({.rows = i}, Graph(i));
  }
  EXPECT_EQ(runtime_.destroyed.size(), 5u);
}

TEST_F(GraphCacheTest, AClosedOneFindsNothing) {
  GraphCache cache(runtime_, 3);
  cache.Insert({.rows = 1}, Graph(1));
  cache.Close();
  EXPECT_TRUE(cache.closed());
  EXPECT_EQ(cache.Find({.rows = 1}), nullptr);
  EXPECT_TRUE(runtime_.destroyed.empty());
  cache.Clear();
  EXPECT_EQ(runtime_.destroyed.size(), 1u);
}

}  // namespace
}  // namespace ropeway
