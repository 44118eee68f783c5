// What does a rule per tensor cost? The routed experts of DeepSeek-V3 in FP8: 58 layers of 256 experts, each of three
// matrices and their scales, stacked into six destinations per layer by 89,088 exact rules. Beside it, in turn, the
// same tensors by one rule, and 235,000 others by one rule, as bench/plan has them. Catalogues lie in memory; the least
// of the rounds counts. Sketch on paper: a rule is two slices, a name to copy and to look up, and a box to check
// against its neighbours: some 300 ns to say and 500 ns to plan, 0.07 s together.
//
// usage: bench_rules [ROUNDS]
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "bench/plan/experts.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/plan/plan.hpp"

namespace sluice {
namespace {

constexpr std::uint32_t layers = 58;
constexpr std::uint64_t experts_per_layer = 256;

struct Part {
  const char* name;
  Dtype dtype;
  std::vector<std::uint64_t> shape;
};
const std::vector<Part> parts = {
    {"gate_proj.weight", f8_e4m3, {2048, 7168}}, {"gate_proj.weight_scale_inv", f32, {16, 56}},
    {"up_proj.weight", f8_e4m3, {2048, 7168}},   {"up_proj.weight_scale_inv", f32, {16, 56}},
    {"down_proj.weight", f8_e4m3, {7168, 2048}}, {"down_proj.weight_scale_inv", f32, {56, 16}}};

std::string prefix(std::uint32_t layer) {
  return fmt::format("model.layers.{}.mlp.experts.", layer);
}

std::shared_ptr<const Catalogue> deepseek() {
  CatalogueBuilder builder;
  for (std::uint32_t layer = 0; layer < layers; ++layer) {
    builder.shard(120'008);
    for (std::uint64_t expert = 0; expert < experts_per_layer; ++expert) {
      for (const Part& part : parts) {
        builder.tensor(fmt::format("{}{}.{}", prefix(layer), expert, part.name), part.dtype, part.shape);
      }
    }
  }
  return builder.build();
}

// As an engine says it: a destination per part and layer, a rule per tensor.
Request stacked() {
  Request request;
  for (std::uint32_t layer = 0; layer < layers; ++layer) {
    const std::string p = prefix(layer);
    std::vector<Destination*> destinations;
    for (const Part& part : parts) {
      std::vector<std::uint64_t> shape = {experts_per_layer};
      shape.insert(shape.end(), part.shape.begin(), part.shape.end());
      destinations.push_back(&request.destination(p + part.name, shape, part.dtype, cuda(0)).group({layer}));
    }
    for (std::uint64_t expert = 0; expert < experts_per_layer; ++expert) {
      const std::string name = p + std::to_string(expert) + ".";
      for (std::size_t i = 0; i < parts.size(); ++i) {
        request.add(name + parts[i].name).to(*destinations[i], {}, at(0, expert));
      }
    }
  }
  return request;
}

struct Least {
  double seconds = std::numeric_limits<double>::max();
  PlanCosts costs;

  void plan(const std::shared_ptr<const Catalogue>& catalogue, const Request& request) {
    const Plan plan = make_plan(catalogue, request, {});
    seconds = std::min(seconds, plan.seconds());
    costs = plan.costs();
  }
};

void measure(int rounds) {
  const std::shared_ptr<const Catalogue> by_rules = deepseek();
  const std::shared_ptr<const Catalogue> others = experts(235'000);
  Request all;
  all.devices = {cuda(0)};
  all.add("*");

  double said = std::numeric_limits<double>::max();
  Least planned;
  Least without_rules;
  Least others_planned;
  for (int round = 0; round < rounds; ++round) {
    const Stopwatch saying;
    const Request request = stacked();
    said = std::min(said, saying.seconds());
    planned.plan(by_rules, request);
    without_rules.plan(by_rules, all);
    others_planned.plan(others, all);
  }
  fmt::print(
      "{} rules said in {:.1f} ms, planned in {:.1f} ms ({} extents, {} deliveries); the same tensors by one rule "
      "{:.1f} "
      "ms; {} others by one rule {:.1f} ms ({} extents, {} deliveries)\n",
      by_rules->tensors.size(), said * 1e3, planned.seconds * 1e3, planned.costs.extents, planned.costs.deliveries,
      without_rules.seconds * 1e3, others->tensors.size(), others_planned.seconds * 1e3, others_planned.costs.extents,
      others_planned.costs.deliveries);
}

}  // namespace
}  // namespace sluice

int main(int count, char** arguments) {
  sluice::measure(count > 1 ? std::max(1, std::atoi(arguments[1])) : 7);
  return 0;
}
