// ReaderContract: what loader/read/reader.hpp promises of every reader that reads, as checks that each reader's own
// test calls. A failure names the line in here.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "loader/base/wakeup.hpp"
#include "loader/read/reader.hpp"
#include "tests/loader/support/deadline.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {

/// A file of noise and memory to read it into.
class ReaderContract {
 public:
  static constexpr std::uint32_t block_bytes = 4096;
  static constexpr std::uint32_t target_bytes = 16 * block_bytes;
  static constexpr std::uint32_t file_bytes = target_bytes - 1000;  // its end is not aligned

  ReaderContract() : content_(noise(file_bytes)), path_(folder_.write("file", content_)) {
    descriptor_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    target_.reset(static_cast<std::byte*>(std::aligned_alloc(block_bytes, target_bytes)));
    clear();
  }
  ~ReaderContract() { close(descriptor_); }
  ReaderContract(const ReaderContract&) = delete;
  ReaderContract& operator=(const ReaderContract&) = delete;

  int descriptor() const { return descriptor_; }
  const std::filesystem::path& path() const { return path_; }
  std::span<std::byte> target() const { return {target_.get(), target_bytes}; }
  void clear() { std::fill_n(target_.get(), target_bytes, std::byte{0}); }

  Read read(std::uint32_t file, std::uint64_t offset, std::uint32_t bytes, ReadPath path = ReadPath::buffered) const {
    Read read;
    read.offset = offset;
    read.target = target_.get() + offset;
    read.bytes = bytes;
    read.file = file;
    read.path = path;
    read.tag = offset;
    return read;
  }
  /// Whether the target holds these bytes of the file, at their own offset.
  bool holds(std::uint64_t offset, std::uint32_t bytes) const {
    return std::equal(content_.begin() + static_cast<std::ptrdiff_t>(offset),
                      content_.begin() + static_cast<std::ptrdiff_t>(offset + bytes), target_.get() + offset);
  }

  /// Waits until `count` reads are done; sorted by tag.
  static std::vector<Done> wait_for(Reader& reader, std::size_t count) {
    std::vector<Done> done;
    while (done.size() < count) reader.wait(done, true);
    std::sort(done.begin(), done.end(), [](const Done& a, const Done& b) { return a.tag < b.tag; });
    return done;
  }

  /// One read of one file, whole, with its tail that is not aligned.
  void reads_a_whole_file(Reader& reader, std::uint32_t file, ReadPath path, bool in_slabs = false) {
    clear();
    Read whole = read(file, 0, file_bytes, path);
    whole.in_slabs = in_slabs;
    reader.submit(whole);
    const std::vector<Done> done = wait_for(reader, 1);
    EXPECT_EQ(done[0].error, 0);
    EXPECT_EQ(done[0].bytes, file_bytes);
    EXPECT_TRUE(holds(0, file_bytes));
  }

  void reads_several_ranges_at_a_time(Reader& reader, std::uint32_t file, ReadPath path) {
    clear();
    for (std::uint32_t i = 0; i < 8; ++i) reader.submit(read(file, i * std::uint64_t{block_bytes}, block_bytes, path));
    const std::vector<Done> done = wait_for(reader, 8);
    ASSERT_EQ(done.size(), 8u);
    for (std::uint32_t i = 0; i < 8; ++i) {
      EXPECT_EQ(done[i].tag, i * std::uint64_t{block_bytes});
      EXPECT_EQ(done[i].bytes, block_bytes);
      EXPECT_EQ(done[i].error, 0);
    }
    EXPECT_TRUE(holds(0, 8 * block_bytes));
    EXPECT_EQ(target()[8 * block_bytes], std::byte{0});
  }

  void tells_the_end_of_the_file_by_fewer_bytes(Reader& reader, std::uint32_t file, ReadPath path) {
    reader.submit(read(file, target_bytes - block_bytes, block_bytes, path));
    const std::vector<Done> done = wait_for(reader, 1);
    EXPECT_EQ(done[0].error, 0);
    EXPECT_EQ(done[0].bytes, block_bytes - 1000);
  }

  /// What storage does is a Done with an errno: here a descriptor that may not be read from.
  void hands_back_errors(Reader& reader, ReadPath path) {
    const int write_only = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    const std::uint32_t file = reader.add_file(write_only);
    reader.submit(read(file, 0, block_bytes, path));
    const std::vector<Done> done = wait_for(reader, 1);
    EXPECT_EQ(done[0].error, EBADF);
    reader.remove_file(file);
    close(write_only);
  }

  static void returns_at_once_where_it_may_not_block(Reader& reader) {
    std::vector<Done> done;
    reader.wait(done, false);
    EXPECT_TRUE(done.empty());
  }

  static void wakes_up_when_notified(Reader& reader, Wakeup& wakeup) {
    std::vector<Done> done;
    wakeup.notify();  // before it waits
    reader.wait(done, true);
    std::thread other([&wakeup] { wakeup.notify(); });  // while, most likely
    reader.wait(done, true);
    other.join();
    EXPECT_TRUE(done.empty());
  }

  /// What was notified between two waits ends the second, whatever the first has left behind; what came with the end of
  /// a read ends this wait or the next.
  void is_woken_by_what_was_notified_between_two_waits(Reader& reader, Wakeup& wakeup, std::uint32_t file,
                                                       ReadPath path) {
    std::vector<Done> done;
    for (int i = 0; i < 3; ++i) {
      reader.wait(done, false);  // gets ready to be woken, and is not
      wakeup.notify();
      reader.wait(done, true);
      EXPECT_TRUE(done.empty());
    }
    for (int i = 0; i < 3; ++i) {
      reader.submit(read(file, 0, block_bytes, path));
      wakeup.notify();
      while (done.empty()) reader.wait(done, true);
      wakeup.notify();
      reader.wait(done, true);
      EXPECT_EQ(done.size(), 1u);
      done.clear();
    }
  }

  /// As the engine waits: another thread leaves a mark and notifies, while reads end; each mark is met by whoever looks
  /// at it before each wait.
  void meets_every_mark(Reader& reader, Wakeup& wakeup, std::uint32_t file, ReadPath path) {
    constexpr int rounds = 2000;
    std::atomic<int> asked = 0;
    std::atomic<int> marked = 0;
    std::thread other([&] {
      for (int round = 1; round <= rounds; ++round) {
        while (asked < round) std::this_thread::yield();
        marked = round;
        wakeup.notify();
      }
    });
    std::size_t submitted = 0;
    std::vector<Done> done;
    for (int round = 1; round <= rounds; ++round) {
      if (done.size() == submitted && round % 2 == 0) {
        reader.submit(read(file, 0, block_bytes, path));
        ++submitted;
      }
      asked = round;
      while (marked < round) reader.wait(done, true);
    }
    while (done.size() < submitted) reader.wait(done, true);
    EXPECT_EQ(done.size(), submitted);
    other.join();
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  Deadline deadline_;
  TemporaryFolder folder_;
  std::vector<std::byte> content_;
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::unique_ptr<std::byte, Free> target_;
};

}  // namespace sluice
