// Arguments: a command line, checked: what can be known to be wrong without looking at the machine is refused here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "sluice/device.hpp"
#include "sluice/dtype.hpp"
#include "sluice/options.hpp"

namespace sluice::tool {

enum class Command {
  inspect,
  plan,
  load,
  bench,
  doctor,
  bench_link,  // what bench runs in a process of its own; people may, too
};

/// --slice GLOB:DIM[:RANK/WORLD]
struct SliceArgument {
  std::string glob;
  unsigned dimension = 0;
  std::optional<std::pair<std::uint64_t, std::uint64_t>> part;  // without it, device i of n gets part i of n
};

struct Arguments {
  Command command = Command::inspect;
  std::filesystem::path path;  // empty: none was given, which only doctor allows
  bool json = false;
  std::vector<std::string> selects;
  std::vector<SliceArgument> slices;
  std::filesystem::path rules;                 // a rules file; empty: none
  std::map<std::string, std::int64_t> values;  // of its variables
  bool as_rules = false;                       // plan: print a rules file
  std::vector<DeviceId> devices = {host()};
  std::optional<Dtype> dtype;
  bool digest = false;             // sha256, the only one there is
  std::filesystem::path trace;     // where to write it; empty: nowhere
  std::uint64_t budget_bytes = 0;  // 0: none
  Options options;

  // Of bench.
  unsigned rounds = 3;
  bool only_cold = false;
  bool only_warm = false;
  std::filesystem::path plot;             // where to draw it; empty: nowhere
  std::vector<std::string> load_options;  // as `sluice load` takes them, for what bench starts
};

/// Wrong usage: exit status 2. The message says which command's help to look at.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Text to print: --help or --version was asked for.
using Answer = std::string;

/// Throws UsageError.
std::variant<Arguments, Answer> parse_arguments(int argc, const char* const* argv);

}  // namespace sluice::tool
