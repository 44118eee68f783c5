// DeliveryKernel: the embedded kernel, loaded into one GPU's context. Threads: any.
#pragma once

#include "cuda/context.hpp"
#include "cuda/delivery_table.hpp"

namespace sluice {

class DeliveryKernel {
 public:
  /// Loads the code, and launches it once on nothing on `stream`: drivers load lazily, and may allocate, at the first
  /// launch. REQUIRES: the context is current. Waits for the launch. Throws Error{device_unavailable}: built without
  /// nvcc, or the driver knows neither the fatbinary nor the PTX for old drivers.
  DeliveryKernel(const Context& context, const Stream& stream);
  ~DeliveryKernel();
  DeliveryKernel(const DeliveryKernel&) = delete;
  DeliveryKernel& operator=(const DeliveryKernel&) = delete;

  /// Delivers an extent in scratch, whose table lies at `table` there, into `arena`. REQUIRES: the context is current.
  void launch(cu::DevicePointer extent, cu::DevicePointer table, const DeliveryTable& size, cu::DevicePointer arena,
              const Stream& stream) const;

 private:
  cu::Result start(const void* image, const Stream& stream) noexcept;
  cu::Result load(const void* image) noexcept;
  void unload() noexcept;
  cu::Result try_launch(cu::DevicePointer extent, cu::DevicePointer table, const DeliveryTable& size,
                        cu::DevicePointer arena, const Stream& stream) const noexcept;

  const Context& context_;
  cu::Library library_ = nullptr;  // from CUDA 12 on
  cu::Module module_ = nullptr;    // before
  cu::Function function_ = nullptr;
};

}  // namespace sluice
