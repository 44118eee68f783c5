// Selection: a request's rules tried on a catalogue: which rule decides each tensor, and where what it takes goes.
// select() is the first step of make_plan(), which hands the result on to placement. Pure data; one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "loader/format/catalogue.hpp"
#include "sluice/request.hpp"

namespace sluice {

struct Selection {
  static constexpr std::uint32_t none = UINT32_MAX;

  struct RuleTargets {
    std::uint32_t first = 0;  // into `targets`
    std::uint32_t count = 0;
    std::optional<Dtype> cast;
  };

  std::vector<DeviceId> devices;       // in the order in which the rules name them first
  std::vector<std::uint32_t> rule_of;  // by tensor: the rule that decides it, or none
  std::vector<RuleTargets> rules;      // as in the request
  std::vector<std::uint8_t> targets;   // indices into `devices`, ascending within a rule

  std::span<const std::uint8_t> targets_of(const RuleTargets& rule) const noexcept {
    return std::span(targets).subspan(rule.first, rule.count);
  }
};

/// Throws Error{invalid_argument} for a request that cannot be meant and Error{tensor_not_found} for a rule that
/// matches nothing and is not optional.
Selection select(const Catalogue& catalogue, const Request& request);

}  // namespace sluice
