// Device memory, and host memory that is pinned.
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

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

/// The first copy, queued and not yet done, that uses these bytes of a device.
const sim::Operation* find_pending(const Simulator& sim, int device, std::uint64_t begin, std::uint64_t end) {
  for (const auto& [id, stream] : sim.timeline.streams()) {
    if (stream.device != device) continue;
    for (const auto& operation : stream.queue) {
      if (operation->address < end && operation->address + operation->bytes > begin) return operation.get();
    }
  }
  return nullptr;
}

void report_in_use(Simulator& sim, const std::string& what, const sim::Stamp& user) {
  sim.violations.add(Rule::in_use, fmt::format("{}, and the host cannot know that {} {} of stream {} is done with it",
                                               what, user.what, user.number, user.stream));
}

}  // namespace

Result cuMemGetInfo_v2(std::size_t* free_bytes, std::size_t* total_bytes) {
  return call("cuMemGetInfo", Needs::context, [&](Simulator& sim) {
    const sim::DeviceMemory& memory = sim.device().memory;
    *total_bytes = memory.total_bytes();
    *free_bytes = memory.total_bytes() - memory.used_bytes();
    return Result::success;
  });
}

Result cuMemAlloc_v2(DevicePointer* pointer, std::size_t bytes) {
  return call("cuMemAlloc", Needs::context, [&](Simulator& sim) {
    if (bytes == 0) return Result::invalid_value;
    if (const Result planned = sim.faults.use("memory"); planned != Result::success) return planned;
    const auto address = sim.device().memory.allocate(bytes);
    if (!address) return Result::out_of_memory;
    *pointer = *address;
    return Result::success;
  });
}

Result cuMemFree_v2(DevicePointer pointer) {
  return sim::release("cuMemFree", Needs::context, [&](Simulator& sim) {
    // With unified addressing the pointer says whose memory it is, whatever context is current.
    const auto owner = std::find_if(sim.devices.begin(), sim.devices.end(),
                                    [&](const auto& device) { return device->memory.owns(pointer); });
    sim::Allocation* allocation = owner == sim.devices.end() ? nullptr : (*owner)->memory.find(pointer);
    if (allocation == nullptr || allocation->begin != pointer || allocation->freed) {
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
      const std::string what = fmt::format("cuMemFree of {} bytes at {:#x}", allocation->bytes, pointer);
      const auto conflict = its.memory.accesses.forget(allocation->begin, allocation->end(), sim.timeline.host);
      const sim::Operation* pending =
          find_pending(sim, static_cast<int>(owner - sim.devices.begin()), allocation->begin, allocation->end());
      if (conflict) {
        report_in_use(sim, what, conflict->earlier);
      } else if (pending != nullptr) {
        report_in_use(sim, what, pending->stamp);
      }
    }
    its.memory.free(*allocation);
    return Result::success;
  });
}

Result cuMemHostRegister_v2(void* memory, std::size_t bytes, unsigned flags) {
  return call("cuMemHostRegister", Needs::context, [&](Simulator& sim) {
    if (memory == nullptr || bytes == 0 || (flags & ~host_register_portable) != 0) return Result::invalid_value;
    if (sim.pinned.overlaps(memory, bytes)) return Result::host_memory_already_registered;
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
      report_in_use(sim, fmt::format("{} of {} bytes at {}", call_name, found->second.bytes, memory), stamp);
      break;
    }
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

Result cuPointerGetAttribute(void* value, PointerAttribute attribute, DevicePointer pointer) {
  return call("cuPointerGetAttribute", Needs::driver, [&](Simulator& sim) {
    int device = -1;
    DevicePointer begin = 0;
    std::size_t bytes = 0;
    MemoryType type = MemoryType::device;
    for (std::size_t i = 0; i < sim.devices.size(); ++i) {
      const sim::Allocation* allocation = sim.devices[i]->memory.find(pointer);
      if (allocation == nullptr || allocation->freed || pointer - allocation->begin >= allocation->bytes) continue;
      device = static_cast<int>(i);
      begin = allocation->begin;
      bytes = allocation->bytes;
    }
    const auto* host = reinterpret_cast<const void*>(pointer);
    if (const sim::Pinned* range = sim.pinned.find(host, 1); device < 0 && range != nullptr) {
      type = MemoryType::host;
      device = range->device;
      bytes = range->bytes;
      begin = std::prev(sim.pinned.ranges.upper_bound(pointer))->first;
    }
    if (device < 0) return Result::invalid_value;  // memory that CUDA does not know
    const auto context = sim::to_handle<Context>(sim::HandleKind::context, static_cast<std::uint64_t>(device) + 1);
    switch (attribute) {
      case PointerAttribute::context:
        *static_cast<Context*>(value) = context;
        return Result::success;
      case PointerAttribute::memory_type:
        *static_cast<MemoryType*>(value) = type;
        return Result::success;
      case PointerAttribute::device_ordinal:
        *static_cast<int*>(value) = device;
        return Result::success;
      case PointerAttribute::range_start:
        *static_cast<DevicePointer*>(value) = begin;
        return Result::success;
      case PointerAttribute::range_size:
        *static_cast<std::size_t*>(value) = bytes;
        return Result::success;
    }
    return Result::invalid_value;
  });
}

}  // namespace sluice::cu
