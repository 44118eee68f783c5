// Findings: all that is wrong with a request, in its order. make_plan() throws the first, check() gives all of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "sluice/error.hpp"

namespace sluice {

class Findings {
 public:
  /// Of rules, by their numbers; then of destinations, by theirs; then of the request as a whole.
  static constexpr std::uint64_t first_destination = 1ull << 32;
  static constexpr std::uint64_t whole_request = 2ull << 32;

  void add(std::uint64_t place, const Error& error) { findings_.emplace_back(place, error); }
  bool empty() const noexcept { return findings_.empty(); }
  void throw_first() {
    if (findings_.empty()) return;
    sort();
    throw Error(findings_.front().second);
  }
  std::vector<Error> take() && {
    sort();
    std::vector<Error> errors;
    for (const auto& [place, error] : findings_) errors.push_back(error);
    return errors;
  }

 private:
  void sort() {
    std::stable_sort(findings_.begin(), findings_.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
  }

  std::vector<std::pair<std::uint64_t, Error>> findings_;
};

}  // namespace sluice
