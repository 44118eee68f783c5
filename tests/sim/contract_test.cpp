// Goal: what sluice relies on in a driver holds: of the simulated one here, of a real one where this program finds one.
// Method: the driver's own calls only, through the table that sluice uses; each rule with where it is written. The
// simulator is found through LD_LIBRARY_PATH. Quotations are of the CUDA Driver API reference manual.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/driver.hpp"
#include "cuda/kernel_image.hpp"
#include "cuda/mapped_memory.hpp"
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

// cuCtxSynchronize: "Blocks until the current context has completed all preceding requested tasks."
TEST_F(Contract, AContextIsWaitedForAsAWhole) {
  std::memset(slab_, 5, size);
  ASSERT_EQ(its_->cuMemcpyHtoDAsync(memory_, slab_, size, stream_), Result::success);
  ASSERT_EQ(its_->cuCtxSynchronize(), Result::success);
  std::vector<std::byte> back(size);
  ASSERT_EQ(its_->cuMemcpyDtoH(back.data(), memory_, size), Result::success);
  EXPECT_EQ(back, std::vector<std::byte>(size, std::byte{5}));
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

// cuEventDestroy: "An event may be destroyed before it is complete"; the call "does not block on completion of the
// event".
TEST_F(Contract, AnEventMayGoBeforeItIsDoneAndIsWaitedForAllTheSame) {
  cu::Stream other = nullptr;
  cu::Event event = nullptr;
  ASSERT_EQ(its_->cuStreamCreate(&other, cu::stream_non_blocking), Result::success);
  ASSERT_EQ(its_->cuEventCreate(&event, cu::event_disable_timing), Result::success);
  std::memset(slab_, 3, size / 2);
  for (unsigned i = 0; i < copies_max; ++i) {
    ASSERT_EQ(its_->cuMemcpyHtoDAsync(memory_, slab_, size / 2, stream_), Result::success);
  }
  ASSERT_EQ(its_->cuEventRecord(event, stream_), Result::success);
  ASSERT_EQ(its_->cuStreamWaitEvent(other, event, 0), Result::success);
  EXPECT_EQ(its_->cuEventDestroy(event), Result::success);
  ASSERT_EQ(its_->cuMemcpyDtoHAsync(slab_ + size / 2, memory_, size / 2, other), Result::success);
  ASSERT_EQ(its_->cuStreamSynchronize(other), Result::success);
  EXPECT_EQ(std::memcmp(slab_, slab_ + size / 2, size / 2), 0);
  EXPECT_EQ(its_->cuStreamSynchronize(stream_), Result::success);
  EXPECT_EQ(its_->cuStreamDestroy(other), Result::success);
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

// CU_POINTER_ATTRIBUTE_CONTEXT: "Returns in *data the CUcontext in which ptr was allocated or registered."
// CU_POINTER_ATTRIBUTE_DEVICE_POINTER: "the value returned in *data will equal the input value ptr."
TEST_F(Contract, PointersTellTheirContextAndWhereADeviceReachesThem) {
  cu::Context context = nullptr;
  cu::DevicePointer pointer = 0;
  EXPECT_EQ(its_->cuPointerGetAttribute(&context, cu::PointerAttribute::context, memory_ + 1), Result::success);
  EXPECT_EQ(context, context_);
  EXPECT_EQ(its_->cuPointerGetAttribute(&pointer, cu::PointerAttribute::device_pointer, memory_ + 1), Result::success);
  EXPECT_EQ(pointer, memory_ + 1);
  cu::MemoryType type{};
  EXPECT_EQ(
      its_->cuPointerGetAttribute(&type, cu::PointerAttribute::memory_type, reinterpret_cast<cu::DevicePointer>(slab_)),
      Result::success);
  EXPECT_EQ(type, cu::MemoryType::host);
}

// cuStreamGetCtx: "The returned context is the context that was active in the calling thread when the stream was
// created." Of CU_STREAM_LEGACY and the like it is "the context current to the calling thread".
TEST_F(Contract, StreamsTellTheirContext) {
  for (const cu::Stream stream : {stream_, cu::Stream{}, reinterpret_cast<cu::Stream>(std::uintptr_t{1})}) {
    cu::Context context = nullptr;
    EXPECT_EQ(its_->cuStreamGetCtx(stream, &context), Result::success);
    EXPECT_EQ(context, context_);
  }
}

// cuStreamGetId: "Returns in streamId the unique Id which is associated with the given stream handle. The Id is unique
// for the life of the program." The handle CU_STREAM_PER_THREAD is of another stream on each thread.
TEST_F(Contract, StreamsHaveNumbers) {
  if (its_->cuStreamGetId == nullptr) GTEST_SKIP() << "the driver gives streams no numbers";
  const auto number_of = [this](std::uintptr_t handle) {
    std::uint64_t number = 0;
    EXPECT_EQ(its_->cuStreamGetId(reinterpret_cast<cu::Stream>(handle), &number), Result::success);
    return number;
  };
  const auto mine = reinterpret_cast<std::uintptr_t>(stream_);
  EXPECT_EQ(number_of(mine), number_of(mine));
  EXPECT_NE(number_of(mine), number_of(0));
  const std::uint64_t this_threads = number_of(2);
  EXPECT_EQ(number_of(2), this_threads);
  std::thread([&] {
    EXPECT_EQ(its_->cuCtxSetCurrent(context_), Result::success);
    EXPECT_NE(number_of(2), this_threads);
    EXPECT_EQ(its_->cuCtxSetCurrent(nullptr), Result::success);
  }).join();
}

// cuMemcpy2DAsync: "For host pointers, the starting address is srcHost+srcY*srcPitch + srcXInBytes", and likewise of
// the device. cuMemsetD8Async, cuMemsetD2D8Async: in the order of the stream, as all work.
TEST_F(Contract, RowsAreCopiedAndSetInTheOrderOfTheirStream) {
  constexpr std::size_t width = 1000;
  constexpr std::size_t source_pitch = 1027;  // no pitch that cuMemAllocPitch would give
  constexpr std::size_t target_pitch = 2053;
  constexpr std::size_t height = 100;
  for (std::size_t i = 0; i < size; ++i) slab_[i] = static_cast<std::byte>(i % 251);
  cu::Copy2D copy;
  copy.source_type = cu::MemoryType::host;
  copy.source_host = slab_;
  copy.source_x_bytes = 3;
  copy.source_y = 1;
  copy.source_pitch = source_pitch;
  copy.target_type = cu::MemoryType::device;
  copy.target_device = memory_;
  copy.target_x_bytes = 5;
  copy.target_y = 2;
  copy.target_pitch = target_pitch;
  copy.width_bytes = width;
  copy.height = height;
  ASSERT_EQ(its_->cuMemsetD8Async(memory_, 0xEE, size, stream_), Result::success);
  ASSERT_EQ(its_->cuMemcpy2DAsync(&copy, stream_), Result::success);
  ASSERT_EQ(its_->cuMemsetD2D8Async(memory_ + 2 * target_pitch + 5, target_pitch, 7, 1, height, stream_),
            Result::success);
  ASSERT_EQ(its_->cuStreamSynchronize(stream_), Result::success);
  std::vector<std::byte> want(size, std::byte{0xEE});
  for (std::size_t row = 0; row < height; ++row) {
    std::byte* const target = want.data() + (row + 2) * target_pitch + 5;
    std::memcpy(target, slab_ + (row + 1) * source_pitch + 3, width);
    target[0] = std::byte{7};
  }
  std::vector<std::byte> back(size);
  ASSERT_EQ(its_->cuMemcpyDtoH(back.data(), memory_, size), Result::success);
  EXPECT_TRUE(back == want);
}

// "srcPitch must be greater than or equal to WidthInBytes + srcXInBytes", and no pitch may be greater than
// CU_DEVICE_ATTRIBUTE_MAX_PITCH.
TEST_F(Contract, RowsThatDoNotFitTheirPitchAreRefused) {
  int most = 0;
  ASSERT_EQ(its_->cuDeviceGetAttribute(&most, cu::DeviceAttribute::max_pitch, device_), Result::success);
  cu::Copy2D copy;
  copy.source_type = cu::MemoryType::host;
  copy.source_host = slab_;
  copy.target_type = cu::MemoryType::device;
  copy.target_device = memory_;
  copy.width_bytes = 100;
  copy.height = 2;
  for (const auto& [source_pitch, target_pitch] :
       {std::pair<std::size_t, std::size_t>(99, 100), {100, 99}, {100, static_cast<std::size_t>(most) + 1}}) {
    copy.source_pitch = source_pitch;
    copy.target_pitch = target_pitch;
    EXPECT_EQ(its_->cuMemcpy2DAsync(&copy, stream_), Result::invalid_value) << source_pitch << ' ' << target_pitch;
  }
}

/// Memory that is created and mapped, as arenas are.
class MappedContract : public Contract {
 protected:
  void SetUp() override {
    Contract::SetUp();
    if (IsSkipped()) return;
    support_ = find_mapped_memory_support(*its_, device_, 0);
    if (!support_.refusal.empty()) GTEST_SKIP() << support_.refusal;
    unit_ = support_.granularity;
    part_ = std::min(size, unit_);
    ASSERT_EQ(its_->cuMemAddressReserve(&begin_, units * unit_, 0, 0, 0), Result::success);
    ASSERT_EQ(its_->cuMemCreate(&created_, unit_, &support_.properties, 0), Result::success);
  }

  void TearDown() override {
    if (created_ != 0) {
      EXPECT_EQ(its_->cuMemRelease(created_), Result::success);
      EXPECT_EQ(its_->cuMemAddressFree(begin_, units * unit_), Result::success);
    }
    Contract::TearDown();
  }

  void map(cu::DevicePointer pointer, cu::MemoryHandle memory) const {
    const cu::MemoryAccess access{{cu::LocationType::device, 0}, cu::Access::read_write};
    ASSERT_EQ(its_->cuMemMap(pointer, unit_, 0, memory, 0), Result::success);
    ASSERT_EQ(its_->cuMemSetAccess(pointer, unit_, &access, 1), Result::success);
  }
  void unmap(cu::DevicePointer pointer) const { EXPECT_EQ(its_->cuMemUnmap(pointer, unit_), Result::success); }

  void copy_in(cu::DevicePointer target, std::size_t bytes) const {
    ASSERT_EQ(its_->cuMemcpyHtoDAsync(target, slab_, bytes, stream_), Result::success);
    ASSERT_EQ(its_->cuStreamSynchronize(stream_), Result::success);
  }
  void expect_holds(cu::DevicePointer source, std::size_t bytes) const {
    std::vector<std::byte> back(bytes);
    ASSERT_EQ(its_->cuMemcpyDtoH(back.data(), source, bytes), Result::success);
    EXPECT_EQ(std::memcmp(back.data(), slab_, bytes), 0);
  }

  static constexpr std::size_t units = 3;
  MappedMemorySupport support_;
  std::size_t unit_ = 0;
  std::size_t part_ = 0;  // of what is in the slab, as much as a unit holds
  cu::DevicePointer begin_ = 0;
  cu::MemoryHandle created_ = 0;
};

// cuMemMap: "Both ptr, size, and offset must be a multiple of the value given via cuMemGetAllocationGranularity"; that
// of the default alignment is one.
TEST_F(MappedContract, ItIsWholePagesAndHoldsWhatIsCopied) {
  EXPECT_EQ(unit_ % 4096, 0u);
  EXPECT_EQ(begin_ % unit_, 0u);
  map(begin_, created_);
  std::memset(slab_, 5, part_);
  copy_in(begin_ + unit_ - part_, part_);
  expect_holds(begin_ + unit_ - part_, part_);
  unmap(begin_);
}

TEST_F(MappedContract, ItHasNoContextButADeviceAndAllTheAddressesThatWereReserved) {
  map(begin_ + unit_, created_);
  const cu::DevicePointer inside = begin_ + unit_ + 1;
  cu::Context context = context_;
  int ordinal = -1;
  cu::MemoryType type{};
  cu::DevicePointer pointer = 0;
  std::size_t bytes = 0;
  int is_mapped = 0;
  EXPECT_EQ(its_->cuPointerGetAttribute(&context, cu::PointerAttribute::context, inside), Result::success);
  EXPECT_EQ(context, nullptr);
  EXPECT_EQ(its_->cuPointerGetAttribute(&ordinal, cu::PointerAttribute::device_ordinal, inside), Result::success);
  EXPECT_EQ(ordinal, 0);
  EXPECT_EQ(its_->cuPointerGetAttribute(&type, cu::PointerAttribute::memory_type, inside), Result::success);
  EXPECT_EQ(type, cu::MemoryType::device);
  EXPECT_EQ(its_->cuPointerGetAttribute(&pointer, cu::PointerAttribute::device_pointer, inside), Result::success);
  EXPECT_EQ(pointer, inside);
  EXPECT_EQ(its_->cuPointerGetAttribute(&pointer, cu::PointerAttribute::range_start, inside), Result::success);
  EXPECT_EQ(pointer, begin_);
  EXPECT_EQ(its_->cuPointerGetAttribute(&bytes, cu::PointerAttribute::range_size, inside), Result::success);
  EXPECT_EQ(bytes, units * unit_);
  EXPECT_EQ(its_->cuPointerGetAttribute(&is_mapped, cu::PointerAttribute::mapped, inside), Result::success);
  EXPECT_NE(is_mapped, 0);
  unmap(begin_ + unit_);
}

// As allocators that grow rely upon.
TEST_F(MappedContract, CopiesAndRowsMaySpanNeighbours) {
  cu::MemoryHandle second = 0;
  ASSERT_EQ(its_->cuMemCreate(&second, unit_, &support_.properties, 0), Result::success);
  map(begin_ + unit_, created_);
  map(begin_, second);
  std::memset(slab_, 6, part_);
  const cu::DevicePointer across = begin_ + unit_ - part_ / 2;
  copy_in(across, part_);
  expect_holds(across, part_);
  ASSERT_EQ(its_->cuMemsetD8Async(across, 7, part_, stream_), Result::success);
  ASSERT_EQ(its_->cuStreamSynchronize(stream_), Result::success);
  std::memset(slab_, 7, part_);
  expect_holds(across, part_);
  unmap(begin_ + unit_);
  unmap(begin_);
  EXPECT_EQ(its_->cuMemRelease(second), Result::success);
}

// cuMemUnmap: "Any backing memory allocations will be freed if there are no existing mappings and there are no
// unreleased memory handles."
TEST_F(MappedContract, ItKeepsItsContentWhileNobodyHasItMapped) {
  std::memset(slab_, 8, part_);
  map(begin_, created_);
  copy_in(begin_, part_);
  unmap(begin_);
  map(begin_ + unit_, created_);
  expect_holds(begin_ + unit_, part_);
  unmap(begin_ + unit_);
}

// cuMemExportToShareableHandle: the type is "int" for CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR.
TEST_F(MappedContract, ItIsExportedAsADescriptor) {
  if (support_.properties.handle_types == cu::HandleType::none) GTEST_SKIP() << "the device exports none";
  int descriptor = -1;
  ASSERT_EQ(its_->cuMemExportToShareableHandle(&descriptor, created_, cu::HandleType::posix_file_descriptor, 0),
            Result::success);
  ASSERT_GE(descriptor, 0);
  EXPECT_EQ(fcntl(descriptor, F_SETFD, FD_CLOEXEC), 0);
  EXPECT_EQ(close(descriptor), 0);
}

TEST_F(MappedContract, MoreThanThereIsIsRefusedAndDoesNoHarm) {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  ASSERT_EQ(its_->cuMemGetInfo(&free_bytes, &total_bytes), Result::success);
  cu::MemoryHandle too_much = 0;
  EXPECT_EQ(its_->cuMemCreate(&too_much, support_.round_up(total_bytes + 1), &support_.properties, 0),
            Result::out_of_memory);
  copy_in(memory_, size);
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
