// SeededReader: a reader whose storage does, as a seed decides, whatever loader/read/reader.hpp lets storage do: reads
// end out of order, in pieces, late, after "not now", with an errno, before the file should end; wait() returns with
// nothing, tells of a read long after it has ended, and is woken by nobody. The bytes are those of the real files.
// A caller that breaks the contract fails the test.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "loader/read/read_progress.hpp"
#include "loader/read/reader.hpp"

namespace sluice {

/// What storage does besides reading; counts are of a thousand reads.
struct Storage {
  unsigned errors = 0;          // end with an errno, after some bytes or none
  unsigned early_ends = 0;      // the file ends inside
  unsigned refuses_direct = 0;  // of the direct ones, answer EINVAL or EOPNOTSUPP
};

class SeededReader final : public Reader {
 public:
  SeededReader(Wakeup& wakeup, unsigned queue_depth, std::uint64_t seed)
      : wakeup_(wakeup), queue_depth_(queue_depth), random_(seed) {}
  ~SeededReader() override {
    for (const auto& [number, file] : files_) close(file.descriptor);
  }

  /// From here on it behaves so. REQUIRES: nothing is in flight.
  void become(const Storage& storage) {
    EXPECT_TRUE(in_flight_.empty());
    storage_ = storage;
    failure_.reset();
  }

  /// The first read that was told of which must end a load: an error, or the end of the file where `error` is 0.
  struct Failure {
    int error = 0;
    std::string path;
    std::uint64_t offset = 0;
  };
  const std::optional<Failure>& failure() const { return failure_; }
  bool is_idle() const { return in_flight_.empty() && files_.empty(); }

  ReaderKind kind() const noexcept override { return ReaderKind::pread; }

  void use_slabs(std::span<std::byte> slabs, std::vector<Fallback>&) override {
    EXPECT_TRUE(in_flight_.empty());
    slabs_ = slabs;
  }

  std::uint32_t add_file(int descriptor) override {
    const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
    File file;
    file.path = std::filesystem::read_symlink(link).string();
    file.is_readable = (fcntl(descriptor, F_GETFL) & O_ACCMODE) != O_WRONLY;
    file.descriptor = open(link.c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_GE(file.descriptor, 0) << file.path;
    files_.emplace(++last_file_, std::move(file));
    return last_file_;
  }

  void remove_file(std::uint32_t number) noexcept override {
    for (const Trip& trip : in_flight_) EXPECT_NE(trip.progress.read().file, number) << "a read is in flight";
    const auto file = files_.find(number);
    ASSERT_NE(file, files_.end());
    close(file->second.descriptor);
    files_.erase(file);
  }

  void submit(const Read& read) override {
    EXPECT_LT(in_flight_.size(), queue_depth_);
    ASSERT_TRUE(files_.contains(read.file));
    if (read.path == ReadPath::direct) {
      EXPECT_EQ(read.offset % limits::direct_alignment_bytes, 0u);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(read.target) % limits::direct_alignment_bytes, 0u);
    }
    if (read.in_slabs && !slabs_.empty()) {
      EXPECT_TRUE(read.target >= slabs_.data() && read.target + read.bytes <= slabs_.data() + slabs_.size());
    }
    for (const Trip& other : in_flight_) {
      const Read& theirs = other.progress.read();
      EXPECT_NE(theirs.tag, read.tag);
      EXPECT_TRUE(theirs.target + theirs.bytes <= read.target || read.target + read.bytes <= theirs.target);
    }
    in_flight_.push_back(begin(read));
  }

  void wait(std::vector<Done>& done, bool block) override {
    const std::size_t before = done.size();
    if (one_in(8)) wakeup_.notify();  // and nobody has marked anything
    for (std::uint64_t steps = below(2 * queue_depth_ + 1); steps > 0; --steps) advance_any();
    while (!in_flight_.empty() && one_in(2)) tell_any(done);
    const bool told = done.size() > before;
    if (block && !told && in_flight_.empty()) {
      wakeup_.wait();
      return wakeup_.clear();
    }
    if (block && !told && !one_in(4)) {
      // Somebody's notification ends the wait as well as a read.
      if (is_notified() && one_in(2)) return wakeup_.clear();
      for (std::size_t all = in_flight_.size(); in_flight_.size() == all; tell_any(done)) advance_any();
    }
    if (one_in(2)) wakeup_.clear();  // else it ends the next wait too
  }

 private:
  struct File {
    std::string path;
    int descriptor = -1;
    bool is_readable = true;
  };
  struct Trip {
    ReadProgress progress;
    std::uint64_t sound_bytes = 0;  // that come before `answer`
    int answer = 0;                 // 0: the file ends; else a negative errno
  };

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  bool one_in(unsigned times) { return below(times) == 0; }
  bool happens(unsigned in_a_thousand) { return below(1000) < in_a_thousand; }
  template <std::size_t count>
  int any_of(const int (&errors)[count]) {
    return errors[below(count)];
  }

  bool is_notified() const {
    pollfd notified{wakeup_.fd(), POLLIN, 0};
    return poll(&notified, 1, 0) == 1;
  }

  /// What is to become of a read is decided when it begins.
  Trip begin(const Read& read) {
    Trip trip{ReadProgress(read), std::uint64_t{read.bytes} + limits::direct_alignment_bytes, 0};
    const bool direct = read.path == ReadPath::direct;
    if (!files_[read.file].is_readable) {
      trip = {trip.progress, 0, -EBADF};
    } else if (direct && happens(storage_.refuses_direct)) {
      trip = {trip.progress, 0, -any_of({EINVAL, EOPNOTSUPP})};
    } else if (happens(storage_.errors)) {
      trip.sound_bytes = one_in(2) ? 0 : below(read.bytes);
      if (direct) trip.sound_bytes -= trip.sound_bytes % limits::direct_alignment_bytes;
      trip.answer =
          -any_of({EIO, EBADF, EINVAL, EOPNOTSUPP, ENODATA, ENXIO, ESTALE, ETIMEDOUT, EINTR, EAGAIN, EBUSY, ENOMEM});
    } else if (happens(storage_.early_ends)) {
      trip.sound_bytes = below(read.bytes);
    }
    return trip;
  }

  void advance_any() {
    if (!in_flight_.empty()) advance(in_flight_[below(in_flight_.size())]);
  }

  /// One answer of storage's.
  void advance(Trip& trip) {
    ReadProgress& progress = trip.progress;
    if (progress.ended()) return;
    if (one_in(6)) return progress.add(-any_of({EINTR, EAGAIN, EBUSY, ENOMEM, ECANCELED}));
    const std::uint64_t got = progress.offset() - progress.read().offset;
    if (got >= trip.sound_bytes) return progress.add(trip.answer);
    std::uint64_t bytes = progress.bytes();
    if (one_in(2)) bytes = std::min<std::uint64_t>(bytes, limits::direct_alignment_bytes * (1 + below(8)));
    if (one_in(4) && progress.read().path != ReadPath::direct) bytes = 1 + below(bytes);
    bytes = std::min(bytes, trip.sound_bytes - got);
    const ssize_t read =
        pread(files_[progress.read().file].descriptor, progress.target(), bytes, static_cast<off_t>(progress.offset()));
    progress.add(read < 0 ? -errno : static_cast<int>(read));
  }

  /// Tells of one read that has ended, if it meets one.
  void tell_any(std::vector<Done>& done) {
    const std::uint64_t index = below(in_flight_.size());
    const ReadProgress& progress = in_flight_[index].progress;
    if (!progress.ended()) return;
    const Read& read = progress.read();
    done.push_back(progress.done());
    const bool refused_direct =
        read.path == ReadPath::direct && (done.back().error == EINVAL || done.back().error == EOPNOTSUPP);
    if (!failure_ && !refused_direct && done.back().bytes < read.bytes) {
      failure_ = {done.back().error, files_[read.file].path, read.offset + done.back().bytes};
    }
    std::swap(in_flight_[index], in_flight_.back());
    in_flight_.pop_back();
  }

  Wakeup& wakeup_;
  const unsigned queue_depth_;
  std::mt19937_64 random_;
  Storage storage_;
  std::span<std::byte> slabs_;
  std::map<std::uint32_t, File> files_;  // no number is used twice
  std::uint32_t last_file_ = 0;
  std::vector<Trip> in_flight_;
  std::optional<Failure> failure_;
};

}  // namespace sluice
