// SimulatedReader: storage that reads one extent after the other, so many bytes a second by a simulated clock, and that
// lets time pass when the engine waits for it and nobody could do anything without that. The bytes are those of the
// real files.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "loader/read/read_progress.hpp"
#include "loader/read/reader.hpp"
#include "sluice/error.hpp"
#include "tests/loader/support/simulated_clock.hpp"

namespace sluice {

inline std::int64_t ns_for(std::uint64_t bytes, double bytes_per_second) {
  return static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 / bytes_per_second);
}

class SimulatedReader final : public Reader {
 public:
  /// `settle` returns when whoever works for the engine sleeps by the clock, or has nothing to do. All outlive it.
  SimulatedReader(double bytes_per_second, SimulatedClock& clock, Wakeup& wakeup, std::function<void()> settle)
      : bytes_per_second_(bytes_per_second), clock_(clock), wakeup_(wakeup), settle_(std::move(settle)) {}

  /// Called whenever time is about to pass.
  void on_idle(std::function<void()> look) { look_ = std::move(look); }
  std::uint64_t submitted() const { return submitted_; }
  bool is_idle() const { return reads_.empty(); }

  ReaderKind kind() const noexcept override { return ReaderKind::pread; }
  void use_slabs(std::span<std::byte>, std::vector<Fallback>&) override {}
  std::uint32_t add_file(int descriptor) override { return static_cast<std::uint32_t>(descriptor); }
  void remove_file(std::uint32_t) noexcept override {}

  void submit(const Read& read) override {
    free_at_ns_ = std::max(free_at_ns_, clock_.now_ns()) + ns_for(read.bytes, bytes_per_second_);
    reads_.push_back({read, free_at_ns_});
    ++submitted_;
  }

  void wait(std::vector<Done>& done, bool block) override {
    while (block) {
      settle_();  // first: what they did before, they have notified us of
      if (is_notified() || has_read()) break;
      look_();
      if (!is_notified()) let_time_pass();
    }
    wakeup_.clear();
    for (; has_read(); reads_.pop_front()) done.push_back(finish(reads_.front().read));
  }

  std::int64_t now_ns() const noexcept override { return clock_.now_ns(); }

 private:
  struct Pending {
    Read read;
    std::int64_t end_ns;
  };

  bool is_notified() const {
    pollfd wakeup{wakeup_.fd(), POLLIN, 0};
    return poll(&wakeup, 1, 0) == 1;
  }
  bool has_read() const { return !reads_.empty() && reads_.front().end_ns <= clock_.now_ns(); }

  void let_time_pass() const {
    std::optional<std::int64_t> next = clock_.next_ns();
    if (!reads_.empty()) next = std::min(next.value_or(reads_.front().end_ns), reads_.front().end_ns);
    if (!next) throw Error(ErrorCode::system, "nothing is under way: the load would wait for ever");
    clock_.advance_to(*next);
  }

  /// Memory changes as late as it may.
  static Done finish(const Read& read) {
    ReadProgress progress(read);
    while (!progress.ended()) {
      const ssize_t got = pread(static_cast<int>(read.file), progress.target(), progress.bytes(),
                                static_cast<off_t>(progress.offset()));
      progress.add(got < 0 ? -errno : static_cast<int>(got));
    }
    return progress.done();
  }

  const double bytes_per_second_;
  SimulatedClock& clock_;
  Wakeup& wakeup_;
  const std::function<void()> settle_;
  std::function<void()> look_ = [] {};
  std::deque<Pending> reads_;
  std::int64_t free_at_ns_ = 0;
  std::uint64_t submitted_ = 0;
};

}  // namespace sluice
