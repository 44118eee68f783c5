#include "cuda/mapped_memory.hpp"

#include <fmt/format.h>

#include <utility>

#include "loader/base/alignment.hpp"

namespace sluice {
namespace {

/// The name of a call that is needed and missing; nullptr if there is none.
const char* find_missing_call(const Driver& driver) noexcept {
  const std::pair<const char*, bool> calls[] = {
      {"cuMemGetAllocationGranularity", driver.cuMemGetAllocationGranularity != nullptr},
      {"cuMemAddressReserve", driver.cuMemAddressReserve != nullptr},
      {"cuMemAddressFree", driver.cuMemAddressFree != nullptr},
      {"cuMemCreate", driver.cuMemCreate != nullptr},
      {"cuMemRelease", driver.cuMemRelease != nullptr},
      {"cuMemMap", driver.cuMemMap != nullptr},
      {"cuMemUnmap", driver.cuMemUnmap != nullptr},
      {"cuMemSetAccess", driver.cuMemSetAccess != nullptr},
  };
  for (const auto& [name, is_there] : calls) {
    if (!is_there) return name;
  }
  return nullptr;
}

/// False where the driver does not say.
bool has(const Driver& driver, cu::Device device, cu::DeviceAttribute attribute) noexcept {
  int value = 0;
  return driver.cuDeviceGetAttribute(&value, attribute, device) == cu::Result::success && value != 0;
}

}  // namespace

std::uint64_t MappedMemorySupport::round_up(std::uint64_t bytes) const noexcept {
  return align_up(bytes, granularity);
}

MappedMemorySupport find_mapped_memory_support(const Driver& driver, cu::Device device, int ordinal) {
  MappedMemorySupport support;
  if (const char* const missing = find_missing_call(driver)) {
    support.refusal = fmt::format("the driver lacks {}", missing);
    return support;
  }
  if (!has(driver, device, cu::DeviceAttribute::virtual_memory_management_supported)) {
    support.refusal = "the device does not manage virtual memory";
    return support;
  }
  support.properties.location.id = ordinal;
  if (has(driver, device, cu::DeviceAttribute::handle_type_posix_file_descriptor_supported)) {
    support.properties.handle_types = cu::HandleType::posix_file_descriptor;
  }
  if (has(driver, device, cu::DeviceAttribute::gpu_direct_rdma_with_cuda_vmm_supported)) {
    support.properties.gpu_direct_rdma_capable = 1;
  }
  std::size_t granularity = 0;
  const cu::Result result =
      driver.cuMemGetAllocationGranularity(&granularity, &support.properties, cu::Granularity::minimum);
  support.granularity = granularity;
  if (result != cu::Result::success) {
    support.refusal = driver_error(driver, result, "cuMemGetAllocationGranularity").message();
  } else if (granularity == 0) {
    support.refusal = "cuMemGetAllocationGranularity: 0 bytes";
  }
  return support;
}

ReservedAddresses::ReservedAddresses(const Context& context, std::uint64_t bytes, std::uint64_t alignment)
    : context_(context), bytes_(bytes) {
  const std::string call = fmt::format("cuMemAddressReserve of {} bytes", bytes);
  context.check(context.driver().cuMemAddressReserve(&pointer_, bytes, alignment, 0, 0), call);
}

ReservedAddresses::~ReservedAddresses() {
  with_context(context_, [this] { ignore(context_.driver().cuMemAddressFree(pointer_, bytes_)); });
}

CreatedMemory::CreatedMemory(const Context& context, std::uint64_t bytes, const cu::MemoryProperties& properties)
    : context_(context) {
  const std::string call = fmt::format("cuMemCreate of {} bytes", bytes);
  context.check(context.driver().cuMemCreate(&handle_, bytes, &properties, 0), call);
}

CreatedMemory::~CreatedMemory() {
  with_context(context_, [this] { ignore(context_.driver().cuMemRelease(handle_)); });
}

MemoryMapping::MemoryMapping(const Context& context, cu::DevicePointer pointer, std::uint64_t bytes,
                             cu::MemoryHandle memory)
    : context_(context), pointer_(pointer), bytes_(bytes) {
  context.check(context.driver().cuMemMap(pointer, bytes, 0, memory, 0), "cuMemMap");
}

MemoryMapping::~MemoryMapping() {
  with_context(context_, [this] { ignore(context_.driver().cuMemUnmap(pointer_, bytes_)); });
}

void MemoryMapping::set_access(cu::Access access) const {
  const cu::MemoryAccess wanted{{cu::LocationType::device, context_.ordinal()}, access};
  context_.check(context_.driver().cuMemSetAccess(pointer_, bytes_, &wanted, 1), "cuMemSetAccess");
}

BoundMemory::BoundMemory(const Context& context, const MappedMemorySupport& support, cu::DevicePointer at,
                         std::uint64_t bytes)
    : memory_(context, bytes, support.properties), mapping_(context, at, bytes, memory_.handle()) {
  mapping_.set_access(cu::Access::read_write);
}

MappedMemory::MappedMemory(const Context& context, const MappedMemorySupport& support, std::uint64_t bytes)
    : addresses_(context, support.round_up(bytes), support.granularity),
      memory_(context, support, addresses_.pointer(), support.round_up(bytes)) {}

}  // namespace sluice
