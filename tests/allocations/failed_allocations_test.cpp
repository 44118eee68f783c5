// Goal: wherever memory runs out, a load delivers every byte or its caller gets one exception; nothing hangs, ends the
// process or leaks, and the engine's next load is right.
// Method: an operator new that fails at the Nth allocation of the threads of one name, N rising until a load meets no
// failure any more. Either that one fails or, as where memory is gone for good, all from there on.
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <new>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "cuda/kernel_image.hpp"
#include "tests/loader/support/deadline.hpp"
#include "tests/loader/support/sanitized.hpp"
#include "tests/loader/support/small_model.hpp"
#include "tests/sim/control.hpp"

namespace {

std::array<char, 16> failing_thread{};  // empty: all but that of main()
thread_local bool is_main = false;
std::atomic<bool> armed = false;
std::atomic<bool> lasting = false;  // not only the Nth fails, but all from there on
std::atomic<long> left = 0;         // allocations that succeed first
std::atomic<long> failures = 0;
std::atomic<long> outstanding = 0;  // allocations that have not been given back

bool fails_now() noexcept {
  if (!armed || sluice::sim::is_in_call()) return false;
  std::array<char, 16> name{};
  if (failing_thread != name) pthread_getname_np(pthread_self(), name.data(), name.size());
  if (name != failing_thread || (name[0] == 0 && is_main)) return false;
  const long number = left--;
  if (number > 0 || (number < 0 && !lasting)) return false;
  ++failures;
  return true;
}

void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
  if (fails_now()) return nullptr;
  void* const memory = alignment == 0 ? std::malloc(bytes == 0 ? 1 : bytes)
                                      : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory != nullptr) ++outstanding;
  return memory;
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  void* const memory = allocate(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void release(void* memory) noexcept {
  if (memory != nullptr) --outstanding;
  std::free(memory);
}

}  // namespace

// The other forms call these.
void* operator new(std::size_t bytes) {
  return allocate_or_throw(bytes, 0);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, 0);
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes) {
  return allocate_or_throw(bytes, 0);
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, 0);
}
void* operator new[](std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  release(memory);
}

namespace sluice {
namespace {

constexpr const char* caller_name = "caller";

/// A shard each. Extents are copied, cast, and read in place.
std::vector<TestTensor> model_on(DeviceId device) {
  const std::uint64_t count = device.kind == DeviceId::Kind::cuda ? 1'500 : 36'000;  // the simulator interprets casts
  return {{"small", f32, {9}},      {"cast", f32, {count}},          {"end", bf16, {33}},
          {"eight", f8_e4m3, {99}}, {"large", Dtype::u8, {150'000}}, {"none", bf16, {0, 7}}};
}

struct Way {
  const char* name;
  DeviceId device;
  std::optional<Dtype> cast = {};
  IoMode io = IoMode::automatic;  // the files have just been written: they lie in the page cache
  ReaderKind reader = ReaderKind::automatic;
  bool pinning_refused = false;

  friend void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }
};

std::vector<Way> ways() {
  std::vector<Way> all = {
      {"Host", host()},
      {"HostCast", host(), f32, IoMode::direct},
      {"HostByThreads", host(), {}, IoMode::automatic, ReaderKind::pread},
      {"Null", null(), {}, IoMode::direct},
  };
  if (!kernel_fatbinary().empty()) {
    all.push_back({"Gpu", cuda(0)});
    all.push_back({"GpuCast", cuda(0), bf16, IoMode::direct});
    all.push_back({"GpuPinningRefused", cuda(0), {}, IoMode::automatic, ReaderKind::automatic, true});
  }
  return all;
}

Options options_of(const Way& way) {
  Options options;
  options.reader = way.reader;
  options.io = way.io;
  options.staging_bytes = 256 << 10;
  options.slab_bytes = 64 << 10;
  options.queue_depth = 4;
  options.threads = 2;
  options.trace = true;
  return options;
}

/// What is being tried, for the line that is written where a try hangs or ends the process.
std::array<char, 160> attempt{};

void write_attempt() noexcept {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, attempt.data(), std::strlen(attempt.data()));
}

/// Fails allocations for as long as it lives.
class Failing {
 public:
  Failing(const char* thread, long nth, bool all_after) {
    failing_thread = {};
    std::strncpy(failing_thread.data(), thread, failing_thread.size() - 1);
    left = nth;
    lasting = all_after;
    failures = 0;
    armed = true;
  }
  ~Failing() { armed = false; }
  Failing(const Failing&) = delete;
  Failing& operator=(const Failing&) = delete;
};

long open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(begin(all), end(all));
}

class AllocationsTest : public testing::Test {
 protected:
  AllocationsTest() {
    is_main = true;
    pthread_setname_np(pthread_self(), caller_name);
    std::signal(SIGALRM, [](int) {
      write_attempt();
      std::abort();
    });
    std::set_terminate([] {
      write_attempt();
      std::abort();
    });
  }

  /// Calls `try_one(nth)`, which returns whether the Nth allocation was there to fail, until it was not.
  template <typename TryOne>
  void sweep(const std::string& what, const char* thread, bool all_after, bool count_memory, TryOne try_one) {
    // Whatever a process keeps from its first load is there after this.
    ASSERT_FALSE(try_one(std::numeric_limits<long>::max()));
    // Sanitizers make a try slow: they see some of them, by a stride that is a prime. Threads share work as it comes:
    // that one load has not met the failure does not say that none does.
    long nth = 0;
    for (int quiet = 0; quiet < (sanitized ? 1 : 3) && !HasFailure();) {
      std::snprintf(attempt.data(), attempt.size(), "\n%s, thread %s, allocation %ld%s\n", what.c_str(), thread, nth,
                    all_after ? " and all after it" : "");
      const testing::ScopedTrace trace(__FILE__, __LINE__, attempt.data());
      const Deadline deadline(60);
      const long descriptors = open_descriptors();
      const long allocations = outstanding;
      if (try_one(nth)) {
        nth += thread_sanitized ? 61 : sanitized ? 11 : 1;
        quiet = 0;
      } else {
        ++quiet;
      }
      EXPECT_EQ(open_descriptors(), descriptors);
      if (count_memory) {
        EXPECT_EQ(outstanding, allocations);
      }
    }
    RecordProperty("allocations", std::to_string(nth));
    swept_ = nth;
  }

  static void expect_no_memory(const std::exception_ptr& error) {
    try {
      std::rethrow_exception(error);
    } catch (const Error& told) {
      EXPECT_TRUE(told.code() == ErrorCode::out_of_memory || told.code() == ErrorCode::system) << told.what();
    } catch (const std::bad_alloc&) {
    }
  }

  long swept_ = 0;
};

constexpr const char* all_others = "";

class Opening : public AllocationsTest, public testing::WithParamInterface<std::tuple<bool, const char*, bool>> {};

TEST_P(Opening, EndsInACheckpointOrInOneException) {
  const auto [by_index, thread, all_after] = GetParam();
  const TemporaryFolder folder;
  std::string entries;
  // Few shards, so that the sweep is short; many tensors, so that no thread is done before the others begin.
  const unsigned tensors_per_shard = thread == all_others ? 3000 : 100;
  for (int i = 0; i < 4; ++i) {
    const std::string file = "shard" + std::to_string(i) + ".safetensors";
    std::vector<TestTensor> tensors;
    for (unsigned j = 0; j < tensors_per_shard; ++j) {
      tensors.push_back({std::to_string(i) + "." + std::to_string(j), bf16, {3}});
      entries += (entries.empty() ? "\"" : ", \"") + tensors.back().name + "\": \"" + file + "\"";
    }
    write_shard(folder, file, tensors);
  }
  if (by_index)
    std::ofstream(folder.path() / "model.safetensors.index.json") << "{\"weight_map\": {" << entries << "}}";
  const auto try_one = [&, thread = thread, all_after = all_after](long nth) {
    std::optional<Checkpoint> opened;
    std::exception_ptr error;
    {
      const Failing failing(thread, nth, all_after);
      try {
        opened.emplace(Checkpoint::open(folder.path(), 3));
      } catch (...) {
        error = std::current_exception();
      }
    }
    const bool failed = failures > 0;
    if (error != nullptr) expect_no_memory(error);
    if (opened) {
      EXPECT_EQ(opened->tensors().size(), 4u * tensors_per_shard);
    }
    return failed;
  };
  sweep(by_index ? "opening by an index" : "opening a folder", thread, all_after, true, try_one);
  if (thread == caller_name) {
    EXPECT_GE(swept_, 40);
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, Opening,
                         testing::Combine(testing::Bool(), testing::Values(caller_name, all_others), testing::Bool()),
                         [](const auto& combined) {
                           return std::string(std::get<0>(combined.param) ? "Index" : "Folder") +
                                  (std::get<1>(combined.param) == caller_name ? "_Caller" : "_Others") +
                                  (std::get<2>(combined.param) ? "_ForGood" : "_Once");
                         });

struct WayAndThread {
  Way way;
  const char* thread;

  friend void PrintTo(const WayAndThread& its, std::ostream* out) { *out << its.way.name << ' ' << its.thread; }
};

/// Each way with the threads that it has.
std::vector<WayAndThread> ways_and_threads() {
  std::vector<WayAndThread> all;
  for (const Way& way : ways()) {
    for (const char* const thread : {caller_name, "sluice-engine", "sluice-worker"}) all.push_back({way, thread});
    if (way.device.kind != DeviceId::Kind::cuda) continue;
    for (const char* const thread : {"sluice-cuda", "sluice-waiter"}) all.push_back({way, thread});
  }
  return all;
}

/// A device whose memory comes in small units: each load's has to be made, and filled.
sim::Settings small_device() {
  sim::Settings settings;
  settings.devices.resize(1);
  settings.devices[0].granularity = 64 << 10;
  return settings;
}

class Loading : public AllocationsTest, public testing::WithParamInterface<std::tuple<WayAndThread, bool, bool>> {
 protected:
  Loading() {
    for (const TestTensor& tensor : model_) write_shard(folder_, tensor.name + ".safetensors", {tensor});
    checkpoint_.emplace(Checkpoint::open(folder_.path()));
  }

  Plan plan() const {
    Request request = everything(way_.cast);
    request.devices = {way_.device};
    return make_plan(*checkpoint_, request, options_);
  }

  void expect_right(const Load& load) const {
    expect_delivered(load, model_, way_.cast);
    std::set<std::string> told;
    for (const Fallback& fallback : load.statistics().fallbacks) {
      EXPECT_TRUE(told.insert(fallback.what).second) << fallback.what << " is told twice";
    }
  }

  /// All that a caller may ask of a load.
  void use(Engine& engine, const Plan& plan, const Load& load) const {
    if (way_.device.kind == DeviceId::Kind::cuda) load.wait_on(nullptr, "cast");
    load.wait("large");
    load.wait();
    std::array<std::byte, 16> bytes{};
    if (way_.device != null()) load.read_back(*load.find("small"), 0, bytes.data(), bytes.size());
    static_cast<void>(load.statistics());
    static_cast<void>(load.trace());
    if (thread_ == caller_name) static_cast<void>(engine.start(plan));  // and end it at once
  }

  void check(const std::exception_ptr& error, const std::optional<Load>& load) const {
    if (error == nullptr) return expect_right(*load);
    expect_no_memory(error);
    if (!load) return;
    for (const TestTensor& tensor : model_) {
      if (const Tensor* const got = load->find(tensor.name)) expect_holds(*load, *got, tensor);
    }
  }

  /// Whether the Nth allocation was there to fail.
  bool try_one(long nth) const {
    sim::reset(small_device());
    if (way_.pinning_refused) sim::fail_call("cuMemHostRegister", 1, cu::Result::not_permitted);
    const bool failed = load_twice(nth);
    EXPECT_EQ(sim::check_leaks(), 0u);
    for (const sim::Violation& violation : sim::take_violations()) ADD_FAILURE() << violation.message;
    return failed;
  }

  bool load_twice(long nth) const {
    std::optional<Plan> made;
    std::optional<Engine> engine;
    if (warm_) {
      made.emplace(plan());
      engine.emplace(options_);
      expect_right(engine->start(*made));
    }
    std::optional<Load> load;
    std::exception_ptr error;
    {
      const Failing failing(thread_.c_str(), nth, all_after_);
      try {
        if (!made) made.emplace(plan());
        if (!engine) engine.emplace(options_).prepare({way_.device});
        load.emplace(engine->start(*made));
        use(*engine, *made, *load);
      } catch (...) {
        error = std::current_exception();
      }
    }
    const bool failed = failures > 0;
    check(error, load);
    load.reset();
    if (engine) expect_right(engine->start(made ? *made : plan()));
    return failed;
  }

  const Way way_ = std::get<0>(GetParam()).way;
  const std::string thread_ = std::get<0>(GetParam()).thread;
  const bool warm_ = std::get<1>(GetParam());
  const bool all_after_ = std::get<2>(GetParam());
  const Options options_ = options_of(way_);
  const std::vector<TestTensor> model_ = model_on(way_.device);
  const TemporaryFolder folder_;
  std::optional<Checkpoint> checkpoint_;
};

TEST_P(Loading, EndsInALoadThatIsRightOrInOneException) {
  // The simulator keeps memory as it likes.
  sweep(std::string(way_.name) + (warm_ ? ", second load" : ", first load"), thread_.c_str(), all_after_,
        way_.device.kind != DeviceId::Kind::cuda, [this](long nth) { return try_one(nth); });
  const bool allocates = thread_ == caller_name || thread_ == "sluice-engine";
  EXPECT_GE(swept_, allocates ? 20 : 0);
}

INSTANTIATE_TEST_SUITE_P(Everywhere, Loading,
                         testing::Combine(testing::ValuesIn(ways_and_threads()), testing::Bool(), testing::Bool()),
                         [](const auto& combined) {
                           const WayAndThread& its = std::get<0>(combined.param);
                           std::string name = std::string(its.way.name) + "_" + its.thread;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name + (std::get<1>(combined.param) ? "_Second" : "_First") +
                                  (std::get<2>(combined.param) ? "_ForGood" : "_Once");
                         });

}  // namespace
}  // namespace sluice
