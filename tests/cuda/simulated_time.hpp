// Loads in simulated time: a reader that delivers so many bytes a second by the simulated driver's stepped clock, and
// moves that clock whenever everybody else waits.
//
// The load runs on the test's thread. When its engine has nothing left to do it comes to Reader::wait(), which is
// the reader's here; the others are the lanes' threads, each of which waits for the driver, or for the engine, or is on
// its way to notify it. A lane with work that the engine has not collected is one of those that must be seen blocked in
// the driver; so time passes only where nobody could do anything without it, and no order of threads changes it.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/cuda_lane.hpp"
#include "loader/device/device.hpp"
#include "loader/engine/load_run.hpp"
#include "loader/plan/access.hpp"
#include "loader/read/reader.hpp"
#include "tests/loader/support/simulated_clock.hpp"
#include "tests/sim/control.hpp"

namespace sluice {

inline sim::Nanoseconds time_for(std::uint64_t bytes, double bytes_per_second) {
  return static_cast<sim::Nanoseconds>(static_cast<double>(bytes) * 1e9 / bytes_per_second);
}

/// Runs `body`, which may wait for the driver, while another thread lets time pass.
template <typename Body>
void with_running_clock(const Body& body) {
  std::atomic<bool> ended = false;
  std::thread clock([&ended] {
    while (!ended) {
      if (const auto next = sim::next_completion()) sim::advance_to(*next);
      std::this_thread::yield();
    }
  });
  body();
  ended = true;
  clock.join();
}

/// What is known of a lane, on the engine's thread.
struct LaneWatch {
  enum class Opening : std::uint8_t { waits_for_a_worker, under_way, done };
  std::atomic<Opening> opening = Opening::waits_for_a_worker;  // by a worker, which may wait for the driver
  bool open = false;                                           // and seen to be by the engine
  std::size_t in_flight = 0;                                   // work handed to it and not collected
  bool failed = false;                                         // it threw: the load ends, and collects nothing more
};

class WatchedLane final : public Lane {
 public:
  WatchedLane(std::unique_ptr<Lane> lane, LaneWatch& watch) : lane_(std::move(lane)), watch_(watch) {}
  /// A load that failed leaves work behind, and nobody else would let time pass.
  ~WatchedLane() override {
    while (const auto next = sim::next_completion()) sim::advance_to(*next);
  }

  void deliver(const LaneWork& work) override {
    noting_failure([&] { lane_->deliver(work); });
    ++watch_.in_flight;
    // Its thread takes no time to queue the work, however late it comes to it.
    if (auto* const lane = dynamic_cast<CudaLane*>(lane_.get())) lane->wait_until_queued(UINT64_MAX);
  }
  bool order(CUstream_st* stream, std::uint64_t count) override { return lane_->order(stream, count); }
  void collect(std::vector<LaneDone>& done) override {
    watch_.open = true;
    const std::size_t before = done.size();
    noting_failure([&] { lane_->collect(done); });
    watch_.in_flight -= done.size() - before;
  }

 private:
  template <typename Call>
  void noting_failure(const Call& call) {
    try {
      call();
    } catch (...) {
      watch_.failed = true;
      throw;
    }
  }

  const std::unique_ptr<Lane> lane_;
  LaneWatch& watch_;
};

/// A device whose lanes are watched, one at a time.
class WatchedDevice final : public Device {
 public:
  explicit WatchedDevice(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  DeviceId id() const noexcept override { return device_->id(); }
  std::uint64_t free_bytes() const override { return device_->free_bytes(); }
  bool shares_host_memory() const noexcept override { return device_->shares_host_memory(); }
  std::shared_ptr<Arena> allocate(std::uint64_t bytes) override { return device_->allocate(bytes); }
  std::shared_ptr<Arena> reserve(std::uint64_t bytes) override { return device_->reserve(bytes); }
  void warm_up() noexcept override { device_->warm_up(); }
  void check_memory(const std::byte* data, std::uint64_t bytes, std::string_view what) const override {
    device_->check_memory(data, bytes, what);
  }
  std::shared_ptr<Arena> adopt(std::byte* data) override { return device_->adopt(data); }
  std::unique_ptr<Lane> open_lane(const LaneContext& context) override {
    const struct End {  // also where it fails
      LaneWatch& watch;
      ~End() { watch.opening = LaneWatch::Opening::done; }
    } end{watch_};
    watch_.opening = LaneWatch::Opening::under_way;
    return std::make_unique<WatchedLane>(device_->open_lane(context), watch_);
  }
  std::shared_ptr<Pinner> pinner() const override { return device_->pinner(); }

  const LaneWatch& watch() const noexcept { return watch_; }

 private:
  const std::shared_ptr<Device> device_;
  LaneWatch watch_;
};

class ThrottledReader final : public Reader {
 public:
  /// `settle` returns when those that ask file systems have nothing to do.
  ThrottledReader(double bytes_per_second, Wakeup& wakeup, std::vector<std::shared_ptr<const WatchedDevice>> devices,
                  std::function<void()> settle)
      : bytes_per_second_(bytes_per_second),
        wakeup_(wakeup),
        devices_(std::move(devices)),
        settle_(std::move(settle)) {}

  ReaderKind kind() const noexcept override { return ReaderKind::pread; }
  void use_slabs(std::span<std::byte>, std::vector<Fallback>&) override {}
  std::uint32_t add_file(int descriptor) override { return static_cast<std::uint32_t>(descriptor); }
  void remove_file(std::uint32_t) noexcept override {}

  void submit(const Read& read) override {
    free_at_ = std::max(free_at_, sim::now()) + time_for(read.bytes, bytes_per_second_);
    reads_.push_back({read, free_at_});
  }

  void wait(std::vector<Done>& done, bool block) override {
    while (block) {
      settle_();
      const bool idle = everybody_waits();  // first: what they did before, they have notified us of
      if (is_notified() || has_read()) break;
      if (idle) {
        let_time_pass();
      } else {
        std::this_thread::yield();
      }
    }
    wakeup_.clear();
    for (; has_read(); reads_.pop_front()) done.push_back(finish(reads_.front().read));
  }

  std::int64_t now_ns() const noexcept override { return static_cast<std::int64_t>(sim::now()); }

 private:
  struct Pending {
    Read read;
    sim::Nanoseconds end;
  };

  bool everybody_waits() const {
    std::size_t busy = 0;
    std::size_t opening = 0;
    std::size_t unseen = 0;  // open, which the engine does not look at before all are
    for (const auto& device : devices_) {
      const LaneWatch& lane = device->watch();
      if (lane.failed) return true;
      if (lane.open) {
        busy += lane.in_flight > 0 ? 1 : 0;
      } else if (lane.opening == LaneWatch::Opening::waits_for_a_worker) {
        return false;
      } else {
        (lane.opening == LaneWatch::Opening::under_way ? opening : unseen) += 1;
      }
    }
    if (unseen > 0 && opening == 0) return false;  // the engine is about to be notified
    return sim::blocked_threads() == busy + opening;
  }
  bool is_notified() const {
    pollfd wakeup{wakeup_.fd(), POLLIN, 0};
    return poll(&wakeup, 1, 0) == 1;
  }
  bool has_read() const { return !reads_.empty() && reads_.front().end <= sim::now(); }

  void let_time_pass() const {
    std::optional<sim::Nanoseconds> next = sim::next_completion();
    if (!reads_.empty()) next = std::min(next.value_or(reads_.front().end), reads_.front().end);
    if (!next) throw Error(ErrorCode::system, "nothing is under way: the load would wait for ever");
    sim::advance_to(*next);
  }

  /// Memory changes as late as it may.
  static Done finish(const Read& read) {
    const ssize_t got = pread(static_cast<int>(read.file), read.target, read.bytes, static_cast<off_t>(read.offset));
    return got < 0 ? Done{read.tag, 0, errno} : Done{read.tag, static_cast<std::uint32_t>(got), 0};
  }

  const double bytes_per_second_;
  Wakeup& wakeup_;
  const std::vector<std::shared_ptr<const WatchedDevice>> devices_;
  const std::function<void()> settle_;
  std::deque<Pending> reads_;  // one after the other, as on one link
  sim::Nanoseconds free_at_ = 0;
};

struct SimulatedLoad {
  Load load;  // which has ended well
  sim::Nanoseconds time = 0;
};

/// Loads `plan` from storage that gives so many bytes a second, and takes the time once the devices are warm and slabs
/// are pinned.
/// REQUIRES: as many threads as devices, so that all lanes open at once.
inline SimulatedLoad load_in_simulated_time(const Plan& plan, const Options& options, double read_bytes_per_second,
                                            const StartOptions& start = {}) {
  SimulatedClock clock;  // by which nobody sleeps
  const auto wakeup = std::make_shared<Wakeup>();
  Equipment equipment(resolve(options), wakeup);
  std::vector<std::shared_ptr<const WatchedDevice>> devices;
  for (const DeviceId id : Access::data(plan)->devices) {
    const auto device = std::make_shared<WatchedDevice>(open_device(id, equipment.workers()));
    with_running_clock([&] { device->warm_up(); });
    equipment.use_device(device);
    devices.push_back(device);
  }
  equipment.use_reader(std::make_unique<ThrottledReader>(read_bytes_per_second, *wakeup, devices,
                                                         [&] { clock.settle({&equipment.file_asker().workers()}); }));
  equipment.prepare(Access::data(plan)->devices, [] { return false; });
  clock.settle({&equipment.workers()});

  const sim::Nanoseconds begin = sim::now();
  const auto state = std::make_shared<LoadState>(plan, memory_for(plan, start), wakeup, false);
  if (!state->begin()) throw Error(ErrorCode::system, "the load does not begin");
  run_load(*state, equipment);
  const sim::Nanoseconds end = sim::now();

  SimulatedLoad result{Access::load(state), end - begin};
  result.load.wait();
  return result;
}

}  // namespace sluice
