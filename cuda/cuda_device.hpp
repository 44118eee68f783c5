// CudaDevice: one GPU as a place where tensors end up.
#pragma once

#include <memory>
#include <string_view>

#include "cuda/context.hpp"
#include "cuda/cuda_pinner.hpp"
#include "cuda/delivery_kernel.hpp"
#include "loader/base/mutex.hpp"
#include "loader/device/device.hpp"

namespace sluice {

class CudaDevice final : public Device {
 public:
  /// Throws Error{device_unavailable}.
  explicit CudaDevice(int ordinal);

  DeviceId id() const noexcept override;
  /// Of an integrated GPU what the system calls available: by its driver only MemFree is free, and what the page cache
  /// holds is not.
  std::uint64_t free_bytes() const override;
  bool shares_host_memory() const noexcept override { return context_->is_integrated(); }
  std::shared_ptr<Arena> allocate(std::uint64_t bytes) override;
  std::shared_ptr<Arena> reserve(std::uint64_t bytes) override;
  void warm_up() noexcept override;
  void check_memory(const std::byte* data, std::uint64_t bytes, std::string_view what) const override;
  std::shared_ptr<Arena> adopt(std::byte* data) override;
  std::unique_ptr<Lane> open_lane(const LaneContext& context) override;
  std::shared_ptr<Pinner> pinner() const override { return pinner_; }

 private:
  const DeliveryKernel& load_kernel_once();
  bool is_mapped(const std::byte* byte) const;

  const std::shared_ptr<const Context> context_;
  const std::shared_ptr<Pinner> pinner_;
  Mutex mutex_;
  std::unique_ptr<const DeliveryKernel> kernel_ SLUICE_GUARDED_BY(mutex_);  // made when it is first needed
};

}  // namespace sluice
