#include <cstddef>
#include <vector>

#include "loader/plan/access.hpp"
#include "loader/plan/selection.hpp"
#include "loader/tool/commands.hpp"
#include "loader/tool/json.hpp"
#include "loader/tool/report.hpp"
#include "loader/tool/request_of.hpp"
#include "sluice/checkpoint.hpp"

namespace sluice::tool {

void inspect(const Arguments& arguments, Output& output) {
  const Checkpoint checkpoint = Checkpoint::open(arguments.path);
  Findings findings;
  const Request request = request_of(arguments, checkpoint);
  const Selection selection = select(*Access::catalogue(checkpoint), request, findings);
  findings.throw_first();
  std::vector<TensorInfo> tensors;
  for (std::size_t index = 0; index < checkpoint.tensors().size(); ++index) {
    const std::uint32_t rule = selection.rule_of[index];
    if (rule == Selection::none || request.rules()[rule].is_skip()) continue;
    tensors.push_back(checkpoint.tensors()[index]);
  }
  if (arguments.json) {
    write_inspect_json(output, tensors, shard_names(checkpoint));
  } else {
    report_inspect(output, checkpoint, tensors);
  }
}

}  // namespace sluice::tool
