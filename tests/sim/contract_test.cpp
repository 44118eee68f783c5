// Goal: what sluice relies on in a driver holds: of the simulated one here, of a real one where this program finds one.
// Method: the driver's own calls only, through the table that sluice uses; each rule with where it is written. The
// simulator is found through LD_LIBRARY_PATH. Quotations are of the CUDA Driver API reference manual.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cuda/driver.hpp"
#include "cuda/kernel_image.hpp"
#include "tests/sim/capture_api.hpp"

namespace sluice {
namespace {

using cu::Result;

constexpr std::size_t size = 1 << 20;
constexpr unsigned copies_max = 16;

class Contract : public testing::Test {
 protected:
  void SetUp() override {
    try {
      its_ = &driver();
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
    ASSERT_EQ(its_->cuDeviceGet(&device_, 0), Result::success);
    ASSERT_EQ(its_->cuDevicePrimaryCtxRetain(&context_, device_), Result::success);
    ASSERT_EQ(its_->cuCtxPushCurrent(context_), Result::success);
    ASSERT_EQ(its_->cuMemAlloc(&memory_, size), Result::success);
    ASSERT_EQ(its_->cuStreamCreate(&stream_, cu::stream_non_blocking), Result::success);
    ASSERT_EQ(its_->cuEventCreate(&event_, cu::event_disable_timing | cu::event_blocking_sync), Result::success);
    slab_ = static_cast<std::byte*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(slab_, MAP_FAILED);
    ASSERT_EQ(its_->cuMemHostRegister(slab_, size, cu::host_register_portable), Result::success);
  }

  void TearDown() override {
    if (slab_ == nullptr) return;
    EXPECT_EQ(its_->cuStreamSynchronize(stream_), Result::success);
    EXPECT_EQ(its_->cuMemHostUnregister(slab_), Result::success);
    munmap(slab_, size);
    EXPECT_EQ(its_->cuEventDestroy(event_), Result::success);
    EXPECT_EQ(its_->cuStreamDestroy(stream_), Result::success);
    EXPECT_EQ(its_->cuMemFree(memory_), Result::success);
    cu::Context popped = nullptr;
    EXPECT_EQ(its_->cuCtxPopCurrent(&popped), Result::success);
    EXPECT_EQ(popped, context_);
    EXPECT_EQ(its_->cuDevicePrimaryCtxRelease(device_), Result::success);
  }

  const Driver* its_ = nullptr;
  cu::Device device_ = 0;
  cu::Context context_ = nullptr;
  cu::DevicePointer memory_ = 0;
  cu::Stream stream_ = nullptr;
  cu::Event event_ = nullptr;
  std::byte* slab_ = nullptr;
};

// cuStreamSynchronize: "Waits until the device has completed all operations in the stream specified by hStream."
TEST_F(Contract, AStreamDoesItsWorkInOrder) {
  std::vector<std::byte> back(size);
  for (unsigned i = 0; i < copies_max; ++i) {
    std::memset(slab_, static_cast<int>(i), size);
    ASSERT_EQ(its_->cuMemcpyHtoDAsync(memory_, slab_, size, stream_), Result::success);
    ASSERT_EQ(its_->cuStreamSynchronize(stream_), Result::success);
    ASSERT_EQ(its_->cuMemcpyDtoH(back.data(), memory_, size), Result::success);
    ASSERT_EQ(std::memcmp(back.data(), slab_, size), 0);
  }
}

// cuEventRecord: "Captures in hEvent the contents of hStream at the time of this call."
TEST_F(Contract, AnEventIsDoneWhenWhatWasBeforeItIs) {
  std::memset(slab_, 7, size);
  ASSERT_EQ(its_->cuMemcpyHtoDAsync(memory_, slab_, size, stream_), Result::success);
  ASSERT_EQ(its_->cuEventRecord(event_, stream_), Result::success);
  ASSERT_EQ(its_->cuEventSynchronize(event_), Result::success);
  EXPECT_EQ(its_->cuEventQuery(event_), Result::success);
  std::vector<std::byte> back(size);
  ASSERT_EQ(its_->cuMemcpyDtoH(back.data(), memory_, size), Result::success);
  EXPECT_EQ(back, std::vector<std::byte>(size, std::byte{7}));
}

// cuEventQuery: "CUDA_SUCCESS if all captured work has been completed, or CUDA_ERROR_NOT_READY if any captured work is
// incomplete"; who asks again and again hears of the end.
TEST_F(Contract, AnEventThatIsAskedForComes) {
  ASSERT_EQ(its_->cuMemcpyHtoDAsync(memory_, slab_, size, stream_), Result::success);
  ASSERT_EQ(its_->cuEventRecord(event_, stream_), Result::success);
  Result result{};
  while ((result = its_->cuEventQuery(event_)) == Result::not_ready) std::this_thread::yield();
  EXPECT_EQ(result, Result::success);
}

// cuEventRecord: "Before the first call to cuEventRecord(), an event represents an empty set of work".
TEST_F(Contract, AnEventThatWasNeverRecordedIsDone) {
  EXPECT_EQ(its_->cuEventQuery(event_), Result::success);
  EXPECT_EQ(its_->cuEventSynchronize(event_), Result::success);
  EXPECT_EQ(its_->cuStreamWaitEvent(stream_, event_, 0), Result::success);
}

// cuStreamWaitEvent: "Makes all future work submitted to hStream wait for all work captured in hEvent."
TEST_F(Contract, AStreamWaitsForAnothersEvent) {
  cu::Stream other = nullptr;
  ASSERT_EQ(its_->cuStreamCreate(&other, cu::stream_non_blocking), Result::success);
  std::memset(slab_, 1, size / 2);
  for (unsigned i = 0; i < copies_max; ++i) {
    ASSERT_EQ(its_->cuMemcpyHtoDAsync(memory_, slab_, size / 2, stream_), Result::success);
  }
  ASSERT_EQ(its_->cuEventRecord(event_, stream_), Result::success);
  ASSERT_EQ(its_->cuStreamWaitEvent(other, event_, 0), Result::success);
  ASSERT_EQ(its_->cuMemcpyDtoHAsync(slab_ + size / 2, memory_, size / 2, other), Result::success);
  ASSERT_EQ(its_->cuStreamSynchronize(other), Result::success);
  EXPECT_EQ(std::memcmp(slab_, slab_ + size / 2, size / 2), 0);
  EXPECT_EQ(its_->cuStreamSynchronize(stream_), Result::success);
  EXPECT_EQ(its_->cuStreamDestroy(other), Result::success);
}

// cuEventElapsedTime: "Computes the elapsed time between two events (in milliseconds with a resolution of around 0.5
// microseconds)".
TEST_F(Contract, EventsTellTheTimeBetweenThem) {
  cu::Event first = nullptr;
  cu::Event last = nullptr;
  ASSERT_EQ(its_->cuEventCreate(&first, cu::event_blocking_sync), Result::success);
  ASSERT_EQ(its_->cuEventCreate(&last, cu::event_blocking_sync), Result::success);
  float milliseconds = -1;
  EXPECT_EQ(its_->cuEventElapsedTime(&milliseconds, first, last), Result::invalid_handle) << "never recorded";
  ASSERT_EQ(its_->cuEventRecord(first, stream_), Result::success);
  ASSERT_EQ(its_->cuMemcpyHtoDAsync(memory_, slab_, size, stream_), Result::success);
  ASSERT_EQ(its_->cuEventRecord(last, stream_), Result::success);
  ASSERT_EQ(its_->cuEventRecord(event_, stream_), Result::success);
  ASSERT_EQ(its_->cuStreamSynchronize(stream_), Result::success);
  EXPECT_EQ(its_->cuEventElapsedTime(&milliseconds, first, last), Result::success);
  EXPECT_GT(milliseconds, 0);
  EXPECT_EQ(its_->cuEventElapsedTime(&milliseconds, first, event_), Result::invalid_handle) << "it takes no time";
  EXPECT_EQ(its_->cuEventDestroy(first), Result::success);
  EXPECT_EQ(its_->cuEventDestroy(last), Result::success);
}

// CUDA C++ Programming Guide, device memory accesses: "always aligned to at least 256 bytes".
TEST_F(Contract, AllocationsAreAligned) {
  cu::DevicePointer odd = 0;
  ASSERT_EQ(its_->cuMemAlloc(&odd, 1), Result::success);
  EXPECT_EQ(odd % 256, 0u);
  EXPECT_EQ(memory_ % 256, 0u);
  EXPECT_EQ(its_->cuMemFree(odd), Result::success);
  EXPECT_EQ(its_->cuMemAlloc(&odd, 0), Result::invalid_value)
      << "\"If bytesize is 0, cuMemAlloc() returns CUDA_ERROR_INVALID_VALUE.\"";
}

TEST_F(Contract, AnAllocationTooLargeIsRefusedAndDoesNoHarm) {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  ASSERT_EQ(its_->cuMemGetInfo(&free_bytes, &total_bytes), Result::success);
  EXPECT_LE(free_bytes, total_bytes);
  cu::DevicePointer pointer = 0;
  EXPECT_EQ(its_->cuMemAlloc(&pointer, total_bytes + size), Result::out_of_memory);
  ASSERT_EQ(its_->cuMemcpyHtoDAsync(memory_, slab_, size, stream_), Result::success);
}

// cuCtxGetCurrent, cuCtxSetCurrent: of the calling CPU thread.
TEST_F(Contract, AContextIsCurrentOnTheThreadThatMadeItSo) {
  std::thread([this] {
    cu::DevicePointer pointer = 0;
    cu::Context current = context_;
    EXPECT_EQ(its_->cuCtxGetCurrent(&current), Result::success);
    EXPECT_EQ(current, nullptr);
    EXPECT_EQ(its_->cuMemAlloc(&pointer, size), Result::invalid_context);
    EXPECT_EQ(its_->cuCtxSetCurrent(context_), Result::success);
    EXPECT_EQ(its_->cuMemAlloc(&pointer, size), Result::success);
    EXPECT_EQ(its_->cuMemFree(pointer), Result::success);
    EXPECT_EQ(its_->cuCtxSetCurrent(nullptr), Result::success);
  }).join();
}

// cuDevicePrimaryCtxRetain: "The primary context is unique per device and shared with the CUDA runtime API."
TEST_F(Contract, ThePrimaryContextIsShared) {
  cu::Context again = nullptr;
  ASSERT_EQ(its_->cuDevicePrimaryCtxRetain(&again, device_), Result::success);
  EXPECT_EQ(again, context_);
  ASSERT_EQ(its_->cuDevicePrimaryCtxRelease(device_), Result::success);
  EXPECT_EQ(its_->cuMemcpyHtoDAsync(memory_, slab_, size, stream_), Result::success);
}

TEST_F(Contract, MemoryIsPinnedOnce) {
  EXPECT_EQ(its_->cuMemHostRegister(slab_, size, cu::host_register_portable), Result::host_memory_already_registered);
  std::vector<std::byte> plain(size);
  EXPECT_EQ(its_->cuMemHostUnregister(plain.data()), Result::host_memory_not_registered);
}

TEST_F(Contract, PointersTellTheirDevice) {
  int ordinal = -1;
  cu::MemoryType type{};
  cu::DevicePointer begin = 0;
  std::size_t bytes = 0;
  const cu::DevicePointer inside = memory_ + size - 1;
  EXPECT_EQ(its_->cuPointerGetAttribute(&ordinal, cu::PointerAttribute::device_ordinal, inside), Result::success);
  EXPECT_EQ(ordinal, 0);
  EXPECT_EQ(its_->cuPointerGetAttribute(&type, cu::PointerAttribute::memory_type, inside), Result::success);
  EXPECT_EQ(type, cu::MemoryType::device);
  EXPECT_EQ(its_->cuPointerGetAttribute(&begin, cu::PointerAttribute::range_start, inside), Result::success);
  EXPECT_EQ(begin, memory_);
  EXPECT_EQ(its_->cuPointerGetAttribute(&bytes, cu::PointerAttribute::range_size, inside), Result::success);
  EXPECT_EQ(bytes, size);
  std::vector<std::byte> plain(size);
  EXPECT_EQ(its_->cuPointerGetAttribute(&ordinal, cu::PointerAttribute::device_ordinal,
                                        reinterpret_cast<cu::DevicePointer>(plain.data())),
            Result::invalid_value);
}

TEST_F(Contract, PinnedMemoryOfTheDriversOwnWorksAlike) {
  void* memory = nullptr;
  ASSERT_EQ(its_->cuMemHostAlloc(&memory, size, cu::host_alloc_portable), Result::success);
  std::memset(memory, 9, size);
  ASSERT_EQ(its_->cuMemcpyHtoDAsync(memory_, memory, size, stream_), Result::success);
  ASSERT_EQ(its_->cuStreamSynchronize(stream_), Result::success);
  EXPECT_EQ(its_->cuMemFreeHost(memory), Result::success);
}

// cuThreadExchangeStreamCaptureMode: "if any other thread has a concurrent capture sequence initiated with
// CU_STREAM_CAPTURE_MODE_GLOBAL, this thread is prohibited from potentially unsafe API calls", unless it is relaxed.
TEST_F(Contract, ACaptureIsSpoiledByAnAllocationUnlessTheThreadIsRelaxed) {
  const cu::CaptureCalls calls;
  for (const bool relaxed : {true, false}) {
    ASSERT_EQ(calls.cuStreamBeginCapture(stream_, cu::CaptureMode::global), Result::success);
    std::thread([&] {
      std::optional<RelaxedCapture> scope;
      if (relaxed) scope.emplace(*its_);
      cu::DevicePointer pointer = 0;
      EXPECT_EQ(its_->cuCtxSetCurrent(context_), Result::success);
      EXPECT_EQ(its_->cuMemAlloc(&pointer, size), relaxed ? Result::success : Result::stream_capture_unsupported);
      if (relaxed) {
        EXPECT_EQ(its_->cuMemFree(pointer), Result::success);
      }
      EXPECT_EQ(its_->cuCtxSetCurrent(nullptr), Result::success);
    }).join();
    cu::Graph graph = nullptr;
    EXPECT_EQ(calls.cuStreamEndCapture(stream_, &graph),
              relaxed ? Result::success : Result::stream_capture_invalidated);
    if (graph != nullptr) {
      EXPECT_EQ(calls.cuGraphDestroy(graph), Result::success);
    }
  }
}

// The same, of whatever else a load does.
TEST_F(Contract, ARelaxedThreadMayPinAndWaitBesideACapture) {
  const cu::CaptureCalls calls;
  cu::Stream other = nullptr;
  ASSERT_EQ(its_->cuStreamCreate(&other, cu::stream_non_blocking), Result::success);
  ASSERT_EQ(calls.cuStreamBeginCapture(other, cu::CaptureMode::global), Result::success);
  {
    const RelaxedCapture scope(*its_);
    EXPECT_EQ(its_->cuMemHostUnregister(slab_), Result::success);
    EXPECT_EQ(its_->cuMemHostRegister(slab_, size, cu::host_register_portable), Result::success);
    EXPECT_EQ(its_->cuMemcpyHtoDAsync(memory_, slab_, size, stream_), Result::success);
    EXPECT_EQ(its_->cuEventRecord(event_, stream_), Result::success);
    EXPECT_EQ(its_->cuEventSynchronize(event_), Result::success);
    EXPECT_EQ(its_->cuEventQuery(event_), Result::success);
    EXPECT_EQ(its_->cuStreamSynchronize(stream_), Result::success);
    cu::CaptureStatus status{};
    EXPECT_EQ(its_->cuStreamIsCapturing(stream_, &status), Result::success);
    EXPECT_EQ(status, cu::CaptureStatus::none);
    EXPECT_EQ(its_->cuStreamIsCapturing(other, &status), Result::success);
    EXPECT_EQ(status, cu::CaptureStatus::active);
  }
  cu::Graph graph = nullptr;
  EXPECT_EQ(calls.cuStreamEndCapture(other, &graph), Result::success);
  EXPECT_EQ(calls.cuGraphDestroy(graph), Result::success);
  EXPECT_EQ(its_->cuStreamDestroy(other), Result::success);
}

// CUDA_ERROR_STREAM_CAPTURE_ISOLATION: "Only implicit in-stream ordering dependencies are allowed to cross the
// boundary."
TEST_F(Contract, ACaptureDependsOnNoEventOutsideOfIt) {
  const cu::CaptureCalls calls;
  cu::Stream other = nullptr;
  ASSERT_EQ(its_->cuStreamCreate(&other, cu::stream_non_blocking), Result::success);
  ASSERT_EQ(its_->cuEventRecord(event_, stream_), Result::success);
  ASSERT_EQ(calls.cuStreamBeginCapture(other, cu::CaptureMode::relaxed), Result::success);
  EXPECT_EQ(its_->cuStreamWaitEvent(other, event_, 0), Result::stream_capture_isolation);
  cu::Graph graph = nullptr;
  EXPECT_EQ(calls.cuStreamEndCapture(other, &graph), Result::stream_capture_invalidated);
  EXPECT_EQ(its_->cuStreamDestroy(other), Result::success);
}

TEST_F(Contract, TheKernelsImageLoads) {
  if (kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
  for (const auto image : {kernel_fatbinary(), kernel_ptx_for_old_drivers()}) {
    cu::Module module = nullptr;
    ASSERT_EQ(its_->cuModuleLoadData(&module, image.data()), Result::success);
    cu::Function function = nullptr;
    EXPECT_EQ(its_->cuModuleGetFunction(&function, module, "sluice_deliver"), Result::success);
    EXPECT_EQ(its_->cuModuleGetFunction(&function, module, "no_such_kernel"), Result::not_found);
    EXPECT_EQ(its_->cuModuleUnload(module), Result::success);
    if (its_->cuLibraryLoadData == nullptr) continue;
    cu::Library library = nullptr;
    cu::Kernel kernel = nullptr;
    ASSERT_EQ(its_->cuLibraryLoadData(&library, image.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
              Result::success);
    EXPECT_EQ(its_->cuLibraryGetKernel(&kernel, library, "sluice_deliver"), Result::success);
    EXPECT_EQ(its_->cuLibraryUnload(library), Result::success);
  }
}

TEST_F(Contract, ErrorsHaveNames) {
  const char* text = nullptr;
  ASSERT_EQ(its_->cuGetErrorName(Result::illegal_address, &text), Result::success);
  EXPECT_STREQ(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
  ASSERT_EQ(its_->cuGetErrorString(Result::illegal_address, &text), Result::success);
  EXPECT_STRNE(text, "");
  EXPECT_EQ(its_->cuGetErrorName(Result{4711}, &text), Result::invalid_value);
}

TEST_F(Contract, AForkedChildIsRefused) {
  const pid_t child = fork();
  if (child == 0) {
    int count = 0;
    _exit(its_->cuDeviceGetCount(&count) == Result::not_initialized ||
                  its_->cuCtxSetCurrent(context_) == Result::not_initialized
              ? 0
              : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace sluice
