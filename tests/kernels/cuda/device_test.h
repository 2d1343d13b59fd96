// A fixture with a device: buffers that are filled from vectors and read back.
//
//   const float* x = Upload(values);
//   float* y = Allocate<float>(n);
//   ASSERT_EQ(Kernels().norm({...}, stream()), 0);
//   EXPECT_THAT(Download(y, n), ...);
#ifndef ROPEWAY_TESTS_KERNELS_CUDA_DEVICE_TEST_H_
#define ROPEWAY_TESTS_KERNELS_CUDA_DEVICE_TEST_H_

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/cuda/test_runtime.h"

namespace ropeway::cuda {

class DeviceTest : public testing::Test {
 protected:
  explicit DeviceTest(TestDevice device = TestDevice::kAny) {
    std::string error;
    runtime_ = MakeTestRuntime(device, &error);
    if (runtime_ == nullptr) return;
    Check(runtime_->Bind());
    Check(runtime_->CreateStream(&stream_));
  }
  ~DeviceTest() override {
    if (runtime_ == nullptr) return;
    runtime_->DestroyStream(stream_);
    for (void* buffer : buffers_) runtime_->Free(buffer);
  }
  // SetUp of a derived fixture calls this one first.
  void SetUp() override {
    if (runtime_ == nullptr) GTEST_SKIP() << "no device";
  }

  Runtime& runtime() { return *runtime_; }
  Stream stream() const { return stream_; }

  // A failed kernel's report is the message.
  void Check(ErrorCode error) { EXPECT_EQ(error, 0) << runtime_->Describe(error); }
  void Synchronize() { Check(runtime_->Synchronize(stream_)); }

  template <class T>
  T* Allocate(size_t count) {
    void* memory = nullptr;
    Check(runtime_->Malloc(&memory, count * sizeof(T)));
    buffers_.push_back(memory);
    return static_cast<T*>(memory);
  }

  template <class T>
  T* Upload(const std::vector<T>& values) {
    if (values.empty()) return nullptr;
    T* buffer = Allocate<T>(values.size());
    Write(values, buffer);
    return buffer;
  }

  template <class T>
  void Write(const std::vector<T>& values, T* buffer) {
    if (values.empty()) return;
    const size_t bytes = values.size() * sizeof(T);
    void* staging = nullptr;
    Check(runtime_->MallocHost(&staging, bytes));
    if (staging == nullptr) return;  // the device is lost, which was said
    std::memcpy(staging, values.data(), bytes);
    Check(runtime_->Copy(buffer, staging, bytes, CopyKind::kHostToDevice, stream_));
    Synchronize();
    Check(runtime_->FreeHost(staging));
  }

  template <class T>
  std::vector<T> Download(const T* buffer, size_t count) {
    std::vector<T> values(count);
    if (count == 0) return values;
    void* staging = nullptr;
    Check(runtime_->MallocHost(&staging, count * sizeof(T)));
    if (staging == nullptr) return values;
    Check(runtime_->Copy(staging, buffer, count * sizeof(T), CopyKind::kDeviceToHost, stream_));
    Synchronize();
    std::memcpy(values.data(), staging, count * sizeof(T));
    Check(runtime_->FreeHost(staging));
    return values;
  }

 private:
  std::unique_ptr<Runtime> runtime_;
  Stream stream_;
  std::vector<void*> buffers_;
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_KERNELS_CUDA_DEVICE_TEST_H_
