// Window: how many bytes are asked of storage at a time, found while a load runs.
//
// Storage that answers late wants much in flight, its rate times its latency. Storage that is near wants little: then
// memory that was used a moment ago, and is still in the caches of whoever writes to it, is worth more. Neither is
// known before, and both change. So the window climbs by the rate that it brings:
//
//     growing   from a small beginning it doubles as long as that raises the rate by a good deal (slow start)
//     trying    two sizes are measured in turn, three times each, and the middle ones compared: one slow read, or one
//               lucky one, decides nothing. A larger one must be clearly faster, a smaller one only as fast
//     settled   until it tries the next larger or smaller size; seldom, if the last tries were in vain. When the rate
//               is no longer what it was, it grows anew
//
// What it brings is the bytes that are in flight over the time that a read takes (Little's law). To count what arrives
// in a while would be worth little: some disks end all that they were asked for at once, and then nothing for a while.
//
// Pure arithmetic on what it is told; one thread.
#pragma once

#include <array>
#include <cstdint>

namespace sluice {

class Window {
 public:
  /// `unit`: the most bytes of one read. `most`: what may be in flight at most; one unit is, at least.
  Window(std::uint64_t unit, std::uint64_t most) noexcept;

  /// What may be in flight.
  std::uint64_t bytes() const noexcept { return size_ * unit_; }
  /// Whether a read of `bytes` may join those in flight. A read may always be alone.
  bool admits(std::uint64_t in_flight, std::uint64_t bytes) const noexcept {
    return in_flight == 0 || in_flight + bytes <= this->bytes();
  }

  /// A read that has ended. Times are of any clock that only goes forward.
  struct Arrival {
    std::uint64_t bytes = 0;
    std::uint64_t in_flight = 0;  // all bytes, when it ended, with its own and those of what ended with it
    std::int64_t begin_ns = 0;    // when it was submitted
    std::int64_t end_ns = 0;
  };
  void arrived(const Arrival& read) noexcept;
  /// Less than the window is in flight, for want of something else: what is measured now tells nothing about its size.
  void starved() noexcept;

  /// Bytes per second, as last measured; 0: not yet.
  double rate() const noexcept { return rate_; }

 private:
  enum class State : std::uint8_t { growing, trying, settled };
  struct Measurement {
    std::uint64_t reads = 0;
    double byte_seconds = 0;     // of each read's bytes: how long they were in flight
    double bytes_in_flight = 0;  // of each of them: what was in flight when they arrived
    void add(const Arrival& read) noexcept;
    double rate() const noexcept { return byte_seconds > 0 ? bytes_in_flight / byte_seconds : 0; }
  };

  void resize(std::uint64_t size) noexcept;
  void measure() noexcept;
  void finish(double rate) noexcept;
  void grow(double rate) noexcept;
  void hold(double rate) noexcept;
  void compare(double rate) noexcept;
  void give_up() noexcept;
  void begin_to_grow(double rate) noexcept;
  void begin_to_try(std::uint64_t own, double own_rate, std::uint64_t other) noexcept;
  void settle(std::uint64_t size, double rate) noexcept;
  std::uint64_t next(std::uint64_t size, bool larger) const noexcept;

  const std::uint64_t unit_;
  const std::uint64_t least_;  // sizes are in units
  const std::uint64_t most_;
  std::uint64_t size_;
  State state_ = State::growing;
  double rate_ = 0;

  // Growing: what it grew from, 0 at the beginning. Trying: the sizes that are compared.
  std::uint64_t own_size_ = 0;
  std::uint64_t other_size_ = 0;
  static constexpr unsigned turns = 3;
  std::array<double, turns> own_rates_{};
  std::array<double, turns> other_rates_{};
  unsigned own_count_ = 0;
  unsigned other_count_ = 0;

  // Settled.
  double settled_rate_ = 0;          // what it brings, slowly following
  unsigned held_ = 0;                // measurements since
  unsigned strange_ = 0;             // of which the last ones were far from it
  bool larger_next_ = false;         // the direction of the next try
  std::array<unsigned, 2> holds_{};  // measurements before it tries a smaller, a larger size

  // The measurement under way.
  std::int64_t resized_ns_ = 0;
  std::int64_t steady_ns_ = -1;  // since when reads find the window filled as it now is; -1: not yet
  std::int64_t now_ns_ = 0;
  Measurement first_;   // of reads submitted when it was being filled
  Measurement steady_;  // and since
};

}  // namespace sluice
