#include "sluice/plan.hpp"

#include "loader/tool/commands.hpp"
#include "loader/tool/json.hpp"
#include "loader/tool/report.hpp"
#include "loader/tool/request_of.hpp"
#include "sluice/checkpoint.hpp"

namespace sluice::tool {

void plan(const Arguments& arguments, Output& output) {
  const Checkpoint checkpoint = Checkpoint::open(arguments.path, arguments.options.threads);
  const Plan plan = make_plan(checkpoint, request_of(arguments, checkpoint), arguments.options);
  if (arguments.json) {
    write_plan_json(output, checkpoint, plan, arguments.options);
  } else {
    report_plan(output, checkpoint, plan);
  }
}

}  // namespace sluice::tool
