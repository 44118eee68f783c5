// Report: what was found, as it is found: a line of progress at once, and report.json and report.md, written anew after
// every step, so that a run that is cut off has told all that it knew.
//
//   machine, checks: [part, name, verdict, passed, failed, skipped, seconds, detail], link, loads: [a column each]
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "loader/base/stopwatch.hpp"

namespace sluice::gpu_check {

using Json = nlohmann::ordered_json;

/// The name of the row that stands for a load as it is.
inline constexpr const char* plain_load = "sluice to the GPU";

struct Finding {
  std::string part;  // "tests", "kernel", ...
  std::string name;
  std::string verdict;  // "passed", "failed", "skipped"
  std::uint64_t passed = 0;
  std::uint64_t failed = 0;
  std::uint64_t skipped = 0;
  double seconds = 0;
  std::string detail = {};
};

/// Of something that is right or not as a whole.
inline Finding finding_of(std::string part, std::string name, bool well, double seconds, std::string detail) {
  return {std::move(part), std::move(name),  well ? "passed" : "failed", well ? 1u : 0u, well ? 0u : 1u, 0,
          seconds,         std::move(detail)};
}

class Report {
 public:
  explicit Report(std::filesystem::path folder);

  const std::filesystem::path& folder() const { return folder_; }
  /// All of it, to be added to; see write().
  Json& json() { return json_; }

  template <typename... Args>
  void progress(fmt::format_string<Args...> format, Args&&... args) {
    say(fmt::format(format, std::forward<Args>(args)...));
  }
  void add(const Finding& finding);
  void write();
  /// The last words, and the exit status: 1 if anything failed.
  int finish();

 private:
  void say(std::string_view text) const;

  std::filesystem::path folder_;
  Stopwatch since_start_;
  Json json_;
};

/// The report for people.
std::string markdown(const Json& report);

}  // namespace sluice::gpu_check
