// gpu_check: everything that takes a GPU to know, in one run: does the driver keep what sluice relies on, does the
// device deliver what the host would, how near is a load to what storage and link allow. Each step is a process of its
// own; this one only starts them, counts and writes report.json and report.md. See docs/gpu-check.md.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/gpu/checks.hpp"
#include "tests/gpu/gpu.hpp"
#include "tests/gpu/measures.hpp"
#include "tests/gpu/report.hpp"

namespace sluice::gpu_check {

namespace {

constexpr std::uint64_t bytes_min = 4 << 20;

constexpr const char* usage =
    "usage: gpu-check [--quick] [--out FOLDER] [--data FOLDER] [--bytes N] [--beside NAME=COMMAND]...\n"
    "  --quick   a minute instead of some four\n"
    "  --out     where report.md and report.json go; gpu-check-report where it is not given\n"
    "  --data    on the disk that is to be measured: checkpoints are made and removed there; as --out by default\n"
    "  --bytes   size of the largest checkpoint, 4194304 or more; as fits the disk by default\n"
    "  --beside  measures another loader beside: COMMAND SHARD... loads to the first GPU and prints JSON\n";

struct Wishes {
  std::filesystem::path programs;
  std::filesystem::path out = "gpu-check-report";
  std::filesystem::path data;
  std::string suite;  // what the whole suite said that was run before
  Effort effort;
  std::vector<Other> others;
};

// "NAME=PROGRAM ARGUMENT..."; the program by its path, or as PATH finds it.
std::optional<Other> parse_other(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos) return std::nullopt;
  std::istringstream words(text.substr(equals + 1));
  // The libraries that came with this program are not for it.
  Other other{text.substr(0, equals), {"/usr/bin/env", "-u", "LD_LIBRARY_PATH"}};
  for (std::string word; words >> word;) other.command.push_back(word);
  if (other.command.size() == 3) return std::nullopt;
  return other;
}

std::optional<Wishes> parse(int argc, char** argv) {
  Wishes wishes;
  wishes.programs = std::filesystem::path(argv[0]).parent_path();
  std::optional<std::uint64_t> bytes;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--quick") {
      wishes.effort.quick = true;
      continue;
    }
    if (++i == argc) return std::nullopt;
    if (option == "--out") {
      wishes.out = argv[i];
    } else if (option == "--data") {
      wishes.data = argv[i];
    } else if (option == "--suite") {
      wishes.suite = argv[i];
    } else if (option == "--beside") {
      const std::optional<Other> other = parse_other(argv[i]);
      if (!other) return std::nullopt;
      wishes.others.push_back(*other);
    } else if (option == "--bytes") {
      bytes = std::strtoull(argv[i], nullptr, 10);
    } else {
      return std::nullopt;
    }
  }
  if (bytes && *bytes < bytes_min) return std::nullopt;
  wishes.effort.bytes = bytes.value_or(0);
  if (wishes.data.empty()) wishes.data = wishes.out;
  return wishes;
}

int run(const Wishes& wishes) {
  std::filesystem::create_directories(wishes.out / "logs");
  std::filesystem::create_directories(wishes.data);
  Report report(wishes.out);
  report.json()["quick"] = wishes.effort.quick;
  Setting setting{std::filesystem::absolute(wishes.programs), wishes.data, wishes.effort, wishes.others, report};
  describe_machine(setting);
  if (!wishes.suite.empty()) report.json()["machine"]["suite, on the host and the simulator"] = wishes.suite;
  using Part = void (*)(const Setting&);
  const std::pair<const char*, Part> parts[] = {{"tests", check_driver_and_device},
                                                {"kernel", check_kernel},
                                                {"link", measure_link},
                                                {"loads", measure_loads},
                                                {"compute-sanitizer", check_memory_accesses}};
  for (const auto& [name, part] : parts) {
    try {
      part(setting);
    } catch (const std::exception& error) {  // the others may still have something to tell
      report.add(finding_of(name, "all of it", false, 0, error.what()));
    }
  }
  return report.finish();
}

int guarded(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--gpus") == 0) {
    print_gpus();
    return 0;
  }
  if (argc == 3 && std::strcmp(argv[1], "--link") == 0) {
    print_link(std::strtoull(argv[2], nullptr, 10));
    return 0;
  }
  const std::optional<Wishes> wishes = parse(argc, argv);
  if (!wishes) {
    fmt::print(stderr, "{}", usage);
    return 2;
  }
  return run(*wishes);
}

}  // namespace

}  // namespace sluice::gpu_check

int main(int argc, char** argv) {
  try {
    return sluice::gpu_check::guarded(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "gpu-check: {}\n", error.what());
    return 1;
  }
}
