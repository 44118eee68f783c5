// Goal: a request that is written as a rules file, and read back, fills the same tensors with the same elements.
// Method: random requests of slices (SliceCase), loaded by way of the file; and requests of each kind of rule, whose
// plans must be equal. Thousands by hand: SLUICE_SEEDS=5000 build/release/tests/loader_rules_test
// --gtest_filter='WriteRules.*'.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <tuple>
#include <vector>

#include "sluice/sluice.hpp"
#include "tests/loader/support/rules_case.hpp"
#include "tests/loader/support/slice_cases.hpp"

namespace sluice {
namespace {

// What a plan delivers, whatever the order.
std::vector<std::string> delivered_by(const Plan& plan) {
  std::vector<std::string> all;
  for (const Tensor& tensor : plan.tensors()) {
    std::string line(tensor.name);
    line +=
        " " + name(tensor.device) + " " + std::string(name(tensor.dtype)) + " g" + std::to_string(tensor.group.number);
    for (const std::uint64_t size : tensor.shape) line += " " + std::to_string(size);
    all.push_back(line);
  }
  std::sort(all.begin(), all.end());
  return all;
}

// `itself`: what is read back is written as it was.
void expect_same_plan(const Checkpoint& checkpoint, const Request& request, bool itself = true) {
  const std::string rules = write_rules(checkpoint, request);
  const Request again = parse_rules(rules, checkpoint);
  if (itself) {
    EXPECT_EQ(write_rules(checkpoint, again), rules);
  }
  EXPECT_EQ(again.strict, request.strict);
  const Plan before = make_plan(checkpoint, request);
  const Plan after = make_plan(checkpoint, again);
  EXPECT_EQ(delivered_by(after), delivered_by(before)) << rules;
  EXPECT_EQ(after.costs().delivered_bytes, before.costs().delivered_bytes);
  EXPECT_EQ(after.costs().read_bytes, before.costs().read_bytes);
  EXPECT_EQ(after.costs().run_bytes_min, before.costs().run_bytes_min);
  EXPECT_EQ(after.left_out().size(), before.left_out().size());
}

TEST(WriteRules, ReadBackAsTheSamePlan) {
  const RulesCase on;
  Request request;
  request.devices = {host(), null()};
  Destination& t = request.destination("t", {2, 4, 4}, f32, null()).group({3}).zero();
  request.add("l.*.q").cast(f32).to(t, {}, at(0, 0)).optional();
  Destination& odd = request.destination("end", {2, 2}, bf16, host()).keep();
  request.add("l.1.q").to(odd, take(0, 0, 1).take(1, 2)).cast(bf16).optional();
  request.add("l.1.k").to(request.destination("*\"\\\n\x80", {4, 2}, bf16, cuda(5)), order({1, 0}));
  request.add("embed").take(take(0, 2, 3)).on(cuda(1));
  request.add("head").cast(f16).group({7});
  request.add("l.0.norm").cast(bf16).on({host(), cuda(1)});
  request.add("l.0.e.*").skip();
  request.strict = false;
  // Of two rules that match l.1.q the first decides, and t is half zeros.
  request.add("norm").split(0);
  Request fits;
  fits.devices = request.devices;
  EXPECT_FALSE(check(on.checkpoint(), request).empty()) << "q of both layers go to the same half of t";
  EXPECT_THROW(write_rules(on.checkpoint(), request), Error);

  Destination& u = fits.destination("u", {2, 4, 4}, f32, null()).group({3}).zero();
  fits.add("l.0.q").cast(f32).to(u, {}, at(0, 0));
  Destination& end = fits.destination("end", {2, 2}, bf16, host()).keep();
  fits.add("l.1.q").to(end, take(0, 0, 1).take(1, 2), at(0, 1));
  fits.add("l.1.k").to(fits.destination("*\"\\\n\x80", {4, 2}, bf16, cuda(5)), order({1, 0}));
  fits.add("embed").take(take(0, 2, 3)).on(cuda(1));
  fits.add("head").cast(f16).group({7});
  fits.add("l.0.norm").cast(bf16).on({host(), cuda(1)});
  fits.add("l.0.e.*").skip();
  expect_same_plan(on.checkpoint(), fits);
  // What devices get differently becomes destinations.
  fits.add("norm").split(0);
  expect_same_plan(on.checkpoint(), fits, false);
  fits.add("*").skip();
  fits.strict = true;
  expect_same_plan(on.checkpoint(), fits, false);
}

TEST(WriteRules, SpellNamesSoThatTheyAreRead) {
  const std::string bytes = "a*b?[c]{d} #\"\\\x01|->";
  const std::vector<TestTensor> tensors = {{"a*b?[c]{d} #|->é", Dtype::u8, {2}},
                                           {"end", Dtype::u8, {2}},
                                           {"for", Dtype::u8, {2}},
                                           {"a-", Dtype::u8, {2}},
                                           {"on", Dtype::u8, {2}},
                                           {"{", Dtype::u8, {2}},
                                           {"1", Dtype::u8, {2}},
                                           {":", Dtype::u8, {2}}};
  const RulesCase on(tensors);
  Request request;
  for (const TestTensor& tensor : tensors) {
    request.add(tensor.name == tensors[0].name ? "a\\*b\\?\\[c*" : tensor.name)
        .to(request.destination(tensor.name + bytes, {2}, Dtype::u8, host()));
  }
  request.strict = true;
  expect_same_plan(on.checkpoint(), request);
}

TEST(WriteRules, FillDestinationsAsTheRequestDid) {
  Options options;
  options.threads = 1;
  options.staging_bytes = 1 << 20;
  options.slab_bytes = 64 << 10;
  Engine engine(options);
  const char* const wish = std::getenv("SLUICE_SEEDS");
  const std::uint64_t seeds = wish == nullptr ? 100 : std::strtoull(wish, nullptr, 10);
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const testing::ScopedTrace trace(__FILE__, __LINE__, "seed " + std::to_string(seed));
    SliceCase random(seed, {host()});
    const RulesCase on(random.tensors());
    expect_same_plan(on.checkpoint(), random.request());
    Request again = parse_rules(write_rules(on.checkpoint(), random.request()), on.checkpoint());
    again.alignment_bytes = random.request().alignment_bytes;  // no rules file tells it
    const Load load = engine.start(make_plan(on.checkpoint(), again, options));
    load.wait();
    random.expect_right(load);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace sluice
