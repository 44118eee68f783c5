// Virtual memory: addresses that are reserved, memory that is created, and what is mapped where. The manual asks for no
// context in these calls; here they need one, so that a dead one is told of.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/driver_calls.hpp"
#include "tests/sim/simulator.hpp"

namespace sluice::cu {

using sim::call;
using sim::CreatedMemory;
using sim::Needs;
using sim::Rule;
using sim::Simulator;

namespace {

constexpr std::uint64_t host_page_bytes = 4096;

/// Who uses virtual memory otherwise than the manual has it hears of it as he would from a driver, and then some.
Result misuse(Simulator& sim, Rule rule, std::string message) {
  sim.violations.add(rule, std::move(message));
  return Result::invalid_value;
}

/// The settings of the device on which memory is to be created; nullptr if `result` is the answer.
const sim::DeviceSettings* find_settings(const Simulator& sim, const MemoryProperties* properties, Result& result) {
  result = Result::invalid_value;
  if (properties == nullptr || properties->type != AllocationType::pinned ||
      properties->location.type != LocationType::device || properties->windows_only != nullptr) {
    return nullptr;
  }
  const int device = properties->location.id;
  result = Result::invalid_device;
  if (device < 0 || static_cast<std::size_t>(device) >= sim.devices.size()) return nullptr;
  const sim::DeviceSettings& settings = sim.devices[static_cast<std::size_t>(device)]->settings;
  result = Result::not_supported;
  const bool is_odd = properties->compression != 0 || properties->usage != 0 ||
                      (properties->handle_types != HandleType::none &&
                       (properties->handle_types != HandleType::posix_file_descriptor || !settings.exports_memory)) ||
                      (properties->gpu_direct_rdma_capable != 0 && !settings.rdma_to_memory);
  if (!settings.virtual_memory || is_odd) return nullptr;
  result = Result::success;
  return &settings;
}

/// Of all devices the coarsest: addresses may be for any of them. 0: none has virtual memory.
std::uint64_t granularity_of(const Simulator& sim) {
  std::uint64_t granularity = 0;
  for (const auto& device : sim.devices) {
    if (device->settings.virtual_memory) granularity = std::max(granularity, device->settings.granularity);
  }
  return granularity;
}

CreatedMemory* find_created(Simulator& sim, MemoryHandle memory) {
  const auto id = sim::from_handle(sim::HandleKind::memory, memory);
  const auto found = id ? sim.virtual_memory.created.find(*id) : sim.virtual_memory.created.end();
  if (found != sim.virtual_memory.created.end() && found->second.held) return &found->second;
  sim.violations.add(Rule::bad_handle, fmt::format("{:#x} is no created memory, or was released", memory));
  return nullptr;
}

/// What is mapped at exactly these addresses; nothing, and a violation, where that would cut a mapping or find a hole.
std::vector<sim::Mappings::value_type*> find_mapped(Simulator& sim, const char* call_name, DevicePointer pointer,
                                                    std::size_t bytes) {
  auto mapped = sim.virtual_memory.mapped(pointer, bytes);
  if (mapped.empty()) {
    misuse(sim, Rule::bad_mapping,
           fmt::format("{} of {} bytes at {:#x}: these are not whole mappings, one next to the other", call_name, bytes,
                       pointer));
  }
  return mapped;
}

}  // namespace

Result cuMemGetAllocationGranularity(std::size_t* bytes, const MemoryProperties* properties, Granularity which) {
  return call("cuMemGetAllocationGranularity", Needs::driver, [&](Simulator& sim) {
    if (which != Granularity::minimum && which != Granularity::recommended) return Result::invalid_value;
    Result result{};
    const sim::DeviceSettings* const settings = find_settings(sim, properties, result);
    if (settings != nullptr) *bytes = settings->granularity;
    return result;
  });
}

// "The size and address parameters must be a multiple of the host page size and the alignment must be a power of two or
// zero for default alignment."
Result cuMemAddressReserve(DevicePointer* pointer, std::size_t bytes, std::size_t alignment, DevicePointer hint,
                           std::uint64_t flags) {
  return call("cuMemAddressReserve", Needs::context, [&](Simulator& sim) {
    const std::uint64_t granularity = granularity_of(sim);
    if (granularity == 0) return Result::not_supported;
    if (bytes == 0 || flags != 0) return Result::invalid_value;
    if (bytes % host_page_bytes != 0 || hint % host_page_bytes != 0 || (alignment & (alignment - 1)) != 0) {
      return misuse(sim, Rule::bad_mapping,
                    fmt::format("cuMemAddressReserve of {} bytes, aligned to {}, at {:#x}", bytes, alignment, hint));
    }
    const auto begin = sim.virtual_memory.reserve(bytes, std::max<std::uint64_t>(granularity, alignment));
    if (!begin) return Result::out_of_memory;
    *pointer = *begin;
    return Result::success;
  });
}

// "The size must match what was given to memAddressReserve and the ptr given must match what was returned from
// memAddressReserve."
Result cuMemAddressFree(DevicePointer pointer, std::size_t bytes) {
  return sim::release("cuMemAddressFree", Needs::context, [&](Simulator& sim) {
    sim::Reservation* const found = sim.virtual_memory.find(pointer);
    const std::string what = fmt::format("cuMemAddressFree of {} bytes at {:#x}", bytes, pointer);
    if (found == nullptr || found->begin != pointer || found->bytes != bytes) {
      return misuse(sim, Rule::bad_mapping, what + ", which are no reservation");
    }
    if (found->freed) return misuse(sim, Rule::freed, what + ", a second time");
    if (!found->mappings.empty()) return misuse(sim, Rule::bad_mapping, what + ", where something is mapped");
    sim.virtual_memory.free(*found);
    return Result::success;
  });
}

// "The size of this allocation must be a multiple of the the value given via cuMemGetAllocationGranularity with the
// CU_MEM_ALLOC_GRANULARITY_MINIMUM flag."
Result cuMemCreate(MemoryHandle* memory, std::size_t bytes, const MemoryProperties* properties, std::uint64_t flags) {
  return call("cuMemCreate", Needs::context, [&](Simulator& sim) {
    Result result{};
    const sim::DeviceSettings* const settings = find_settings(sim, properties, result);
    if (settings == nullptr) return result;
    if (bytes == 0 || flags != 0) return Result::invalid_value;
    if (bytes % settings->granularity != 0) {
      return misuse(sim, Rule::bad_mapping,
                    fmt::format("cuMemCreate of {} bytes, no multiple of the granularity", bytes));
    }
    sim.drop_unused_memory();
    if (const Result planned = sim.faults.use("memory"); planned != Result::success) return planned;
    const int device = properties->location.id;
    sim::Allocation* const allocation = sim.devices[static_cast<std::size_t>(device)]->memory.allocate(bytes);
    if (allocation == nullptr) return Result::out_of_memory;
    allocation->created = true;
    const bool is_exportable = properties->handle_types == HandleType::posix_file_descriptor;
    const bool is_open_to_rdma = properties->gpu_direct_rdma_capable != 0;
    sim.virtual_memory.created[++sim.last_id] = {device, allocation->begin, bytes, is_exportable, is_open_to_rdma, true,
                                                 {}};
    *memory = sim::to_handle<MemoryHandle>(sim::HandleKind::memory, sim.last_id);
    return Result::success;
  });
}

// "The generic memory handle can be freed when there are still outstanding mappings made with this handle. [...] If
// handle is not a valid handle the behavior is undefined."
Result cuMemRelease(MemoryHandle memory) {
  return sim::release("cuMemRelease", Needs::context, [&](Simulator& sim) {
    CreatedMemory* const found = find_created(sim, memory);
    if (found == nullptr) return Result::invalid_value;
    found->held = false;
    sim.drop_unused_memory();
    return Result::success;
  });
}

// "Both ptr, size, and offset must be a multiple of the value given via cuMemGetAllocationGranularity"; "Note:
// currently must be zero", of the offset; "cuMemMap can only create mappings on VA range reservations that are not
// currently mapped."
Result cuMemMap(DevicePointer pointer, std::size_t bytes, std::size_t offset, MemoryHandle memory,
                std::uint64_t flags) {
  return call("cuMemMap", Needs::context, [&](Simulator& sim) {
    if (bytes == 0 || flags != 0) return Result::invalid_value;
    const CreatedMemory* const created = find_created(sim, memory);
    if (created == nullptr) return Result::invalid_value;
    const std::string what = fmt::format("cuMemMap of {} bytes at {:#x}", bytes, pointer);
    const auto refuse = [&](const char* why) { return misuse(sim, Rule::bad_mapping, what + why); };
    const std::uint64_t granularity = sim.devices[static_cast<std::size_t>(created->device)]->settings.granularity;
    if (pointer % granularity != 0 || bytes % granularity != 0) return refuse(", no multiples of the granularity");
    if (offset != 0 || bytes > created->bytes) return refuse(", not from the begin of the memory to within it");
    sim::Reservation* const found = sim.virtual_memory.find(pointer);
    if (found == nullptr || found->freed || bytes > found->end() - pointer) return refuse(", not all of them reserved");
    const auto after = found->mappings.lower_bound(pointer + bytes);
    if (after != found->mappings.begin() && std::prev(after)->first + std::prev(after)->second.bytes > pointer) {
      return refuse(", where something is mapped");
    }
    found->mappings[pointer] = {bytes, *sim::from_handle(sim::HandleKind::memory, memory), Access::none};
    return Result::success;
  });
}

// "The range must be the entire contiguous address range that was mapped to. In other words, cuMemUnmap cannot unmap a
// sub-range of an address range mapped by cuMemCreate / cuMemMap."
Result cuMemUnmap(DevicePointer pointer, std::size_t bytes) {
  return sim::release("cuMemUnmap", Needs::context, [&](Simulator& sim) {
    const auto mapped = find_mapped(sim, "cuMemUnmap", pointer, bytes);
    for (const auto* const entry : mapped) {
      const auto [begin, mapping] = *entry;
      const CreatedMemory& created = sim.virtual_memory.created.at(mapping.memory);
      if (sim.devices[static_cast<std::size_t>(created.device)]->dead == Result::success) {
        sim.check_unused(fmt::format("cuMemUnmap of {} bytes at {:#x}", mapping.bytes, begin), created.device, begin,
                         mapping.bytes);
      }
      sim.virtual_memory.find(begin)->mappings.erase(begin);
    }
    sim.drop_unused_memory();
    return mapped.empty() ? Result::invalid_value : Result::success;
  });
}

// "The range must be a fully mapped address range containing all allocations created by cuMemMap / cuMemCreate."
Result cuMemSetAccess(DevicePointer pointer, std::size_t bytes, const MemoryAccess* access, std::size_t count) {
  return call("cuMemSetAccess", Needs::context, [&](Simulator& sim) {
    if (count != 1 || access == nullptr || access->location.type != LocationType::device) return Result::invalid_value;
    if (access->flags != Access::none && access->flags != Access::read && access->flags != Access::read_write) {
      return Result::invalid_value;
    }
    const int device = access->location.id;
    if (device < 0 || static_cast<std::size_t>(device) >= sim.devices.size()) return Result::invalid_device;
    const auto mapped = find_mapped(sim, "cuMemSetAccess", pointer, bytes);
    for (const auto* const entry : mapped) {  // devices do not see each other's memory here
      if (sim.virtual_memory.created.at(entry->second.memory).device != device) return Result::not_supported;
    }
    for (auto* const entry : mapped) entry->second.access = access->flags;
    return mapped.empty() ? Result::invalid_value : Result::success;
  });
}

// The manual does not say whether the descriptor is closed by exec(): here it is not, unless the program sees to it. It
// holds none of the memory's content, and nothing can be imported.
Result cuMemExportToShareableHandle(void* shareable, MemoryHandle memory, HandleType type, std::uint64_t flags) {
  return call("cuMemExportToShareableHandle", Needs::context, [&](Simulator& sim) {
    if (shareable == nullptr || flags != 0 || type != HandleType::posix_file_descriptor) return Result::invalid_value;
    CreatedMemory* const found = find_created(sim, memory);
    if (found == nullptr) return Result::invalid_value;
    if (!found->exportable) {
      return misuse(sim, Rule::bad_handle, "cuMemExportToShareableHandle of memory that was not created for that");
    }
    const int descriptor = memfd_create("simulated memory", 0);
    struct stat its {};
    if (descriptor < 0 || fstat(descriptor, &its) != 0) return Result::operating_system;
    found->descriptors.push_back({descriptor, its.st_dev, its.st_ino});
    *static_cast<int*>(shareable) = descriptor;
    return Result::success;
  });
}

}  // namespace sluice::cu
