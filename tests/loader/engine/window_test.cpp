// Goal: the window that a load finds while it runs brings, on storage of any kind, what the best fixed one would, with
// about its memory, soon, and follows storage that changes.
// Method: loads in simulated time, which know no clock, from models of storage; beside each of a dozen fixed windows.
#include "loader/engine/window.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <ostream>
#include <queue>
#include <random>
#include <string>
#include <vector>

namespace sluice {
namespace {

constexpr std::uint64_t unit = 4 << 20;
constexpr std::uint64_t units_most = 32;
constexpr std::uint64_t load_bytes = 4ull << 30;
constexpr double ms = 1e-3;

/// Reads wait `latency` each for themselves, and then for each other: bytes come at `rate`.
struct Storage {
  std::string name{};
  double rate = 2e9;
  double latency = 0.3 * ms;
  double jitter = 0;       // of the latency, to either side
  double rate_of_one = 0;  // what one read gets at most; 0: all of it
  double burst_rate = 0;   // of the first bytes, as long as credit lasts
  double burst_bytes = 0;
  double loss_of_memory = 0;              // of the rate, in proportion to the memory in turn, with 128 MiB of it
  double swing = 0;                       // of the rate, slowly up and down
  int stalls_every = 0;                   // reads, of which one takes a second
  std::optional<double> latency_later{};  // from the middle on
  bool ends_together = false;             // all reads that it has, when the last of them is done
  std::uint64_t read_bytes = unit;

  friend void PrintTo(const Storage& storage, std::ostream* out) { *out << storage.name; }
};

/// When the reads that it is given will have ended, in seconds.
class Model {
 public:
  Model(const Storage& storage, unsigned seed) : storage_(storage), random_(seed), credit_(storage.burst_bytes) {}

  double end_of(double now, std::uint64_t bytes, std::uint64_t in_flight, bool later) {
    const double size = static_cast<double>(bytes);
    const double rate = rate_now(size, in_flight);
    double latency = (later ? *storage_.latency_later : storage_.latency) * (1 + storage_.jitter * noise());
    if (storage_.stalls_every != 0 && ++reads_ % storage_.stalls_every == 0) latency += 1;
    free_at_ = std::max(free_at_, now) + size / rate;
    const double alone = size / (storage_.rate_of_one > 0 ? storage_.rate_of_one : rate);
    return std::max(free_at_, now + latency + alone);
  }

 private:
  double noise() { return std::uniform_real_distribution<double>(-1, 1)(random_); }
  double rate_now(double bytes, std::uint64_t in_flight) {
    const double used = std::min(1.0, static_cast<double>(in_flight) / (128 << 20));
    double rate = storage_.rate * (1 - storage_.loss_of_memory * used);
    if (credit_ > 0) {
      credit_ -= bytes;
      rate = storage_.burst_rate;
    }
    drift_ = std::clamp(drift_ + 0.02 * storage_.swing * noise(), 1 - storage_.swing, 1 + storage_.swing);
    return rate * drift_ * (1 + 0.3 * storage_.swing * noise());
  }

  const Storage& storage_;
  std::mt19937_64 random_;
  double credit_;
  double drift_ = 1;
  double free_at_ = 0;
  int reads_ = 0;
};

struct Course {
  double seconds = 0;
  double mean_units = 0;       // in flight, over time
  double mean_units_soon = 0;  // likewise, from a twentieth of the load on
  std::uint64_t most_units = 0;
};

class SimulatedLoad {
 public:
  /// With a window that is found, or of `fixed` units.
  SimulatedLoad(const Storage& storage, std::uint64_t bytes, unsigned seed, std::uint64_t fixed)
      : storage_(storage), model_(storage, seed), fixed_(fixed), bytes_(bytes), left_(bytes) {}

  Course run() {
    double soon_at = 0;
    double soon_area = 0;
    while (submit_all(), !reads_.empty()) {
      const double before = now_;
      now_ = reads_.top().end;
      const double area = (now_ - before) * static_cast<double>(in_flight_) / unit;
      course_.mean_units += area;
      if (bytes_ - left_ > bytes_ / 20)
        soon_area += area;
      else
        soon_at = now_;
      take_ended();
    }
    course_.seconds = now_;
    course_.mean_units /= now_;
    course_.mean_units_soon = soon_area / (now_ - soon_at);
    return course_;
  }

 private:
  struct Read {
    double end;
    double begin;
    std::uint64_t bytes;
    bool operator<(const Read& other) const { return end > other.end; }  // the first to end comes first
  };

  bool admits(std::uint64_t bytes) const {
    if (reads_.size() == units_most) return false;  // as many slabs as there are
    return fixed_ == 0 ? window_.admits(in_flight_, bytes) : in_flight_ + bytes <= fixed_ * unit;
  }

  void submit_all() {
    const bool later = storage_.latency_later && left_ < bytes_ / 2;
    for (std::uint64_t bytes; left_ > 0 && admits(bytes = std::min(left_, storage_.read_bytes)); left_ -= bytes) {
      in_flight_ += bytes;
      double end = model_.end_of(now_, bytes, in_flight_, later);
      if (storage_.ends_together) end = together_ = std::max(end, together_);
      reads_.push({end, now_, bytes});
    }
    if (storage_.ends_together) end_together();
    course_.most_units = std::max(course_.most_units, (in_flight_ + unit - 1) / unit);
  }

  // Whoever is in flight ends with the last one.
  void end_together() {
    std::vector<Read> all;
    for (; !reads_.empty(); reads_.pop()) all.push_back(reads_.top());
    for (Read& read : all) reads_.push({together_, read.begin, read.bytes});
  }

  void take_ended() {
    const std::uint64_t in_flight = in_flight_;
    while (!reads_.empty() && reads_.top().end <= now_) {
      const Read read = reads_.top();
      reads_.pop();
      in_flight_ -= read.bytes;
      window_.arrived({read.bytes, in_flight, nanoseconds(read.begin), nanoseconds(now_)});
    }
  }

  static std::int64_t nanoseconds(double seconds) { return static_cast<std::int64_t>(seconds * 1e9); }

  const Storage& storage_;
  Model model_;
  Window window_{unit, units_most* unit};
  const std::uint64_t fixed_;
  const std::uint64_t bytes_;
  std::uint64_t left_;
  std::uint64_t in_flight_ = 0;
  double now_ = 0;
  double together_ = 0;
  std::priority_queue<Read> reads_;
  Course course_;
};

// The mean of several loads.
Course course_of(const Storage& storage, std::uint64_t bytes, std::uint64_t fixed) {
  constexpr unsigned seeds = 5;
  Course mean;
  for (unsigned seed = 0; seed < seeds; ++seed) {
    const Course one = SimulatedLoad(storage, bytes, seed, fixed).run();
    mean.seconds += one.seconds / seeds;
    mean.mean_units += one.mean_units / seeds;
    mean.mean_units_soon += one.mean_units_soon / seeds;
    mean.most_units = std::max(mean.most_units, one.most_units);
  }
  return mean;
}

struct Best {
  double seconds = 0;
  std::uint64_t units = 0;  // the smallest that is as fast within a hundredth
};

Best best_fixed(const Storage& storage, std::uint64_t bytes) {
  std::vector<std::pair<std::uint64_t, double>> all;
  for (const std::uint64_t units : {1, 2, 3, 4, 6, 8, 11, 16, 22, 32}) {
    all.emplace_back(units, course_of(storage, bytes, units).seconds);
  }
  const auto by_seconds = [](const auto& a, const auto& b) { return a.second < b.second; };
  const double seconds = std::min_element(all.begin(), all.end(), by_seconds)->second;
  const auto first =
      std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.second <= 1.01 * seconds; });
  return {seconds, first->first};
}

std::vector<Storage> kinds() {
  std::vector<Storage> all;
  for (const double rate : {0.2e9, 2e9, 10e9, 50e9}) {
    for (const double latency : {0.05 * ms, 0.5 * ms, 5 * ms, 20 * ms, 100 * ms}) {
      for (const double jitter : {0.0, 0.5}) {
        all.push_back(
            {.name = fmt::format("{:.0f}MBps_{:.0f}us{}", rate / 1e6, latency * 1e6, jitter > 0 ? "_jitter" : ""),
             .rate = rate,
             .latency = latency,
             .jitter = jitter});
      }
    }
  }
  for (const double latency : {0.3 * ms, 5 * ms}) {
    const auto add = [&](const char* what, Storage storage) {
      storage.name = fmt::format("{}_{:.0f}us", what, latency * 1e6);
      storage.latency = latency;
      all.push_back(storage);
    };
    add("Bucket", {.rate = 0.3e9, .burst_rate = 3e9, .burst_bytes = 1.5e9});
    add("SlowerWithMoreMemory", {.loss_of_memory = 0.4});
    add("Swinging", {.swing = 0.3});
    add("EndingTogether", {.ends_together = true});
    add("SlowForOneRead", {.rate = 3e9, .rate_of_one = 0.5e9});
    add("SmallReads", {.read_bytes = 64 << 10});
  }
  all.push_back({.name = "FartherLater", .latency = 0.2 * ms, .latency_later = 8 * ms});
  all.push_back({.name = "NearerLater", .latency = 8 * ms, .latency_later = 0.2 * ms});
  return all;
}

class WindowTest : public testing::TestWithParam<Storage> {};

TEST_P(WindowTest, IsAsGoodAsTheBestFixedOne) {
  const Storage& storage = GetParam();
  // Of a few GiB; where a window is a thirtieth of that, of more of them.
  const std::uint64_t fixed_bytes = best_fixed(storage, load_bytes).units * unit;
  const std::uint64_t bytes = std::max(load_bytes, 300 * fixed_bytes);
  const Best best = best_fixed(storage, bytes);
  const Course found = course_of(storage, bytes, 0);
  EXPECT_GE(best.seconds / found.seconds, 0.95) << "best fixed: " << best.units << " units";
  const double enough = std::max<double>(2, static_cast<double>(best.units));  // never less than two reads
  EXPECT_LE(found.mean_units, 2 * enough);
  EXPECT_LE(found.mean_units_soon, 2 * enough) << "from a twentieth of the load on";
  EXPECT_LE(found.most_units, static_cast<std::uint64_t>(4 * enough)) << "tried in passing";
}

INSTANTIATE_TEST_SUITE_P(Storages, WindowTest, testing::ValuesIn(kinds()),
                         [](const auto& storage) { return storage.param.name; });

TEST(Window, DoesNotCollapseOnReadsThatStall) {
  const Storage storage{.name = "Stalling", .stalls_every = 300};
  const Best best = best_fixed(storage, load_bytes);
  EXPECT_GE(best.seconds / course_of(storage, load_bytes, 0).seconds, 0.8);
}

TEST(Window, AdmitsOneReadHoweverLongAndNoMoreThanItsSize) {
  const Window window(unit, 2 * unit);
  EXPECT_TRUE(window.admits(0, 100 * unit));
  EXPECT_TRUE(window.admits(unit, unit));
  EXPECT_FALSE(window.admits(unit, unit + 1));
}

TEST(Window, StaysWithinItsBounds) {
  const Window one(unit, unit);
  EXPECT_EQ(one.bytes(), unit);
  const Window none(unit, unit / 2);
  EXPECT_EQ(none.bytes(), unit) << "a read may always be under way";
  const Window small(64 << 10, 256 << 10);
  EXPECT_EQ(small.bytes(), 256u << 10);
}

// All that arrives, arrives at the same time after it was asked for: a larger window is always better.
void arrive(Window& window, unsigned reads, std::int64_t& now_ns) {
  for (unsigned i = 0; i < reads; ++i) {
    now_ns += 1000;
    window.arrived({unit, window.bytes(), now_ns - 100'000, now_ns});
  }
}

TEST(Window, LearnsNothingWhileItIsNotWhatHoldsReadsBack) {
  Window window(unit, units_most * unit);
  const std::uint64_t bytes = window.bytes();
  std::int64_t now_ns = 1'000'000;
  for (int i = 0; i < 1000; ++i) {
    arrive(window, 1, now_ns);
    window.starved();
  }
  EXPECT_EQ(window.bytes(), bytes);
  EXPECT_EQ(window.rate(), 0);
  arrive(window, 1000, now_ns);
  EXPECT_EQ(window.bytes(), units_most * unit) << "as it does when it is";
  EXPECT_GT(window.rate(), 0);
}

}  // namespace
}  // namespace sluice
