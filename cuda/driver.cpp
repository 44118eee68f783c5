#include "cuda/driver.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cctype>
#include <fstream>
#include <iterator>
#include <sstream>

#include "loader/base/this_process.hpp"

namespace sluice {
namespace {

// cuDevicePrimaryCtxRelease has its present meaning from this version on.
constexpr int oldest_version = 11000;
constexpr std::string_view update_hint = "install an NVIDIA driver of the 450 series or newer";
constexpr std::string_view no_driver_hint =
    "install the NVIDIA driver; in a container, start it with the GPUs (docker run --gpus all)";

Error unavailable(std::string message, std::string_view hint) {
  return {ErrorCode::device_unavailable, std::move(message), {}, std::string(hint)};
}

/// Finds entry points as a driver of any age allows: by cuGetProcAddress, which knows versions, else by symbol.
class EntryPoints {
 public:
  explicit EntryPoints(const std::function<void*(const char*)>& symbol)
      : symbol_(symbol),
        by_version_v2_(reinterpret_cast<cu::GetProcAddressV2>(symbol("cuGetProcAddress_v2"))),
        by_version_(reinterpret_cast<cu::GetProcAddress>(symbol("cuGetProcAddress"))) {}

  template <typename Call>
  void find(Call*& entry, const char* name, const char* symbol, int version) const {
    entry = reinterpret_cast<Call*>(find(name, symbol, version));
  }

 private:
  void* find(const char* name, const char* symbol, int version) const {
    // Streams are always named, so that it is all the same which default stream a call would take.
    constexpr std::uint64_t flags = cu::proc_address_legacy_stream;
    void* entry = nullptr;
    cu::Result result = cu::Result::success;
    if (by_version_v2_ != nullptr) {
      cu::ProcAddressStatus status{};
      result = by_version_v2_(name, &entry, version, flags, &status);
    } else if (by_version_ != nullptr) {
      result = by_version_(name, &entry, version, flags);
    } else {
      entry = symbol_(symbol);
    }
    return result == cu::Result::success ? entry : nullptr;
  }

  const std::function<void*(const char*)>& symbol_;
  cu::GetProcAddressV2 by_version_v2_;
  cu::GetProcAddress by_version_;
};

// NOLINTNEXTLINE(readability-function-size): a table
std::string_view hint_for(cu::Result result) noexcept {
  using cu::Result;
  switch (result) {
    case Result::out_of_memory:
      return "free memory that others hold on the device or have pinned on the host, or load less at a time";
    case Result::not_initialized:
      return "a process that used CUDA and forked cannot use it in the child: spawn workers instead; else see that "
             "nvidia-smi works";
    case Result::deinitialized:
      return "the driver is shutting down: end loads before the process exits";
    case Result::stub_library:
      return "the library found is the toolkit's stub: take the folder `stubs` out of LD_LIBRARY_PATH";
    case Result::device_unavailable:
      return "another process may hold the GPU exclusively: see `nvidia-smi -q -d COMPUTE`";
    case Result::no_device:
      return "see that nvidia-smi lists a GPU, that CUDA_VISIBLE_DEVICES does not hide it, and that a container was "
             "started with it (docker run --gpus all)";
    case Result::invalid_image:
    case Result::no_binary_for_gpu:
    case Result::invalid_ptx:
    case Result::jit_compiler_not_found:
    case Result::unsupported_ptx_version:
    case Result::jit_compilation_disabled:
      return "the driver cannot run this build's kernels: install a newer driver";
    case Result::invalid_context:
    case Result::context_is_destroyed:
      return "the device was reset in this process (cudaDeviceReset) while it was in use: reset it only after loads";
    case Result::ecc_uncorrectable:
      return "the GPU's memory is faulty: see `nvidia-smi -q -d ECC`, then reset the GPU";
    case Result::illegal_address:
    case Result::launch_timeout:
    case Result::hardware_stack_error:
    case Result::illegal_instruction:
    case Result::misaligned_address:
    case Result::invalid_address_space:
    case Result::invalid_pc:
    case Result::launch_failed:
      return "CUDA is lost to this process: start it again; compute-sanitizer names the access at fault, which may be "
             "another library's";
    case Result::host_memory_already_registered:
      return "somebody else pinned this memory: only one may";
    case Result::operating_system:
    case Result::not_permitted:
    case Result::not_supported:
      return "the system refuses this to the driver: a virtual GPU, a container's rights or confidential computing may "
             "be the reason";
    case Result::system_not_ready:
      return "on machines with NVSwitch the fabric manager must run: `systemctl start nvidia-fabricmanager`";
    case Result::system_driver_mismatch:
      return "the driver's library and kernel module are of different versions: reboot after a driver update; a "
             "container must not bring a libcuda.so.1 of its own";
    case Result::compat_not_supported_on_device:
      return "this GPU cannot use the forward-compatibility driver: take the folder `compat` out of LD_LIBRARY_PATH";
    case Result::mps_connection_failed:
    case Result::mps_rpc_failure:
    case Result::mps_server_not_ready:
    case Result::mps_max_clients_reached:
    case Result::mps_max_connections_reached:
    case Result::mps_client_terminated:
      return "see the logs of the MPS daemon (nvidia-cuda-mps-control), or unset CUDA_MPS_PIPE_DIRECTORY to do without";
    case Result::stream_capture_unsupported:
    case Result::stream_capture_invalidated:
    case Result::stream_capture_isolation:
    case Result::stream_capture_implicit:
      return "a stream of this process is capturing a graph: let others wait for tensors, or wait before the capture";
    case Result::unknown:
      return "see that nvidia-smi works and that the kernel module nvidia_uvm is loaded (`modprobe nvidia_uvm`)";
    default:
      return "the kernel's log (`dmesg`, lines with NVRM) may say more";
  }
}

/// "CUDA_ERROR_NO_DEVICE (100): no CUDA-capable device is detected", as far as the driver knows the number.
std::string describe_result(const Driver& driver, cu::Result result) {
  const char* name = nullptr;
  const char* text = nullptr;
  if (driver.cuGetErrorName(result, &name) != cu::Result::success || name == nullptr) name = "CUDA error";
  std::string line = fmt::format("{} ({})", name, static_cast<int>(result));
  if (driver.cuGetErrorString(result, &text) == cu::Result::success && text != nullptr)
    line += fmt::format(": {}", text);
  return line;
}

/// The first line of what Linux keeps about the device on its bus under `name`; empty where there is none.
std::string told_by_system(const Driver& driver, int ordinal, const char* name) {
  cu::Device device = 0;
  char bus[64] = {};
  if (driver.cuDeviceGet(&device, ordinal) != cu::Result::success ||
      driver.cuDeviceGetPCIBusId(bus, sizeof bus, device) != cu::Result::success) {
    return {};
  }
  std::string id = bus;
  for (char& letter : id) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  std::ifstream file(fmt::format("/sys/bus/pci/devices/{}/{}", id, name));
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

const Driver& driver() {
  static const Driver table = open_driver("libcuda.so.1");
  static const ThisProcess owner;
  if (!owner.is_still()) {
    throw unavailable("CUDA was used before this process was forked, and does not survive that",
                      "spawn workers instead of forking them, or use CUDA in the children only");
  }
  return table;
}

Driver open_driver(const char* library) {
  // The driver stays: its threads and exit handlers do not survive being unmapped.
  void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    throw unavailable(fmt::format("there is no CUDA driver: {}", reason != nullptr ? reason : library), no_driver_hint);
  }
  return start_driver([handle](const char* name) { return dlsym(handle, name); });
}

Driver start_driver(const std::function<void*(const char*)>& symbol) {
  const EntryPoints entry_points(symbol);
  Driver driver;
  std::string missing;
#define SLUICE_FIND(name, exported, since, arguments) entry_points.find(driver.name, #name, #exported, since);
#define SLUICE_REQUIRE(name, exported, since, arguments) \
  SLUICE_FIND(name, exported, since, arguments)          \
  if (driver.name == nullptr) missing += missing.empty() ? #name : ", " #name;
  SLUICE_CUDA_CALLS(SLUICE_REQUIRE, SLUICE_FIND)
#undef SLUICE_REQUIRE
#undef SLUICE_FIND

  if (driver.cuDriverGetVersion != nullptr) ignore(driver.cuDriverGetVersion(&driver.version));
  if (driver.version < oldest_version || !missing.empty()) {
    throw unavailable(
        fmt::format("the CUDA driver is too old: it is for CUDA {}, and {} is needed{}{}", version_text(driver.version),
                    version_text(oldest_version), missing.empty() ? "" : "; it lacks ", missing),
        update_hint);
  }
  check(driver, driver.cuInit(0), "cuInit");
  return driver;
}

cu::Device find_device(const Driver& driver, int ordinal) {
  int count = 0;
  check(driver, driver.cuDeviceGetCount(&count), "cuDeviceGetCount");
  if (ordinal < 0 || ordinal >= count) {
    const std::string range = count == 1 ? "cuda:0 is the only one" : fmt::format("cuda:0 to cuda:{}", count - 1);
    throw unavailable(fmt::format("cuda:{}: the driver sees {} CUDA device{}", ordinal, count, count == 1 ? "" : "s"),
                      count == 0 ? hint_for(cu::Result::no_device) : range + "; CUDA_VISIBLE_DEVICES renumbers them");
  }
  cu::Device device = 0;
  check(driver, driver.cuDeviceGet(&device, ordinal), "cuDeviceGet", fmt::format("cuda:{}", ordinal));
  return device;
}

std::string describe_device(const Driver& driver, int ordinal) {
  std::string line = fmt::format("cuda:{}", ordinal);
  cu::Device device = 0;
  if (driver.cuDeviceGet(&device, ordinal) != cu::Result::success) return line;
  std::string known;
  const auto add = [&](std::string_view part) { known += fmt::format("{}{}", known.empty() ? "" : ", ", part); };
  char text[256] = {};
  if (driver.cuDeviceGetName(text, sizeof text, device) == cu::Result::success) add(text);
  if (driver.cuDeviceGetPCIBusId(text, sizeof text, device) == cu::Result::success) add(text);
  cu::Uuid uuid{};
  if (driver.cuDeviceGetUuid != nullptr && driver.cuDeviceGetUuid(&uuid, device) == cu::Result::success) {
    std::string digits = "GPU-";
    for (int i = 0; i < 16; ++i) {
      if (i == 4 || i == 6 || i == 8 || i == 10) digits += '-';
      fmt::format_to(std::back_inserter(digits), "{:02x}", uuid.bytes[i]);
    }
    add(digits);
  }
  return known.empty() ? line : fmt::format("{} ({})", line, known);
}

std::string describe_link(const Driver& driver, int ordinal) {
  const std::string speed = told_by_system(driver, ordinal, "current_link_speed");
  if (speed.empty()) return {};
  return fmt::format("{} x{} of at most {} x{}", speed, told_by_system(driver, ordinal, "current_link_width"),
                     told_by_system(driver, ordinal, "max_link_speed"),
                     told_by_system(driver, ordinal, "max_link_width"));
}

int numa_node_of(const Driver& driver, int ordinal) {
  std::istringstream text(told_by_system(driver, ordinal, "numa_node"));
  int node = -1;  // what the system says itself where it does not know
  return text >> node ? node : -1;
}

Error driver_error(const Driver& driver, cu::Result result, std::string_view call, std::string_view device) {
  const auto code = result == cu::Result::out_of_memory ? ErrorCode::out_of_memory : ErrorCode::device_unavailable;
  return {code,
          fmt::format("{}{}{}: {}", device, device.empty() ? "" : ": ", call, describe_result(driver, result)),
          {},
          std::string(hint_for(result))};
}

}  // namespace sluice
