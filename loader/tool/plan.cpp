#include "sluice/plan.hpp"

#include <optional>

#include "loader/tool/commands.hpp"
#include "loader/tool/json.hpp"
#include "loader/tool/origins.hpp"
#include "loader/tool/report.hpp"
#include "loader/tool/request_of.hpp"
#include "sluice/checkpoint.hpp"
#include "sluice/rules.hpp"

namespace sluice::tool {

void plan(const Arguments& arguments, Output& output) {
  const Checkpoint checkpoint = Checkpoint::open(arguments.path, arguments.options.threads);
  const Request request = request_of(arguments, checkpoint);
  if (arguments.as_rules) {
    output.write(write_rules(checkpoint, request));
    return;
  }
  const Plan plan = make_plan(checkpoint, request, arguments.options);
  std::optional<Origins> origins;
  if (!arguments.rules.empty()) origins.emplace(checkpoint, request);
  const Origins* const its_origins = origins ? &*origins : nullptr;
  if (arguments.json) {
    write_plan_json(output, checkpoint, plan, arguments.options, its_origins);
  } else {
    report_plan(output, checkpoint, plan, its_origins);
  }
}

}  // namespace sluice::tool
