#include <iterator>
#include <vector>

#include "loader/tool/commands.hpp"
#include "loader/tool/json.hpp"
#include "loader/tool/probes.hpp"
#include "loader/tool/report.hpp"

namespace sluice::tool {

void doctor(const Arguments& arguments, Output& output) {
  std::vector<Check> checks;
  const auto add = [&](std::vector<Check> more) {
    checks.insert(checks.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  };
  // The path first: if it is wrong, all the rest is not what was asked.
  if (!arguments.path.empty()) add(probe_storage(arguments.path));
  add(probe_rings());
  add(probe_machine());
  add(probe_devices());
  if (arguments.json) {
    write_doctor_json(output, checks);
  } else {
    report_doctor(output, checks);
  }
}

}  // namespace sluice::tool
