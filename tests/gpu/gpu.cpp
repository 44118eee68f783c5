#include "tests/gpu/gpu.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "cuda/context.hpp"
#include "cuda/device_memory.hpp"
#include "loader/base/memory.hpp"
#include "loader/base/stopwatch.hpp"

namespace sluice::gpu_check {

namespace {

using Json = nlohmann::ordered_json;

constexpr int copies = 5;  // of each kind; the best counts, as it is a limit that is looked for
constexpr std::uint64_t slab_bytes = 4 << 20;

int attribute(const Driver& cuda, cu::Device device, cu::DeviceAttribute which) {
  int value = 0;
  check(cuda, cuda.cuDeviceGetAttribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}

Json describe(const Driver& cuda, int ordinal) {
  const cu::Device device = find_device(cuda, ordinal);
  char name[256] = {};
  char bus[32] = {};
  check(cuda, cuda.cuDeviceGetName(name, sizeof name, device), "cuDeviceGetName");
  ignore(cuda.cuDeviceGetPCIBusId(bus, sizeof bus, device));
  return {{"name", name},
          {"pci", bus},
          {"link", describe_link(cuda, ordinal)},
          {"numa_node", numa_node_of(cuda, ordinal)},
          {"compute_capability",
           fmt::format("{}.{}", attribute(cuda, device, cu::DeviceAttribute::compute_capability_major),
                       attribute(cuda, device, cu::DeviceAttribute::compute_capability_minor))},
          {"multiprocessors", attribute(cuda, device, cu::DeviceAttribute::multiprocessor_count)}};
}

// GB/s of the best of a few times that `copy` is queued and done.
template <typename Copy>
double best_rate(const Stream& stream, std::uint64_t bytes, Copy copy) {
  double least_seconds = 1e9;
  for (int i = 0; i < copies; ++i) {
    const Stopwatch stopwatch;
    copy();
    stream.synchronize();
    least_seconds = std::min(least_seconds, stopwatch.seconds());
  }
  return static_cast<double>(bytes) / least_seconds / 1e9;
}

}  // namespace

void print_gpus() {
  int count = 0;
  try {
    check(driver(), driver().cuDeviceGetCount(&count), "cuDeviceGetCount");
    find_device(driver(), 0);
  } catch (const Error& error) {
    throw std::runtime_error(
        fmt::format("there is no GPU to check: {}; to see the check itself work without one, put "
                    "the folder of the simulated driver into LD_LIBRARY_PATH",
                    error.what()));
  }
  const Driver& cuda = driver();
  Json gpus = Json::array();
  for (int ordinal = 0; ordinal < count; ++ordinal) gpus.push_back(describe(cuda, ordinal));
  const std::string first = gpus[0]["name"];
  fmt::print(
      "{}\n",
      Json{{"cuda", version_text(cuda.version)}, {"gpus", gpus}, {"simulated", first.starts_with("simulated")}}.dump());
}

void print_link(std::uint64_t bytes) {
  const Context context(0);
  const CurrentContext current(context);
  const Driver& cuda = context.driver();
  const DeviceMemory device(context, bytes);
  const Stream stream(context);
  const Stream other(context);
  Mapping host(bytes, "the link's rate");
  host.populate(0, bytes);

  const Stopwatch pinning;
  context.check(cuda.cuMemHostRegister(host.data(), bytes, cu::host_register_portable), "cuMemHostRegister");
  const double pin_seconds = pinning.seconds();
  std::fill(host.data(), host.data() + bytes, std::byte{1});

  const double one = best_rate(stream, bytes, [&] {
    context.check(cuda.cuMemcpyHtoDAsync(device.pointer(), host.data(), bytes, stream.handle()), "cuMemcpyHtoDAsync");
  });
  const auto copy_in_slabs = [&](const Stream& even, const Stream& odd) {
    for (std::uint64_t at = 0; at < bytes; at += slab_bytes) {
      const Stream& its = at / slab_bytes % 2 == 0 ? even : odd;
      context.check(cuda.cuMemcpyHtoDAsync(device.pointer() + at, host.data() + at, std::min(slab_bytes, bytes - at),
                                           its.handle()),
                    "cuMemcpyHtoDAsync");
    }
  };
  const double slabs = best_rate(stream, bytes, [&] { copy_in_slabs(stream, stream); });
  const double in_turns = best_rate(stream, bytes, [&] {
    copy_in_slabs(stream, other);
    other.synchronize();
  });
  const double back = best_rate(stream, bytes, [&] {
    context.check(cuda.cuMemcpyDtoHAsync(host.data(), device.pointer(), bytes, stream.handle()), "cuMemcpyDtoHAsync");
  });
  context.check(cuda.cuMemHostUnregister(host.data()), "cuMemHostUnregister");
  fmt::print("{}\n", Json{{"bytes", bytes},
                          {"to_device_gb_per_s", one},
                          {"to_device_in_slabs_gb_per_s", slabs},
                          {"to_device_in_slabs_on_two_streams_gb_per_s", in_turns},
                          {"from_device_gb_per_s", back},
                          {"pinning_gb_per_s", static_cast<double>(bytes) / pin_seconds / 1e9}}
                         .dump());
}

}  // namespace sluice::gpu_check
