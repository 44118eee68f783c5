// Goal: a GPU's lane copies and casts every delivery to its place, reports work in order, and after an error throws
// and ends.
// Method: one extent, delivered again and again, on the simulated driver, whatever order it finishes work in.
#include "cuda/cuda_lane.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "cuda/cuda_device.hpp"
#include "cuda/kernel_image.hpp"
#include "loader/cast.hpp"
#include "tests/loader/catalogue_builder.hpp"
#include "tests/loader/temporary_folder.hpp"
#include "tests/sim/control.hpp"

namespace sluice {
namespace {

class CudaLaneTest : public testing::TestWithParam<sim::Policy> {
 protected:
  CudaLaneTest() {
    sim::Settings settings;
    settings.policy = GetParam();
    sim::reset(settings);
  }
  ~CudaLaneTest() override {
    lane_.reset();
    arena_.reset();
    if (device_ != nullptr && !slab_.empty()) device_->pinner()->unpin(slab_);
    device_.reset();
    EXPECT_EQ(sim::check_leaks(), 0u);
    for (const sim::Violation& violation : sim::take_violations()) ADD_FAILURE() << violation.message;
  }

  void open(bool with_cast) {
    CatalogueBuilder builder;
    builder.shard(4096).tensor("a", u8, {3000}).tensor("b", f16, {500}).tensor("c", f32, {2000});
    Request request;
    if (with_cast) request.add("c").cast(bf16).on(cuda(0));
    request.add("*").on(cuda(0));
    plan_ = make_plan(builder.build(), request, {}).data();
    device_ = std::make_unique<CudaDevice>(0);
    slab_ = noise(plan_->extents.at(0).bytes);
    bytes_ = slab_;
    slab_.resize(plan_->slab_bytes);
    device_->pinner()->pin(slab_);
    arena_ = device_->allocate(plan_->costs.devices[0].arena_bytes);
    lane_ = device_->open_lane(*plan_, *arena_, wakeup_);
  }
  void deliver(std::uint64_t tag) {
    lane_->deliver({slab_.data(), &plan_->extents[0], plan_->deliveries_of(plan_->extents[0], 0), tag});
  }
  std::vector<LaneDone> collect(std::size_t count) {
    std::vector<LaneDone> done;
    while (done.size() < count) {
      pollfd descriptor{wakeup_.fd(), POLLIN, 0};
      EXPECT_EQ(poll(&descriptor, 1, -1), 1);
      wakeup_.clear();
      lane_->collect(done);
    }
    return done;
  }
  void expect_all_delivered(bool with_cast) const {
    for (std::size_t i = 0; i < plan_->placements.size(); ++i) {
      const TensorInfo& tensor = plan_->catalogue->tensors[i];
      const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(tensor.offset - plan_->extents[0].offset);
      std::vector<std::byte> want(begin, begin + static_cast<std::ptrdiff_t>(tensor.bytes));
      if (with_cast && i == 2) {
        std::vector<std::byte> cast(plan_->placements[i].bytes);
        cast_elements(f32, want.data(), bf16, cast.data(), 2000);
        want = cast;
      }
      std::vector<std::byte> got(plan_->placements[i].bytes);
      arena_->read_back(plan_->placements[i].arena_offset, got.data(), got.size());
      EXPECT_EQ(got, want) << tensor.name;
    }
  }

  std::shared_ptr<const PlanData> plan_;
  Wakeup wakeup_;
  std::vector<std::byte> slab_;
  std::vector<std::byte> bytes_;
  std::unique_ptr<CudaDevice> device_;
  std::shared_ptr<Arena> arena_;
  std::unique_ptr<Lane> lane_;
};

TEST_P(CudaLaneTest, CopiesWithoutAKernelWhatIsNotCast) {
  open(false);
  deliver(9);
  EXPECT_EQ(collect(1).at(0).tag, 9u);
  EXPECT_EQ(sim::counters().launches, 0u);
  expect_all_delivered(false);
}

TEST_P(CudaLaneTest, ReportsManyDeliveriesInOrder) {
  open(false);
  for (std::uint64_t tag = 0; tag < 50; ++tag) deliver(tag);
  const std::vector<LaneDone> done = collect(50);
  for (std::uint64_t tag = 0; tag < 50; ++tag) EXPECT_EQ(done.at(tag).tag, tag);
}

TEST_P(CudaLaneTest, CastsWithTheKernel) {
  if (kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
  open(true);
  deliver(1);
  collect(1);
  expect_all_delivered(true);
}

TEST_P(CudaLaneTest, ThrowsAfterAnOperationHasFailedAndEnds) {
  open(false);
  sim::fail_operation(1);
  EXPECT_THROW(
      {
        deliver(1);
        collect(1);
      },
      Error);
}

INSTANTIATE_TEST_SUITE_P(Policies, CudaLaneTest,
                         testing::Values(sim::Policy::eager, sim::Policy::lazy, sim::Policy::random));

}  // namespace
}  // namespace sluice
