#include <memory>
#include <vector>

#include "cuda/context.hpp"
#include "cuda/link_rate.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/tool/bench_json.hpp"
#include "loader/tool/commands.hpp"
#include "sluice/device.hpp"

namespace sluice::tool {

void bench_link(const Arguments& arguments, Output& output) {
  LinkSample sample;
  std::vector<std::unique_ptr<const Context>> contexts;
  contexts.reserve(arguments.devices.size());
  const Stopwatch stopwatch;
  for (const DeviceId device : arguments.devices) {
    contexts.push_back(std::make_unique<const Context>(device.ordinal));
  }
  sample.driver_seconds = stopwatch.seconds();
  for (const auto& context : contexts) {
    const std::string link = describe_link(context->driver(), context->ordinal());
    sample.devices.push_back({name(cuda(context->ordinal())),
                              context->device_name() + (link.empty() ? "" : ", link " + link), measure_link(*context)});
  }
  write_link_json(output, sample);
}

}  // namespace sluice::tool
