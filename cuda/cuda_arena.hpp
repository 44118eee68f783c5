// CudaArena: the tensors that sluice places on one GPU, in one piece of memory. That is mapped memory, whose addresses
// can stay when it goes and which can go to others; or, where the driver refuses that, memory from cuMemAlloc.
#pragma once

#include <memory>
#include <string>

#include "cuda/device_memory.hpp"
#include "cuda/mapped_memory.hpp"
#include "cuda/way_back.hpp"
#include "loader/device/device.hpp"

namespace sluice {

class CudaArena final : public Arena {
 public:
  /// Throws Error{out_of_memory, device_unavailable}.
  CudaArena(std::shared_ptr<const Context> context, std::uint64_t bytes);
  /// Memory of the caller's, at `data`.
  struct Callers {
    std::byte* data;
  };
  CudaArena(std::shared_ptr<const Context> context, Callers memory);

  std::byte* data() const noexcept override;
  /// Device memory is present from the start.
  void populate(std::uint64_t, std::uint64_t) noexcept override {}
  void wait_for_device() const noexcept override { sluice::wait_for_device(*context_); }
  void read_back(const void* source, void* target, std::uint64_t bytes) const override {
    way_back_.copy(source, target, bytes);
  }

  /// Why it is no mapped memory; empty if it is, and for no bytes.
  std::string refusal() const override { return refusal_; }

 private:
  void map(std::uint64_t bytes);

  const std::shared_ptr<const Context> context_;
  std::string refusal_;
  std::unique_ptr<const MappedMemory> mapped_;     // one of the two,
  std::unique_ptr<const DeviceMemory> allocated_;  // or none for no bytes
  std::byte* const callers_ = nullptr;             // and for memory of the caller's

  mutable WayBack way_back_;
};

}  // namespace sluice
