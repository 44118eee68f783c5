#include "tests/gpu/checks.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "tests/gpu/child.hpp"

namespace sluice::gpu_check {

namespace {

using Environment = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kernel_test = "gpu_deliver_test";
constexpr int status_of_findings = 99;  // what compute-sanitizer is told to end with

// Counts the cases of a GoogleTest program by what it printed: a program that crashes has told of those before.
Finding verdict_of(const std::string& part, const std::string& name, const Ended& ended) {
  Finding finding{part, name, "passed", 0, 0, 0, ended.seconds};
  std::set<std::string> failures;
  std::map<std::string, int> reasons;  // of skipping
  std::istringstream lines(ended.out);
  std::string reason;
  for (std::string line, before; std::getline(lines, line); before = line) {
    if (before.ends_with(": Skipped")) reason = line;
    if (!line.ends_with(" ms)")) continue;  // the summary at the end names them once more
    if (line.starts_with("[       OK ]")) ++finding.passed;
    if (line.starts_with("[  SKIPPED ]")) {
      ++finding.skipped;
      ++reasons[reason];
    }
    if (line.starts_with("[  FAILED  ]")) failures.insert(line.substr(13, line.rfind(" (") - 13));
  }
  finding.failed = failures.size();
  for (const std::string& failure : failures) finding.detail += (finding.detail.empty() ? "" : ", ") + failure;
  if (!ended.well() && failures.empty()) {
    finding.failed = 1;
    finding.detail = fmt::format("ended with {}: {}", ended.status, ended.last_words());
  }
  for (const auto& [why, count] : reasons) {
    finding.detail += fmt::format("{}{} skipped: {}", finding.detail.empty() ? "" : "; ", count, why);
  }
  if (finding.failed != 0) {
    finding.verdict = "failed";
  } else if (finding.passed == 0) {
    finding.verdict = "skipped";
  }
  return finding;
}

void run_test(const Setting& setting, const std::string& part, const std::string& program, const std::string& name,
              const Environment& environment = {}, const std::string& filter = "*") {
  const std::vector<std::string> command{setting.program(program), "--gtest_filter=" + filter};
  const Ended ended = run_child({command, environment, 240}, setting.log(part + "-" + name));
  setting.report.add(verdict_of(part, name, ended));
}

// The suites of a GoogleTest program, as it lists them: "Suite.", before the names of its tests, which are indented.
std::vector<std::string> suites_of(const Setting& setting, const std::string& program) {
  const Ended ended =
      run_child({{setting.program(program), "--gtest_list_tests"}, {}, 60}, setting.log("list-" + program));
  if (!ended.well())
    throw std::runtime_error(fmt::format("{} does not list its tests: {}", program, ended.last_words()));
  std::vector<std::string> suites;
  std::istringstream lines(ended.out);
  for (std::string line; std::getline(lines, line);) {
    const std::string suite = line.substr(0, line.find(' '));
    if (suite.ends_with('.')) suites.push_back(suite);
  }
  return suites;
}

// A program that is no GoogleTest program: passed if it ends well; what it printed last, or all of it, is the detail.
void run_sweep(const Setting& setting, const std::string& name, const std::vector<std::string>& command, bool all_lines,
               const Environment& environment) {
  const Ended ended = run_child({command, environment, 240}, setting.log("kernel-" + name));
  std::string detail = ended.last_words();
  if (all_lines && ended.in_time && ended.status < 2) {
    detail = ended.out.substr(0, ended.out.find_last_not_of('\n') + 1);
    std::replace(detail.begin(), detail.end(), '\n', ';');
  }
  setting.report.add(finding_of("kernel", name, ended.well(), ended.seconds, detail));
}

std::string find_sanitizer() {
  std::vector<std::string> folders;
  if (const char* path = std::getenv("PATH"); path != nullptr) {
    std::istringstream parts(path);
    for (std::string part; std::getline(parts, part, ':');) folders.push_back(part);
  }
  folders.insert(folders.end(), {"/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/cuda/bin"});
  for (const std::string& folder : folders) {
    std::error_code ignored;
    const std::filesystem::path program = std::filesystem::path(folder) / "compute-sanitizer";
    if (std::filesystem::is_regular_file(program, ignored)) return program.string();
  }
  return "";
}

// Name on which device -> dtype, shape, digest.
std::map<std::string, std::string> digests(const Json& loaded, const std::string& device) {
  std::map<std::string, std::string> found;
  for (const Json& tensor : loaded["tensors"]) {
    if (tensor["device"] != device) continue;
    found[tensor["name"]] =
        fmt::format("{} {} {}", tensor["dtype"].dump(), tensor["shape"].dump(), tensor["digest"].dump());
  }
  return found;
}

}  // namespace

void check_driver_and_device(const Setting& setting) {
  run_test(setting, "contract", "sim_contract_test", "what sluice relies on in a driver");
  std::vector<std::string> tests;
  for (const auto& entry : std::filesystem::directory_iterator(setting.programs)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("gpu_") && name.ends_with("_test") && name != kernel_test) tests.push_back(name);
  }
  std::sort(tests.begin(), tests.end());
  // A process per suite: one that crashes leaves the others their say.
  for (const std::string& test : tests) {
    for (const std::string& suite : suites_of(setting, test)) {
      run_test(setting, "tests", test, suite.substr(0, suite.size() - 1), {}, suite + "*");
    }
  }
}

void check_kernel(const Setting& setting) {
  const Effort& effort = setting.effort;
  // The simulator interprets the PTX either way: once, and few floats, show that the check itself works.
  const std::string floats = effort.simulated ? "2000" : effort.quick ? "16777216" : "4294967296";
  const std::string elements = effort.quick ? "100000" : "1000000";
  for (const bool forced : {false, true}) {
    if (forced && effort.simulated) break;
    const std::string how = forced ? ", PTX by the driver's compiler" : ", machine code";
    const Environment environment =
        forced ? Environment{{"CUDA_FORCE_PTX_JIT", "1"}, {"CUDA_CACHE_DISABLE", "1"}} : Environment{};
    run_test(setting, "kernel", kernel_test, "all 8 and 16 bit values, all alignments" + how, environment);
    run_sweep(setting, "F32 in order" + how, {setting.program("gpu_float_sweep"), floats, "40"}, true, environment);
    if (effort.simulated) continue;
    run_sweep(setting, fmt::format("{} values a cast, all lengths{}", elements, how),
              {setting.program("gpu_deliver_sweep"), elements}, false, environment);
  }
}

void check_memory_accesses(const Setting& setting) {
  const std::string sanitizer = find_sanitizer();
  if (sanitizer.empty() || setting.effort.simulated) {
    setting.report.add({"compute-sanitizer", "memcheck", "skipped", 0, 0, 1, 0,
                        sanitizer.empty() ? "not installed here" : "it cannot look into a simulated driver"});
    return;
  }
  struct Run {
    const char* tool;
    const char* program;
    const char* filter;
  };
  std::vector<Run> runs{{"memcheck", kernel_test, "*Edges*:*StridedRows*:*ReadsNothing*:*SmallPieces*"}};
  if (!setting.effort.quick) {
    runs.push_back({"initcheck", kernel_test, "*Edges*:*StridedRows*:*SmallPieces*"});
    runs.push_back({"memcheck", "gpu_cuda_cuda_lane_test", "*"});
  }
  for (const Run& run : runs) {
    const std::string name = fmt::format("{} of {}", run.tool, run.program);
    const Ended ended =
        run_child({{sanitizer, "--tool", run.tool, "--error-exitcode", fmt::format("{}", status_of_findings),
                    setting.program(run.program), fmt::format("--gtest_filter={}", run.filter)},
                   {},
                   60},
                  setting.log(name));
    Finding finding = verdict_of("compute-sanitizer", name, ended);
    if (ended.status == status_of_findings) {
      finding.detail = "it found something: see the log";
    } else if (!ended.in_time || finding.passed == 0) {  // it refuses some virtual machines
      finding.verdict = "skipped";
      finding.failed = 0;
      finding.skipped = 1;
      finding.detail = "it does not work here: " + ended.last_words();
    }
    setting.report.add(finding);
  }
}

void check_loads(const Setting& setting, const std::filesystem::path& checkpoint, const std::string& what,
                 const std::string& dtype) {
  const std::string name = fmt::format("{}{}", what, dtype.empty() ? ", as it is" : ", to " + dtype);
  const auto load = [&](const std::string& devices) {
    std::vector<std::string> command{
        setting.program("sluice"), "load", checkpoint.string(), "--device", devices, "--digest", "sha256", "--json"};
    if (!dtype.empty()) command.insert(command.end(), {"--dtype", dtype});
    return run_child({command, {}, 120}, setting.log("load-" + devices));
  };
  std::string devices;
  const auto gpus = setting.report.json()["machine"]["gpus"].get<std::uint64_t>();
  for (std::uint64_t i = 0; i < gpus; ++i) devices += fmt::format("{}cuda:{}", i == 0 ? "" : ",", i);

  const Ended on_host = load("host");
  const Ended on_gpus = load(devices);
  Finding finding{"loads", name, "passed", 0, 0, 0, on_host.seconds + on_gpus.seconds};
  if (!on_host.well() || !on_gpus.well()) {
    finding.failed = 1;
    finding.detail = (on_host.well() ? on_gpus : on_host).last_words();
  } else {
    const Json host = Json::parse(on_host.out);
    const Json loaded = Json::parse(on_gpus.out);
    for (std::uint64_t i = 0; i < gpus; ++i) {
      const std::string gpu = fmt::format("cuda:{}", i);
      const bool same = digests(host, "host") == digests(loaded, gpu);
      ++(same ? finding.passed : finding.failed);
      if (!same) finding.detail += gpu + " differs from the host; ";
    }
  }
  if (finding.failed != 0) finding.verdict = "failed";
  setting.report.add(finding);
}

}  // namespace sluice::gpu_check
