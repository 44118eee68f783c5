// Selection: a request's rules tried on a catalogue: which rule decides each tensor, and where what it takes goes.
// select() is the first step of make_plan(), which hands the result on to routing. Pure data; one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "loader/format/catalogue.hpp"
#include "loader/plan/findings.hpp"
#include "sluice/request.hpp"

namespace sluice {

struct Selection {
  static constexpr std::uint32_t none = UINT32_MAX;

  struct OnDevice {
    std::uint8_t device = 0;  // index into `devices`
    std::uint8_t nth = 0;     // of the rule's devices, as it names them
  };
  struct RuleTargets {
    std::uint32_t first = 0;  // into `targets`
    std::uint32_t count = 0;  // 0 for a rule that delivers no tensors of its own
    std::optional<Dtype> cast;
    bool at_fault = false;
  };

  std::vector<DeviceId> devices;       // in the order in which rules, and then destinations, name them first
  std::vector<std::uint32_t> rule_of;  // by tensor: the rule that decides it, or none
  std::vector<RuleTargets> rules;      // as in the request
  std::vector<OnDevice> targets;       // ascending by device within a rule
  std::vector<std::uint8_t> device_of_destination;                     // as in the request
  std::unordered_map<const Destination*, std::uint32_t> destinations;  // their numbers in the request

  std::span<const OnDevice> targets_of(const RuleTargets& rule) const noexcept {
    return std::span(targets).subspan(rule.first, rule.count);
  }
};

/// What cannot be meant is added to `findings`, and so is a rule that decides nothing and is not optional. A rule that
/// is at fault delivers nothing.
Selection select(const Catalogue& catalogue, const Request& request, Findings& findings);

/// What a rule without destinations takes of its tensors for the nth of its so many devices. Throws
/// Error{invalid_argument} without a place where the parts of split() do not divide them.
Slice slice_for(const Rule& rule, std::size_t nth, std::size_t devices);

}  // namespace sluice
