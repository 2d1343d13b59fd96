#include "tests/cuda_emulation/emulated_runtime.h"

#include <cstdint>
#include <cstring>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway::cuda::emulation {
namespace {

using testing::HasSubstr;

class EmulatedRuntimeTest : public testing::Test {
 protected:
  EmulatedRuntimeTest() : runtime_({.memory_bytes = 1 << 20}) {
    EXPECT_EQ(runtime_.Bind(), 0);
    EXPECT_EQ(runtime_.CreateStream(&stream_), 0);
    EXPECT_EQ(runtime_.Malloc(&device_, 64), 0);
    EXPECT_EQ(runtime_.MallocHost(&host_, 64), 0);
  }
  ErrorCode Up(size_t bytes) {
    return runtime_.Copy(device_, host_, bytes, CopyKind::kHostToDevice, stream_);
  }
  uint8_t* bytes() { return static_cast<uint8_t*>(host_); }
  // What lies on the device, by a copy of its own.
  uint8_t FirstByte() {
    void* staging = nullptr;
    EXPECT_EQ(runtime_.MallocHost(&staging, 1), 0);
    EXPECT_EQ(runtime_.Copy(staging, device_, 1, CopyKind::kDeviceToHost, stream_), 0);
    EXPECT_EQ(runtime_.Synchronize(stream_), 0);
    const uint8_t byte = *static_cast<uint8_t*>(staging);
    EXPECT_EQ(runtime_.FreeHost(staging), 0);
    return byte;
  }

  EmulatedRuntime runtime_;
  Stream stream_;
  void* device_ = nullptr;
  void* host_ = nullptr;
};

// What the driver refuses, or its manual forbids.
TEST(EmulatedTensorMapTest, RefusesWhatTheDriverDoes) {
  EmulatedRuntime runtime({.memory_bytes = 1 << 20, .major = 9});
  ASSERT_EQ(runtime.Bind(), 0);
  void* memory = nullptr;
  ASSERT_EQ(runtime.Malloc(&memory, 8 * 1024), 0);
  const TensorMapLayout right{
      .data = memory, .sizes = {64, 16, 4}, .strides = {128, 2048}, .box = {64, 16, 1}};
  TensorMap map;
  EXPECT_EQ(runtime.EncodeTensorMap(right, &map), 0);
  const auto refuses = [&](const char* why, auto change) {
    TensorMapLayout layout = right;
    change(layout);
    EXPECT_EQ(runtime.EncodeTensorMap(layout, &map), kInvalidValue) << why;
    EXPECT_THAT(runtime.Describe(kInvalidValue), HasSubstr(why));
  };
  refuses("16-byte aligned", [](TensorMapLayout& l) { l.data = static_cast<char*>(l.data) + 8; });
  refuses("inside one device allocation",
          [](TensorMapLayout& l) { l.data = static_cast<char*>(l.data) + 16; });
  refuses("inside one device allocation", [](TensorMapLayout& l) { l.sizes[2] = 5; });
  refuses("size", [](TensorMapLayout& l) { l.sizes[1] = 0; });
  refuses("size", [](TensorMapLayout& l) { l.sizes[2] = (int64_t{1} << 32) + 1; });
  refuses("side of its box", [](TensorMapLayout& l) { l.box[1] = 0; });
  refuses("side of its box", [](TensorMapLayout& l) { l.box[1] = 257; });
  refuses("more than the swizzle", [](TensorMapLayout& l) { l.box[0] = 72; });
  refuses("a multiple of 16 bytes", [](TensorMapLayout& l) { l.box[0] = 60; });
  refuses("multiple of 16 below", [](TensorMapLayout& l) { l.strides[0] = 136; });
  refuses("multiple of 16 below", [](TensorMapLayout& l) { l.strides[1] = int64_t{1} << 40; });
  refuses("one inside of it", [](TensorMapLayout& l) { l.strides[0] = 112; });
  refuses("one inside of it", [](TensorMapLayout& l) { l.strides[1] = 2048 + 64; });
  refuses("one inside of it", [](TensorMapLayout& l) { l.sizes[1] = 17; });
}

TEST(EmulatedTensorMapTest, NoneWithoutTheDriversHelp) {
  for (const RuntimeOptions& options :
       {RuntimeOptions{.memory_bytes = 1 << 20, .major = 9, .tensor_maps = false},
        RuntimeOptions{.memory_bytes = 1 << 20, .major = 8}}) {
    EmulatedRuntime runtime(options);
    ASSERT_EQ(runtime.Bind(), 0);
    TensorMap map;
    EXPECT_EQ(runtime.EncodeTensorMap({}, &map), kNotSupported);
    EXPECT_FALSE(runtime.IsFatal(kNotSupported));
  }
}

TEST_F(EmulatedRuntimeTest, NothingRunsUntilSomebodyWaits) {
  EXPECT_EQ(FirstByte(), 0xFF) << "fresh memory is NaN";
  bytes()[0] = 1;
  ASSERT_EQ(Up(64), 0);
  bytes()[0] = 2;  // too early: the copy has not been made
  EXPECT_EQ(FirstByte(), 2);
}

TEST_F(EmulatedRuntimeTest, CopiesStayInsideAllocationsAndUsePinnedMemory) {
  EXPECT_EQ(Up(65), kInvalidValue);
  EXPECT_THAT(runtime_.Describe(kInvalidValue), HasSubstr("destination of a copy"));
  char pageable[64];
  EXPECT_EQ(runtime_.Copy(device_, pageable, 64, CopyKind::kHostToDevice, stream_), kInvalidValue);
  EXPECT_THAT(runtime_.Describe(kInvalidValue), HasSubstr("pinned"));
  EXPECT_EQ(runtime_.Copy(host_, host_, 64, CopyKind::kDeviceToHost, stream_), kInvalidValue);
  EXPECT_EQ(runtime_.Fill(static_cast<char*>(device_) + 1, 0, 64, stream_), kInvalidValue);
}

TEST_F(EmulatedRuntimeTest, MemoryIsLimited) {
  DeviceInfo info;
  ASSERT_EQ(runtime_.Info(&info), 0);
  EXPECT_EQ(info.total_bytes, 1 << 20);
  EXPECT_EQ(info.free_bytes, (1 << 20) - 64);
  void* memory = nullptr;
  EXPECT_EQ(runtime_.Malloc(&memory, 1 << 20), kOutOfMemory);
  EXPECT_THAT(runtime_.Describe(kOutOfMemory), HasSubstr("1048576 bytes asked for"));
  ASSERT_EQ(runtime_.Malloc(&memory, (1 << 20) - 64), 0) << "an error of memory does not stay";
  EXPECT_EQ(runtime_.Free(memory), 0);
  EXPECT_EQ(runtime_.Free(memory), kInvalidValue) << "freed twice";
}

TEST_F(EmulatedRuntimeTest, StreamsHaveNoOrderBetweenThem) {
  Stream other;
  ASSERT_EQ(runtime_.CreateStream(&other), 0);
  ASSERT_EQ(runtime_.Fill(device_, 7, 64, other), 0);
  EXPECT_EQ(FirstByte(), 0xFF);
  ASSERT_EQ(runtime_.Synchronize(other), 0);
  EXPECT_EQ(FirstByte(), 7);
  EXPECT_EQ(runtime_.DestroyStream(other), 0);
}

TEST_F(EmulatedRuntimeTest, AGraphRepeatsWhatWasCaptured) {
  Graph graph;
  ASSERT_EQ(runtime_.BeginCapture(stream_), 0);
  ASSERT_EQ(Up(64), 0);
  void* memory = nullptr;
  EXPECT_EQ(runtime_.Malloc(&memory, 1), kCaptureUnsupported);
  EXPECT_EQ(runtime_.Synchronize(stream_), kCaptureUnsupported);
  ASSERT_EQ(runtime_.EndCapture(stream_, &graph), 0);
  EXPECT_EQ(FirstByte(), 0xFF) << "captured, not run";
  for (const uint8_t value : {3, 4}) {
    bytes()[0] = value;
    ASSERT_EQ(runtime_.Launch(graph, stream_), 0);
    EXPECT_EQ(FirstByte(), value);
  }
  EXPECT_EQ(runtime_.DestroyGraph(graph), 0);
}

TEST_F(EmulatedRuntimeTest, OnlyTheThreadThatBoundTheDeviceCallsIt) {
  ErrorCode unbound = 0, bound = 0;
  std::thread([&] {
    unbound = runtime_.Synchronize(stream_);
    runtime_.Bind();
    bound = runtime_.Synchronize(stream_);
  }).join();
  EXPECT_EQ(unbound, kInvalidValue);
  EXPECT_EQ(bound, 0);
  EmulatedRuntime other;
  ASSERT_EQ(other.Bind(), 0);
  EXPECT_EQ(runtime_.Synchronize(stream_), kInvalidValue) << "this thread's device is the other";
  EXPECT_EQ(runtime_.Bind(), 0);
}

TEST_F(EmulatedRuntimeTest, InjectedErrors) {
  runtime_.InjectError(kOutOfMemory, 1);
  EXPECT_EQ(runtime_.Synchronize(stream_), 0);
  EXPECT_EQ(runtime_.Synchronize(stream_), kOutOfMemory);
  EXPECT_EQ(runtime_.Synchronize(stream_), 0);
  runtime_.InjectError(kKernelFailed, 0);
  EXPECT_EQ(runtime_.Synchronize(stream_), kKernelFailed);
  EXPECT_TRUE(runtime_.IsFatal(kKernelFailed));
  EXPECT_EQ(runtime_.Synchronize(stream_), kKernelFailed) << "a lost context stays lost";
}

TEST_F(EmulatedRuntimeTest, AWritePastAnAllocationIsReported) {
#if ROPEWAY_EMULATION_ASAN
  GTEST_SKIP() << "AddressSanitizer ends the program at such a write";
#endif
  auto* end = static_cast<char*>(device_) + 64;
  ASSERT_EQ(EnqueueOnHost(stream_, [end] { *end = 0; }), 0);
  EXPECT_EQ(runtime_.Synchronize(stream_), kKernelFailed);
  EXPECT_THAT(runtime_.Describe(kKernelFailed), HasSubstr("past the end"));
}

TEST_F(EmulatedRuntimeTest, TheHostCannotReachDeviceMemory) {
  EXPECT_DEATH(*static_cast<volatile char*>(device_) = 0, "");
}

}  // namespace
}  // namespace ropeway::cuda::emulation
