#include "loader/engine/window.hpp"

#include <algorithm>

namespace sluice {
namespace {

// Where it begins: 8 MiB keep a local disk busy, and fit into any processor's caches.
constexpr std::uint64_t begin_bytes = 8ull << 20;
// So that storage works on one read while the other one's end is looked at.
constexpr std::uint64_t size_least = 2;

// What twice the size must bring for it to grow on. The first reads after it was doubled find storage less busy than
// the later ones will: if it is busy already they seem to bring up to 4/3, if it is not, twice as much.
constexpr double grows_by = 1.25;
constexpr double first_grows_by = 1.75;
// What a larger size must bring to be kept, and what a smaller one may cost.
constexpr double larger_gain = 1.05;
constexpr double smaller_loss = 0.98;
// What need not be measured again. Nothing is lost but a try where this was bad luck.
constexpr double plainly_worse = 0.85;
// What is no longer the same storage.
constexpr double slower = 0.6;
constexpr double faster = 1.6;

// A measurement is of so many reads, or of the whole window if that is more.
constexpr std::uint64_t reads_growing = 4;
constexpr std::uint64_t reads_settled = 8;
// Measurements between two tries: at first, where the other size has just been seen to be worse, and at most, after
// tries in vain.
constexpr unsigned hold_first = 4;
constexpr unsigned hold_known = 16;
constexpr unsigned hold_most = 64;

double middle(std::array<double, 3> rates) {
  std::sort(rates.begin(), rates.end());
  return rates[1];
}

}  // namespace

void Window::Measurement::add(const Arrival& read) noexcept {
  ++reads;
  byte_seconds += static_cast<double>(read.bytes) * static_cast<double>(read.end_ns - read.begin_ns) * 1e-9;
  bytes_in_flight += static_cast<double>(read.bytes) * static_cast<double>(read.in_flight);
}

Window::Window(std::uint64_t unit, std::uint64_t most) noexcept
    : unit_(unit),
      least_(std::clamp<std::uint64_t>(most / unit, 1, size_least)),
      most_(std::max(least_, most / unit)),
      size_(std::clamp(begin_bytes / unit, least_, most_)),
      holds_{hold_first, hold_first} {}

std::uint64_t Window::next(std::uint64_t size, bool larger) const noexcept {
  return larger ? std::min(most_, size + std::max<std::uint64_t>(1, size / 2))
                : std::max(least_, size - std::max<std::uint64_t>(1, size / 3));
}

void Window::resize(std::uint64_t size) noexcept {
  if (size != size_) {
    resized_ns_ = now_ns_;
    steady_ns_ = -1;
  }
  size_ = size;
  measure();
}

void Window::measure() noexcept {
  first_ = steady_ = {};
}

void Window::starved() noexcept {
  // A larger size that storage cannot make use of is no faster: that is an answer, too.
  const bool is_larger = state_ != State::settled && size_ == other_size_ && other_size_ > own_size_;
  if (!is_larger) measure();
}

void Window::arrived(const Arrival& read) noexcept {
  now_ns_ = read.end_ns;
  if (read.begin_ns < resized_ns_) return;
  if (steady_ns_ < 0) steady_ns_ = now_ns_;
  const bool is_steady = read.begin_ns >= steady_ns_;
  (is_steady ? steady_ : first_).add(read);
  const bool grows = state_ == State::growing;
  const std::uint64_t wanted = std::max(size_, grows ? reads_growing : reads_settled);
  if (steady_.reads >= wanted && steady_.rate() > 0) {
    rate_ = steady_.rate();
    finish(rate_);
  } else if (grows && own_size_ != 0 && !is_steady && first_.reads >= std::max(reads_growing, size_ / 2) &&
             first_.rate() >= first_grows_by * own_rates_[0]) {
    begin_to_grow(first_.rate());
  }
}

void Window::finish(double rate) noexcept {
  switch (state_) {
    case State::growing:
      return grow(rate);
    case State::trying:
      return compare(rate);
    case State::settled:
      return hold(rate);
  }
}

void Window::begin_to_grow(double rate) noexcept {
  if (size_ == most_) {
    holds_[0] = hold_known;
    return settle(size_, rate);
  }
  state_ = State::growing;
  own_size_ = size_;
  own_rates_[0] = rate;
  other_size_ = std::min(most_, 2 * size_);
  resize(other_size_);
}

void Window::grow(double rate) noexcept {
  if (own_size_ == 0 || rate >= grows_by * own_rates_[0]) return begin_to_grow(rate);
  begin_to_try(own_size_, own_rates_[0], other_size_);
  other_rates_[other_count_++] = rate;
  resize(own_size_);
}

void Window::begin_to_try(std::uint64_t own, double own_rate, std::uint64_t other) noexcept {
  state_ = State::trying;
  own_size_ = own;
  own_rates_[0] = own_rate;
  own_count_ = 1;
  other_size_ = other;
  other_count_ = 0;
}

void Window::compare(double rate) noexcept {
  const bool is_own = size_ == own_size_;
  (is_own ? own_rates_[own_count_++] : other_rates_[other_count_++]) = rate;
  if (!is_own && rate < plainly_worse * own_rates_[0]) return give_up();
  if (own_count_ < turns || other_count_ < turns) return resize(is_own ? other_size_ : own_size_);

  const bool larger = other_size_ > own_size_;
  const double other_rate = middle(other_rates_);
  if (other_rate < middle(own_rates_) * (larger ? larger_gain : smaller_loss)) return give_up();
  holds_[larger ? 1 : 0] = hold_first;
  holds_[larger ? 0 : 1] = hold_known;
  const std::uint64_t further = next(other_size_, larger);
  if (further == other_size_) return settle(other_size_, other_rate);
  begin_to_try(other_size_, other_rate, further);
  resize(further);
}

void Window::give_up() noexcept {
  larger_next_ = other_size_ < own_size_;
  unsigned& hold = holds_[larger_next_ ? 0 : 1];
  hold = std::min(hold_most, 2 * hold);
  settle(own_size_, own_rates_[0]);
}

void Window::settle(std::uint64_t size, double rate) noexcept {
  state_ = State::settled;
  settled_rate_ = rate;
  held_ = strange_ = 0;
  resize(size);
}

void Window::hold(double rate) noexcept {
  const bool is_strange = rate < slower * settled_rate_ || rate > faster * settled_rate_;
  strange_ = is_strange ? strange_ + 1 : 0;
  if (!is_strange) settled_rate_ += (rate - settled_rate_) / 8;
  if (strange_ == 2) {
    holds_ = {hold_first, hold_first};
    return begin_to_grow(rate);
  }
  if (++held_ < holds_[larger_next_ ? 1 : 0]) return measure();
  const std::uint64_t other = next(size_, larger_next_);
  if (other != size_) {
    begin_to_try(size_, rate, other);
    return resize(other);
  }
  larger_next_ = !larger_next_;
  held_ = 0;
  measure();
}

}  // namespace sluice
