// Device memory, and host memory that is pinned.
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>

#include "tests/sim/driver_calls.hpp"
#include "tests/sim/simulator.hpp"

namespace sluice::cu {

using sim::call;
using sim::DeviceState;
using sim::Needs;
using sim::Rule;
using sim::Simulator;

namespace {

constexpr int fresh_value = 0xA5;  // what cuMemHostAlloc promises nothing about

/// Whether the process has memory in all of these pages: by msync(2), ENOMEM says that it has not.
bool is_there(const void* memory, std::size_t bytes) {
  const std::uintptr_t begin = sim::PinnedMemory::begin_of_page(reinterpret_cast<std::uintptr_t>(memory));
  const std::uintptr_t end = sim::PinnedMemory::end_of_page(reinterpret_cast<std::uintptr_t>(memory) + bytes);
  return msync(reinterpret_cast<void*>(begin), end - begin, MS_ASYNC) == 0;
}

}  // namespace

Result cuMemGetInfo_v2(std::size_t* free_bytes, std::size_t* total_bytes) {
  return call("cuMemGetInfo", Needs::context, [&](Simulator& sim) {
    const sim::DeviceMemory& memory = sim.device().memory;
    sim.drop_unused_memory();
    *total_bytes = memory.total_bytes();
    *free_bytes = memory.total_bytes() - memory.used_bytes();
    return Result::success;
  });
}

Result cuMemAlloc_v2(DevicePointer* pointer, std::size_t bytes) {
  return call("cuMemAlloc", Needs::context, [&](Simulator& sim) {
    if (bytes == 0) return Result::invalid_value;
    if (const Result planned = sim.faults.use("memory"); planned != Result::success) return planned;
    const sim::Allocation* const allocation = sim.device().memory.allocate(bytes);
    if (allocation == nullptr) return Result::out_of_memory;
    *pointer = allocation->begin;
    return Result::success;
  });
}

Result cuMemFree_v2(DevicePointer pointer) {
  return sim::release("cuMemFree", Needs::context, [&](Simulator& sim) {
    // With unified addressing the pointer says whose memory it is, whatever context is current.
    const auto owner = std::find_if(sim.devices.begin(), sim.devices.end(),
                                    [&](const auto& device) { return device->memory.owns(pointer); });
    sim::Allocation* allocation = owner == sim.devices.end() ? nullptr : (*owner)->memory.find(pointer);
    if (allocation == nullptr || allocation->begin != pointer || allocation->freed || allocation->created) {
      const bool freed = allocation != nullptr && allocation->freed;
      sim.violations.add(
          freed ? Rule::freed : Rule::foreign,
          fmt::format("cuMemFree of {:#x}, {}", pointer, freed ? "a second time" : "which begins no allocation"));
      return Result::invalid_value;
    }
    DeviceState& its = **owner;
    for (const sim::Violation& broken : its.memory.check_guards(*allocation))
      sim.violations.add(broken.rule, broken.message);
    if (its.dead == Result::success) {
      sim.check_unused(fmt::format("cuMemFree of {} bytes at {:#x}", allocation->bytes, pointer),
                       static_cast<int>(owner - sim.devices.begin()), pointer, allocation->bytes);
    }
    its.memory.accesses.forget(allocation->begin, allocation->end(), sim.timeline.host);
    its.memory.free(*allocation);
    return Result::success;
  });
}

Result cuMemHostRegister_v2(void* memory, std::size_t bytes, unsigned flags) {
  return call("cuMemHostRegister", Needs::context, [&](Simulator& sim) {
    if (memory == nullptr || bytes == 0 || (flags & ~host_register_portable) != 0) return Result::invalid_value;
    if (sim.pinned.overlaps(memory, bytes)) return Result::host_memory_already_registered;
    if (!is_there(memory, bytes)) {
      sim.violations.add(Rule::not_pinned,
                         fmt::format("cuMemHostRegister of {} bytes at {}, which is no memory, or not "
                                     "all of it",
                                     bytes, memory));
      return Result::invalid_value;
    }
    sim.pinned.ranges[reinterpret_cast<std::uintptr_t>(memory)] = {
        bytes, sim.device_ordinal(), (flags & host_register_portable) != 0, false, {}};
    return Result::success;
  });
}

Result cuMemHostAlloc(void** memory, std::size_t bytes, unsigned flags) {
  return call("cuMemHostAlloc", Needs::context, [&](Simulator& sim) {
    if (bytes == 0 || (flags & ~host_alloc_portable) != 0) return Result::invalid_value;
    void* fresh = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fresh == MAP_FAILED) return Result::out_of_memory;
    std::memset(fresh, fresh_value, bytes);
    sim.pinned.ranges[reinterpret_cast<std::uintptr_t>(fresh)] = {
        bytes, sim.device_ordinal(), (flags & host_alloc_portable) != 0, true, {}};
    *memory = fresh;
    return Result::success;
  });
}

namespace {

/// Ends a pinning that begins at `memory`, if there is one of the kind.
bool unpin(Simulator& sim, const char* call_name, void* memory, bool allocated) {
  const auto found = sim.pinned.ranges.find(reinterpret_cast<std::uintptr_t>(memory));
  if (found == sim.pinned.ranges.end() || found->second.allocated != allocated) return false;
  for (const auto& [stream, stamp] : found->second.users) {
    if (!sim.known_done(stamp)) {
      sim.report_in_use(fmt::format("{} of {} bytes at {}", call_name, found->second.bytes, memory), stamp);
      break;
    }
  }
  if (!is_there(memory, found->second.bytes)) {
    sim.violations.add(Rule::not_pinned, fmt::format("{} of {} bytes at {}, which were unmapped before", call_name,
                                                     found->second.bytes, memory));
  }
  if (allocated) munmap(memory, found->second.bytes);
  sim.pinned.ranges.erase(found);
  return true;
}

}  // namespace

Result cuMemHostUnregister(void* memory) {
  return sim::release("cuMemHostUnregister", Needs::context, [&](Simulator& sim) {
    return unpin(sim, "cuMemHostUnregister", memory, false) ? Result::success : Result::host_memory_not_registered;
  });
}

Result cuMemFreeHost(void* memory) {
  return sim::release("cuMemFreeHost", Needs::context, [&](Simulator& sim) {
    return unpin(sim, "cuMemFreeHost", memory, true) ? Result::success : Result::invalid_value;
  });
}

namespace {

/// What a pointer points to.
struct Target {
  MemoryType type = MemoryType::device;
  int device = -1;
  DevicePointer begin = 0;
  std::size_t bytes = 0;
  bool has_context = true;
  bool mapped = true;
};

std::optional<Target> find_allocated(Simulator& sim, DevicePointer pointer) {
  for (std::size_t i = 0; i < sim.devices.size(); ++i) {
    const sim::Allocation* allocation = sim.devices[i]->memory.find(pointer);
    if (allocation == nullptr || allocation->freed || allocation->created) continue;
    if (pointer - allocation->begin >= allocation->bytes) continue;
    return Target{MemoryType::device, static_cast<int>(i), allocation->begin, allocation->bytes};
  }
  return std::nullopt;
}

// CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: "Note that this is not necessarily the address of the mapped region, but the
// address of the mappable address range ptr references (e.g. from cuMemAddressReserve)." And its size likewise. That
// the memory has no context the manual says of what is allocated in the order of streams only; drivers say so here,
// too.
std::optional<Target> find_reserved(Simulator& sim, DevicePointer pointer) {
  const sim::Reservation* const reservation = sim.virtual_memory.find(pointer);
  if (reservation == nullptr || reservation->freed) return std::nullopt;
  Target target{MemoryType::device, -1, reservation->begin, reservation->bytes, false, false};
  for (const auto& [begin, mapping] : reservation->mappings) {
    if (pointer - begin >= mapping.bytes) continue;
    target.device = sim.virtual_memory.created.at(mapping.memory).device;
    target.mapped = true;
  }
  return target;
}

std::optional<Target> find_pinned(Simulator& sim, DevicePointer pointer) {
  const sim::Pinned* const range = sim.pinned.find(reinterpret_cast<const void*>(pointer), 1);
  if (range == nullptr) return std::nullopt;
  return Target{MemoryType::host, range->device, std::prev(sim.pinned.ranges.upper_bound(pointer))->first,
                range->bytes};
}

/// "If there exists no device pointer value through which kernels running in the current CUcontext may access ptr then
/// CUDA_ERROR_INVALID_VALUE is returned. If there is no current CUcontext then CUDA_ERROR_INVALID_CONTEXT is returned."
Result find_device_pointer(Simulator& sim, const Target& target, DevicePointer pointer, DevicePointer* value) {
  if (sim.context_stack().empty()) return Result::invalid_context;
  const bool is_reachable = target.type == MemoryType::host
                                ? sim.pinned.find(reinterpret_cast<const void*>(pointer), 1)->portable ||
                                      target.device == sim.device_ordinal()
                                : !sim.device().memory.check(pointer, 1, sim::Use::read);
  if (!is_reachable) return Result::invalid_value;
  *value = pointer;
  return Result::success;
}

}  // namespace

Result cuPointerGetAttribute(void* value, PointerAttribute attribute, DevicePointer pointer) {
  return call("cuPointerGetAttribute", Needs::driver, [&](Simulator& sim) {
    std::optional<Target> target = find_allocated(sim, pointer);
    if (!target) target = find_reserved(sim, pointer);
    if (!target) target = find_pinned(sim, pointer);
    if (!target) return Result::invalid_value;  // memory that CUDA does not know
    switch (attribute) {
      case PointerAttribute::range_start:
        *static_cast<DevicePointer*>(value) = target->begin;
        return Result::success;
      case PointerAttribute::range_size:
        *static_cast<std::size_t*>(value) = target->bytes;
        return Result::success;
      case PointerAttribute::mapped:
        *static_cast<int*>(value) = target->mapped ? 1 : 0;
        return Result::success;
      default:
        break;
    }
    if (!target->mapped) return Result::invalid_value;
    switch (attribute) {
      case PointerAttribute::context:
        *static_cast<Context*>(value) =
            target->has_context
                ? sim::to_handle<Context>(sim::HandleKind::context, static_cast<std::uint64_t>(target->device) + 1)
                : nullptr;
        return Result::success;
      case PointerAttribute::memory_type:
        *static_cast<MemoryType*>(value) = target->type;
        return Result::success;
      case PointerAttribute::device_pointer:
        return find_device_pointer(sim, *target, pointer, static_cast<DevicePointer*>(value));
      case PointerAttribute::device_ordinal:
        *static_cast<int*>(value) = target->device;
        return Result::success;
      default:
        return Result::invalid_value;
    }
  });
}

}  // namespace sluice::cu
