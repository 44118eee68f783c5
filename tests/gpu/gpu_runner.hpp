// GpuRunner: launches sluice_deliver on the first GPU, on copies of the caller's memory: what KernelRunner is on the
// PTX interpreter. Its own thread's context is current as long as it lives.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "cuda/context.hpp"
#include "cuda/delivery_table.hpp"
#include "cuda/device_memory.hpp"
#include "cuda/kernel_image.hpp"

namespace sluice {

class GpuRunner {
 public:
  /// The fatbinary: the cubin of this GPU, or, where the driver is told to force it, the PTX.
  static GpuRunner shipped() {
    const std::span<const std::byte> image = kernel_fatbinary();
    return GpuRunner({reinterpret_cast<const char*>(image.data()), image.size()});
  }

  explicit GpuRunner(std::string_view image) {
    check(driver().cuModuleLoadData(&module_, image.data()), "cuModuleLoadData");
    check(driver().cuModuleGetFunction(&function_, module_, "sluice_deliver"), "cuModuleGetFunction");
  }
  ~GpuRunner() { ignore(driver().cuModuleUnload(module_)); }
  GpuRunner(const GpuRunner&) = delete;
  GpuRunner& operator=(const GpuRunner&) = delete;

  /// One launch. Throws where bytes beside the arena changed. The order of threads is the device's own.
  void launch(std::span<const std::byte> scratch, std::span<const std::byte> table, const DeliveryTable& counts,
              std::span<std::byte> arena, std::uint64_t /*seed*/) {
    const std::size_t source_bytes = scratch.size() + table.size();
    const std::size_t target_bytes = arena.size() + 2 * guard_bytes;
    reserve(std::max(source_bytes, target_bytes));

    std::byte* const host = static_cast<std::byte*>(pinned_->data());
    std::copy(table.begin(), table.end(), std::copy(scratch.begin(), scratch.end(), host));
    copy_in(source_->pointer(), source_bytes);
    std::memset(host, static_cast<int>(guard), target_bytes);
    std::copy(arena.begin(), arena.end(), host + guard_bytes);
    copy_in(target_->pointer(), target_bytes);

    cu::DevicePointer extent = source_->pointer();
    cu::DevicePointer pieces = extent + scratch.size();
    cu::DevicePointer place = target_->pointer() + guard_bytes;
    std::uint32_t piece_count = counts.pieces;
    void* arguments[] = {&extent, &pieces, &piece_count, &place};
    check(driver().cuLaunchKernel(function_, counts.blocks(), 1, 1, threads_per_block, 1, 1, 0, stream_.handle(),
                                  arguments, nullptr),
          "cuLaunchKernel");
    check(driver().cuMemcpyDtoHAsync(host, target_->pointer(), target_bytes, stream_.handle()), "cuMemcpyDtoHAsync");
    stream_.synchronize();

    std::memcpy(arena.data(), host + guard_bytes, arena.size());
    const auto is_guard = [](std::byte byte) { return byte == guard; };
    if (!std::all_of(host, host + guard_bytes, is_guard) ||
        !std::all_of(host + guard_bytes + arena.size(), host + target_bytes, is_guard)) {
      throw std::runtime_error("the kernel wrote beside the arena");
    }
  }

 private:
  static constexpr std::size_t guard_bytes = 4096;
  static constexpr std::byte guard{0xa5};

  const Driver& driver() const { return context_.driver(); }
  void check(cu::Result result, std::string_view call) const { context_.check(result, call); }

  void copy_in(cu::DevicePointer target, std::size_t bytes) const {
    if (bytes == 0) return;
    check(driver().cuMemcpyHtoDAsync(target, pinned_->data(), bytes, stream_.handle()), "cuMemcpyHtoDAsync");
    stream_.synchronize();
  }

  void reserve(std::size_t bytes) {
    if (pinned_ != nullptr && bytes <= reserved_bytes_) return;
    pinned_ = std::make_unique<PinnedMemory>(context_, bytes);
    source_ = std::make_unique<DeviceMemory>(context_, bytes);
    target_ = std::make_unique<DeviceMemory>(context_, bytes);
    reserved_bytes_ = bytes;
  }

  const Context context_{0};
  const CurrentContext current_{context_};
  const Stream stream_{context_};
  cu::Module module_ = nullptr;
  cu::Function function_ = nullptr;
  std::size_t reserved_bytes_ = 0;
  std::unique_ptr<PinnedMemory> pinned_;
  std::unique_ptr<DeviceMemory> source_;
  std::unique_ptr<DeviceMemory> target_;
};

}  // namespace sluice
