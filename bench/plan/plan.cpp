// What does planning cost a tensor, and does it stay linear? Catalogues shaped like a mixture-of-experts model in NVFP4
// (a packed weight, its block scales and two scalars each), in memory; the least of five runs counts.
// Sketch on paper: a tensor is a name to match, a placement of 40 bytes and a delivery of 40: some 100 ns.
#include "loader/plan/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "bench/plan/experts.hpp"

namespace sluice {
namespace {

void measure(const std::shared_ptr<const Catalogue>& catalogue, const char* what, const Request& request) {
  double seconds = std::numeric_limits<double>::max();
  std::uint64_t extents = 0;
  std::uint64_t deliveries = 0;
  for (int run = 0; run < 5; ++run) {
    const Plan plan = make_plan(catalogue, request, {});
    seconds = std::min(seconds, plan.seconds());
    extents = plan.costs().extents;
    deliveries = plan.costs().deliveries;
  }
  const auto tensors = static_cast<double>(catalogue->tensors.size());
  fmt::print("{:>9} {:<16} {:>9.1f} {:>10.0f} {:>9} {:>11}\n", catalogue->tensors.size(), what, seconds * 1e3,
             seconds * 1e9 / tensors, extents, deliveries);
}

void measure_all() {
  fmt::print("{:>9} {:<16} {:>9} {:>10} {:>9} {:>11}\n", "tensors", "request", "ms", "ns/tensor", "extents",
             "deliveries");
  for (const std::uint32_t tensors : {10'000u, 100'000u, 1'000'000u}) {
    const std::shared_ptr<const Catalogue> catalogue = experts(tensors);
    Request to_host;
    to_host.add("*");
    measure(catalogue, "host", to_host);
    Request to_cuda;
    to_cuda.devices = {cuda(0)};
    to_cuda.add("*");
    measure(catalogue, "cuda:0", to_cuda);
    Request by_globs;
    by_globs.devices = {cuda(0)};
    by_globs.add("*.weight_scale*").cast(bf16);
    by_globs.add("*.input_scale").cast(f16);
    by_globs.add("model.layers.?*.experts.*");
    measure(catalogue, "cuda:0, 3 globs", by_globs);
    Request to_eight;
    to_eight.devices.clear();
    for (int device = 0; device < 8; ++device) to_eight.devices.push_back(cuda(device));
    to_eight.add("*");
    measure(catalogue, "8 CUDA devices", to_eight);
  }
}

}  // namespace
}  // namespace sluice

int main() {
  sluice::measure_all();
  return 0;
}
