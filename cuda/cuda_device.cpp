#include "cuda/cuda_device.hpp"

#include <algorithm>

#include "cuda/cuda_arena.hpp"
#include "cuda/cuda_lane.hpp"
#include "cuda/kernel_image.hpp"

namespace sluice {
namespace {

// While memory is pinned, other calls into the driver wait, those of other processes too: so not too much at a time.
constexpr std::size_t pinned_chunk_bytes = std::size_t{256} << 20;

}  // namespace

CudaDevice::CudaDevice(int ordinal) : context_(std::make_shared<const Context>(ordinal)) {}

DeviceId CudaDevice::id() const noexcept {
  return cuda(context_->ordinal());
}

std::uint64_t CudaDevice::free_bytes() const {
  const CurrentContext current(*context_);
  std::size_t free = 0;
  std::size_t total = 0;
  context_->check(context_->driver().cuMemGetInfo(&free, &total), "cuMemGetInfo");
  return free;
}

std::shared_ptr<Arena> CudaDevice::allocate(std::uint64_t bytes) {
  return std::make_shared<CudaArena>(context_, bytes);
}

std::unique_ptr<Lane> CudaDevice::open_lane(const PlanData& plan, Arena& arena, Wakeup& wakeup) {
  const auto on = std::find(plan.devices.begin(), plan.devices.end(), id());
  const std::uint64_t scratch_bytes =
      plan.costs.devices[static_cast<std::size_t>(on - plan.devices.begin())].scratch_bytes;
  const CurrentContext current(*context_);
  if (scratch_bytes != 0 && kernel_ == nullptr) {
    const Stream stream(*context_);
    kernel_ = std::make_unique<const DeliveryKernel>(*context_, stream);
  }
  return std::make_unique<CudaLane>(*context_, kernel_.get(), scratch_bytes, plan, arena, wakeup);
}

bool CudaDevice::pin(std::span<std::byte> memory) {
  const CurrentContext current(*context_);
  for (std::size_t at = 0; at < memory.size(); at += pinned_chunk_bytes) {
    const std::size_t bytes = std::min(pinned_chunk_bytes, memory.size() - at);
    const cu::Result result =
        context_->driver().cuMemHostRegister(memory.data() + at, bytes, cu::host_register_portable);
    if (result == cu::Result::success) continue;
    unpin(memory.first(at));
    context_->check(result, "cuMemHostRegister");
  }
  return true;
}

void CudaDevice::unpin(std::span<std::byte> memory) noexcept {
  with_context(*context_, [&] {
    for (std::size_t at = 0; at < memory.size(); at += pinned_chunk_bytes) {
      ignore(context_->driver().cuMemHostUnregister(memory.data() + at));
    }
  });
}

std::shared_ptr<Device> open_cuda_device(int ordinal) {
  return std::make_shared<CudaDevice>(ordinal);
}

}  // namespace sluice
