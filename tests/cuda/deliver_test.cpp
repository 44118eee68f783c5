// Goal: the kernel brings every element to its place, copied or cast as the host would, from and to any alignment, and
// touches nothing else.
// Method: the PTX text is read out of the library and executed, thread by thread. The extent ends where scratch ends,
// and the arena where the last element goes; every byte of the arena is compared, those between elements too. Beside
// cast_elements(), whose own tests say what is right. The cases are those of delivery_cases.hpp, which deliver_mutants
// shows to be worth something. More values: deliver_sweep; both by hand. On a GPU, the same: scripts/gpu-check.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/kernel_image.hpp"
#include "tests/cuda/delivery_cases.hpp"
#include "tests/cuda/runner.hpp"
#ifndef SLUICE_ON_GPU
#include "tests/cuda/delivery_mutants.hpp"
#endif

namespace sluice {
namespace {

class Deliver : public testing::TestWithParam<delivery_cases::Case> {
 protected:
  void SetUp() override {
    if (shipped_ptx().empty()) GTEST_SKIP() << "the library was built without nvcc";
  }

  static void TearDownTestSuite() { runner_.reset(); }

  static Runner& kernel() {
    if (runner_ == nullptr) runner_.reset(new Runner(Runner::shipped()));
    return *runner_;
  }

 private:
  static inline std::unique_ptr<Runner> runner_;
};

TEST_P(Deliver, IsRight) {
  for (DeliveryWork& work : GetParam().works()) EXPECT_EQ(work.run(kernel()), "");
}

INSTANTIATE_TEST_SUITE_P(Cases, Deliver, testing::ValuesIn(delivery_cases::all), testing::PrintToStringParamName());

// A text but for blanks and comments, which nvcc drops from what it embeds, and for the version that it declares.
std::string code_of(std::string_view text) {
  std::istringstream lines{std::string(text)};
  std::string code;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(".version ")) continue;
    line.resize(std::min(line.find("//"), line.size()));
    std::copy_if(line.begin(), line.end(), std::back_inserter(code), [](char c) { return c != ' ' && c != '\t'; });
  }
  return code;
}

TEST(DeliverForOldDrivers, IsTheSame) {
  if (shipped_ptx().empty()) GTEST_SKIP() << "the library was built without nvcc";
  const std::span<const std::byte> bytes = kernel_ptx_for_old_drivers();
  const std::string_view old(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  EXPECT_NE(old.find("\n.version 6.3\n"), std::string_view::npos);
  EXPECT_TRUE(code_of(old) == code_of(shipped_ptx()));
  Runner runner(old);
  for (DeliveryWork& work : delivery_cases::casts_a_few_elements()) EXPECT_EQ(work.run(runner), "");
}

#ifndef SLUICE_ON_GPU
// A sample of what deliver_mutants does with all of them. Under a sanitizer there are fewer cases, which kill fewer.
TEST(DeliverMutants, AreKilledUnlessTheyComputeTheSame) {
  if (shipped_ptx().empty()) GTEST_SKIP() << "the library was built without nvcc";
  if (sanitized) GTEST_SKIP() << "without a sanitizer only";
  constexpr std::uint64_t seed = 1;
  constexpr std::uint64_t short_steps = 100'000;
  // The rules know how nvcc 13.0 spells the kernel. Another one may give a few mutants that they do not explain.
  const std::size_t unexplained_max = shipped_ptx().find("\n.version 9.0\n") == std::string_view::npos ? 6 : 0;
  std::vector<std::string> unexplained;
  const DeliveryMutants mutants(shipped_ptx(), seed);
  for (const sim::ptx::Mutation& mutation : mutants.all().first(120)) {
    const EquivalentMutants* const rule = mutants.rule(mutation);
    if (rule == nullptr) {
      if (!mutants.kills(mutation)) unexplained.push_back(mutants.describe(mutation) + " survives");
    } else if (mutants.kills(mutation, short_steps)) {
      unexplained.push_back(mutants.describe(mutation) + ": not so: " + rule->reason);
    }
  }
  EXPECT_LE(unexplained.size(), unexplained_max) << testing::PrintToString(unexplained);
}
#endif

}  // namespace
}  // namespace sluice
