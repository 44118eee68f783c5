// HostDevice: the process's own memory as an ordinary device. Its arenas are huge-page memory that storage is read
// straight into where the plan allows; its lanes copy and cast the rest out of slabs, on the workers.
#pragma once

#include "loader/device/device.hpp"

namespace sluice {

class HostDevice final : public Device {
 public:
  explicit HostDevice(Workers& workers) : workers_(workers) {}

  DeviceId id() const noexcept override { return host(); }
  std::uint64_t free_bytes() const override;
  bool shares_host_memory() const noexcept override { return true; }
  std::shared_ptr<Arena> allocate(std::uint64_t bytes) override;
  std::shared_ptr<Arena> reserve(std::uint64_t bytes) override { return allocate(bytes); }
  void check_memory(const std::byte*, std::uint64_t, std::string_view) const override {}
  std::shared_ptr<Arena> adopt(std::byte* data) override;
  std::unique_ptr<Lane> open_lane(const LaneContext& context) override;
  void warm_up() noexcept override {}
  std::shared_ptr<Pinner> pinner() const override { return nullptr; }

 private:
  Workers& workers_;
};

}  // namespace sluice
