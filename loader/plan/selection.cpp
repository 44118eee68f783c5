#include "loader/plan/selection.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <bit>
#include <string>
#include <string_view>

#include "loader/base/limits.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

[[noreturn]] void refuse(std::string message, std::string hint = {}) {
  throw Error(ErrorCode::invalid_argument, std::move(message), {}, std::move(hint));
}

// A glob of fnmatch(3). Nearly all have no wildcard but `*`: those are matched here, piece by piece, in a fraction of
// fnmatch's time, which moreover grows with every star.
class Glob {
 public:
  explicit Glob(const std::string& pattern)
      : pattern_(pattern),
        simple_(pattern.find_first_of("?[\\") == std::string::npos),
        head_(std::string_view(pattern).substr(0, pattern.find_first_of("*?[\\"))),
        tail_(std::string_view(pattern).substr(pattern.find_last_of("*?[]\\") + 1)) {
    if (!simple_) return;
    for (std::size_t begin = 0; begin <= pattern.size();) {
      const std::size_t end = std::min(pattern.find('*', begin), pattern.size());
      pieces_.push_back(std::string_view(pattern).substr(begin, end - begin));
      begin = end + 1;
    }
  }

  bool matches(std::string_view name) {
    if (pattern_ == "*") return true;
    // fnmatch ends at the first NUL, which would match by half a name.
    if (name.find('\0') != std::string_view::npos) return false;
    if (simple_) return matches_pieces(name);
    if (!name.starts_with(head_) || !name.ends_with(tail_)) return false;
    terminated_.assign(name);
    return fnmatch(pattern_.c_str(), terminated_.c_str(), 0) == 0;
  }

 private:
  // The first piece begins the name, the last one ends it, and the others follow each other in what is between.
  bool matches_pieces(std::string_view name) const {
    const std::string_view head = pieces_.front();
    const std::string_view tail = pieces_.back();
    if (name.size() < head.size() + tail.size() || !name.starts_with(head) || !name.ends_with(tail)) return false;
    name = name.substr(head.size(), name.size() - head.size() - tail.size());
    for (std::size_t i = 1; i + 1 < pieces_.size(); ++i) {
      const std::size_t found = name.find(pieces_[i]);
      if (found == std::string_view::npos) return false;
      name.remove_prefix(found + pieces_[i].size());
    }
    return true;
  }

  const std::string& pattern_;
  const bool simple_;                     // no wildcard but `*`
  const std::string_view head_;           // what stands before the first wildcard
  const std::string_view tail_;           // what stands behind the last
  std::vector<std::string_view> pieces_;  // what stands between stars, at least two
  std::string terminated_;                // names in a catalogue end where the next one begins
};

bool is_glob(std::string_view pattern) noexcept {
  // A NUL would cut the pattern short: such a pattern can only be a name.
  return pattern.find_first_of("*?[\\") != std::string_view::npos && pattern.find('\0') == std::string_view::npos;
}

// The one name that a pattern of escapes and no other wildcard matches.
std::optional<std::string> escaped_name(std::string_view pattern) {
  std::string name;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '*' || pattern[i] == '?' || pattern[i] == '[') return std::nullopt;
    if (pattern[i] == '\\' && ++i == pattern.size()) return std::nullopt;  // it escapes nothing, and matches nothing
    name += pattern[i];
  }
  return name;
}

// Gives `rule` what it matches and no earlier rule took: the tensor of exactly that name, since names may hold
// wildcards, and what the pattern matches as a glob. Names without wildcards, or with all of them escaped, cost a
// look-up each. Returns whether the rule matches anything, taken or not.
bool claim(const Catalogue& catalogue, const std::string& pattern, std::uint32_t rule,
           std::vector<std::uint32_t>& rule_of) {
  bool matched = false;
  const auto take = [&](std::size_t tensor) {
    matched = true;
    if (rule_of[tensor] == Selection::none) rule_of[tensor] = rule;
  };
  if (const auto named = catalogue.find(pattern)) take(*named);
  if (!is_glob(pattern)) return matched;
  if (const auto name = escaped_name(pattern)) {
    if (const auto named = catalogue.find(*name)) take(*named);
    return matched;
  }
  Glob glob(pattern);
  for (std::size_t i = 0; i < rule_of.size(); ++i) {
    if (matched && rule_of[i] != Selection::none) continue;
    if (glob.matches(catalogue.tensors[i].name)) take(i);
  }
  return matched;
}

// The name that shares most of its beginning and end with `name`, if that is the better part of both; else nothing.
std::string_view nearest(const Catalogue& catalogue, std::string_view name) {
  std::string_view best;
  std::size_t best_common = 0;
  for (const TensorInfo& tensor : catalogue.tensors) {
    const std::string_view other = tensor.name;
    const std::size_t shorter = std::min(name.size(), other.size());
    const auto head = static_cast<std::size_t>(
        std::mismatch(name.begin(), name.begin() + static_cast<std::ptrdiff_t>(shorter), other.begin()).first -
        name.begin());
    std::size_t common = head;
    while (common < shorter && name[name.size() - 1 - (common - head)] == other[other.size() - 1 - (common - head)]) {
      ++common;
    }
    if (common > best_common && common * 2 > std::max(name.size(), other.size())) {
      best = other;
      best_common = common;
    }
  }
  return best;
}

[[noreturn]] void not_found(const Catalogue& catalogue, const std::string& pattern) {
  std::string hint = "mark the rule optional if it may match nothing";
  if (!is_glob(pattern)) {
    const std::string_view near = nearest(catalogue, pattern);
    if (!near.empty()) hint = fmt::format("did you mean \"{}\"?", near);
  }
  throw Error(ErrorCode::tensor_not_found, "no tensor matches the rule", {catalogue.path.string(), {}, pattern},
              std::move(hint));
}

void check_devices(const std::vector<DeviceId>& devices, std::string_view whose) {
  if (devices.empty()) refuse(fmt::format("{} names no device", whose));
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const DeviceId device = devices[i];
    if (device.ordinal < 0 || (device.kind != DeviceId::Kind::cuda && device.ordinal != 0)) {
      refuse(fmt::format("{} names device {} with the ordinal {}", whose, name(device), device.ordinal));
    }
    if (std::find(devices.begin(), devices.begin() + static_cast<std::ptrdiff_t>(i), device) !=
        devices.begin() + static_cast<std::ptrdiff_t>(i)) {
      refuse(fmt::format("{} names device {} twice", whose, name(device)));
    }
  }
}

void check_rule(const Rule& rule) {
  if (rule.pattern().empty()) refuse("a rule's pattern is empty", "\"*\" takes every tensor");
  if (rule.pattern().size() > limits::pattern_bytes_max) {
    refuse(
        fmt::format("a rule's pattern has {} bytes, more than {}", rule.pattern().size(), limits::pattern_bytes_max));
  }
  if (rule.cast() && !is_castable(*rule.cast())) {
    refuse(fmt::format("rule \"{}\" casts to {}", rule.pattern(), name(*rule.cast())),
           "cast to F64, F32, F16, BF16, F8_E4M3 or F8_E5M2");
  }
}

// Adds `devices` to the selection's and what they are there, ascending, to its targets.
void add_targets(Selection& selection, const std::vector<DeviceId>& devices, Selection::RuleTargets& rule) {
  rule.first = static_cast<std::uint32_t>(selection.targets.size());
  rule.count = static_cast<std::uint32_t>(devices.size());
  for (const DeviceId device : devices) {
    const auto found = std::find(selection.devices.begin(), selection.devices.end(), device);
    selection.targets.push_back(static_cast<std::uint8_t>(found - selection.devices.begin()));
    if (found != selection.devices.end()) continue;
    if (selection.devices.size() == limits::devices_max) {
      refuse(fmt::format("the request names more than {} devices", limits::devices_max));
    }
    selection.devices.push_back(device);
  }
  std::sort(selection.targets.begin() + rule.first, selection.targets.end());
}

}  // namespace

Selection select(const Catalogue& catalogue, const Request& request) {
  if (request.rules().empty()) refuse("the request has no rules", "add(\"*\") takes every tensor");
  if (request.rules().size() >= Selection::none) refuse("the request has too many rules");
  const std::uint32_t alignment = request.alignment_bytes;
  if (alignment != 0 && (!std::has_single_bit(alignment) || alignment > limits::direct_alignment_bytes)) {
    refuse(fmt::format("alignment_bytes is {}, no power of two up to {}", alignment, limits::direct_alignment_bytes));
  }

  Selection selection;
  selection.rule_of.assign(catalogue.tensors.size(), Selection::none);
  selection.rules.reserve(request.rules().size());
  std::optional<Selection::RuleTargets> shared;  // the request's own devices, entered once for all rules
  for (const Rule& rule : request.rules()) {
    check_rule(rule);
    Selection::RuleTargets targets;
    if (!rule.devices().empty()) {
      check_devices(rule.devices(), fmt::format("rule \"{}\"", rule.pattern()));
      add_targets(selection, rule.devices(), targets);
    } else {
      if (!shared) {
        check_devices(request.devices, "the request");
        add_targets(selection, request.devices, shared.emplace());
      }
      targets = *shared;
    }
    targets.cast = rule.cast();
    const auto index = static_cast<std::uint32_t>(selection.rules.size());
    selection.rules.push_back(targets);
    if (!claim(catalogue, rule.pattern(), index, selection.rule_of) && !rule.is_optional()) {
      not_found(catalogue, rule.pattern());
    }
  }
  return selection;
}

}  // namespace sluice
