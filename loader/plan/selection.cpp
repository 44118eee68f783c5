#include "loader/plan/selection.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <bit>
#include <functional>
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
        tail_(std::string_view(pattern).substr(pattern.find_last_of(simple_ ? "*" : "*?[]\\") + 1)) {
    if (!simple_) return;
    const std::string_view inside = std::string_view(pattern).substr(0, pattern.size() - tail_.size());
    for (std::size_t begin = head_.size() + 1; begin < inside.size();) {
      const std::size_t end = inside.find('*', begin);
      if (end > begin) pieces_.emplace_back(pattern.data() + begin, pattern.data() + end);
      begin = end + 1;
    }
  }

  bool matches(std::string_view name) {
    if (pattern_ == "*") return true;
    if (name.size() < head_.size() + tail_.size() || !name.starts_with(head_) || !name.ends_with(tail_)) return false;
    if (simple_ && !holds_pieces(name.substr(head_.size(), name.size() - head_.size() - tail_.size()))) return false;
    // fnmatch ends at the first NUL, which would match by half a name.
    if (name.find('\0') != std::string_view::npos) return false;
    if (simple_) return true;
    terminated_.assign(name);
    return fnmatch(pattern_.c_str(), terminated_.c_str(), 0) == 0;
  }

 private:
  using Piece = std::boyer_moore_horspool_searcher<const char*>;

  // Whether the pieces follow each other in `rest`.
  bool holds_pieces(std::string_view rest) const {
    const char* begin = rest.data();
    const char* const end = begin + rest.size();
    for (const Piece& piece : pieces_) {
      const auto [found, behind] = piece(begin, end);
      if (found == end) return false;
      begin = behind;
    }
    return true;
  }

  const std::string& pattern_;
  const bool simple_;            // no wildcard but `*`
  const std::string_view head_;  // what stands before the first wildcard
  const std::string_view tail_;  // what stands behind the last
  std::vector<Piece> pieces_;    // what stands between stars
  std::string terminated_;       // names in a catalogue end where the next one begins
};

bool is_glob(std::string_view pattern) noexcept {
  // A NUL would cut the pattern short: such a pattern can only be a name.
  bool wildcards = false;
  for (const char c : pattern) {
    if (c == '\0') return false;
    wildcards = wildcards || c == '*' || c == '?' || c == '[' || c == '\\';
  }
  return wildcards;
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

struct Claim {
  bool matched = false;
  bool taken = false;  // something that no earlier rule took
};

// Gives `rule` what it matches and no earlier rule took: the tensor of exactly that name, since names may hold
// wildcards, and what the pattern matches as a glob. Names without wildcards, or with all of them escaped, cost a
// look-up each.
// `hash` is the pattern's as a name.
Claim claim(const Catalogue& catalogue, const std::string& pattern, std::uint64_t hash, std::uint32_t rule,
            std::vector<std::uint32_t>& rule_of) {
  Claim claim;
  const auto take = [&](std::size_t tensor) {
    claim.matched = true;
    if (rule_of[tensor] != Selection::none) return;
    rule_of[tensor] = rule;
    claim.taken = true;
  };
  if (const auto named = catalogue.by_name.find(catalogue.tensors, pattern, hash)) take(*named);
  if (!is_glob(pattern)) return claim;
  if (const auto name = escaped_name(pattern)) {
    if (const auto named = catalogue.find(*name)) take(*named);
    return claim;
  }
  Glob glob(pattern);
  for (std::size_t i = 0; i < rule_of.size(); ++i) {
    if (claim.matched && rule_of[i] != Selection::none) continue;
    if (glob.matches(catalogue.tensors[i].name)) take(i);
  }
  return claim;
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

Error not_found(const Catalogue& catalogue, const std::string& pattern) {
  std::string hint = "mark the rule optional if it may match nothing";
  if (!is_glob(pattern)) {
    const std::string_view near = nearest(catalogue, pattern);
    if (!near.empty()) hint = fmt::format("did you mean \"{}\"?", near);
  }
  return Error(ErrorCode::tensor_not_found, "no tensor matches the rule", {catalogue.path.string(), {}, pattern},
               std::move(hint));
}

std::string named(const Rule& rule) {
  return fmt::format("rule \"{}\"", rule.pattern());
}
std::string named(const Destination& destination) {
  return fmt::format("destination \"{}\"", destination.name());
}
std::string named(const Request& /*request*/) {
  return "the request";
}

// Of what `whose` names.
template <typename Whose>
void check_device(DeviceId device, const Whose& whose) {
  if (device.ordinal < 0 || (device.kind != DeviceId::Kind::cuda && device.ordinal != 0)) {
    refuse(fmt::format("{} names device {} with the ordinal {}", named(whose), name(device), device.ordinal));
  }
}

template <typename Whose>
void check_devices(const std::vector<DeviceId>& devices, const Whose& whose) {
  if (devices.empty()) refuse(fmt::format("{} names no device", named(whose)));
  for (std::size_t i = 0; i < devices.size(); ++i) {
    check_device(devices[i], whose);
    const auto before = devices.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::find(devices.begin(), before, devices[i]) != before) {
      refuse(fmt::format("{} names device {} twice", named(whose), name(devices[i])));
    }
  }
}

void check_ways(const Rule& rule) {
  const bool cut = rule.taken() != nullptr || rule.split();
  if (!rule.targets().empty() && (!rule.devices().empty() || cut)) {
    refuse(fmt::format("rule \"{}\" has to() and {}", rule.pattern(), cut ? "take() or split()" : "on()"),
           "a destination names its device, and to() its slices");
  }
  if (rule.is_skip() && (!rule.targets().empty() || !rule.devices().empty() || cut || rule.cast())) {
    refuse(fmt::format("rule \"{}\" skips what it also delivers", rule.pattern()), "use two rules");
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
  check_ways(rule);
}

// Where the rules send what they take: devices of the selection, entered when they are first named.
class RuleDevices {
 public:
  RuleDevices(const Request& request, Selection& selection) : request_(request), selection_(selection) {}

  // The devices that get the rule's own tensors.
  void add(const Rule& rule, Selection::RuleTargets& targets) {
    if (rule.is_skip()) return;
    if (!rule.targets().empty()) {
      for (const Rule::Target& target : rule.targets()) enter_destination(target, rule);
    } else if (!rule.devices().empty()) {
      check_devices(rule.devices(), rule);
      add_all(rule.devices(), targets);
    } else {
      if (shared_.count == 0) {
        check_devices(request_.devices, request_);
        add_all(request_.devices, shared_);
      }
      targets.first = shared_.first;
      targets.count = shared_.count;
    }
  }

  void add(const Destination& destination) {
    selection_.device_of_destination.push_back(0);
    check_device(destination.device(), destination);
    selection_.device_of_destination.back() = enter(destination.device());
  }

 private:
  std::uint8_t enter(DeviceId device) {
    const auto found = std::find(selection_.devices.begin(), selection_.devices.end(), device);
    const auto number = static_cast<std::uint8_t>(found - selection_.devices.begin());
    if (found != selection_.devices.end()) return number;
    if (selection_.devices.size() == limits::devices_max) {
      refuse(fmt::format("the request names more than {} devices", limits::devices_max));
    }
    selection_.devices.push_back(device);
    return number;
  }
  void enter_destination(const Rule::Target& target, const Rule& rule) {
    if (!selection_.destinations.contains(target.destination)) {
      refuse(fmt::format("rule \"{}\" goes to a destination of another request", rule.pattern()),
             "destination() makes one of this request");
    }
    check_device(target.destination->device(), *target.destination);
    enter(target.destination->device());
  }
  void add_all(const std::vector<DeviceId>& devices, Selection::RuleTargets& targets) {
    const auto first = static_cast<std::uint32_t>(selection_.targets.size());
    for (std::size_t i = 0; i < devices.size(); ++i) {
      selection_.targets.push_back({enter(devices[i]), static_cast<std::uint8_t>(i)});
    }
    targets.first = first;
    targets.count = static_cast<std::uint32_t>(devices.size());
    std::sort(selection_.targets.begin() + targets.first, selection_.targets.end(),
              [](const auto& a, const auto& b) { return a.device < b.device; });
  }

  const Request& request_;
  Selection& selection_;
  Selection::RuleTargets shared_;  // the request's own devices, entered once for all rules
};

void check_budget(const Request& request) {
  const std::uint64_t budget = request.budget_bytes;
  if (budget == 0) return;
  if (budget < limits::budget_bytes_min || budget > limits::budget_bytes_max) {
    refuse(fmt::format("budget_bytes is {}, not between {} and {}", budget, limits::budget_bytes_min,
                       limits::budget_bytes_max));
  }
  const std::uint64_t piece = request.piece_bytes;
  if (piece > budget / 2 || piece % limits::piece_bytes_unit != 0) {
    refuse(fmt::format("piece_bytes is {}, no multiple of {} up to half the budget of {}", piece,
                       limits::piece_bytes_unit, budget));
  }
}

void check_request(const Request& request) {
  if (request.rules().empty()) refuse("the request has no rules", "add(\"*\") takes every tensor");
  if (request.rules().size() >= Selection::none) refuse("the request has too many rules");
  const std::uint32_t alignment = request.alignment_bytes;
  if (alignment != 0 && (!std::has_single_bit(alignment) || alignment > limits::direct_alignment_bytes)) {
    refuse(fmt::format("alignment_bytes is {}, no power of two up to {}", alignment, limits::direct_alignment_bytes));
  }
  check_budget(request);
}

// Runs `body`, and makes what it throws a finding. Whether it threw nothing.
template <typename Body>
bool holds(Findings& findings, std::uint64_t place, Body&& body) {
  try {
    body();
    return true;
  } catch (const Error& error) {
    findings.add(place, error);
    return false;
  }
}

}  // namespace

Selection select(const Catalogue& catalogue, const Request& request, Findings& findings) {
  Selection selection;
  selection.rule_of.assign(catalogue.tensors.size(), Selection::none);
  selection.rules.resize(request.rules().size());
  if (!holds(findings, 0, [&] { check_request(request); })) return selection;
  std::uint32_t number = 0;
  for (const Destination& destination : request.destinations()) selection.destinations.emplace(&destination, number++);
  RuleDevices targets(request, selection);
  // Of a hundred thousand names each look-up would wait for memory: it is asked for some rules ahead.
  constexpr std::size_t prefetch_distance = 16;
  std::vector<std::uint64_t> hashes;
  hashes.reserve(request.rules().size());
  for (const Rule& rule : request.rules()) hashes.push_back(NameTable::hash(rule.pattern()));
  number = 0;
  for (const Rule& rule : request.rules()) {
    if (number + prefetch_distance < hashes.size()) catalogue.by_name.prefetch(hashes[number + prefetch_distance]);
    Selection::RuleTargets& its = selection.rules[number];
    its.cast = rule.cast();
    if (!holds(findings, number, [&] { check_rule(rule); })) its.at_fault = true;
    if (!its.at_fault && !holds(findings, number, [&] { targets.add(rule, its); })) its.at_fault = true;
    const Claim claimed = claim(catalogue, rule.pattern(), hashes[number], number, selection.rule_of);
    if (!claimed.matched && !rule.is_optional() && !rule.pattern().empty()) {
      findings.add(number, not_found(catalogue, rule.pattern()));
    }
    if (claimed.matched && !claimed.taken && !rule.is_optional()) {
      findings.add(number, Error(ErrorCode::invalid_argument,
                                 fmt::format("rule \"{}\" decides nothing: earlier rules take all that it matches",
                                             rule.pattern()),
                                 {catalogue.path.string(), {}, {}}, "add it before them, or mark it optional"));
    }
    ++number;
  }
  number = 0;
  for (const Destination& destination : request.destinations()) {
    holds(findings, Findings::first_destination + number++, [&] { targets.add(destination); });
  }
  return selection;
}

Slice slice_for(const Rule& rule, std::size_t nth, std::size_t devices) {
  Slice slice = rule.taken() == nullptr ? Slice() : *rule.taken();
  if (rule.split()) {
    const std::uint64_t parts = rule.split()->parts == 0 ? devices : rule.split()->parts;
    if (devices % parts != 0) {
      refuse(fmt::format("rule \"{}\" splits into {} parts for {} devices", rule.pattern(), parts, devices),
             "the number of parts must divide that of the devices");
    }
    slice.part(rule.split()->dimension, nth * parts / devices, parts);
  }
  return slice;
}

}  // namespace sluice
