#include "tests/sim/environment.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sluice::sim {
namespace {

[[noreturn]] void refuse(const char* name, const char* value) {
  fmt::print(stderr, "simulated CUDA driver: {}={} is not among its values\n", name, value);
  std::exit(2);
}

std::uint64_t number(const char* name, std::uint64_t otherwise, std::uint64_t least, std::uint64_t most) {
  const char* text = std::getenv(name);
  if (text == nullptr) return otherwise;
  std::uint64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stop != end || value < least || value > most) refuse(name, text);
  return value;
}

Policy policy() {
  const char* text = std::getenv("SLUICE_SIM_POLICY");
  if (text == nullptr || std::strcmp(text, "eager") == 0) return Policy::eager;
  if (std::strcmp(text, "lazy") == 0) return Policy::lazy;
  if (std::strcmp(text, "never") == 0) return Policy::never;
  if (std::strcmp(text, "random") == 0) return Policy::random;
  refuse("SLUICE_SIM_POLICY", text);
}

}  // namespace

Settings settings_of_environment() {
  Settings settings;
  settings.initialized = false;
  settings.abort_on_violation = true;
  settings.devices.resize(number("SLUICE_SIM_DEVICES", 2, 0, 64));
  settings.seed = number("SLUICE_SIM_SEED", settings.seed, 0, UINT64_MAX);
  settings.policy = policy();
  settings.driver_version = static_cast<int>(
      number("SLUICE_SIM_DRIVER_VERSION", static_cast<std::uint64_t>(settings.driver_version), 10000, 99990));
  const std::uint64_t memory_bytes = number("SLUICE_SIM_MEMORY", std::uint64_t{8} << 30, 1, std::uint64_t{1} << 36);
  const std::uint64_t link = number("SLUICE_SIM_LINK", 0, 1, std::uint64_t{1} << 40);
  const std::uint64_t kernel = number("SLUICE_SIM_KERNEL", 0, 1, std::uint64_t{1} << 42);
  if (link != 0) settings.clock = Clock::wall;
  const bool integrated = number("SLUICE_SIM_INTEGRATED", 0, 0, 1) == 1;
  const bool virtual_memory = number("SLUICE_SIM_VIRTUAL_MEMORY", 1, 0, 1) == 1;
  for (DeviceSettings& device : settings.devices) {
    device.memory_bytes = memory_bytes;
    device.integrated = integrated;
    device.virtual_memory = virtual_memory;
    if (link != 0) device.link_bytes_per_second = static_cast<double>(link);
    if (kernel != 0) device.kernel_bytes_per_second = static_cast<double>(kernel);
  }
  return settings;
}

}  // namespace sluice::sim
