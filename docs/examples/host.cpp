// Loads a checkpoint into the process's own memory and uses one of its tensors: host PATH TENSOR
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <sluice/sluice.hpp>
#include <string>

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::fprintf(stderr, "usage: host PATH TENSOR\n");
    return 2;
  }
  const std::string wanted = argv[2];

  sluice::Engine engine;                                      // one per process: every load reuses it
  const auto checkpoint = sluice::Checkpoint::open(argv[1]);  // reads headers only

  // The first rule that matches a tensor decides: the wanted one comes as F32, all others as they are. A rule that
  // matches nothing is an error, so a misspelt name is told here; "*" may match nothing where there is but one tensor.
  sluice::Request request;
  request.add(wanted).cast(sluice::f32);
  request.add("*").optional();

  // Decides everything and reads nothing, so that the costs are known before a byte is read.
  const auto plan = sluice::make_plan(checkpoint, request, engine.options());
  const sluice::PlanCosts& costs = plan.costs();
  std::printf("%llu tensors in %llu bytes of memory\n", static_cast<unsigned long long>(costs.devices.at(0).tensors),
              static_cast<unsigned long long>(costs.devices.at(0).arena_bytes));

  // Returns at once; the tensors lie in the load's memory and live as long as it.
  const sluice::Load load = engine.start(plan);

  // Waits for this tensor only: others are still being read.
  const sluice::Tensor& tensor = load.wait(wanted);
  if (tensor.dtype == sluice::f32) {
    const auto* const values = static_cast<const float*>(tensor.data);
    const std::uint64_t count = tensor.bytes / sizeof(float);
    const auto [least, most] = std::minmax_element(values, values + count);
    if (count > 0) std::printf("%s: %g to %g\n", wanted.c_str(), *least, *most);
  } else {  // integers and packed formats are not cast
    std::printf("%s: %s\n", wanted.c_str(), std::string(name(tensor.dtype)).c_str());
  }

  load.wait();  // all of them, or the error that ended the load
  std::printf("all are there\n");
  return 0;
} catch (const std::exception& error) {  // sluice::Error says what happened, where, and what to do about it
  std::fprintf(stderr, "host: %s\n", error.what());
  return 1;
}
