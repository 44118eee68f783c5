#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "loader/base/memory.hpp"
#include "loader/base/thread.hpp"
#include "tests/gpu/checks.hpp"
#include "tests/gpu/child.hpp"

namespace sluice::gpu_check {

namespace {

constexpr std::string_view prefix = "gpu-check: ";  // of what main() says when it fails

std::string first_line(const std::string& path) {
  std::string line;
  std::getline(std::ifstream(path) >> std::ws, line);
  return line;
}

std::string processors() {
  std::string model = "processor";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name")) continue;
    model = line.substr(std::min(line.size(), line.find(':') + 2));
    break;
  }
  return fmt::format("{} x {}", processor_count(), model);
}

std::string pcie_text(const Json& gpu) {
  const std::string link = gpu["link"];
  if (link.empty()) return "the system does not say; its rate is measured below";
  return fmt::format("{} (an idle GPU slows its link down), NUMA node {}", link, gpu["numa_node"].get<int>());
}

std::string gpus_text(const Json& gpus) {
  std::string text;
  for (const Json& gpu : gpus) {
    text += fmt::format("{}{} ({}, compute capability {}, {} multiprocessors)", text.empty() ? "" : "; ",
                        gpu["name"].get<std::string>(), gpu["pci"].get<std::string>(),
                        gpu["compute_capability"].get<std::string>(), gpu["multiprocessors"].get<int>());
  }
  return text;
}

std::string driver_text(const Json& found) {
  std::string text = fmt::format("for CUDA {}", found["cuda"].get<std::string>());
  const std::string module = first_line("/proc/driver/nvidia/version");
  return module.empty() ? text : text + "; " + module;
}

}  // namespace

void describe_machine(Setting& setting) {
  Report& report = setting.report;
  const Ended gpus = run_child({{setting.program("gpu_check"), "--gpus"}}, setting.log("gpus"));
  if (!gpus.well()) {
    const std::string words = gpus.last_words();
    throw std::runtime_error(words.starts_with(prefix) ? words.substr(prefix.size()) : words);
  }
  const Json found = Json::parse(gpus.out);
  setting.effort.simulated = found["simulated"];
  report.json()["simulated"] = found["simulated"];

  utsname system{};
  uname(&system);
  Json& machine = report.json()["machine"];
  machine = {{"gpu", gpus_text(found["gpus"])},
             {"gpus", found["gpus"].size()},
             {"driver", driver_text(found)},
             {"link", pcie_text(found["gpus"][0])},
             {"processors", processors()},
             {"memory", fmt::format("{:.0f} GiB, of which {:.0f} can still be taken",
                                    static_cast<double>(sysconf(_SC_PHYS_PAGES)) * 4096 / (1 << 30),
                                    static_cast<double>(available_memory_bytes()) / (1 << 30))},
             {"system", fmt::format("{} {} on {}", system.sysname, system.release, system.machine)}};

  const Ended doctor =
      run_child({{setting.program("sluice"), "doctor", setting.data.string(), "--json"}}, setting.log("doctor"));
  if (doctor.well()) {
    const Json checks = Json::parse(doctor.out)["checks"];
    for (const Json& check : checks) {
      if (check["name"] == "file system") machine["storage"] = check["finding"];
    }
    machine["doctor"] = checks;
  }
  report.progress("{}; driver {}", machine["gpu"].get<std::string>(), machine["driver"].get<std::string>());
  if (setting.effort.simulated) report.progress("simulated driver: no figure here means anything");
  report.add(
      finding_of("machine", "sluice doctor", doctor.well(), doctor.seconds, doctor.well() ? "" : doctor.last_words()));
}

}  // namespace sluice::gpu_check
