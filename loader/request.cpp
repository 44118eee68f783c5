#include "loader/request.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <bit>
#include <string>
#include <string_view>

#include "loader/limits.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

[[noreturn]] void refuse(std::string message, std::string hint = {}) {
  throw Error(ErrorCode::invalid_argument, std::move(message), {}, std::move(hint));
}

// A glob of fnmatch(3), with what can be told apart without calling it: fnmatch costs some 200 ns a name.
class Glob {
 public:
  explicit Glob(const std::string& pattern) : pattern_(pattern) {
    const std::string_view text = pattern;
    const std::size_t first = text.find_first_of("*?[\\");
    prefix_ = text.substr(0, first);
    // Behind the last wildcard everything is literal, unless brackets or escapes make it hard to say.
    if (text.find_first_of("[\\") == std::string_view::npos) {
      const std::size_t last = text.find_last_of("*?");
      suffix_ = text.substr(last + 1);
      one_star_ = first == last && text[first] == '*';
    }
  }

  bool matches(std::string_view name) {
    if (one_star_ && prefix_.empty() && suffix_.empty()) return true;
    if (name.size() < prefix_.size() + suffix_.size() || !name.starts_with(prefix_) || !name.ends_with(suffix_)) {
      return false;
    }
    // fnmatch ends at the first NUL, which would match by half a name.
    if (name.find('\0') != std::string_view::npos) return false;
    if (one_star_) return true;
    terminated_.assign(name);
    return fnmatch(pattern_.c_str(), terminated_.c_str(), 0) == 0;
  }

 private:
  const std::string& pattern_;
  std::string_view prefix_;  // literal characters before the first wildcard
  std::string_view suffix_;  // and behind the last one, where that is sure
  bool one_star_ = false;    // nothing but prefix_ * suffix_
  std::string terminated_;   // names in a catalogue end where the next one begins
};

bool is_glob(std::string_view pattern) noexcept {
  // A NUL would cut the pattern short: such a pattern can only be a name.
  return pattern.find_first_of("*?[\\") != std::string_view::npos && pattern.find('\0') == std::string_view::npos;
}

// Gives `rule` what it matches and no earlier rule took. Returns whether it matches anything, taken or not.
bool claim(const Catalogue& catalogue, const std::string& pattern, std::uint32_t rule,
           std::vector<std::uint32_t>& rule_of) {
  if (const auto found = catalogue.by_name.find(std::string_view(pattern)); found != catalogue.by_name.end()) {
    std::uint32_t& owner = rule_of[found->second];
    if (owner == Selection::none) owner = rule;
    return true;
  }
  if (!is_glob(pattern)) return false;
  Glob glob(pattern);
  bool matched = false;
  for (std::size_t i = 0; i < rule_of.size(); ++i) {
    if (matched && rule_of[i] != Selection::none) continue;
    if (!glob.matches(catalogue.tensors[i].name)) continue;
    matched = true;
    if (rule_of[i] == Selection::none) rule_of[i] = rule;
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
