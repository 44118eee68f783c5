#include "loader/tool/arguments.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <utility>

#include "loader/base/limits.hpp"
#include "loader/tool/help.hpp"
#include "loader/tool/size.hpp"
#include "loader/tool/text.hpp"
#include "sluice/error.hpp"

namespace sluice::tool {

namespace {

struct CommandText {
  Command command;
  const char* name;
  std::string (*help)();
};

// More rounds than this make no median steadier than the machine is.
constexpr unsigned rounds_max = 100;

constexpr std::array<CommandText, 6> commands = {{
    {Command::inspect, "inspect", help::inspect},
    {Command::plan, "plan", help::plan},
    {Command::load, "load", help::load},
    {Command::bench, "bench", help::bench},
    {Command::doctor, "doctor", help::doctor},
    {Command::bench_link, "bench-link", help::bench_link},
}};

// Options as they were typed. CLI11 is left to find them; what they mean is decided below, where messages can say what
// would have been right.
struct Typed {
  CLI::App* app = nullptr;
  CLI::Option* path = nullptr;
  CLI::Option* json = nullptr;
  CLI::Option* select = nullptr;
  CLI::Option* slice = nullptr;
  CLI::Option* rules = nullptr;
  CLI::Option* set = nullptr;
  CLI::Option* as_rules = nullptr;
  CLI::Option* device = nullptr;
  CLI::Option* dtype = nullptr;
  CLI::Option* digest = nullptr;
  CLI::Option* trace = nullptr;
  CLI::Option* budget = nullptr;
  CLI::Option* staging = nullptr;
  CLI::Option* slab = nullptr;
  CLI::Option* io = nullptr;
  CLI::Option* reader = nullptr;
  CLI::Option* threads = nullptr;
  CLI::Option* queue_depth = nullptr;
  CLI::Option* rounds = nullptr;
  CLI::Option* cold = nullptr;
  CLI::Option* warm = nullptr;
  CLI::Option* plot = nullptr;
};

[[noreturn]] void refuse(const CommandText* command, std::string_view message) {
  if (command == nullptr) throw UsageError(fmt::format("{}; see 'sluice --help'", message));
  throw UsageError(fmt::format("{}: {}; see 'sluice {} --help'", command->name, message, command->name));
}

Typed declare(CLI::App& parent, const CommandText& command) {
  Typed typed;
  typed.app = parent.add_subcommand(command.name);
  typed.app->set_help_flag("-h,--help");
  const auto value = [&](const char* name) {
    return typed.app->add_option(name)->expected(1)->allow_extra_args(false);
  };
  if (command.command == Command::bench_link) {
    typed.device = value("--device");
    return typed;
  }
  typed.path = value("PATH");
  typed.json = typed.app->add_flag("--json")->disable_flag_override();
  if (command.command == Command::doctor) return typed;
  typed.select = value("--select")->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  typed.rules = value("--rules");
  typed.set = value("--set")->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  if (command.command == Command::inspect) return typed;
  if (command.command == Command::plan) typed.as_rules = typed.app->add_flag("--as-rules")->disable_flag_override();
  typed.slice = value("--slice")->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  typed.device = value("--device");
  typed.dtype = value("--dtype");
  typed.digest = value("--digest");
  typed.trace = value("--trace");
  typed.budget = value("--budget");
  typed.staging = value("--staging");
  typed.slab = value("--slab");
  typed.io = value("--io");
  typed.reader = value("--reader");
  typed.threads = value("--threads");
  typed.queue_depth = value("--queue-depth");
  if (command.command != Command::bench) return typed;
  typed.rounds = value("--rounds");
  typed.cold = typed.app->add_flag("--cold")->disable_flag_override();
  typed.warm = typed.app->add_flag("--warm")->disable_flag_override();
  typed.plot = value("--plot");
  return typed;
}

std::optional<std::string> text_of(const CLI::Option* option) {
  if (option == nullptr || option->count() == 0) return std::nullopt;
  return option->results().front();
}

std::uint64_t size_of(const CommandText& command, const CLI::Option* option, const std::string& text,
                      std::uint64_t bytes_min, std::uint64_t bytes_max) {
  const std::optional<std::uint64_t> bytes = parse_size(text);
  if (!bytes) {
    refuse(&command, fmt::format("{}: '{}' is no size; write a number of bytes, or one with KiB, MiB or GiB",
                                 option->get_name(), text));
  }
  if (*bytes < bytes_min || *bytes > bytes_max) {
    refuse(&command, fmt::format("{}: '{}' is out of bounds; give {} to {}", option->get_name(), text,
                                 binary_size(bytes_min), binary_size(bytes_max)));
  }
  return *bytes;
}

unsigned number_of(const CommandText& command, const CLI::Option* option, const std::string& text, unsigned most) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < 1 || number > most) {
    refuse(&command, fmt::format("{}: '{}' is no number from 1 to {}", option->get_name(), text, most));
  }
  return number;
}

std::optional<std::uint64_t> whole_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// GLOB:DIM[:RANK/WORLD], read from its end: a GLOB may hold colons.
SliceArgument slice_of(const CommandText& command, const std::string& text) {
  const auto wrong = [&](const char* why) {
    refuse(&command, fmt::format("--slice: '{}' {}; write GLOB:DIM or GLOB:DIM:RANK/WORLD", text, why));
  };
  SliceArgument slice;
  std::string_view rest = text;
  const auto take_last = [&] {
    const std::size_t colon = rest.rfind(':');
    if (colon == std::string_view::npos) wrong("names no dimension");
    const std::string_view last = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    return last;
  };
  std::string_view last = take_last();
  if (const std::size_t slash = last.find('/'); slash != std::string_view::npos) {
    const auto rank = whole_number(last.substr(0, slash));
    const auto world = whole_number(last.substr(slash + 1));
    if (!rank || !world) wrong("has no RANK/WORLD of two numbers");
    if (*rank >= *world) wrong("has a RANK that is not below WORLD");
    slice.part = {*rank, *world};
    last = take_last();
  }
  const auto dimension = whole_number(last);
  if (!dimension || *dimension >= limits::dimensions_max) wrong("has a DIM that is no number of a dimension");
  slice.dimension = static_cast<unsigned>(*dimension);
  slice.glob = rest;
  if (slice.glob.empty()) wrong("has no GLOB");
  return slice;
}

// NAME=VALUE
std::pair<std::string, std::int64_t> value_of(const CommandText& command, const std::string& text) {
  const std::size_t equals = text.find('=');
  const auto is_letter = [](char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
  };
  const auto is_word = [&](std::string_view word) {
    return !word.empty() && is_letter(word[0]) && std::all_of(word.begin(), word.end(), [&](char byte) {
      return is_letter(byte) || (byte >= '0' && byte <= '9');
    });
  };
  std::int64_t value = 0;
  const char* const behind = text.data() + text.size();
  const char* const begin = equals == std::string::npos ? behind : text.data() + equals + 1;
  const auto [end, error] = std::from_chars(begin, behind, value);
  if (!is_word(text.substr(0, equals)) || error != std::errc{} || end != behind) {
    refuse(&command, fmt::format("--set: '{}' gives no name a whole number; write NAME=VALUE, as in world=8", text));
  }
  return {text.substr(0, equals), value};
}

void take_rules(const CommandText& command, const Typed& typed, Arguments& arguments) {
  for (const std::string& text : typed.set->results()) {
    const auto [name, value] = value_of(command, text);
    if (!arguments.values.emplace(name, value).second) {
      refuse(&command, fmt::format("--set: '{}' has a value already; give it once", name));
    }
  }
  const auto rules = text_of(typed.rules);
  if (!rules) {
    if (!arguments.values.empty()) refuse(&command, "--set: only a rules file has names to set; give it with --rules");
    return;
  }
  if (rules->empty()) refuse(&command, "--rules: the path is empty; name the rules file");
  arguments.rules = *rules;
  for (const CLI::Option* const other : {typed.select, typed.slice, typed.dtype}) {
    if (other == nullptr || other->count() == 0) continue;
    refuse(&command, fmt::format("{} goes with no --rules: the file says which tensors, which parts and which dtypes",
                                 other->get_name()));
  }
}

Dtype dtype_of(const CommandText& command, const std::string& text) {
  std::string upper = text;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char letter) { return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 32) : letter; });
  const std::optional<Dtype> dtype = parse_dtype(upper);
  if (!dtype || !is_castable(*dtype)) {
    refuse(&command, fmt::format("--dtype: cannot cast to '{}'; give F64, F32, F16, BF16, F8_E4M3 or F8_E5M2", text));
  }
  return *dtype;
}

template <typename Value, std::size_t count>
Value choice_of(const CommandText& command, const CLI::Option* option, const std::string& text,
                const std::array<Value, count>& choices) {
  std::string known;
  for (const Value choice : choices) {
    if (text == name(choice)) return choice;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", name(choice));
  }
  refuse(&command, fmt::format("{}: '{}' is none of {}", option->get_name(), text, known));
}

Options options_of(const CommandText& command, const Typed& typed) {
  Options options;
  if (const auto text = text_of(typed.staging)) {
    options.staging_bytes =
        size_of(command, typed.staging, *text, limits::staging_bytes_min, limits::staging_bytes_max);
  }
  if (const auto text = text_of(typed.slab)) {
    options.slab_bytes = size_of(command, typed.slab, *text, limits::slab_bytes_unit, limits::slab_bytes_max);
  }
  if (const auto text = text_of(typed.io)) {
    options.io = choice_of(command, typed.io, *text, std::array{IoMode::automatic, IoMode::direct, IoMode::buffered});
  }
  if (const auto text = text_of(typed.reader)) {
    options.reader =
        choice_of(command, typed.reader, *text,
                  std::array{ReaderKind::automatic, ReaderKind::uring, ReaderKind::pread, ReaderKind::null});
  }
  if (const auto text = text_of(typed.threads)) {
    options.threads = number_of(command, typed.threads, *text, limits::threads_max);
  }
  if (const auto text = text_of(typed.queue_depth)) {
    options.queue_depth = number_of(command, typed.queue_depth, *text, limits::queue_depth_max);
  }
  try {
    resolve(options);
  } catch (const Error&) {  // within the bounds above, only slabs against their unit and staging are left to refuse
    refuse(&command, fmt::format("--slab: '{}' is no multiple of 64KiB, or more than --staging",
                                 text_of(typed.slab).value_or("default")));
  }
  return options;
}

void check_digest(const CommandText& command, const Arguments& arguments, const std::string& algorithm) {
  if (algorithm != "sha256") refuse(&command, fmt::format("--digest: '{}' is unknown; give sha256", algorithm));
  for (const DeviceId device : arguments.devices) {
    if (device == null()) refuse(&command, "--digest: the null device keeps nothing to digest; load to host");
  }
  if (arguments.options.reader == ReaderKind::null) {
    refuse(&command, "--digest: the null reader delivers noise, which has no digest; take another --reader");
  }
}

/// With "=", so that no value is taken for an option. What load would do beside loading is left out.
std::vector<std::string> load_options_of(const Typed& typed) {
  std::vector<std::string> options;
  for (const CLI::Option* const option :
       {typed.select, typed.slice, typed.rules, typed.set, typed.device, typed.dtype, typed.budget, typed.staging,
        typed.slab, typed.io, typed.reader, typed.threads, typed.queue_depth}) {
    for (const std::string& text : option->results()) {
      options.push_back(fmt::format("{}={}", option->get_name(), text));
    }
  }
  return options;
}

void take_bench(const CommandText& command, const Typed& typed, Arguments& arguments) {
  if (const auto text = text_of(typed.rounds)) {
    arguments.rounds = number_of(command, typed.rounds, *text, rounds_max);
  }
  arguments.only_cold = typed.cold->count() > 0;
  arguments.only_warm = typed.warm->count() > 0;
  if (arguments.only_cold && arguments.only_warm) {
    refuse(&command, "--cold and --warm leave nothing out together; give one, or none for both kinds of start");
  }
  if (const auto text = text_of(typed.plot)) {
    if (text->empty()) refuse(&command, "--plot: the path is empty; name the file to draw");
    arguments.plot = *text;
  }
  arguments.load_options = load_options_of(typed);
}

void take_devices(const CommandText& command, const Typed& typed, Arguments& arguments) {
  const auto text = text_of(typed.device);
  if (!text) return;
  try {
    arguments.devices = parse_devices(*text);
  } catch (const Error&) {
    refuse(&command, fmt::format("--device: '{}' is no list of different devices; give host, null or cuda:N", *text));
  }
}

Arguments arguments_of(const CommandText& command, const Typed& typed) {
  Arguments arguments;
  arguments.command = command.command;
  if (command.command == Command::bench_link) {
    take_devices(command, typed, arguments);
    for (const DeviceId device : arguments.devices) {
      if (device.kind != DeviceId::Kind::cuda) refuse(&command, "--device: only GPUs have links; give cuda:N");
    }
    return arguments;
  }
  arguments.json = typed.json->count() > 0;
  if (const auto text = text_of(typed.path)) {
    if (text->empty()) refuse(&command, "PATH is empty");
    arguments.path = *text;
  } else if (command.command != Command::doctor) {
    refuse(&command, "PATH is missing");
  }
  if (typed.select != nullptr) arguments.selects = typed.select->results();
  for (const std::string& pattern : arguments.selects) {
    if (pattern.empty()) refuse(&command, "--select: the pattern is empty; '*' takes every tensor");
  }
  if (typed.slice != nullptr) {
    for (const std::string& text : typed.slice->results()) arguments.slices.push_back(slice_of(command, text));
  }
  take_devices(command, typed, arguments);
  if (typed.rules != nullptr) take_rules(command, typed, arguments);
  arguments.as_rules = typed.as_rules != nullptr && typed.as_rules->count() > 0;
  if (arguments.as_rules && arguments.json) refuse(&command, "--as-rules and --json print different things; give one");
  if (const auto text = text_of(typed.dtype)) arguments.dtype = dtype_of(command, *text);
  if (const auto text = text_of(typed.budget)) {
    arguments.budget_bytes = size_of(command, typed.budget, *text, limits::budget_bytes_min, limits::budget_bytes_max);
  }
  arguments.options = options_of(command, typed);
  if (const auto text = text_of(typed.digest)) {
    check_digest(command, arguments, *text);
    arguments.digest = true;
  }
  if (const auto text = text_of(typed.trace)) {
    if (text->empty()) refuse(&command, "--trace: the path is empty; name the file to write");
    arguments.trace = *text;
    arguments.options.trace = true;
  }
  if (command.command == Command::bench) take_bench(command, typed, arguments);
  return arguments;
}

std::string describe_extras(const std::vector<std::string>& extras) {
  for (const std::string& extra : extras) {
    if (extra.starts_with('-')) return fmt::format("unknown option '{}'", extra);
  }
  return fmt::format("one argument too many: '{}'", extras.empty() ? "" : extras.front());
}

// CLI11 says "--staging: 1 required TEXT missing", "--device: At Most 1 required but received 2" or "json was given a
// disallowed flag override".
std::string describe_mismatch(std::string_view message) {
  const std::string_view option = message.substr(0, message.find_first_of(": "));
  if (message.find("flag override") != std::string_view::npos) return fmt::format("--{} takes no value", option);
  const bool repeated = message.find("but received") != std::string_view::npos;
  return fmt::format("{} {}", option, repeated ? "may be given only once" : "needs a value");
}

}  // namespace

std::variant<Arguments, Answer> parse_arguments(int argc, const char* const* argv) {
  CLI::App app;
  app.set_help_flag("-h,--help");
  app.set_version_flag("--version", std::string("sluice " SLUICE_VERSION));
  app.require_subcommand(1);
  std::array<Typed, commands.size()> typed;
  for (std::size_t index = 0; index < commands.size(); ++index) typed[index] = declare(app, commands[index]);

  // A first word that is no command would be reported as one argument too many.
  if (argc < 2) refuse(nullptr, "a command is missing: inspect, plan, load, bench or doctor");
  const std::string_view first = argv[1];
  const bool known = std::any_of(commands.begin(), commands.end(), [&](const auto& it) { return first == it.name; });
  if (!known && !first.starts_with('-')) {
    refuse(nullptr, fmt::format("unknown command '{}'; it is one of inspect, plan, load, bench, doctor", first));
  }

  const CommandText* command = nullptr;
  const auto find_command = [&]() -> const Typed* {
    for (std::size_t index = 0; index < commands.size(); ++index) {
      if (!typed[index].app->parsed()) continue;
      command = &commands[index];
      return &typed[index];
    }
    return nullptr;
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    find_command();
    return Answer(command == nullptr ? help::overview() : command->help());
  } catch (const CLI::CallForVersion&) {
    return Answer("sluice " SLUICE_VERSION "\n");
  } catch (const CLI::ExtrasError&) {
    const Typed* const found = find_command();
    refuse(command, describe_extras(found == nullptr ? app.remaining() : found->app->remaining()));
  } catch (const CLI::ArgumentMismatch& error) {
    find_command();
    refuse(command, describe_mismatch(error.what()));
  } catch (const CLI::ParseError& error) {
    find_command();
    refuse(command, error.what());
  }
  const Typed* found = find_command();
  return arguments_of(*command, *found);
}

}  // namespace sluice::tool
