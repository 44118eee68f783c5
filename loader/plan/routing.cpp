#include "loader/plan/routing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loader/base/limits.hpp"
#include "loader/plan/box.hpp"
#include "loader/plan/coverage.hpp"
#include "loader/plan/destination_check.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

Box whole(std::span<const std::uint64_t> shape) {
  return box_of(Slice(), shape);
}

Layout layout_of(const Description& description) {
  return {description.shape, description.strides};
}

// Tells the plan of a route that it got.
void count_route(PlanData& plan, std::uint64_t spanned_bytes, std::uint64_t run_bytes) {
  plan.routed_bytes += spanned_bytes;
  std::uint64_t& shortest = plan.costs.run_bytes_min;
  shortest = shortest == 0 ? run_bytes : std::min(shortest, run_bytes);
}

// Makes `routes`, which lead from a tensor to a placement, routes of the plan. Throws Error{invalid_argument} without a
// place where packed elements do not fill bytes.
void add_routes(PlanData& plan, std::uint32_t index, std::uint32_t first_placement,
                const std::vector<ElementRoute>& routes) {
  const TensorInfo& tensor = plan.catalogue->tensors[index];
  const Placement& placement = plan.placements[first_placement];
  const bool cast = placement.dtype != tensor.dtype;
  const std::uint64_t from = bits(tensor.dtype);
  const std::uint64_t to = bits(placement.dtype);
  const auto in_bytes = [](std::uint64_t elements, std::uint64_t bits_each) {
    if (elements * bits_each % 8 == 0) return elements * bits_each / 8;
    throw Error(ErrorCode::invalid_argument,
                fmt::format("elements of {} bits are cut inside a byte, {} elements on", bits_each, elements), {},
                "cut packed dtypes where elements end with a byte");
  };
  for (const ElementRoute& element : routes) {
    Route route;
    route.begin = tensor.offset + in_bytes(element.source, from);
    const std::uint64_t run_bytes = in_bytes(element.run, from);
    route.end = route.begin + run_bytes;
    route.shard = tensor.shard;
    route.first_placement = first_placement;
    route.placement_count = 1;
    route.tensor = index;
    route.group = placement.group;
    route.unit_bytes = cast ? static_cast<std::uint8_t>(from / 8) : 1;
    route.dtype = tensor.dtype;
    Path path;
    path.target = in_bytes(element.target, to);
    path.first_loop = static_cast<std::uint32_t>(plan.loops.size());
    path.loop_count = static_cast<std::uint32_t>(element.loops.size());
    for (const Loop& loop : element.loops) {
      const Loop bytes{loop.count, in_bytes(loop.source_stride, from), in_bytes(loop.target_stride, to)};
      route.end += (bytes.count - 1) * bytes.source_stride;
      plan.loops.push_back(bytes);
    }
    if (path.target != 0 || path.loop_count != 0) {
      plan.paths.push_back(path);
      route.path = static_cast<std::uint32_t>(plan.paths.size());
    }
    count_route(plan, route.end - route.begin, run_bytes);
    plan.routes.push_back(route);
  }
}

class Router {
 public:
  Router(PlanData& plan, const Selection& selection, const Request& request, Findings& findings)
      : plan_(plan),
        selection_(selection),
        request_(request),
        findings_(findings),
        filled_(request.destinations().size()) {}

  Bindings run() && {
    number_groups();
    look_at_rules();
    add_destinations();
    reserve();
    add_tensors();
    std::uint32_t number = 0;
    for (const Destination& destination : request_.destinations()) check_coverage(destination, number++);
    if (request_.strict) check_strict();
    return std::move(bindings_);
  }

 private:
  // What is asked of a rule for each tensor that it decides.
  struct OfRule {
    const Rule* rule = nullptr;
    std::span<const Selection::OnDevice> devices;  // that get the rule's own tensors
    std::optional<Dtype> cast;
    bool is_cut = false;       // its tensors are not delivered as they are in the shard
    std::uint32_t routes = 0;  // of each tensor, most probably
    std::uint32_t group = 0;   // index into PlanCosts::groups
    // What it has delivered whole so far, to each device.
    std::uint32_t tensors = 0;
    std::uint64_t bytes = 0;
  };
  // What goes to one destination.
  struct Filled {
    std::vector<Box> boxes;
    std::vector<std::uint32_t> tensors;  // of the boxes
    bool at_fault = false;               // something that was meant to fill it does not
  };

  // What is said in a text is found there; what is not, in `file`.
  Error::Where at(TextPlace said, std::string file, std::string_view tensor = {}) const {
    if (said.line == 0) return {std::move(file), {}, std::string(tensor)};
    return {request_.text, {}, std::string(tensor), said.line, said.column};
  }

  // Runs `body`; what it throws becomes a finding about `tensor`, and what was `said` of it. Whether it threw nothing.
  template <typename Body>
  bool holds(std::uint32_t rule, const TensorInfo& tensor, TextPlace said, Body&& body) {
    try {
      body();
      return true;
    } catch (const Error& error) {
      const std::string shard = plan_.catalogue->shards[tensor.shard].path.string();
      findings_.add(rule, Error(error.code(), error.message(), at(said, shard, tensor.name), error.hint()));
      return false;
    }
  }

  void number_groups() {
    std::vector<std::uint32_t> numbers;
    bool plain = false;
    for (const Destination& destination : request_.destinations()) numbers.push_back(destination.group().number);
    for (const Rule& rule : request_.rules()) {
      if (!rule.targets().empty() || rule.is_skip()) continue;
      if (rule.group().number == 0) {
        plain = true;
      } else {
        numbers.push_back(rule.group().number);
      }
    }
    if (plain) numbers.push_back(0);
    std::sort(numbers.begin(), numbers.end());
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    for (const std::uint32_t number : numbers) plan_.costs.groups.push_back({Group{number}, 0, 0, 0});
  }

  void look_at_rules() {
    rules_.reserve(request_.rules().size());
    for (const Rule& rule : request_.rules()) {
      const Selection::RuleTargets& targets = selection_.rules[rules_.size()];
      OfRule& of = rules_.emplace_back();
      of.rule = &rule;
      of.devices = selection_.targets_of(targets);
      of.cast = targets.cast;
      of.is_cut = !rule.targets().empty() || rule.taken() != nullptr || rule.split();
      of.routes = static_cast<std::uint32_t>(std::max<std::size_t>(1, rule.targets().size()));
      of.group = index_of(rule.group());
    }
  }

  std::uint32_t index_of(Group group) const {
    const auto& groups = plan_.costs.groups;
    const auto found = std::partition_point(groups.begin(), groups.end(),
                                            [&](const auto& its) { return its.group.number < group.number; });
    return static_cast<std::uint32_t>(found - groups.begin());
  }

  // `tensors` of `bytes` together, on one device.
  void count(std::uint8_t device, std::uint32_t group, std::uint32_t tensors, std::uint64_t bytes) {
    plan_.costs.devices[device].tensors += tensors;
    plan_.costs.delivered_bytes += bytes;
    plan_.costs.groups[group].tensors += tensors;
    plan_.costs.groups[group].delivered_bytes += bytes;
  }

  void add_destinations() {
    plan_.destination_count = static_cast<std::uint32_t>(request_.destinations().size());
    plan_.placements.reserve(plan_.destination_count);
    plan_.descriptions.reserve(plan_.destination_count);
    std::uint32_t number = 0;
    for (const Destination& destination : request_.destinations()) {
      Placement& placement = plan_.placements.emplace_back();
      placement.device = selection_.device_of_destination[number];
      placement.dtype = destination.dtype();
      placement.group = index_of(destination.group());
      placement.description = number;
      plan_.descriptions.push_back({destination.name(), destination.shape(), destination.strides()});
      plan_.destinations_by_name.push_back(number);
      try {
        check_destination(destination);
        placement.bytes = bytes_of(destination);
        if (destination.has_memory()) {
          plan_.regions.push_back({span_bytes_of(destination), placement.device});
          bindings_.regions.push_back(static_cast<std::byte*>(destination.data()));
          placement.region = static_cast<std::uint32_t>(plan_.regions.size());
          plan_.costs.devices[placement.device].caller_bytes += placement.bytes;
        }
        count(placement.device, placement.group, 1, placement.bytes);
      } catch (const Error& error) {
        findings_.add(Findings::first_destination + number,
                      Error(error.code(), error.message(), at(destination.said_at(), error.path()), error.hint()));
        filled_[number].at_fault = true;
      }
      ++number;
    }
    check_names();
    check_memories();
  }

  void check_names() {
    auto& by_name = plan_.destinations_by_name;
    const auto key = [&](std::uint32_t number) {
      return std::pair(std::string_view(plan_.descriptions[number].name), plan_.placements[number].device);
    };
    std::stable_sort(by_name.begin(), by_name.end(), [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
    for (std::size_t i = 0; i < by_name.size(); ++i) {
      const DeviceId device = plan_.devices[plan_.placements[by_name[i]].device];
      if (i > 0 && key(by_name[i - 1]) == key(by_name[i])) {
        refuse(by_name[i], ErrorCode::invalid_argument, "its name is there twice on this device",
               "names tell them apart");
      }
      const auto tensor = plan_.catalogue->find(plan_.descriptions[by_name[i]].name);
      if (!tensor || selection_.rule_of[*tensor] == Selection::none) continue;
      for (const Selection::OnDevice on : selection_.targets_of(selection_.rules[selection_.rule_of[*tensor]])) {
        if (plan_.devices[on.device] != device) continue;
        refuse(by_name[i], ErrorCode::invalid_argument, "a rule delivers the tensor of its name to this device",
               "give the destination another name");
      }
    }
  }

  void check_memories() {
    std::vector<std::uint32_t> in_order;
    for (std::uint32_t i = 0; i < plan_.destination_count; ++i) {
      if (plan_.placements[i].region != 0 && span_of(i) != 0) in_order.push_back(i);
    }
    const auto place = [&](std::uint32_t number) {
      return std::pair(plan_.placements[number].device, begin_of(number));
    };
    std::sort(in_order.begin(), in_order.end(), [&](std::uint32_t a, std::uint32_t b) { return place(a) < place(b); });
    for (std::size_t i = 1; i < in_order.size(); ++i) {
      const std::uint32_t before = in_order[i - 1];
      const std::uint32_t number = in_order[i];
      if (place(before).first != place(number).first || begin_of(before) + span_of(before) <= begin_of(number))
        continue;
      refuse(std::max(before, number), ErrorCode::invalid_argument,
             fmt::format("its memory overlaps that of \"{}\"", plan_.descriptions[std::min(before, number)].name));
    }
  }
  std::uintptr_t begin_of(std::uint32_t number) const {
    return reinterpret_cast<std::uintptr_t>(bindings_.regions[plan_.placements[number].region - 1]);
  }
  std::uint64_t span_of(std::uint32_t number) const { return plan_.regions[plan_.placements[number].region - 1].bytes; }

  void refuse(std::uint32_t number, ErrorCode code, std::string message, std::string hint = {}) {
    filled_[number].at_fault = true;
    findings_.add(
        Findings::first_destination + number,
        Error(code,
              fmt::format("destination \"{}\" on {}: {}", plan_.descriptions[number].name,
                          name(plan_.devices[plan_.placements[number].device]), message),
              at(request_.destinations()[number].said_at(), plan_.catalogue->path.string()), std::move(hint)));
  }

  // Most requests have tensors that are delivered whole, and nothing else.
  void reserve() {
    std::uint64_t placements = plan_.destination_count;
    std::uint64_t routes = 0;
    for (const std::uint32_t rule : selection_.rule_of) {
      if (rule == Selection::none) continue;
      placements += rules_[rule].devices.size();
      routes += rules_[rule].routes;
    }
    plan_.placements.reserve(placements);
    plan_.routes.reserve(routes);
  }

  void add_tensors() {
    for (std::uint32_t i = 0; i < selection_.rule_of.size(); ++i) {
      const std::uint32_t number = selection_.rule_of[i];
      if (number == Selection::none) {
        plan_.left_out.push_back(i);
      } else if (rules_[number].is_cut) {
        add_parts(i, number);
      } else {
        add_whole(i, rules_[number]);
      }
    }
    for (const OfRule& rule : rules_) {
      for (const Selection::OnDevice on : rule.devices) count(on.device, rule.group, rule.tensors, rule.bytes);
    }
  }

  void add_parts(std::uint32_t index, std::uint32_t number) {
    const OfRule& rule = rules_[number];
    const auto first = static_cast<std::ptrdiff_t>(plan_.routes.size());
    if (rule.rule->targets().empty()) {
      holds(number, plan_.catalogue->tensors[index], rule.rule->said_at(), [&] { add_cut(index, rule); });
    }
    for (const Rule::Target& target : rule.rule->targets()) add_target(number, index, *rule.rule, target);
    // Tensors come in the order of the shards.
    const auto begin = plan_.routes.begin() + first;
    if (plan_.routes.end() - begin > 1) std::stable_sort(begin, plan_.routes.end(), comes_before);
  }

  static Dtype dtype_of(const TensorInfo& tensor, const OfRule& rule) {
    return rule.cast && is_castable(tensor.dtype) ? *rule.cast : tensor.dtype;
  }

  void add_whole(std::uint32_t index, OfRule& rule) {
    if (rule.devices.empty()) return;
    const TensorInfo& tensor = plan_.catalogue->tensors[index];
    Placement placement;
    placement.tensor = index;
    placement.group = rule.group;
    placement.dtype = dtype_of(tensor, rule);
    placement.bytes = delivered_bytes(tensor.bytes, tensor.dtype, placement.dtype);
    ++rule.tensors;
    rule.bytes += placement.bytes;
    if (tensor.bytes != 0) {
      Route& route = plan_.routes.emplace_back();
      route.begin = tensor.offset;
      route.end = tensor.offset + tensor.bytes;
      route.shard = tensor.shard;
      route.first_placement = static_cast<std::uint32_t>(plan_.placements.size());
      route.tensor = index;
      route.group = rule.group;
      route.placement_count = static_cast<std::uint8_t>(rule.devices.size());
      route.unit_bytes = placement.dtype == tensor.dtype ? 1 : static_cast<std::uint8_t>(bits(tensor.dtype) / 8);
      route.dtype = tensor.dtype;
      count_route(plan_, tensor.bytes, tensor.bytes);
    }
    for (const Selection::OnDevice on : rule.devices) {
      placement.device = on.device;
      plan_.placements.push_back(placement);
    }
  }

  void add_cut(std::uint32_t index, const OfRule& of) {
    const TensorInfo& tensor = plan_.catalogue->tensors[index];
    for (const Selection::OnDevice on : of.devices) {
      const Box from = box_of(slice_for(*of.rule, on.nth, of.devices.size()), tensor.shape);
      const Few<std::uint64_t> shape = counts_of(from);
      Placement placement;
      placement.tensor = index;
      placement.description = static_cast<std::uint32_t>(plan_.descriptions.size());
      placement.dtype = dtype_of(tensor, of);
      placement.bytes = from.elements() * bits(placement.dtype) / 8;
      placement.group = of.group;
      placement.device = on.device;
      plan_.descriptions.push_back({std::string(tensor.name), {shape.begin(), shape.end()}, {}});
      plan_.placements.push_back(placement);
      count(placement.device, placement.group, 1, placement.bytes);
      add_routes(plan_, index, static_cast<std::uint32_t>(plan_.placements.size() - 1),
                 routes_between(from, whole(shape.all()), layout_of(plan_.descriptions.back())));
    }
  }

  void add_target(std::uint32_t number, std::uint32_t index, const Rule& rule, const Rule::Target& target) {
    const auto found = selection_.destinations.find(target.destination);
    if (found == selection_.destinations.end()) return;  // told already
    Filled& filled = filled_[found->second];
    if (filled.at_fault) return;
    const TensorInfo& tensor = plan_.catalogue->tensors[index];
    const auto route = [&] {
      check_dtype(tensor, rule, *target.destination);
      const Box from = box_of(target.from, tensor.shape);
      Box into = box_of(target.into, target.destination->shape());
      if (!filled.boxes.empty() && !(filled.boxes.front().shape == into.shape)) {
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("slices into \"{}\" see it as {} and as {}", target.destination->name(),
                                text_of_shape(filled.boxes.front().shape.all()), text_of_shape(into.shape.all())),
                    {}, "all slices into one destination must see it with one shape");
      }
      add_routes(plan_, index, found->second, routes_between(from, into, layout_of(plan_.descriptions[found->second])));
      filled.boxes.push_back(std::move(into));
      filled.tensors.push_back(index);
    };
    if (selection_.rules[number].at_fault ||
        !holds(number, tensor, target.said_at, [&] { in_destination(route, target); })) {
      filled.at_fault = true;
    }
  }

  // Runs `body`, and names the destination in what it throws.
  template <typename Body>
  static void in_destination(Body&& body, const Rule::Target& target) {
    try {
      body();
    } catch (const Error& error) {
      const std::string from = text(target.from);
      const std::string into = text(target.into);
      const bool is_word = !into.empty() && into.front() != '[';  // as, order
      throw Error(error.code(),
                  fmt::format("{}{}-> {}{}{} on {}: {}", from, from.empty() ? "" : " ", target.destination->name(),
                              is_word ? " " : "", into, name(target.destination->device()), error.message()),
                  {}, error.hint());
    }
  }

  static void check_dtype(const TensorInfo& tensor, const Rule& rule, const Destination& destination) {
    const Dtype to = destination.dtype();
    if (rule.cast() && *rule.cast() != to) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the rule casts to {}, the destination holds {}", name(*rule.cast()), name(to)), {},
                  "cast to the destination's dtype");
    }
    if (tensor.dtype == to) return;
    if (!is_castable(tensor.dtype) || !is_castable(to)) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the tensor is {}, which cannot become {}", name(tensor.dtype), name(to)), {},
                  "give the destination the tensor's dtype");
    }
    if (rule.cast()) return;
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the tensor is {}, the destination {}, and the rule casts to nothing", name(tensor.dtype),
                            name(to)),
                {}, fmt::format("say .cast({}), or give the destination the tensor's dtype", name(to)));
  }

  std::string_view name_of_tensor(std::uint32_t tensor) const { return plan_.catalogue->tensors[tensor].name; }

  void check_coverage(const Destination& destination, std::uint32_t number) {
    Filled& filled = filled_[number];
    if (filled.at_fault) return;
    const std::vector<std::uint64_t>& own_shape = destination.shape();
    const std::span<const std::uint64_t> shape =
        filled.boxes.empty() ? std::span(own_shape) : filled.boxes.front().shape.all();
    const std::uint64_t elements = elements_of(shape);
    if (filled.boxes.size() == 1 && filled.boxes.front().elements() == elements) return;
    const Coverage coverage = cover(shape, filled.boxes);
    if (coverage.overlap) {
      refuse(number, ErrorCode::incomplete,
             fmt::format("{} is written twice, by \"{}\" and by \"{}\"", text(coverage.shared),
                         name_of_tensor(filled.tensors[coverage.overlap->first]),
                         name_of_tensor(filled.tensors[coverage.overlap->second])),
             "every element must be written once");
      return;
    }
    if (coverage.gaps.empty() || destination.unwritten() == Destination::Unwritten::kept) return;
    if (destination.unwritten() == Destination::Unwritten::zero) {
      for (const Box& gap : coverage.gaps) add_fill(number, gap);
      return;
    }
    std::uint64_t missing = 0;
    for (const Box& gap : coverage.gaps) missing += gap.elements();
    refuse(number, ErrorCode::incomplete,
           fmt::format("no rule writes {} of it: {} of {} elements are missing", text(coverage.gaps.front()), missing,
                       elements),
           "add a rule for them, or say zero() or keep()");
  }

  void add_fill(std::uint32_t number, const Box& gap) {
    const Placement& placement = plan_.placements[number];
    const std::uint64_t bits_each = bits(placement.dtype);
    try {
      // As if zeros came from a tensor of the gap's shape.
      const Few<std::uint64_t> counts = counts_of(gap);
      for (const ElementRoute& route :
           routes_between(whole(counts.all()), gap, layout_of(plan_.descriptions[number]))) {
        add_fill(number, route, bits_each);
      }
    } catch (const Error& error) {
      refuse(number, error.code(), error.message(), error.hint());
    }
  }

  void add_fill(std::uint32_t number, const ElementRoute& route, std::uint64_t bits_each) {
    const std::size_t loops = route.loops.size();
    const std::span<const Loop> outer = route.loops.all().first(loops == 0 ? 0 : loops - 1);
    const std::uint64_t count = iterations_of(outer);
    if (plan_.fills.size() + count > limits::routes_max) {
      throw Error(ErrorCode::limit_exceeded, fmt::format("more than {} places become zero", limits::routes_max), {},
                  "clear the memory yourself and say keep()");
    }
    for (std::uint64_t index = 0; index < count; ++index) {
      Fill fill;
      const std::uint64_t target = route.target + loop_place(outer, index).target;
      if (target * bits_each % 8 != 0 || route.run * bits_each % 8 != 0) {
        throw Error(ErrorCode::invalid_argument, "packed elements that become zero do not fill bytes");
      }
      fill.offset = target * bits_each / 8;
      fill.run_bytes = route.run * bits_each / 8;
      fill.placement = number;
      if (loops > 0) {
        fill.rows = route.loops[loops - 1].count;
        fill.stride = route.loops[loops - 1].target_stride * bits_each / 8;
      }
      plan_.fills.push_back(fill);
    }
  }

  void check_strict() {
    const std::size_t count = plan_.left_out.size();
    if (count == 0) return;
    constexpr std::size_t names_max = 3;
    std::string names;
    for (std::size_t i = 0; i < std::min(count, names_max); ++i) {
      names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", name_of_tensor(plan_.left_out[i]));
    }
    findings_.add(Findings::whole_request,
                  Error(ErrorCode::incomplete,
                        fmt::format("no rule matches {} of {} tensors: {}{}", count, selection_.rule_of.size(), names,
                                    count > names_max ? ", ..." : ""),
                        {plan_.catalogue->path.string(), {}, {}}, "add rules for them, skip() among them"));
  }

  PlanData& plan_;
  const Selection& selection_;
  const Request& request_;
  Findings& findings_;
  Bindings bindings_;
  std::vector<OfRule> rules_;   // as in the request
  std::vector<Filled> filled_;  // by destination
};

}  // namespace

Bindings make_routes(PlanData& plan, const Selection& selection, const Request& request, Findings& findings) {
  return Router(plan, selection, request, findings).run();
}

}  // namespace sluice
