#include "loader/rules/expansion.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "loader/base/limits.hpp"
#include "loader/rules/config.hpp"
#include "loader/rules/decisions.hpp"

namespace sluice::rules {
namespace {

using Numbers = std::map<std::string, std::int64_t>;

// The configurations that a file uses, each read once.
class Configs {
 public:
  Configs(const RulesText& text, const std::filesystem::path& checkpoint) : text_(text) {
    std::error_code ignored;
    folder_ = std::filesystem::is_directory(checkpoint, ignored) ? checkpoint : checkpoint.parent_path();
  }

  // The numbers of what `use` names; nullptr where it is not there and need not be.
  const Numbers* numbers(const UseLine& use, Place place) {
    auto& known = known_[{use.file, use.keys}];
    if (!known) known = read(use, place);
    return known->is_there ? &known->numbers : nullptr;
  }

 private:
  struct Known {
    Numbers numbers;
    bool is_there = false;
  };

  Known read(const UseLine& use, Place place) const {
    const std::filesystem::path path = folder_ / use.file;
    try {
      if (auto numbers = read_config(path, use.keys)) return {std::move(*numbers), true};
    } catch (const Error& error) {
      if (error.code() == ErrorCode::not_found && use.optional) return {};
      const std::string byte = error.offset() ? fmt::format(", byte {}", *error.offset()) : "";
      throw Error(
          error.code(), fmt::format("{}: {}{}", error.message(), path.string(), byte), text_.where(place),
          error.code() == ErrorCode::not_found ? "write 'optional' behind it if it need not be there" : error.hint());
    }
    if (use.optional) return {};
    std::string keys;
    for (const std::string& key : use.keys) keys += fmt::format("{}'{}'", keys.empty() ? "" : " in ", key);
    text_.refuse(place, fmt::format("{} has no object {}", path.string(), keys),
                 "write 'optional' behind it if it need not be there");
  }

  const RulesText& text_;
  std::filesystem::path folder_;
  std::map<std::pair<std::string, std::vector<std::string>>, std::optional<Known>> known_;
};

// One run of all statements: for one device.
class Pass {
 public:
  Pass(const std::vector<Statement>& statements, const RulesOptions& options, std::size_t device, Scope& scope,
       Configs& configs, Decisions& decisions, Request& request)
      : statements_(statements),
        options_(options),
        device_(device),
        scope_(scope),
        configs_(configs),
        decisions_(decisions),
        request_(request) {}

  void run() {
    bind_options();
    for (at_ = 0; at_ < statements_.size();) {
      const Statement& statement = statements_[at_];
      place_ = statement.place;
      scope_.spend_steps(Budget::statement_steps, place_);
      ++at_;
      std::visit([this](const auto& line) { carry_out(line); }, statement.line);
    }
  }

 private:
  void bind_options() {
    const auto& values = options_.values;
    const auto surround = [&](const char* name, std::size_t value) {
      const auto symbol = scope_.symbols().find(name);
      if (symbol) scope_.bind(*symbol, static_cast<std::int64_t>(value), Scope::Giver::surroundings);
    };
    if (!values.contains("rank") && !values.contains("world")) {
      surround("world", options_.devices.size());
      surround("rank", device_);
    }
    for (const auto& [name, value] : values) scope_.bind(*scope_.symbols().find(name), value, Scope::Giver::caller);
  }

  void carry_out(const UseLine& use) {
    const Numbers* const numbers = configs_.numbers(use, place_);
    if (numbers == nullptr) return;
    for (const auto& [key, value] : *numbers) {
      const auto symbol = scope_.symbols().find(key);
      if (symbol && scope_.giver_of(*symbol) <= Scope::Giver::surroundings) {
        scope_.bind(*symbol, value, Scope::Giver::surroundings);
      }
    }
  }

  void carry_out(const LetLine& let) {
    for (const LetLine::Variable& variable : let.variables) {
      if (scope_.giver_of(variable.symbol) == Scope::Giver::caller) continue;
      refuse_known(variable.symbol, variable.place);
      scope_.bind(variable.symbol, variable.value.value(scope_), Scope::Giver::file);
    }
  }

  void refuse_known(Symbol symbol, Place place) const {
    if (scope_.giver_of(symbol) <= Scope::Giver::surroundings) return;
    scope_.refuse(place,
                  fmt::format("'{}' has a value already: {}", scope_.symbols().name(symbol), scope_.value_of(symbol)),
                  "take another name");
  }

  void carry_out(const StrictLine&) { request_.strict = true; }

  // A loop that runs.
  struct Loop {
    std::size_t body = 0;  // its first statement
    std::int64_t value = 0;
    std::int64_t end = 0;
    std::size_t mark = 0;
    Symbol symbol = 0;
  };

  void carry_out(const ForLine& line) {
    refuse_known(line.symbol, place_);
    const std::int64_t begin = line.begin.value(scope_);
    const std::int64_t end = line.end.value(scope_);
    if (begin >= end) {
      at_ = line.behind;
      return;
    }
    loops_.push_back({at_, begin, end, scope_.mark(), line.symbol});
    scope_.bind(line.symbol, begin, Scope::Giver::loop);
  }

  void carry_out(const EndLine&) {
    Loop& loop = loops_.back();
    scope_.forget(loop.mark);
    if (++loop.value == loop.end) {
      loops_.pop_back();
      return;
    }
    scope_.bind(loop.symbol, loop.value, Scope::Giver::loop);
    at_ = loop.body;
  }

  // The device of a line, or nothing where another pass has it: a line that names one of the options' devices belongs
  // to that device's pass, and one that names another device to the first.
  std::optional<DeviceId> device_of(const std::optional<NamePattern>& named) const {
    const std::vector<DeviceId>& all = options_.devices;
    if (!named) return all[device_];
    const std::string name = named->name(scope_);
    std::vector<DeviceId> parsed;
    try {
      parsed = parse_devices(name);
    } catch (const Error&) {  // told below
    }
    if (parsed.size() != 1)
      scope_.refuse(named->place(), fmt::format("'{}' is no device", name), "write host, null or cuda:N");
    const auto found = std::find(all.begin(), all.end(), parsed[0]);
    const bool mine = found == all.end() ? device_ == 0 : found == all.begin() + static_cast<std::ptrdiff_t>(device_);
    return mine ? std::optional(parsed[0]) : std::nullopt;
  }

  Group group_of(const std::optional<Expression>& number) const {
    return {number ? static_cast<std::uint32_t>(number->count(scope_, "the group", UINT32_MAX)) : 0};
  }

  void carry_out(const TensorLine& line) {
    if (line.when && !line.when->holds(scope_)) return;
    const std::optional<DeviceId> device = device_of(line.device);
    if (!device) return;
    scope_.spend_rule(place_);
    std::string name = line.name.name(scope_);
    const auto [found, is_new] = decisions_.on(*device).declared.try_emplace(name);
    if (!is_new) {
      scope_.refuse(line.name.place(),
                    fmt::format("the destination \"{}\" is on {} already, by line {}", name, sluice::name(*device),
                                scope_.text().line_of(found->second.place)),
                    "give it another name");
    }
    Destination& destination = request_.destination(std::move(name), shape_of(line.shape, scope_), line.dtype, *device);
    destination.group(group_of(line.group)).said_at(scope_.text().said_at(place_));
    if (line.unwritten == Destination::Unwritten::zero) destination.zero();
    if (line.unwritten == Destination::Unwritten::kept) destination.keep();
    found->second = {&destination, place_};
  }

  void carry_out(const RuleLine& line) {
    const bool decides_early = line.when && line.when->is_known(scope_);
    if (decides_early && !line.when->holds(scope_)) return;
    const std::optional<DeviceId> device = device_of(line.device);
    if (!device) return;
    outcome_ = {};
    for (const NamePattern& name : line.names) {
      apply(line, name, *device, line.when && !decides_early);
      if (outcome_.matched) break;
    }
    if (line.optional) return;
    if (!outcome_.matched) refuse_no_match(line);
    if (!outcome_.applied && outcome_.shadowed && !line.skip) {
      scope_.refuse(
          place_,
          fmt::format("the rule decides nothing: line {} has taken \"{}\" already",
                      scope_.text().line_of(outcome_.before.place), scope_.names().tensor(outcome_.tensor).name),
          "write it before that line, or 'optional' behind it");
    }
  }

  // What has become of a line.
  struct Outcome {
    bool matched = false;
    bool applied = false;
    bool shadowed = false;
    std::uint32_t tensor = 0;  // the first that an earlier line has taken
    Decisions::Decided before;
  };

  // Applies the line to all that `name` matches.
  void apply(const RuleLine& line, const NamePattern& name, DeviceId device, bool conditional) {
    const NameMatcher matcher = name.matcher(scope_);
    if (matcher.is_exact()) {
      const auto tensor = scope_.names().find(matcher.head());
      if (tensor) apply(line, name, device, conditional, *tensor);
      return;
    }
    std::vector<std::int64_t> captured;
    for (const std::uint32_t tensor : scope_.names().beginning_with(matcher.head())) {
      std::uint64_t tries = 1;
      const bool matches = matcher.matches(scope_.names().tensor(tensor).name, captured, tries);
      scope_.spend_steps(tries * Budget::try_steps, place_);
      if (!matches) continue;
      const std::size_t mark = scope_.mark();
      for (std::size_t i = 0; i < captured.size(); ++i) {
        scope_.bind(matcher.captures()[i], captured[i], Scope::Giver::loop);
      }
      apply(line, name, device, conditional, tensor);
      scope_.forget(mark);
    }
  }

  void apply(const RuleLine& line, const NamePattern& name, DeviceId device, bool conditional, std::uint32_t tensor) {
    outcome_.matched = true;
    if (conditional && !line.when->holds(scope_)) return;
    Decisions::OnDevice& on = decisions_.on(device);
    Decisions::Decided& decided = on.decided[tensor];
    // What a name with a `*` in it means is all the rest.
    const bool adds = line.destination && decided.way == Decisions::Way::copied && !name.has_star();
    if (decided.way != Decisions::Way::nothing && !adds) {
      if (!outcome_.shadowed) outcome_.before = decided;
      if (!outcome_.shadowed) outcome_.tensor = tensor;
      outcome_.shadowed = true;
      return;
    }
    outcome_.applied = true;
    scope_.spend_rule(place_);
    if (line.skip) {
      decided = {Decisions::Way::skipped, place_};
      decisions_.skip(tensor);
    } else if (line.destination) {
      Destination& destination = destination_of(*line.destination, on);
      decisions_.copy(tensor, place_, line.cast, destination, line.from.slice(scope_), line.into.slice(scope_));
      if (!adds) decided = {Decisions::Way::copied, place_};
    } else {
      decided = {Decisions::Way::delivered, place_};
      decisions_.deliver(tensor, place_, device, {line.from.slice(scope_), line.cast, group_of(line.group)});
    }
  }

  Destination& destination_of(const NamePattern& pattern, const Decisions::OnDevice& on) const {
    const std::string name = pattern.name(scope_);
    const auto found = on.declared.find(name);
    if (found != on.declared.end()) return *found->second.destination;
    std::vector<std::string> names;
    for (const auto& [known, declared] : on.declared) names.push_back(known);
    std::sort(names.begin(), names.end());
    constexpr std::size_t listed_max = 8;
    std::string listed;
    for (std::size_t i = 0; i < std::min(names.size(), listed_max); ++i) {
      listed += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", names[i]);
    }
    if (names.size() > listed_max) listed += fmt::format(" and {} others", names.size() - listed_max);
    scope_.refuse(pattern.place(),
                  fmt::format("no line 'tensor' above declares \"{}\" on {}; {}", name, sluice::name(on.device),
                              names.empty() ? "none is declared there" : "declared there are " + listed),
                  "declare it before it is used");
  }

  [[noreturn]] void refuse_no_match(const RuleLine& line) const {
    std::string written;
    for (const NamePattern& name : line.names) {
      written += fmt::format("{}{}", written.empty() ? "" : " | ", name.written(scope_.text()));
    }
    const std::string head = line.names.front().matcher(scope_).head();
    const std::string_view nearest = scope_.names().nearest(head);
    const Place place = line.names.front().place();
    throw Error(ErrorCode::tensor_not_found,
                fmt::format("no tensor matches {}{}{}", written, scope_.in_loops(),
                            nearest.empty() ? "" : fmt::format("; the nearest is \"{}\"", nearest)),
                scope_.text().where(place), "write 'optional' behind the rule if it may match nothing");
  }

  const std::vector<Statement>& statements_;
  const RulesOptions& options_;
  const std::size_t device_;  // its place among the options' devices
  Scope& scope_;
  Configs& configs_;
  Decisions& decisions_;
  Request& request_;
  std::size_t at_ = 0;  // the statement that is next
  Place place_ = 0;     // of the line that is carried out
  std::vector<Loop> loops_;
  Outcome outcome_;
};

void check_options(const RulesText& text, const Symbols& symbols, const RulesOptions& options) {
  const auto refuse_devices = [](std::string message) {
    throw Error(ErrorCode::invalid_argument, std::move(message), {}, "give each device of the request once");
  };
  const std::vector<DeviceId>& devices = options.devices;
  if (devices.empty()) refuse_devices("RulesOptions::devices is empty");
  if (devices.size() > limits::devices_max) refuse_devices(fmt::format("more than {} devices", limits::devices_max));
  for (auto device = devices.begin(); device != devices.end(); ++device) {
    if (std::find(devices.begin(), device, *device) != device) refuse_devices(name(*device) + " is there twice");
  }
  for (const auto& [name, value] : options.values) {
    if (symbols.find(name)) continue;
    std::string known;
    for (Symbol symbol = 0; symbol < symbols.size() && symbol < 24; ++symbol) {
      known += fmt::format("{}{}", symbol == 0 ? "" : ", ", symbols.name(symbol));
    }
    Error::Where where = text.where(0);
    where.line = 0;
    throw Error(ErrorCode::bad_rules, fmt::format("the file has no name '{}' to give a value to", name),
                std::move(where), known.empty() ? "it has no names" : "it has " + known);
  }
}

}  // namespace

Request expand(const RulesText& text, const std::vector<Statement>& statements, const Symbols& symbols,
               const NameIndex& names, const RulesOptions& options) {
  check_options(text, symbols, options);
  Request request;
  request.devices = options.devices;
  request.text = text.name();
  Budget budget;
  Configs configs(text, names.checkpoint().path());
  Decisions decisions(text, names, request);
  for (std::size_t device = 0; device < options.devices.size(); ++device) {
    Scope scope(text, symbols, names, budget);
    Pass(statements, options, device, scope, configs, decisions, request).run();
  }
  decisions.finish();
  return request;
}

}  // namespace sluice::rules
