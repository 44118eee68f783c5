// CudaDevice: one GPU as a place where tensors end up.
#pragma once

#include <memory>
#include <mutex>

#include "cuda/context.hpp"
#include "cuda/delivery_kernel.hpp"
#include "loader/device.hpp"

namespace sluice {

class CudaDevice final : public Device {
 public:
  /// Throws Error{device_unavailable}.
  explicit CudaDevice(int ordinal);

  DeviceId id() const noexcept override;
  std::uint64_t free_bytes() const override;
  std::shared_ptr<Arena> allocate(std::uint64_t bytes) override;
  std::unique_ptr<Lane> open_lane(const PlanData& plan, Arena& arena, Wakeup& wakeup) override;
  bool pin(std::span<std::byte> memory) override;
  void unpin(std::span<std::byte> memory) noexcept override;

 private:
  const std::shared_ptr<const Context> context_;
  std::unique_ptr<const DeliveryKernel> kernel_;  // made by the first lane that launches it
};

}  // namespace sluice
