// Goal: with a budget a load delivers the same as without, while memory stays within what the plan says; memory goes
// back when the last tensor of a piece has been dropped and none is kept, and not before what callers queued has been
// done; what is kept outlives load and engine. Method: whole loads into host memory and onto simulated GPUs, whose
// driver refuses what is freed while it is used, and counts what is allocated. Loads that must stop are watched until
// nothing is left to do, not for a time.
#include "loader/engine/binding_pieces.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cuda/context.hpp"
#include "cuda/device_memory.hpp"
#include "cuda/kernel_image.hpp"
#include "sluice/sluice.hpp"
#include "tests/loader/support/shard_writer.hpp"
#include "tests/sim/control.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t piece_mib = 1 << 20;
constexpr std::uint64_t small_budget = 8 * piece_mib;

/// 15 MB: a tensor larger than a piece, some that fill one, and many small ones.
std::vector<TestTensor> budgeted_tensors() {
  std::vector<TestTensor> tensors;
  for (unsigned i = 0; i < 3; ++i) tensors.push_back({fmt::format("even {}", i), bf16, {piece_mib}});
  tensors.push_back({"large", f32, {piece_mib + 3}});
  for (unsigned i = 0; i < 40; ++i) tensors.push_back({fmt::format("small {}", i), f32, {100 + i, 201}});
  tensors.push_back({"none", f32, {0}});
  tensors.push_back({"last", Dtype::u8, {2 * piece_mib + 1}});
  return tensors;
}

/// Written once.
struct BudgetedModel {
  BudgetedModel() {
    write_shard(folder, "model.safetensors", tensors, 3);
    for (const TestTensor& tensor : tensors) by_name[tensor.name] = tensor;
  }
  const TemporaryFolder folder;
  const std::vector<TestTensor> tensors = budgeted_tensors();
  std::map<std::string, TestTensor> by_name;
};

const BudgetedModel& budgeted_model() {
  static const BudgetedModel model;
  return model;
}

class Budget : public testing::TestWithParam<DeviceId> {
 protected:
  Budget() {
    sim::reset();
    checkpoint_.emplace(Checkpoint::open(budgeted_model().folder.path()));
  }
  void SetUp() override {
    if (GetParam() == cuda(0) && kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
  }
  void TearDown() override {
    sim::check_leaks();
    for (const sim::Violation& violation : sim::take_violations()) ADD_FAILURE() << violation.message;
    sim::reset();
  }

  Plan plan(const std::function<void(Request&)>& ask = [](Request& request) { request.add("*"); }) const {
    Request request;
    request.devices = {GetParam()};
    request.budget_bytes = small_budget;
    ask(request);
    return make_plan(*checkpoint_, request);
  }

  static std::vector<std::byte> content(const Load& load, const Tensor& tensor) {
    std::vector<std::byte> bytes(tensor.bytes);
    load.read_back(tensor, 0, bytes.data(), bytes.size());
    return bytes;
  }

  void expect_right(const Load& load, const Tensor& tensor) const {
    EXPECT_TRUE(same_bytes(content(load, tensor), by_name_.at(std::string(tensor.name)).content())) << tensor.name;
  }

  const std::vector<TestTensor>& tensors_ = budgeted_model().tensors;
  const std::map<std::string, TestTensor>& by_name_ = budgeted_model().by_name;
  std::optional<Checkpoint> checkpoint_;
};

INSTANTIATE_TEST_SUITE_P(Devices, Budget, testing::Values(host(), cuda(0)),
                         [](const auto& device) { return device.param == host() ? "host" : "cuda"; });

TEST_P(Budget, DeliversTheSameWithinThePeak) {
  const Plan plan = this->plan();
  ASSERT_GT(plan.costs().devices[0].arena_bytes, 14 * piece_mib);
  ASSERT_LE(plan.costs().devices[0].arena_peak_bytes, small_budget + 4 * piece_mib + 12);
  Engine engine;
  const Load load = engine.start(plan);
  std::size_t count = 0;
  for (const Tensor& tensor : load) {
    expect_right(load, tensor);
    load.drop(tensor);
    ++count;
  }
  load.wait();
  EXPECT_EQ(count, tensors_.size());
  EXPECT_LE(load.statistics().peak_arena_bytes, plan.costs().devices[0].arena_peak_bytes);
  if (GetParam() != cuda(0) || !sim::is_simulated()) return;
  EXPECT_LE(sim::counters().peak_bytes[0],
            plan.costs().devices[0].arena_peak_bytes + plan.costs().devices[0].scratch_bytes);
}

TEST_P(Budget, KeepsToItThroughCastsDestinationsAndZeros) {
  const Plan plan = this->plan([](Request& request) {
    Destination& padded = request.destination("padded", {3, piece_mib + 5}, bf16, GetParam()).zero();
    for (unsigned i = 0; i < 3; ++i) {
      request.add(fmt::format("even {}", i)).to(padded, {}, at(0, i).take(1, 0, piece_mib));
    }
    request.destination("nothing", {77}, f32, GetParam()).zero();
    request.add("small *").cast(f16);
    request.add("*");
  });
  Engine engine;
  const Load load = engine.start(plan);
  std::size_t count = 0;
  for (const Tensor& tensor : load) {
    const std::vector<std::byte> got = content(load, tensor);
    if (tensor.name == "nothing") {
      EXPECT_EQ(got, std::vector<std::byte>(77 * 4));
    } else if (tensor.name == "padded") {
      std::vector<std::byte> expected(3 * (piece_mib + 5) * 2);
      for (unsigned i = 0; i < 3; ++i) {
        const std::vector<std::byte> row = by_name_.at(fmt::format("even {}", i)).content();
        std::copy(row.begin(), row.end(), expected.begin() + static_cast<std::ptrdiff_t>(i * (piece_mib + 5) * 2));
      }
      EXPECT_TRUE(same_bytes(got, expected));
    } else if (!tensor.name.starts_with("small")) {
      expect_right(load, tensor);
    }
    load.drop(tensor);
    ++count;
  }
  load.wait();
  EXPECT_EQ(count, tensors_.size() - 3 + 2);
  EXPECT_LE(load.statistics().peak_arena_bytes, plan.costs().devices[0].arena_peak_bytes);
}

/// What has arrived is all that the budget has room for, and the rest comes when that is dropped.
TEST_P(Budget, StopsUntilSomethingIsDropped) {
  const Plan plan = this->plan();
  Engine engine;
  const Load load = engine.start(plan);
  std::vector<const Tensor*> arrived;
  arrived.push_back(load.arrival(0));
  EXPECT_FALSE(load.wait_for(std::chrono::nanoseconds(1))) << "there is no memory for all of it";
  EXPECT_EQ(load.wait_for("last", std::chrono::nanoseconds(-1)), nullptr);
  EXPECT_FALSE(load.wait_for(Group{}, GetParam(), std::chrono::nanoseconds(0)));
  EXPECT_TRUE(load.wait_for_arrival(0, std::chrono::nanoseconds(0)));
  EXPECT_FALSE(load.wait_for_arrival(tensors_.size() - 1, std::chrono::nanoseconds(0)));
  for (const Tensor* const tensor : arrived) load.drop(*tensor);
  for (std::size_t i = arrived.size(); const Tensor* const tensor = load.arrival(i); ++i) {
    expect_right(load, *tensor);
    load.drop(*tensor);
  }
  EXPECT_TRUE(load.wait_for(std::chrono::nanoseconds::max()));
  EXPECT_TRUE(load.wait_for_arrival(tensors_.size() + 5, std::chrono::nanoseconds(0))) << "it ends at once";
}

/// Waits until the load is held up, or has ended.
Progress wait_for_stop(const Load& load) {
  const int descriptor = load.descriptor();
  for (;;) {
    const Progress progress = load.progress();
    if (progress.held_up || progress.finished) return progress;
    pollfd event{descriptor, POLLIN, 0};
    EXPECT_EQ(poll(&event, 1, 60'000), 1) << "it neither goes on nor says why not";
    if (event.revents == 0) return progress;
    std::uint64_t count = 0;
    EXPECT_EQ(read(descriptor, &count, sizeof count), static_cast<ssize_t>(sizeof count));
  }
}

/// Callers who keep what arrives find out, each time, and the load goes on as soon as a piece is theirs no more.
TEST_P(Budget, TellsWhenItIsHeldUp) {
  const Plan plan = this->plan();
  Engine engine;
  const Load load = engine.start(plan);
  std::deque<std::shared_ptr<const Tensor>> kept;
  std::size_t stops = 0;
  for (std::size_t i = 0; i < tensors_.size();) {
    const Progress progress = wait_for_stop(load);
    for (; i < progress.tensors_ready; ++i) {
      const Tensor& tensor = *load.arrival(i);
      kept.push_back(load.keep(tensor));
      load.drop(tensor);
    }
    if (progress.finished) break;
    ++stops;
    EXPECT_TRUE(load.progress().held_up) << "what is kept is still there";
    EXPECT_FALSE(load.wait_for_arrival(i, std::chrono::nanoseconds(1)));
    while (load.progress().held_up && !kept.empty()) kept.pop_front();
    ASSERT_FALSE(load.progress().held_up) << "all has been given back";
  }
  EXPECT_GT(stops, 0u);
  EXPECT_EQ(load.progress().tensors_ready, tensors_.size());
  load.wait();
  EXPECT_FALSE(load.progress().held_up);
}

TEST_P(Budget, TellsThatAnEarlierLoadIsHeldUp) {
  const Plan plan = this->plan();
  Engine engine;
  const Load first = engine.start(plan);
  { const Load given_up = engine.start(plan); }
  Load second = engine.start(plan);
  EXPECT_TRUE(wait_for_stop(first).held_up);
  EXPECT_TRUE(second.progress().held_up);
  EXPECT_FALSE(second.wait_for_arrival(0, std::chrono::nanoseconds(1)));
  for (const Tensor& tensor : first) first.drop(tensor);
  EXPECT_FALSE(first.progress().held_up);
  EXPECT_NE(second.arrival(0), nullptr);
  EXPECT_TRUE(wait_for_stop(second).held_up);
  second.cancel();
  EXPECT_THROW(second.wait(), Error);
  EXPECT_FALSE(second.progress().held_up);
}

TEST_P(Budget, EndsWhileItHasStopped) {
  const Plan plan = this->plan();
  Engine engine;
  {
    const Load load = engine.start(plan);
    ASSERT_NE(load.arrival(0), nullptr);
  }
  Load load = engine.start(plan);
  ASSERT_NE(load.arrival(0), nullptr);
  load.cancel();
  EXPECT_THROW(load.wait(), Error);
  EXPECT_EQ(load.statistics().peak_staging_bytes % (64 << 10), 0u);
}

TEST_P(Budget, KeepsTensorsBeyondLoadAndEngine) {
  std::vector<std::shared_ptr<const Tensor>> kept;
  {
    const Plan plan = this->plan();
    Engine engine;
    const Load load = engine.start(plan);
    for (const Tensor& tensor : load) {
      const bool wanted = tensor.name == "small 7" || tensor.name == "last" || tensor.bytes == 0;
      if (wanted) kept.push_back(load.keep(tensor));
      load.drop(tensor);
      EXPECT_THROW(load.drop(tensor), Error);
      EXPECT_THROW((void)load.keep(tensor), Error);
      EXPECT_EQ(load.find(tensor.name), nullptr);
      EXPECT_THROW((void)load.wait(tensor.name), Error);
    }
    load.wait();
  }
  ASSERT_EQ(kept.size(), 3u);
  for (const std::shared_ptr<const Tensor>& tensor : kept) {
    const TestTensor& expected = by_name_.at(std::string(tensor->name));
    EXPECT_THAT(tensor->shape, testing::ElementsAreArray(expected.shape));
    std::vector<std::byte> bytes(tensor->bytes);
    if (GetParam() == host()) {
      if (!bytes.empty()) std::memcpy(bytes.data(), tensor->data, bytes.size());
    } else if (!bytes.empty()) {
      const Context context(0);
      const CurrentContext current(context);
      context.check(
          context.driver().cuMemcpyDtoH(bytes.data(), reinterpret_cast<cu::DevicePointer>(tensor->data), bytes.size()),
          "cuMemcpyDtoH");
    }
    EXPECT_TRUE(same_bytes(bytes, expected.content())) << tensor->name;
  }
  std::thread([&] { kept.clear(); }).join();
}

TEST_P(Budget, KeepsTensorsOfAWholeArena) {
  std::shared_ptr<const Tensor> kept;
  {
    Request request;
    request.add("*").on(GetParam());
    const Plan plan = make_plan(*checkpoint_, request);
    Engine engine;
    const Load load = engine.start(plan);
    kept = load.keep(load.wait("large"));
    load.drop(load.wait("large"));
    EXPECT_EQ(load.find("large"), nullptr);
    load.wait();
    EXPECT_EQ(load.statistics().peak_arena_bytes, plan.costs().devices[0].arena_bytes);
  }
  EXPECT_EQ(kept->name, "large");
  if (GetParam() == host()) {
    EXPECT_EQ(std::memcmp(kept->data, by_name_.at("large").content().data(), kept->bytes), 0);
  }
}

TEST_P(Budget, IsNotForCallersArenasNorForReloads) {
  const Plan plan = this->plan();
  EXPECT_THROW(make_plan(*checkpoint_, plan), Error);
  Engine engine;
  alignas(4096) static std::byte memory[4096];
  EXPECT_THROW((void)engine.start(plan, {.arenas = {{GetParam(), memory, sizeof memory}}}), Error);
}

/// Two threads take turns at what arrives; `make_consumer()` makes what each does with its tensors, on that thread.
template <typename MakeConsumer>
void consume_on_two_threads(const Load& load, MakeConsumer make_consumer) {
  std::vector<std::thread> threads;
  for (std::size_t part = 0; part < 2; ++part) {
    threads.emplace_back([&, part] {
      const auto consume = make_consumer();
      for (std::size_t i = part; const Tensor* const tensor = load.arrival(i); i += 2) consume(*tensor);
    });
  }
  for (std::thread& thread : threads) thread.join();
  load.wait();
}

TEST_P(Budget, SurvivesTwoConsumers) {
  const Plan plan = this->plan();
  Engine engine;
  const Load load = engine.start(plan);
  consume_on_two_threads(load, [&] {
    return [&](const Tensor& tensor) {
      expect_right(load, tensor);
      load.drop(tensor);
    };
  });
}

CUstream_st* const per_thread_stream = reinterpret_cast<CUstream_st*>(std::uintptr_t{2});  // CU_STREAM_PER_THREAD

/// A consumer's stream on the simulated GPU, with a copy out of a tensor queued on it that is not done yet.
class QueueingConsumer {
 public:
  explicit QueueingConsumer(CUstream_st* stream = nullptr) : current_(context_), buffer_(context_, 16) {
    if (stream == nullptr) stream = its_own_.emplace(context_).handle();
    stream_ = stream;
  }
  ~QueueingConsumer() { context_.driver().cuStreamSynchronize(stream_); }
  QueueingConsumer(const QueueingConsumer&) = delete;
  QueueingConsumer& operator=(const QueueingConsumer&) = delete;

  CUstream_st* stream() const { return stream_; }
  void use(const Tensor& tensor) {
    if (tensor.bytes < 16) return;
    context_.check(context_.driver().cuMemcpyDtoHAsync(buffer_.data(), reinterpret_cast<cu::DevicePointer>(tensor.data),
                                                       16, stream_),
                   "cuMemcpyDtoHAsync");
  }

 private:
  const Context context_{0};
  const CurrentContext current_;
  const PinnedMemory buffer_;
  std::optional<Stream> its_own_;
  CUstream_st* stream_ = nullptr;
};

class BudgetOnGpu : public Budget {
 protected:
  void SetUp() override {
    Budget::SetUp();
    if (!IsSkipped() && !sim::is_simulated()) GTEST_SKIP() << "only the simulator tells what is freed too early";
    sim::Settings settings;
    settings.policy = sim::Policy::never;
    sim::reset(settings);
  }
};

INSTANTIATE_TEST_SUITE_P(Gpu, BudgetOnGpu, testing::Values(cuda(0)));

TEST_P(BudgetOnGpu, FreesNothingThatAStreamStillUses) {
  const Plan plan = this->plan();
  Engine engine;
  QueueingConsumer consumer;
  const Load load = engine.start(plan);
  bool named = false;
  for (const Tensor& tensor : load) {
    consumer.use(tensor);
    if ((named = !named)) {
      load.drop(tensor, consumer.stream());
    } else {
      load.drop(tensor);
    }
  }
  load.wait();
}

// Each thread has a stream of its own by the same handle.
TEST_P(BudgetOnGpu, FreesNothingThatTheDefaultStreamOfAnotherThreadStillUses) {
  const Plan plan = this->plan();
  Engine engine;
  const Load load = engine.start(plan);
  consume_on_two_threads(load, [&] {
    return [&load, consumer = std::make_shared<QueueingConsumer>(per_thread_stream)](const Tensor& tensor) {
      consumer->use(tensor);
      load.drop(tensor, per_thread_stream);
    };
  });
}

// While one drop is under way, on a thread that is slow, another on the same stream comes and goes.
TEST_P(BudgetOnGpu, FreesNothingThatAStreamStillUsesWhereTwoThreadsDropAtOnce) {
  const Plan plan = this->plan([](Request& request) {
    request.budget_bytes = 0;
    request.add("small 0");
    request.add("small 1");
  });
  Engine engine;
  QueueingConsumer consumer;
  bool interrupted = true;
  for (std::uint64_t nth = 1; interrupted; ++nth) {
    SCOPED_TRACE(nth);
    const Load load = engine.start(plan);
    load.wait();
    const Tensor& first = *load.find("small 0");
    const Tensor& second = *load.find("small 1");
    consumer.use(first);
    interrupted = false;
    sim::before_call(nth, [&] {
      interrupted = true;
      consumer.use(second);
      load.drop(second, consumer.stream());
    });
    load.drop(first, consumer.stream());
    sim::before_call(0, nullptr);
  }
}

TEST_P(BudgetOnGpu, FreesNothingKeptThatAStreamStillUses) {
  for (const bool named : {true, false}) {
    const Plan plan = this->plan();
    Engine engine;
    QueueingConsumer consumer;
    std::shared_ptr<const Tensor> kept;
    {
      const Load load = engine.start(plan);
      for (const Tensor& tensor : load) {
        if (tensor.name == "last") kept = named ? load.keep(tensor, consumer.stream()) : load.keep(tensor);
        load.drop(tensor);
      }
      load.wait();
    }
    consumer.use(*kept);
    kept.reset();
  }
}

TEST_P(BudgetOnGpu, SaysWhyADeviceKeepsNone) {
  sim::Settings settings;
  for (sim::DeviceSettings& device : settings.devices) device.virtual_memory = false;
  sim::reset(settings);
  const Plan plan = this->plan();
  Engine engine;
  const Load load = engine.start(plan);
  try {
    load.wait();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::device_unavailable);
    EXPECT_THAT(error.what(), testing::HasSubstr("keeps no budget"));
  }
}

TEST_P(BudgetOnGpu, EndsWhereAPieceIsRefused) {
  const Plan plan = this->plan();
  for (const char* const call : {"cuMemCreate", "cuMemMap", "cuMemSetAccess"}) {
    for (const std::uint64_t nth : {1, 2, 4}) {
      SCOPED_TRACE(fmt::format("{} {}", call, nth));
      sim::reset();
      sim::fail_call(call, nth, cu::Result::out_of_memory);
      Engine engine;
      const Load load = engine.start(plan);
      try {
        for (const Tensor& tensor : load) load.drop(tensor);
        load.wait();
        FAIL() << "no error";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
      }
    }
  }
}

}  // namespace
}  // namespace sluice
