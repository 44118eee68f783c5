#include "cuda/cuda_device.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "cuda/cuda_arena.hpp"
#include "cuda/cuda_lane.hpp"
#include "cuda/kernel_image.hpp"
#include "cuda/mapped_memory.hpp"
#include "cuda/reserved_arena.hpp"
#include "loader/base/alignment.hpp"
#include "loader/base/memory.hpp"

namespace sluice {
CudaDevice::CudaDevice(int ordinal)
    : context_(std::make_shared<const Context>(ordinal)), pinner_(std::make_shared<CudaPinner>(context_)) {}

DeviceId CudaDevice::id() const noexcept {
  return cuda(context_->ordinal());
}

std::uint64_t CudaDevice::free_bytes() const {
  if (context_->is_integrated()) return available_memory_bytes();
  const CurrentContext current(*context_);
  std::size_t free = 0;
  std::size_t total = 0;
  context_->check(context_->driver().cuMemGetInfo(&free, &total), "cuMemGetInfo");
  // A mapped arena takes whole units: a part of one that is free is of no use to it.
  const MappedMemorySupport support =
      find_mapped_memory_support(context_->driver(), context_->device(), context_->ordinal());
  return support.refusal.empty() ? align_down(free, support.granularity) : free;
}

std::shared_ptr<Arena> CudaDevice::allocate(std::uint64_t bytes) {
  return std::make_shared<CudaArena>(context_, bytes);
}

std::shared_ptr<Arena> CudaDevice::reserve(std::uint64_t bytes) {
  return std::make_shared<ReservedArena>(context_, bytes);
}

std::shared_ptr<Arena> CudaDevice::adopt(std::byte* data) {
  return std::make_shared<CudaArena>(context_, CudaArena::Callers{data});
}

/// Memory whose bytes the driver maps for this device: of cuMemAlloc, of a mapping, or managed.
void CudaDevice::check_memory(const std::byte* data, std::uint64_t bytes, std::string_view what) const {
  if (bytes == 0 || (is_mapped(data) && is_mapped(data + bytes - 1))) return;
  throw Error(
      ErrorCode::invalid_argument,
      fmt::format("{} of {} bytes at {} is no memory of {}", what, bytes, static_cast<const void*>(data), name(id())),
      {}, "give memory that was allocated or mapped on the device");
}

/// What is no memory of the driver's, it calls an invalid value. Any other refusal is one of its own: of a context that
/// a kernel of the caller's has killed, say.
bool CudaDevice::is_mapped(const std::byte* byte) const {
  const CurrentContext current(*context_);
  const auto pointer = reinterpret_cast<cu::DevicePointer>(byte);
  int ordinal = -1;
  cu::MemoryType type{};
  for (const auto& [attribute, value] :
       {std::pair<cu::PointerAttribute, void*>(cu::PointerAttribute::device_ordinal, &ordinal),
        {cu::PointerAttribute::memory_type, &type}}) {
    const cu::Result result = context_->driver().cuPointerGetAttribute(value, attribute, pointer);
    if (result == cu::Result::invalid_value || result == cu::Result::invalid_device) return false;
    context_->check(result, "cuPointerGetAttribute");
  }
  return ordinal == context_->ordinal() && type == cu::MemoryType::device;
}

std::unique_ptr<Lane> CudaDevice::open_lane(const LaneContext& lane) {
  const PlanData& plan = lane.plan;
  const auto on = std::find(plan.devices.begin(), plan.devices.end(), id());
  const std::uint64_t scratch_bytes =
      plan.costs.devices[static_cast<std::size_t>(on - plan.devices.begin())].scratch_bytes;
  const DeliveryKernel* const kernel = scratch_bytes == 0 ? nullptr : &load_kernel_once();
  const CurrentContext current(*context_);
  return std::make_unique<CudaLane>(*context_, kernel, scratch_bytes, lane);
}

void CudaDevice::warm_up() noexcept {
  try {
    load_kernel_once();
  } catch (const std::exception&) {
  }
}

const DeliveryKernel& CudaDevice::load_kernel_once() {
  const MutexLock lock(mutex_);
  if (kernel_ == nullptr) {
    const CurrentContext current(*context_);
    const Stream stream(*context_);
    kernel_ = std::make_unique<const DeliveryKernel>(*context_, stream);
  }
  return *kernel_;
}

std::shared_ptr<Device> open_cuda_device(int ordinal) {
  return std::make_shared<CudaDevice>(ordinal);
}

}  // namespace sluice
