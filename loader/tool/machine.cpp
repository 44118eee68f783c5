#include "loader/tool/machine.hpp"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "loader/base/thread.hpp"
#include "loader/tool/probes.hpp"
#include "loader/tool/text.hpp"

namespace sluice::tool {

namespace {

/// The model of the first processor that /proc/cpuinfo names; some architectures name none.
std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const std::size_t value = line.find_first_not_of(" \t", line.find(':') + 1);
    return value == std::string::npos ? "processor" : line.substr(value);
  }
  return "processor";
}

}  // namespace

Machine this_machine(const std::filesystem::path& checkpoint) {
  utsname system = {};
  uname(&system);
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  return {.cpu = cpu_model(),
          .processors = processor_count(),
          .memory_bytes = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes),
          .kernel = fmt::format("{} {}", system.sysname, system.release),
          .file_system = file_system_of(checkpoint),
          .gpus = {}};
}

std::string describe(const Machine& machine) {
  std::string text = fmt::format("{} x {}, {}, {}", machine.processors, machine.cpu, binary_size(machine.memory_bytes),
                                 machine.kernel);
  if (!machine.file_system.empty()) text += ", " + machine.file_system;
  for (const std::string& gpu : machine.gpus) text += ", " + gpu;
  return text;
}

double busy_seconds() {
  // cpu user nice system idle iowait irq softirq steal guest guest_nice; guests are counted as users, too.
  std::ifstream file("/proc/stat");
  std::string word;
  file >> word;
  double ticks = 0;
  double field = 0;
  for (int i = 0; i < 8 && file >> field; ++i) {
    if (i != 3 && i != 4) ticks += field;
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

unsigned machine_processors() noexcept {
  return static_cast<unsigned>(std::max(1l, sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace sluice::tool
