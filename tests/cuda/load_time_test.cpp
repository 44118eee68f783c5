// Goal: reading, copying and casting overlap: a load onto GPUs takes as long as the slowest of them alone, be it
// storage or a link, and an extent's trip through an empty pipeline.
// Method: whole loads in simulated time (simulated_time.hpp), with a reader and links of given rates. A slab of 64 KiB
// at 1 GB/s stands for one of 4 MiB at 64 GB/s: a copy's latency is 1.5% of its time.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <ostream>
#include <string>
#include <vector>

#include "cuda/kernel_image.hpp"
#include "tests/cuda/simulated_time.hpp"
#include "tests/loader/support/sanitized.hpp"
#include "tests/loader/support/small_model.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t slab_bytes = 64 << 10;
constexpr sim::Nanoseconds latency = 1'000;
constexpr double kernel_rate = 10e9;

enum class Where { on_each, in_turns };  // every tensor on all devices; each device every other one

struct Course {
  std::string name;
  double read_rate;
  std::vector<double> link_rates;  // a device each
  std::optional<Dtype> cast = {};
  std::uint64_t slabs = 8;
  Where where = Where::on_each;
  sim::Nanoseconds set_up = 0;  // of each copy

  friend void PrintTo(const Course& course, std::ostream* out) { *out << course.name; }
};

std::vector<Course> courses() {
  std::vector<Course> all;
  for (const auto& [how, cast] : {std::pair("AsItIs", std::optional<Dtype>()), {"Cast", bf16}}) {
    const auto add = [&, cast = cast](const char* what, double read_rate, std::vector<double> links,
                                      std::uint64_t slabs = 8) {
      all.push_back({fmt::format("{}{}", what, how), read_rate, std::move(links), cast, slabs});
    };
    add("SlowReader", 0.5e9, {1e9});
    add("BothAlike", 1e9, {1e9});
    add("SlowLink", 2e9, {1e9});
    add("SlowLinkAndFewSlabs", 8e9, {1e9}, 4);
    add("SlowReaderAndFewSlabs", 0.5e9, {4e9}, 4);
    add("TwoLinksAlike", 1e9, {1e9, 1e9});
    add("TwoLinksOneSlow", 4e9, {2e9, 0.5e9});
  }
  // A fifth of what a copy takes: what is lost between the copies of one stream.
  for (const auto& [how, cast] : {std::pair("AsItIs", std::optional<Dtype>()), {"Cast", bf16}}) {
    all.push_back({fmt::format("SlowLinkWithGaps{}", how), 2e9, {1e9}, cast, 8, Where::on_each, 13'000});
  }
  all.push_back({"TwoLinksHalfTheTensorsEach", 1e9, {0.5e9, 0.5e9}, {}, 8, Where::in_turns});
  return all;
}

// Many extents, so that what the pipeline takes to fill is small beside them; several tensors in each.
std::vector<TestTensor> model() {
  std::vector<TestTensor> tensors;
  for (int i = 0; i < (sanitized ? 60 : 200); ++i) tensors.push_back({fmt::format("layer {}", i), f32, {65, 64}});
  return tensors;
}

class LoadTimeTest : public testing::TestWithParam<Course> {
 protected:
  void SetUp() override {
    if (GetParam().cast && kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
    sim::Settings settings;
    settings.clock = sim::Clock::stepped;
    for (std::size_t i = 0; i < GetParam().link_rates.size(); ++i) {
      sim::DeviceSettings& device = settings.devices[i];
      device.link_bytes_per_second = GetParam().link_rates[i];
      device.link_latency = device.kernel_latency = latency;
      device.copy_set_up = GetParam().set_up;
      device.kernel_bytes_per_second = kernel_rate;
    }
    sim::reset(settings);
  }
  void TearDown() override { sim::reset(); }

  Options options() const {
    Options options;
    options.slab_bytes = slab_bytes;
    options.staging_bytes = GetParam().slabs * slab_bytes;
    options.io = IoMode::buffered;
    options.threads = 2;
    return options;
  }

  Plan plan() const {
    std::vector<DeviceId> all;
    for (std::size_t i = 0; i < GetParam().link_rates.size(); ++i) all.push_back(cuda(static_cast<int>(i)));
    Request request;
    if (GetParam().where == Where::in_turns) request.add("*[02468]").on(cuda(0));
    Rule& rule = request.add("*").on(GetParam().where == Where::in_turns ? std::vector{cuda(1)} : all);
    if (GetParam().cast) rule.cast(*GetParam().cast);
    return make_plan(Checkpoint::open(folder_.path()), request, options());
  }

  /// How long the load of `plan` takes once its devices are warm. Every byte of it is right.
  sim::Nanoseconds time_of(const Plan& plan) const {
    const SimulatedLoad run = load_in_simulated_time(plan, options(), GetParam().read_rate);
    const Load& load = run.load;
    EXPECT_LE(load.statistics().peak_staging_bytes, options().staging_bytes);
    with_running_clock([&] { expect_delivered(load, tensors_, GetParam().cast); });
    return run.time;
  }

  const std::vector<TestTensor> tensors_ = model();
  const TemporaryFolder folder_;
  const std::filesystem::path file_ = write_shard(folder_, "model.safetensors", tensors_, 3);
};

TEST_P(LoadTimeTest, IsThatOfTheSlowestAlone) {
  const Plan plan = this->plan();
  const double share = GetParam().where == Where::in_turns ? 0.5 : 1;
  const double slowest_link = *std::min_element(GetParam().link_rates.begin(), GetParam().link_rates.end());
  const std::uint64_t bytes = plan.costs().read_bytes;
  const auto link_bytes = static_cast<std::uint64_t>(share * static_cast<double>(bytes));
  const auto alone =
      static_cast<double>(std::max(time_for(bytes, GetParam().read_rate), time_for(link_bytes, slowest_link)));
  const auto start_up =
      static_cast<double>(time_for(slab_bytes, GetParam().read_rate) + time_for(slab_bytes, slowest_link) +
                          2 * latency + GetParam().set_up + time_for(2 * slab_bytes, kernel_rate));
  const auto time = static_cast<double>(time_of(plan));
  EXPECT_LE(time, 1.05 * alone + start_up);
  EXPECT_GE(time, 0.99 * alone) << "nothing can be faster: the model is wrong";
  RecordProperty("percent", static_cast<int>(100 * (time - start_up) / alone));
  EXPECT_EQ(sim::check_leaks(), 0u);
  for (const sim::Violation& violation : sim::take_violations()) ADD_FAILURE() << violation.message;
}

INSTANTIATE_TEST_SUITE_P(Cuda, LoadTimeTest, testing::ValuesIn(courses()),
                         [](const auto& course) { return course.param.name; });

}  // namespace
}  // namespace sluice
