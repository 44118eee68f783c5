// Gpu: what an engine has of a GPU, in small: a context, a stream, memory, and a kernel that stands for its own. The
// calls of the CUDA driver are declared here, so that the examples build without a toolkit; a program that has one
// includes <cuda.h>, links libcuda and needs only the class.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <sluice/sluice.hpp>
#include <stdexcept>
#include <string>
#include <vector>

/// There is no driver, or no GPU.
struct NoGpu : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Programs that skip for want of a GPU end with this status, by which CTest and Automake know them.
inline constexpr int skipped = 77;

/// The driver's calls. Each is found in the library that the driver installed.
class Driver {
 public:
  static const Driver& get() {
    static const Driver driver;
    return driver;
  }
  template <typename... Arguments>
  void call(const char* name, Arguments... arguments) const {
    auto* const function = reinterpret_cast<int (*)(Arguments...)>(dlsym(library_, name));
    if (function == nullptr) throw NoGpu(std::string("this driver has no ") + name);
    const int result = function(arguments...);
    if (result != 0) throw std::runtime_error(std::string(name) + " answers CUDA error " + std::to_string(result));
  }
  int gpus() const {
    int count = 0;
    call("cuDeviceGetCount", &count);
    return count;
  }

 private:
  Driver() : library_(dlopen("libcuda.so.1", RTLD_NOW)) {
    if (library_ == nullptr) throw NoGpu(dlerror());
    try {
      call("cuInit", 0u);
    } catch (const std::exception& error) {  // there is a driver, and no GPU that it could drive
      throw NoGpu(error.what());
    }
  }
  void* library_;  // as long as the process: drivers are not unloaded
};

class Gpu {
 public:
  explicit Gpu(int ordinal) : ordinal_(ordinal) {
    int device = 0;
    driver_.call("cuDeviceGet", &device, ordinal);
    driver_.call("cuDevicePrimaryCtxRetain", &context_, device);
    driver_.call("cuCtxSetCurrent", context_);
    driver_.call("cuStreamCreate", &stream_, 1u /* non-blocking */);
    driver_.call("cuModuleLoadData", &module_, static_cast<const void*>(add_words_ptx));
    driver_.call("cuModuleGetFunction", &add_words_, module_, "add_words");
    sums_ = reinterpret_cast<std::uint64_t>(allocate(threads * sizeof(std::uint32_t)));
    driver_.call("cuMemsetD8Async", sums_, static_cast<unsigned char>(0), threads * sizeof(std::uint32_t), stream_);
  }
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;
  /// Waits for the kernels, and then frees what they read. REQUIRES: no load writes there any more.
  ~Gpu() {
    try {
      synchronize();
      for (const std::uint64_t block : blocks_) driver_.call("cuMemFree_v2", block);
      driver_.call("cuModuleUnload", module_);
      driver_.call("cuStreamDestroy_v2", stream_);
      driver_.call("cuDevicePrimaryCtxRelease_v2", ordinal_);
    } catch (const std::exception&) {
      // The context is lost, and all that it had with it.
    }
  }

  sluice::DeviceId id() const { return sluice::cuda(ordinal_); }
  CUstream_st* stream() const { return stream_; }

  /// Freed with the Gpu. StartOptions::arenas wants multiples of 4096; the driver promises 256.
  void* allocate(std::uint64_t bytes) {
    std::uint64_t block = 0;
    driver_.call("cuCtxSetCurrent", context_);
    driver_.call("cuMemAlloc_v2", &block, static_cast<std::size_t>(bytes + 4095));
    blocks_.push_back(block);
    return reinterpret_cast<void*>((block + 4095) / 4096 * 4096);
  }

  /// Queues a kernel that reads `bytes` at `data` and adds their 16-bit words to a sum: where an engine computes.
  void queue_kernel(const void* data, std::uint64_t bytes) const {
    auto words = reinterpret_cast<std::uint64_t>(data);
    std::uint64_t count = bytes / 2;
    std::uint64_t sums = sums_;
    void* arguments[] = {&words, &count, &sums};
    driver_.call("cuCtxSetCurrent", context_);
    driver_.call("cuLaunchKernel", add_words_, threads / 128, 1u, 1u, 128u, 1u, 1u, 0u, stream_,
                 static_cast<void**>(arguments), static_cast<void**>(nullptr));
  }

  void synchronize() const {
    driver_.call("cuCtxSetCurrent", context_);
    driver_.call("cuStreamSynchronize", stream_);
  }
  /// Waits for the kernels: the sum of all words that they read since the last call.
  std::uint32_t take_sum() const {
    std::vector<std::uint32_t> sums(threads);
    const std::size_t bytes = threads * sizeof(std::uint32_t);
    synchronize();
    driver_.call("cuMemcpyDtoH_v2", static_cast<void*>(sums.data()), sums_, bytes);
    driver_.call("cuMemsetD8Async", sums_, static_cast<unsigned char>(0), bytes, stream_);
    return std::accumulate(sums.begin(), sums.end(), 0u);
  }

 private:
  static constexpr unsigned threads = 4096;
  // Thread i adds words i, i + threads, ... to sums[i].
  static constexpr const char* add_words_ptx = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry add_words(.param .u64 words, .param .u64 count, .param .u64 sums) {
  .reg .pred %done; .reg .b32 %block, %size, %thread, %sum, %word; .reg .b64 %at, %from, %n, %step, %i, %to;
  mov.u32 %block, %ctaid.x;
  mov.u32 %size, %ntid.x;
  mov.u32 %thread, %tid.x;
  mad.lo.u32 %thread, %block, %size, %thread;
  mov.u32 %block, %nctaid.x;
  mul.wide.u32 %step, %block, %size;
  cvt.u64.u32 %i, %thread;
  ld.param.u64 %from, [words];
  ld.param.u64 %n, [count];
  ld.param.u64 %to, [sums];
  mad.lo.u64 %to, %i, 4, %to;
  ld.global.u32 %sum, [%to];
next:
  setp.ge.u64 %done, %i, %n;
  @%done bra end;
  mad.lo.u64 %at, %i, 2, %from;
  ld.global.u16 %word, [%at];
  add.u32 %sum, %sum, %word;
  add.u64 %i, %i, %step;
  bra next;
end:
  st.global.u32 [%to], %sum;
  ret;
}
)";

  const Driver& driver_ = Driver::get();
  const int ordinal_;
  void* context_ = nullptr;
  CUstream_st* stream_ = nullptr;
  void* module_ = nullptr;
  void* add_words_ = nullptr;
  std::uint64_t sums_ = 0;
  std::vector<std::uint64_t> blocks_;
};
