// Goal: a GPU's lane copies and casts every delivery to its place, reports work in order, and after an error throws
// and ends.
// Method: extents that are alike, a shard each, on the simulated driver, whatever order it finishes work in.
#include "cuda/cuda_lane.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>

#include "cuda/cuda_device.hpp"
#include "cuda/kernel_image.hpp"
#include "loader/device/array_cast.hpp"
#include "loader/plan/access.hpp"
#include "tests/cuda/simulated_time.hpp"
#include "tests/loader/support/catalogue_builder.hpp"
#include "tests/loader/support/temporary_folder.hpp"
#include "tests/sim/control.hpp"

namespace {

constexpr int none = -1;
thread_local int allocations_left = none;  // of this thread, until one fails
std::atomic<bool> others_fail = false;     // all of threads that have no such number
thread_local bool is_test_thread = false;

bool fails_now() {
  if (sluice::sim::is_in_call()) return false;
  if (!is_test_thread) return others_fail;
  return allocations_left != none && allocations_left-- == 0;
}

}  // namespace

void* operator new(std::size_t bytes) {
  void* const memory = fails_now() ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace sluice {
namespace {

class LaneTest : public testing::Test {
 protected:
  explicit LaneTest(const sim::Settings& settings) {
    is_test_thread = true;
    sim::reset(settings);
  }
  ~LaneTest() override {
    lane_.reset();
    arena_.reset();
    if (device_ != nullptr && !slabs_.empty()) device_->pinner()->unpin(slabs_);
    device_.reset();
    EXPECT_EQ(sim::check_leaks(), 0u);
    for (const sim::Violation& violation : sim::take_violations()) ADD_FAILURE() << violation.message;
  }

  static constexpr std::uint64_t slab_bytes = 64 << 10;
  static constexpr unsigned extents = 60;

  /// Where there are no more than 4 slabs, each extent is a batch of its own.
  void open(bool with_cast, std::uint64_t slabs = 4) {
    CatalogueBuilder builder;
    for (unsigned i = 0; i < extents; ++i) {
      builder.shard(4096)
          .tensor(fmt::format("a{}", i), Dtype::u8, {3000})
          .tensor(fmt::format("b{}", i), f16, {500})
          .tensor(fmt::format("c{}", i), f32, {2000});
    }
    Request request;
    if (with_cast) request.add("c*").cast(bf16).on(cuda(0));
    request.add("*").on(cuda(0));
    Options options;
    options.slab_bytes = slab_bytes;
    options.staging_bytes = slabs * slab_bytes;
    plan_ = Access::data(make_plan(builder.build(), request, options));
    ASSERT_EQ(plan_->extents.size(), extents);
    device_ = std::make_unique<CudaDevice>(0);
    bytes_ = noise(plan_->extents.at(0).bytes);
    slabs_.resize(extents * slab_bytes);
    for (unsigned i = 0; i < extents; ++i) std::copy(bytes_.begin(), bytes_.end(), slab(i));
    device_->pinner()->pin(slabs_);
    arena_ = device_->allocate(plan_->costs.devices[0].arena_bytes);
    lane_ = device_->open_lane({*plan_, bindings_, *arena_, nullptr, wakeup_, tracer_});
  }
  std::byte* slab(std::uint64_t index) { return slabs_.data() + index * slab_bytes; }
  /// Each time another extent, as nothing orders two copies to one place; the last ones begin anew.
  void deliver(std::uint64_t tag) {
    const std::uint64_t next = delivered_ % extents;
    lane_->deliver({slab(next), &plan_->extents[next], &plan_->parts[next], tag});
    ++delivered_;
  }
  void deliver_and_queue(std::uint64_t tag) {
    deliver(tag);
    EXPECT_TRUE(dynamic_cast<CudaLane&>(*lane_).wait_until_queued(UINT64_MAX));
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
  void expect_first_delivered(bool with_cast) const {
    for (std::size_t i = 0; i < 3; ++i) {
      const TensorInfo& tensor = plan_->catalogue->tensors[i];
      const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(tensor.offset - plan_->extents[0].offset);
      std::vector<std::byte> want(begin, begin + static_cast<std::ptrdiff_t>(tensor.bytes));
      if (with_cast && i == 2) {
        std::vector<std::byte> cast(plan_->placements[i].bytes);
        cast_elements(f32, want.data(), bf16, cast.data(), 2000);
        want = cast;
      }
      std::vector<std::byte> got(plan_->placements[i].bytes);
      arena_->read_back(arena_->data() + plan_->placements[i].arena_offset, got.data(), got.size());
      EXPECT_EQ(got, want) << tensor.name;
    }
  }

  std::shared_ptr<const PlanData> plan_;
  Wakeup wakeup_;
  Tracer tracer_{true};
  std::vector<std::byte> slabs_;  // one for each extent
  std::uint64_t delivered_ = 0;
  std::vector<std::byte> bytes_;
  std::unique_ptr<CudaDevice> device_;
  const Bindings bindings_;
  std::shared_ptr<Arena> arena_;
  std::unique_ptr<Lane> lane_;
};

sim::Settings in_order_of(sim::Policy policy) {
  sim::Settings settings;
  settings.policy = policy;
  return settings;
}

class CudaLaneTest : public LaneTest, public testing::WithParamInterface<sim::Policy> {
 protected:
  CudaLaneTest() : LaneTest(in_order_of(GetParam())) {}
};

TEST_P(CudaLaneTest, CopiesWithoutAKernelWhatIsNotCast) {
  open(false);
  deliver(9);
  EXPECT_EQ(collect(1).at(0).tag, 9u);
  EXPECT_EQ(sim::counters().launches, 0u);
  expect_first_delivered(false);
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
  expect_first_delivered(true);
}

TEST_P(CudaLaneTest, ThrowsAfterAnOperationHasFailedAndEnds) {
  open(false);
  sim::fail_operation(1);
  try {
    deliver(1);
  } catch (const Error&) {
    return;  // it failed so early that the next call said so
  }
  EXPECT_THROW(collect(1), Error);
  EXPECT_FALSE(lane_->order(nullptr, UINT64_MAX)) << "nothing that a stream could wait for will come";
}

TEST_P(CudaLaneTest, ReportsAllWorkThoughItsThreadFindsNoMemory) {
  if (!sim::is_simulated()) GTEST_SKIP() << "only the simulator tells its allocations from ours";
  open(false);
  others_fail = true;
  for (std::uint64_t tag = 0; tag < 50; ++tag) deliver(tag);
  const std::vector<LaneDone> done = collect(50);
  others_fail = false;
  for (std::uint64_t tag = 0; tag < 50; ++tag) EXPECT_EQ(done.at(tag).tag, tag);
}

TEST_P(CudaLaneTest, CountsNothingThatItFoundNoMemoryToDeliver) {
  if (!sim::is_simulated()) GTEST_SKIP() << "only the simulator tells its allocations from ours";
  const bool with_cast = !kernel_fatbinary().empty();
  open(with_cast);
  bool failed = true;
  for (int nth = 0; failed; ++nth) {
    SCOPED_TRACE(nth);
    failed = false;
    allocations_left = nth;
    try {
      deliver(1);
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    allocations_left = none;
    if (failed) deliver(2);
    EXPECT_EQ(collect(1).at(0).tag, failed ? 2u : 1u);
  }
  expect_first_delivered(with_cast);
}

INSTANTIATE_TEST_SUITE_P(Policies, CudaLaneTest,
                         testing::Values(sim::Policy::eager, sim::Policy::lazy, sim::Policy::never,
                                         sim::Policy::random));

constexpr sim::Nanoseconds link_latency_ns = 100;
constexpr sim::Nanoseconds set_up_ns = 2'000;

/// A byte a nanosecond, and a clock that stands.
sim::Settings stepped(sim::Nanoseconds set_up = 0) {
  sim::Settings settings;
  settings.clock = sim::Clock::stepped;
  settings.devices[0].link_bytes_per_second = 1e9;
  settings.devices[0].link_latency = link_latency_ns;
  settings.devices[0].copy_set_up = set_up;
  settings.devices[0].kernel_bytes_per_second = 1e9;
  return settings;
}

class LaneTimesTest : public LaneTest {
 protected:
  LaneTimesTest() : LaneTest(stepped()) {}

  /// Loading the kernel waits for its first launch, and so for the clock.
  void open_with_kernel() {
    with_running_clock([this] { open(true); });
    begin_ns_ = static_cast<std::int64_t>(sim::now());
  }
  /// Lets all that was queued be done, and gives the spans with their times since the first began.
  std::vector<Span> spans(std::size_t deliveries) {
    while (const auto next = sim::next_completion()) {
      ends_.push_back(static_cast<std::int64_t>(*next) - begin_ns_);
      sim::advance_to(*next);
    }
    collect(deliveries);
    lane_.reset();
    std::vector<Span> all = tracer_.trace().spans;
    const std::int64_t origin_ns = all.empty() ? 0 : all.front().begin_ns;
    for (Span& span : all) {
      span.begin_ns -= origin_ns;
      span.end_ns -= origin_ns;
    }
    return all;
  }
  std::string row(const Span& span) const { return tracer_.trace().rows.at(span.row); }

  std::int64_t begin_ns_ = 0;
  std::vector<std::int64_t> ends_;  // of all operations, since then
};

TEST_F(LaneTimesTest, ACopysSpanIsThatOfTheDevice) {
  open(false);
  sim::advance_to(50);
  deliver_and_queue(1);
  const std::vector<Span> all = spans(1);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].what, Span::What::copy);
  EXPECT_EQ(row(all[0]), "cuda:0 copies");
  EXPECT_EQ(all[0].extent, 0u);
  EXPECT_EQ(all[0].tensors, 3u);
  EXPECT_EQ(all[0].bytes, plan_->extents[0].bytes);
  const auto counters = sim::counters();
  EXPECT_EQ(all[0].end_ns, static_cast<std::int64_t>(link_latency_ns * counters.copies_in + counters.bytes_in));
  EXPECT_EQ(tracer_.trace().dropped, 0u);
}

TEST_F(LaneTimesTest, TheNextCopyRunsBesideTheKernel) {
  if (kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
  open_with_kernel();
  deliver_and_queue(1);
  deliver_and_queue(2);
  const std::vector<Span> all = spans(2);
  ASSERT_EQ(all.size(), 4u);
  const Span& first_copy = all[0];
  const Span& first_kernel = all[1];
  const Span& second_copy = all[2];
  const Span& second_kernel = all[3];
  for (const Span* kernel : {&first_kernel, &second_kernel}) {
    EXPECT_EQ(kernel->what, Span::What::deliver);
    EXPECT_EQ(row(*kernel), "cuda:0 kernels");
  }
  ASSERT_EQ(ends_.size(), 4u);
  EXPECT_EQ(first_copy.end_ns, ends_[0]);
  EXPECT_EQ(first_kernel.begin_ns, first_copy.end_ns);
  EXPECT_EQ(second_copy.begin_ns, 0) << "on the other stream, which waits for the link";
  EXPECT_EQ(second_copy.end_ns, 2 * first_copy.end_ns);
  EXPECT_EQ(second_kernel.end_ns, ends_.back());
}

TEST_F(LaneTimesTest, TakesWorkWhileTheDriverTakesItsTimeToQueueIt) {
  if (!sim::is_simulated()) GTEST_SKIP() << "only the simulator holds calls back";
  open(false);
  std::string name(16, '\0');
  pthread_getname_np(pthread_self(), name.data(), name.size());
  name.resize(name.find('\0'));
  const std::uint64_t calls = sim::counters().callers[name];
  sim::hold_call("cuMemcpyHtoDAsync");
  for (std::uint64_t tag = 1; tag <= 20; ++tag) deliver(tag);
  std::vector<LaneDone> done;
  lane_->collect(done);
  EXPECT_TRUE(done.empty());
  sim::release_calls();
  with_running_clock([&] {
    EXPECT_EQ(collect(20).back().tag, 20u);
    lane_.reset();
  });
  EXPECT_EQ(sim::counters().callers[name], calls) << "this thread stands for the engine's";
}

TEST_F(LaneTimesTest, AStreamWaitsForWorkThatWasNotQueuedYet) {
  if (!sim::is_simulated()) GTEST_SKIP() << "only the simulator holds calls back";
  open(false);
  const Context context(0);
  const CurrentContext current(context);
  const Stream stream(context);
  sim::hold_call("cuMemcpyHtoDAsync");
  for (std::uint64_t tag = 1; tag <= 3; ++tag) deliver(tag);
  std::atomic<bool> returned = false;
  bool ordered = false;
  std::thread caller([&] {
    ordered = lane_->order(stream.handle(), 2);
    returned = true;
  });
  while (sim::held_threads() == 0) std::this_thread::yield();
  EXPECT_FALSE(returned) << "there is nothing yet that the stream could wait for";
  sim::release_calls();
  caller.join();
  EXPECT_TRUE(ordered);
  EXPECT_TRUE(dynamic_cast<CudaLane&>(*lane_).wait_until_queued(3));
  std::size_t ended = 0;
  while (context.driver().cuStreamQuery(stream.handle()) != cu::Result::success) {
    sim::advance_to(sim::next_completion().value());
    ++ended;
  }
  const std::uint64_t copies_each = sim::counters().calls["cuMemcpyHtoDAsync"] / 3;
  EXPECT_EQ(ended, 2 * copies_each) << "for two of the three";
  while (const auto next = sim::next_completion()) sim::advance_to(*next);
  collect(3);
}

TEST_F(LaneTimesTest, NoStreamWaitsForWorkThatTheDriverRefusesToQueue) {
  open(false);
  sim::fail_call("cuMemcpyHtoDAsync", 2, cu::Result::unknown);
  deliver(1);
  deliver(2);
  deliver(3);
  EXPECT_FALSE(lane_->order(nullptr, 3));
  with_running_clock([&] {
    EXPECT_THROW(collect(3), Error);
    lane_.reset();
  });
}

// While the driver queued the first by itself, the others have come.
TEST_F(LaneTimesTest, QueuesWhatHasComeInBatchesWithAnEventEach) {
  if (!sim::is_simulated()) GTEST_SKIP() << "only the simulator counts and holds calls back";
  open(false, 20);  // a batch takes a quarter of them
  Tracer quiet{false};
  lane_.reset();
  lane_ = device_->open_lane({*plan_, bindings_, *arena_, nullptr, wakeup_, quiet});
  const std::uint64_t before = sim::counters().calls["cuEventRecord"];
  sim::hold_call("cuMemcpyHtoDAsync");
  deliver(0);
  while (sim::held_threads() == 0) std::this_thread::yield();
  for (std::uint64_t tag = 1; tag <= 18; ++tag) deliver(tag);
  sim::release_calls();
  with_running_clock([&] {
    const std::vector<LaneDone> done = collect(19);
    for (std::uint64_t tag = 0; tag <= 18; ++tag) EXPECT_EQ(done.at(tag).tag, tag);
    expect_first_delivered(false);
    lane_.reset();
  });
  EXPECT_EQ(sim::counters().calls["cuEventRecord"] - before, 1u + 4) << "5 + 5 + 5 + 3";
}

TEST_F(LaneTimesTest, EndsWithWorkThatItNeverQueued) {
  if (!sim::is_simulated()) GTEST_SKIP() << "only the simulator holds calls back";
  open(false);
  sim::hold_call("cuMemcpyHtoDAsync");
  for (std::uint64_t tag = 1; tag <= 20; ++tag) deliver(tag);
  while (sim::held_threads() == 0) std::this_thread::yield();
  std::thread closer([&] { lane_.reset(); });
  sim::release_calls();
  with_running_clock([&] { closer.join(); });
}

// The driver may take its time to make a stream wait: while another thread pins memory, or the stream is full.
TEST_F(LaneTimesTest, DeliversAndEndsWhileACallersStreamIsBeingMadeToWait) {
  open(false);
  const Context context(0);
  const CurrentContext current(context);
  const Stream stream(context);
  deliver_and_queue(1);
  sim::hold_call("cuStreamWaitEvent");
  bool ordered = false;
  std::thread caller([&] { ordered = lane_->order(stream.handle(), UINT64_MAX); });
  while (sim::held_threads() == 0) std::this_thread::yield();
  for (std::uint64_t tag = 2; tag <= 20; ++tag) {
    deliver_and_queue(tag);
    while (const auto next = sim::next_completion()) sim::advance_to(*next);
    // Of an event that was recorded anew meanwhile, the stream would wait for the later record.
    collect(tag == 2 ? 2 : 1);
  }
  deliver_and_queue(21);
  sim::release_calls();
  caller.join();
  EXPECT_TRUE(ordered);
  EXPECT_EQ(context.driver().cuStreamQuery(stream.handle()), cu::Result::success) << "the first has ended long ago";
  while (const auto next = sim::next_completion()) sim::advance_to(*next);
  collect(1);
  stream.synchronize();
}

TEST_F(LaneTimesTest, WhatTheDriverRefusesCostsASpanAndNotTheLoad) {
  open(false);
  sim::fail_call("cuEventRecord", 1, cu::Result::unknown);
  deliver_and_queue(1);
  EXPECT_TRUE(spans(1).empty());
  EXPECT_EQ(tracer_.trace().dropped, 1u);
  EXPECT_EQ(sim::counters().bytes_in, plan_->parts[0].link_bytes);
}

class LaneGapsTest : public LaneTest {
 protected:
  LaneGapsTest() : LaneTest(stepped(set_up_ns)) {}
};

TEST_F(LaneGapsTest, TheCopiesOfOneStreamFillThoseOfTheOther) {
  if (!sim::is_simulated()) GTEST_SKIP() << "only the simulator has a clock that stands";
  open(false);
  const sim::Nanoseconds begin = sim::now();
  for (std::uint64_t tag = 0; tag < 50; ++tag) deliver_and_queue(tag);
  while (const auto next = sim::next_completion()) sim::advance_to(*next);
  collect(50);
  const auto counters = sim::counters();
  const auto busy = static_cast<double>(counters.bytes_in + counters.copies_in * link_latency_ns);
  const auto on_one_stream = busy + static_cast<double>(counters.copies_in * set_up_ns);
  EXPECT_GE(busy / static_cast<double>(sim::now() - begin), 0.95);
  EXPECT_LT(busy / on_one_stream, 0.8) << "the test is too easy";
}

}  // namespace
}  // namespace sluice
