// ReservedArena: an arena on one GPU whose addresses are reserved as a whole, and whose memory comes and goes in
// pieces, each created and mapped by itself. Threads: any.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "cuda/mapped_memory.hpp"
#include "cuda/way_back.hpp"
#include "loader/base/mutex.hpp"
#include "loader/device/device.hpp"

namespace sluice {

class ReservedArena final : public Arena {
 public:
  /// Throws Error{device_unavailable} where the driver cannot map memory, or refuses.
  ReservedArena(std::shared_ptr<const Context> context, std::uint64_t bytes);
  ~ReservedArena() override;

  std::byte* data() const noexcept override;
  void populate(std::uint64_t, std::uint64_t) noexcept override {}
  void bind(std::uint64_t offset, std::uint64_t bytes, bool zeroed) override;
  void unbind(std::uint64_t offset, std::uint64_t bytes) noexcept override;
  void wait_for_device() const noexcept override { sluice::wait_for_device(*context_); }
  void read_back(const void* source, void* target, std::uint64_t bytes) const override {
    way_back_.copy(source, target, bytes);
  }

 private:
  void fill_with_zeros(cu::DevicePointer at, std::uint64_t bytes) const;

  const std::shared_ptr<const Context> context_;
  const MappedMemorySupport support_;
  std::unique_ptr<const ReservedAddresses> addresses_;  // nullptr for no bytes
  mutable WayBack way_back_;
  Mutex mutex_;
  std::map<std::uint64_t, std::unique_ptr<const BoundMemory>> pieces_ SLUICE_GUARDED_BY(mutex_);  // by offset
};

}  // namespace sluice
