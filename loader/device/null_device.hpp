// NullDevice: takes and forgets, to measure everything before it; and the example for whoever writes another device.
#pragma once

#include "loader/device/device.hpp"

namespace sluice {

class NullDevice final : public Device {
 public:
  DeviceId id() const noexcept override { return null(); }
  std::uint64_t free_bytes() const override;
  bool shares_host_memory() const noexcept override { return false; }
  std::shared_ptr<Arena> allocate(std::uint64_t bytes) override;
  std::shared_ptr<Arena> reserve(std::uint64_t bytes) override { return allocate(bytes); }
  void check_memory(const std::byte*, std::uint64_t, std::string_view) const override {}
  std::shared_ptr<Arena> adopt(std::byte* data) override;
  std::unique_ptr<Lane> open_lane(const LaneContext& context) override;
  void warm_up() noexcept override {}
  std::shared_ptr<Pinner> pinner() const override { return nullptr; }
};

}  // namespace sluice
