// The driver itself, its devices, and their primary contexts.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "tests/sim/driver_calls.hpp"
#include "tests/sim/simulator.hpp"

namespace sluice::cu {

using sim::call;
using sim::DeviceState;
using sim::Needs;
using sim::Simulator;

namespace {

struct Text {
  Result result;
  const char* name;
  const char* text;
};

constexpr Text texts[] = {
    {Result::success, "CUDA_SUCCESS", "no error"},
    {Result::invalid_value, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {Result::out_of_memory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {Result::not_initialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {Result::deinitialized, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {Result::stub_library, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
    {Result::device_unavailable, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {Result::no_device, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {Result::invalid_device, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {Result::invalid_image, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {Result::invalid_context, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {Result::no_binary_for_gpu, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {Result::ecc_uncorrectable, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {Result::invalid_ptx, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {Result::unsupported_ptx_version, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
     "the provided PTX was compiled with an unsupported toolchain."},
    {Result::invalid_handle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {Result::not_found, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {Result::not_ready, "CUDA_ERROR_NOT_READY", "device not ready"},
    {Result::illegal_address, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {Result::context_is_destroyed, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {Result::host_memory_already_registered, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
     "part or all of the requested memory range is already mapped"},
    {Result::host_memory_not_registered, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
     "pointer does not correspond to a registered memory region"},
    {Result::misaligned_address, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {Result::launch_failed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {Result::not_permitted, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
    {Result::not_supported, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {Result::system_not_ready, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {Result::system_driver_mismatch, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
     "system has unsupported display driver / cuda driver combination"},
    {Result::mps_connection_failed, "CUDA_ERROR_MPS_CONNECTION_FAILED",
     "MPS client failed to connect to the MPS control daemon or the MPS server"},
    {Result::stream_capture_unsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {Result::stream_capture_invalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {Result::stream_capture_isolation, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
     "dependency created on uncaptured work in another stream"},
    {Result::unknown, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

/// A text of the driver's own, or, as for numbers that a driver does not know, an error.
Result find_text(Result result, const char** value, const char* Text::*member) {
  const auto* found =
      std::find_if(std::begin(texts), std::end(texts), [&](const Text& t) { return t.result == result; });
  *value = found == std::end(texts) ? nullptr : found->*member;
  return *value == nullptr ? Result::invalid_value : Result::success;
}

bool is_device(const Simulator& sim, int ordinal) {
  return ordinal >= 0 && static_cast<std::size_t>(ordinal) < sim.devices.size();
}

Result write_text(char* target, int bytes, const std::string& text) {
  if (target == nullptr || bytes <= 0) return Result::invalid_value;
  std::strncpy(target, text.c_str(), static_cast<std::size_t>(bytes));
  target[bytes - 1] = '\0';
  return Result::success;
}

// The devices lie on the buses 1, 2, ... of a domain where the machine has none, so that whoever looks there for what
// is near them finds nothing.
constexpr int pci_domain = 0xFFFE;

std::string bus_id(int ordinal) {
  return fmt::format("{:04x}:{:02x}:00.0", pci_domain, ordinal + 1);
}

}  // namespace

Result cuInit(unsigned flags) {
  return call("cuInit", Needs::nothing, [&](Simulator& sim) {
    if (flags != 0) return Result::invalid_value;
    if (!sim.same_process()) return Result::not_initialized;
    if (sim.devices.empty()) return Result::no_device;
    sim.initialized = true;
    return Result::success;
  });
}

Result cuDriverGetVersion(int* version) {
  return call("cuDriverGetVersion", Needs::nothing, [&](Simulator& sim) {
    *version = sim.settings.driver_version;
    return Result::success;
  });
}

Result cuGetErrorName(Result result, const char** name) {
  return call("cuGetErrorName", Needs::nothing, [&](Simulator&) { return find_text(result, name, &Text::name); });
}

Result cuGetErrorString(Result result, const char** text) {
  return call("cuGetErrorString", Needs::nothing, [&](Simulator&) { return find_text(result, text, &Text::text); });
}

Result cuDeviceGetCount(int* count) {
  return call("cuDeviceGetCount", Needs::driver, [&](Simulator& sim) {
    *count = static_cast<int>(sim.devices.size());
    return Result::success;
  });
}

Result cuDeviceGet(Device* device, int ordinal) {
  return call("cuDeviceGet", Needs::driver, [&](Simulator& sim) {
    if (!is_device(sim, ordinal)) return Result::invalid_device;
    *device = ordinal;
    return Result::success;
  });
}

Result cuDeviceGetName(char* name, int bytes, Device device) {
  return call("cuDeviceGetName", Needs::driver, [&](Simulator& sim) {
    return is_device(sim, device) ? write_text(name, bytes, "simulated GPU") : Result::invalid_device;
  });
}

Result cuDeviceGetPCIBusId(char* id, int bytes, Device device) {
  return call("cuDeviceGetPCIBusId", Needs::driver, [&](Simulator& sim) {
    return is_device(sim, device) ? write_text(id, bytes, bus_id(device)) : Result::invalid_device;
  });
}

Result cuDeviceGetUuid_v2(Uuid* uuid, Device device) {
  return call("cuDeviceGetUuid", Needs::driver, [&](Simulator& sim) {
    if (!is_device(sim, device)) return Result::invalid_device;
    *uuid = Uuid{{'s', 'i', 'm', 'u', 'l', 'a', 't', 'e', 'd'}};
    uuid->bytes[15] = static_cast<unsigned char>(device);
    return Result::success;
  });
}

Result cuDeviceGetAttribute(int* value, DeviceAttribute attribute, Device device) {
  return call("cuDeviceGetAttribute", Needs::driver, [&](Simulator& sim) {
    if (!is_device(sim, device)) return Result::invalid_device;
    const sim::DeviceSettings& settings = sim.devices[static_cast<std::size_t>(device)]->settings;
    switch (attribute) {
      case DeviceAttribute::multiprocessor_count:
        *value = 132;
        break;
      case DeviceAttribute::async_engine_count:
        *value = 3;
        break;
      case DeviceAttribute::compute_capability_major:
        *value = settings.compute_capability / 10;
        break;
      case DeviceAttribute::compute_capability_minor:
        *value = settings.compute_capability % 10;
        break;
      case DeviceAttribute::pci_bus_id:
        *value = device + 1;
        break;
      case DeviceAttribute::pci_domain_id:
        *value = pci_domain;
        break;
      case DeviceAttribute::integrated:
        *value = settings.integrated ? 1 : 0;
        break;
      case DeviceAttribute::max_pitch:
        *value = sim::pitch_max;
        break;
      case DeviceAttribute::virtual_memory_management_supported:
        *value = settings.virtual_memory ? 1 : 0;
        break;
      case DeviceAttribute::handle_type_posix_file_descriptor_supported:
        *value = settings.virtual_memory && settings.exports_memory ? 1 : 0;
        break;
      case DeviceAttribute::gpu_direct_rdma_with_cuda_vmm_supported:
        *value = settings.virtual_memory && settings.rdma_to_memory ? 1 : 0;
        break;
      case DeviceAttribute::unified_addressing:
      case DeviceAttribute::host_register_supported:
        *value = 1;
        break;
      case DeviceAttribute::pci_device_id:
      case DeviceAttribute::pageable_memory_access:
      case DeviceAttribute::pageable_memory_access_uses_host_page_tables:
        *value = 0;
        break;
      default:
        return Result::invalid_value;
    }
    return Result::success;
  });
}

Result cuDevicePrimaryCtxRetain(Context* context, Device device) {
  return call("cuDevicePrimaryCtxRetain", Needs::driver, [&](Simulator& sim) {
    if (!is_device(sim, device)) return Result::invalid_device;
    DeviceState& its = *sim.devices[static_cast<std::size_t>(device)];
    if (its.dead != Result::success) return its.dead;
    ++its.retained;
    *context = sim::to_handle<Context>(sim::HandleKind::context, static_cast<std::uint64_t>(device) + 1);
    return Result::success;
  });
}

Result cuDevicePrimaryCtxRelease_v2(Device device) {
  return sim::release("cuDevicePrimaryCtxRelease", Needs::driver, [&](Simulator& sim) {
    if (!is_device(sim, device)) return Result::invalid_device;
    DeviceState& its = *sim.devices[static_cast<std::size_t>(device)];
    if (its.retained == 0) {
      sim.violations.add(sim::Rule::released_early,
                         fmt::format("nobody has retained the primary context of device {}", device));
      return Result::invalid_context;
    }
    // With its last user the context goes, and all that is in it.
    if (--its.retained == 0 && its.dead == Result::success) sim.check_device_leaks(device);
    return its.dead;
  });
}

namespace {

/// The device of a context's handle. For no context: -1. nullopt: it is not one.
std::optional<int> device_of(const Simulator& sim, Context context) {
  if (context == nullptr) return -1;
  const auto id = sim::from_handle(sim::HandleKind::context, context);
  if (!id || *id == 0 || *id > sim.devices.size()) return std::nullopt;
  const int device = static_cast<int>(*id) - 1;
  return sim.devices[static_cast<std::size_t>(device)]->retained > 0 ? std::optional<int>(device) : std::nullopt;
}

Context current_context(const std::vector<int>& stack) {
  if (stack.empty()) return nullptr;
  return sim::to_handle<Context>(sim::HandleKind::context, static_cast<std::uint64_t>(stack.back()) + 1);
}

}  // namespace

// "This will replace the top of that stack with ctx. If ctx is NULL then this will be equivalent to popping the top."
Result cuCtxSetCurrent(Context context) {
  return call("cuCtxSetCurrent", Needs::driver, [&](Simulator& sim) {
    const auto device = device_of(sim, context);
    if (!device) return Result::invalid_context;
    std::vector<int>& stack = sim.context_stack();
    if (!stack.empty()) stack.pop_back();
    if (*device >= 0) stack.push_back(*device);
    return Result::success;
  });
}

Result cuCtxGetCurrent(Context* context) {
  return call("cuCtxGetCurrent", Needs::driver, [&](Simulator& sim) {
    *context = current_context(sim.context_stack());
    return Result::success;
  });
}

Result cuCtxPushCurrent_v2(Context context) {
  return call("cuCtxPushCurrent", Needs::driver, [&](Simulator& sim) {
    const auto device = device_of(sim, context);
    if (!device || *device < 0) return Result::invalid_context;
    sim.context_stack().push_back(*device);
    return Result::success;
  });
}

Result cuCtxPopCurrent_v2(Context* context) {
  return sim::release("cuCtxPopCurrent", Needs::driver, [&](Simulator& sim) {
    std::vector<int>& stack = sim.context_stack();
    if (stack.empty()) return Result::invalid_context;
    if (context != nullptr) *context = current_context(stack);
    stack.pop_back();
    return Result::success;
  });
}

}  // namespace sluice::cu
