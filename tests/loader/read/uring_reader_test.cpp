// Goal: UringReader keeps the contract of loader/read/reader.hpp, with and without what it registers, and says why not.
// Method: the checks that all readers share, on rings with each set of flags; seccomp filters and limits refuse the
// ring or its extras.
#include "loader/read/uring_reader.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>

#include "loader/base/memory.hpp"
#include "sluice/error.hpp"
#include "tests/loader/support/reader_contract.hpp"
#include "tests/loader/support/refusals.hpp"

namespace sluice {
namespace {

/// With each set of flags that a kernel may leave us.
class UringReaderTest : public testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override {
    const unsigned flags = GetParam();
    reader_ = UringReader::make(resolve({}), wakeup_, fallbacks_, refusal_, {&flags, 1});
    if (reader_ == nullptr) GTEST_SKIP() << "io_uring is refused: " << refusal_;
  }

  Wakeup wakeup_;
  std::vector<Fallback> fallbacks_;
  std::string refusal_;
  std::unique_ptr<UringReader> reader_;
  ReaderContract contract_;
};

TEST_P(UringReaderTest, ReadsBufferedAndOutOfThePageCache) {
  EXPECT_EQ(reader_->kind(), ReaderKind::uring);
  const std::uint32_t file = reader_->add_file(contract_.descriptor());
  for (const ReadPath path : {ReadPath::buffered, ReadPath::cached}) {
    contract_.reads_a_whole_file(*reader_, file, path);
    contract_.reads_several_ranges_at_a_time(*reader_, file, path);
    contract_.tells_the_end_of_the_file_by_fewer_bytes(*reader_, file, path);
  }
  reader_->remove_file(file);
}

TEST_P(UringReaderTest, ReadsDirectly) {
  const int direct = open(contract_.path().c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  if (direct < 0) GTEST_SKIP() << "this file system refuses O_DIRECT";
  const std::uint32_t file = reader_->add_file(direct);
  contract_.reads_a_whole_file(*reader_, file, ReadPath::direct);
  contract_.reads_several_ranges_at_a_time(*reader_, file, ReadPath::direct);
  contract_.tells_the_end_of_the_file_by_fewer_bytes(*reader_, file, ReadPath::direct);
  reader_->remove_file(file);
  close(direct);
}

TEST_P(UringReaderTest, ReadsIntoRegisteredSlabsAndAfterThemIntoOthers) {
  const std::uint32_t file = reader_->add_file(contract_.descriptor());
  std::vector<Fallback> refused;
  reader_->use_slabs(contract_.target(), refused);
  if (!refused.empty()) GTEST_SKIP() << refused[0].reason;
  contract_.reads_a_whole_file(*reader_, file, ReadPath::buffered, true);
  reader_->use_slabs(contract_.target(), refused);  // again: what was registered is taken back first
  contract_.reads_a_whole_file(*reader_, file, ReadPath::buffered, true);
  reader_->use_slabs({}, refused);
  contract_.reads_a_whole_file(*reader_, file, ReadPath::buffered, true);
  EXPECT_TRUE(refused.empty());
  reader_->remove_file(file);
}

TEST_P(UringReaderTest, ReadsFromMoreFilesThanItsTableHolds) {
  std::vector<std::uint32_t> files(100);
  for (std::uint32_t& file : files) file = reader_->add_file(contract_.descriptor());
  EXPECT_EQ(std::adjacent_find(files.begin(), files.end()), files.end());
  contract_.reads_a_whole_file(*reader_, files.front(), ReadPath::buffered);
  contract_.reads_a_whole_file(*reader_, files.back(), ReadPath::buffered);
  for (const std::uint32_t file : files) reader_->remove_file(file);
}

TEST_P(UringReaderTest, AFileThatWasRemovedMakesRoomForAnother) {
  const int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const std::uint32_t first = reader_->add_file(other);
  reader_->remove_file(first);
  close(other);
  const std::uint32_t second = reader_->add_file(contract_.descriptor());
  EXPECT_EQ(second, first);
  contract_.reads_a_whole_file(*reader_, second, ReadPath::buffered);
  reader_->remove_file(second);
}

/// The ring's table takes no rings.
TEST_P(UringReaderTest, ReadsWhatStandsBesideAFileThatItsTableRefuses) {
  io_uring other{};
  ASSERT_EQ(io_uring_queue_init(1, &other, 0), 0);
  const std::uint32_t first = reader_->add_file(contract_.descriptor());
  const std::uint32_t refused = reader_->add_file(other.ring_fd);
  const std::uint32_t last = reader_->add_file(contract_.descriptor());
  contract_.reads_a_whole_file(*reader_, first, ReadPath::buffered);
  contract_.reads_a_whole_file(*reader_, last, ReadPath::buffered);
  for (const std::uint32_t file : {first, refused, last}) reader_->remove_file(file);
  io_uring_queue_exit(&other);
}

/// A pipe's reading end hears of it when its last writing end is closed.
TEST_P(UringReaderTest, KeepsNoFileOpenThatWasRemoved) {
  io_uring other{};
  ASSERT_EQ(io_uring_queue_init(1, &other, 0), 0);
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const std::uint32_t first = reader_->add_file(contract_.descriptor());
  const std::uint32_t writing = reader_->add_file(ends[1]);
  reader_->remove_file(first);
  const std::uint32_t refused = reader_->add_file(other.ring_fd);  // before `writing` in the table
  EXPECT_LT(refused, writing);
  reader_->remove_file(writing);
  close(ends[1]);
  std::vector<Done> done;
  reader_->wait(done, false);
  pollfd reading{ends[0], POLLIN, 0};
  EXPECT_EQ(poll(&reading, 1, 10'000), 1);
  EXPECT_NE(reading.revents & POLLHUP, 0);
  reader_->remove_file(refused);
  close(ends[0]);
  io_uring_queue_exit(&other);
}

std::ptrdiff_t threads() {
  const std::filesystem::directory_iterator all("/proc/self/task");
  return std::distance(begin(all), end(all));
}

TEST_P(UringReaderTest, MakesThreadsWhenThePageCacheIsFirstRead) {
  const std::ptrdiff_t before = threads();
  const std::uint32_t file = reader_->add_file(contract_.descriptor());
  contract_.reads_a_whole_file(*reader_, file, ReadPath::buffered);
  // A read that the kernel makes on a thread of its own shows among ours under another name.
  const std::ptrdiff_t of_the_kernel = threads() - before;
  contract_.reads_a_whole_file(*reader_, file, ReadPath::cached);
  EXPECT_GE(threads(), before + of_the_kernel + 1);
  EXPECT_LT(of_the_kernel, resolve({}).threads);
  reader_->remove_file(file);
}

TEST_P(UringReaderTest, HandsBackErrors) {
  contract_.hands_back_errors(*reader_, ReadPath::buffered);
  contract_.hands_back_errors(*reader_, ReadPath::cached);
}

TEST_P(UringReaderTest, WakesUpWhenNotifiedEachTime) {
  ReaderContract::returns_at_once_where_it_may_not_block(*reader_);
  for (int i = 0; i < 3; ++i) ReaderContract::wakes_up_when_notified(*reader_, wakeup_);
}

TEST_P(UringReaderTest, LosesNoNotification) {
  const std::uint32_t file = reader_->add_file(contract_.descriptor());
  for (const ReadPath path : {ReadPath::buffered, ReadPath::cached}) {
    contract_.is_woken_by_what_was_notified_between_two_waits(*reader_, wakeup_, file, path);
    contract_.meets_every_mark(*reader_, wakeup_, file, path);
  }
  reader_->remove_file(file);
}

TEST_P(UringReaderTest, MayBeDestroyedWhileItsWakeupIsNotified) {
  wakeup_.notify();
  std::vector<Done> done;
  reader_->wait(done, false);
  wakeup_.notify();
  reader_.reset();
}

std::string flags_name(const testing::TestParamInfo<unsigned>& tested) {
  if (tested.param == 0) return "plain";
  return (tested.param & IORING_SETUP_DEFER_TASKRUN) != 0 ? "defer_taskrun" : "coop_taskrun";
}

INSTANTIATE_TEST_SUITE_P(Flags, UringReaderTest, testing::ValuesIn(UringReader::flag_sets), flags_name);

TEST_P(UringReaderTest, SaysThatItCannotBeWoken) {
  const int kept = dup(wakeup_.fd());
  close(wakeup_.fd());
  std::vector<Done> done;
  EXPECT_THROW(
      {
        for (int i = 0; i < 2; ++i) reader_->wait(done, true);
      },
      Error);
  ASSERT_EQ(dup3(kept, wakeup_.fd(), O_CLOEXEC), wakeup_.fd());
  close(kept);
}

bool is_allowed() {
  Wakeup wakeup;
  std::vector<Fallback> fallbacks;
  std::string refusal;
  return UringReader::make(resolve({}), wakeup, fallbacks, refusal) != nullptr;
}

TEST(UringReaderRefused, ReadsWithoutRegisteredBuffersWhereMemoryMayNotBeLocked) {
  if (!is_allowed()) GTEST_SKIP() << "io_uring is refused altogether";
  EXPECT_EXIT(({
                ReaderContract contract;
                become_ordinary_user();
                limit(RLIMIT_MEMLOCK, 64 << 10);
                Wakeup wakeup;
                std::vector<Fallback> fallbacks;
                std::string refusal;
                const auto reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
                require(reader != nullptr, refusal.c_str());
                std::vector<std::byte> slabs(1 << 20);
                std::vector<Fallback> refused;
                reader->use_slabs(slabs, refused);
                require(refused.size() == 1 && refused[0].what == "registered buffers", "the refusal is told");
                require(refused[0].reason.find("ulimit -l") != std::string::npos, "and what would allow it");
                contract.reads_a_whole_file(*reader, reader->add_file(contract.descriptor()), ReadPath::buffered, true);
                std::_Exit(testing::Test::HasFailure() ? 1 : 0);
              }),
              testing::ExitedWithCode(0), "");
}

/// By slab, whether any of it, and whether all of it has been touched.
struct Touched {
  std::vector<bool> any;
  std::vector<bool> all;
};
Touched touched(const Mapping& slabs, std::uint64_t slab_bytes) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages(slabs.size() / page);
  EXPECT_EQ(mincore(slabs.data(), slabs.size(), pages.data()), 0) << std::strerror(errno);
  Touched touched;
  for (std::size_t i = 0; i < pages.size(); i += slab_bytes / page) {
    const auto count = std::count(pages.data() + i, pages.data() + i + slab_bytes / page, 1);
    touched.any.push_back(count != 0);
    touched.all.push_back(static_cast<std::uint64_t>(count) == slab_bytes / page);
  }
  return touched;
}

Read into_slab(std::byte* slab, std::uint32_t file) {
  Read read;
  read.target = slab;
  read.bytes = ReaderContract::block_bytes;
  read.file = file;
  read.in_slabs = true;
  return read;
}

TEST_P(UringReaderTest, RegistersASlabWithItsFirstRead) {
  const std::uint64_t slab_bytes = resolve({}).slab_bytes;
  const Mapping slabs(4 * slab_bytes, "slabs");
  reader_->use_slabs({slabs.data(), slabs.size()}, fallbacks_);
  if (!fallbacks_.empty()) GTEST_SKIP() << fallbacks_.back().reason;
  const std::vector<bool> first = touched(slabs, slab_bytes).any;
  if (first == std::vector(4, true)) GTEST_SKIP() << "this kernel takes them all at once";
  EXPECT_EQ(first, (std::vector{true, false, false, false}));
  const std::uint32_t file = reader_->add_file(contract_.descriptor());
  for (int times = 0; times < 2; ++times) {
    reader_->submit(into_slab(slabs.data() + 2 * slab_bytes, file));
    EXPECT_EQ(ReaderContract::wait_for(*reader_, 1)[0].bytes, ReaderContract::block_bytes);
    EXPECT_EQ(std::memcmp(slabs.data() + 2 * slab_bytes, noise(ReaderContract::block_bytes).data(), 4096), 0);
    EXPECT_EQ(touched(slabs, slab_bytes).all, (std::vector{true, false, true, false})) << "registered whole, it alone";
  }
  EXPECT_FALSE(reader_->late_refusal());
  reader_->use_slabs({}, fallbacks_);
  EXPECT_TRUE(fallbacks_.empty());
}

/// A reader with default options and four slabs. Ends the process that finds that there is none.
struct ReaderOfSlabs {
  ReaderOfSlabs() {
    std::string refusal;
    reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
    require(reader != nullptr, refusal.c_str());
    reader->use_slabs({slabs.data(), slabs.size()}, fallbacks);
  }

  const Mapping slabs{4 * resolve({}).slab_bytes, "slabs"};
  Wakeup wakeup;
  std::vector<Fallback> fallbacks;
  std::unique_ptr<UringReader> reader;
};

TEST(UringReaderRefused, ReadsOnWhereNoMoreMemoryMayBeLocked) {
  if (!is_allowed()) GTEST_SKIP() << "io_uring is refused altogether";
  EXPECT_EXIT(
      ({
        const ReaderContract contract;
        const std::uint64_t slab_bytes = resolve({}).slab_bytes;
        become_ordinary_user();
        limit(RLIMIT_MEMLOCK, 2 * slab_bytes);
        const ReaderOfSlabs with;
        const std::uint32_t file = with.reader->add_file(contract.descriptor());
        for (std::uint64_t i = 0; i < 4; ++i) {
          with.reader->submit(into_slab(with.slabs.data() + i * slab_bytes, file));
          require(ReaderContract::wait_for(*with.reader, 1)[0].bytes == ReaderContract::block_bytes, "each is read");
        }
        require(with.fallbacks.empty(), "the first may be locked");
        require(with.reader->late_refusal().has_value(), "a later one may not");
        require(with.reader->late_refusal()->reason.find("ulimit -l") != std::string::npos, "and what allows it");
        std::_Exit(testing::Test::HasFailure() ? 1 : 0);
      }),
      testing::ExitedWithCode(0), "");
}

TEST(UringReaderRefused, RegistersAllSlabsAtOnceWhereTheKernelKnowsNoTable) {
  if (!is_allowed()) GTEST_SKIP() << "io_uring is refused altogether";
  EXPECT_EXIT(({
                const ReaderContract contract;
                refuse_call_where(SYS_io_uring_register, 1, Argument::equals, IORING_REGISTER_BUFFERS2, EINVAL);
                const std::uint64_t slab_bytes = resolve({}).slab_bytes;
                const ReaderOfSlabs with;
                if (!with.fallbacks.empty()) std::_Exit(0);  // no memory may be locked here at all
                require(touched(with.slabs, slab_bytes).all == std::vector(4, true), "all are registered");
                with.reader->submit(
                    into_slab(with.slabs.data() + 3 * slab_bytes, with.reader->add_file(contract.descriptor())));
                require(ReaderContract::wait_for(*with.reader, 1)[0].bytes == ReaderContract::block_bytes,
                        "each is read");
                require(!with.reader->late_refusal(), "nothing was refused");
                std::_Exit(testing::Test::HasFailure() ? 1 : 0);
              }),
              testing::ExitedWithCode(0), "");
}

/// Linux answers ENOMEM to whoever asks a file below /proc/sys for 4 MiB or more at a time.
class ReadThatNeedsTooMuchMemory {
 public:
  ReadThatNeedsTooMuchMemory() : descriptor_(open("/proc/sys/kernel/ostype", O_RDONLY | O_CLOEXEC)) {}
  ~ReadThatNeedsTooMuchMemory() { close(descriptor_); }
  ReadThatNeedsTooMuchMemory(const ReadThatNeedsTooMuchMemory&) = delete;
  ReadThatNeedsTooMuchMemory& operator=(const ReadThatNeedsTooMuchMemory&) = delete;

  Read from(Reader& reader) {
    Read read;
    read.target = target_.data();
    read.bytes = static_cast<std::uint32_t>(target_.size());
    read.file = reader.add_file(descriptor_);
    return read;
  }

 private:
  int descriptor_;
  std::vector<std::byte> target_ = std::vector<std::byte>(16 << 20);
};

TEST(UringReaderRefused, GivesUpAKernelThatRefusesToBeEnteredForEver) {
  if (!is_allowed()) GTEST_SKIP() << "io_uring is refused altogether";
  for (const int error : {EAGAIN, EBUSY, ENOMEM, EPERM}) {
    in_child([&] {
      ReaderContract contract;
      Wakeup wakeup;
      std::vector<Fallback> fallbacks;
      std::string refusal;
      const auto reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
      ASSERT_NE(reader, nullptr) << refusal;
      reader->submit(contract.read(reader->add_file(contract.descriptor()), 0, ReaderContract::block_bytes));
      refuse_calls({SYS_io_uring_enter}, error);
      try {
        ReaderContract::wait_for(*reader, 1);
        ADD_FAILURE() << "the kernel may not be entered";
      } catch (const Error& broken) {
        EXPECT_EQ(broken.code(), ErrorCode::system);
        EXPECT_NE(std::string(broken.what()).find(std::strerror(error)), std::string::npos) << broken.what();
      }
    });
  }
}

TEST(UringReaderRefused, ReadsWithTheRingWhereThereAreNoThreads) {
  if (!is_allowed()) GTEST_SKIP() << "io_uring is refused altogether";
  in_child([] {
    ReaderContract contract;
    Wakeup wakeup;
    std::vector<Fallback> fallbacks;
    std::string refusal;
    const auto reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
    ASSERT_NE(reader, nullptr) << refusal;
    refuse_calls({SYS_clone, SYS_clone3}, EAGAIN);
    const std::uint32_t file = reader->add_file(contract.descriptor());
    contract.reads_a_whole_file(*reader, file, ReadPath::cached);
    contract.reads_several_ranges_at_a_time(*reader, file, ReadPath::cached);
    // And what the ring refuses for the moment, it refuses for good in the end.
    ReadThatNeedsTooMuchMemory read;
    reader->submit(read.from(*reader));
    EXPECT_EQ(ReaderContract::wait_for(*reader, 1)[0].error, ENOMEM);
  });
}

TEST(UringReaderRefused, HandsToAThreadWhatIsRefusedForTheMoment) {
  if (!is_allowed()) GTEST_SKIP() << "io_uring is refused altogether";
  in_child([] {
    const Deadline deadline;
    Wakeup wakeup;
    std::vector<Fallback> fallbacks;
    std::string refusal;
    const auto reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
    ASSERT_NE(reader, nullptr) << refusal;
    refuse_calls({SYS_pread64}, EXDEV);  // which tells whose answer comes back
    ReadThatNeedsTooMuchMemory read;
    reader->submit(read.from(*reader));
    EXPECT_EQ(ReaderContract::wait_for(*reader, 1)[0].error, EXDEV);
  });
}

TEST(UringReaderRefused, SaysThatASeccompFilterIsLikely) {
  EXPECT_EXIT(({
                refuse_calls({SYS_io_uring_setup}, EPERM);
                Wakeup wakeup;
                std::vector<Fallback> fallbacks;
                std::string refusal;
                const auto reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
                require(reader == nullptr, "the ring is refused");
                require(refusal.find("seccomp") != std::string::npos || refusal.find("sysctl") != std::string::npos,
                        refusal.c_str());
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

TEST(UringReaderRefused, SaysThatTheKernelKnowsNoRing) {
  EXPECT_EXIT(({
                refuse_calls({SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register}, ENOSYS);
                Wakeup wakeup;
                std::vector<Fallback> fallbacks;
                std::string refusal;
                const auto reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
                require(reader == nullptr, "the ring is refused");
                require(refusal.find("knows no io_uring") != std::string::npos, refusal.c_str());
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

TEST(UringReaderRefused, AsksForNothingMoreOfARingThatCannotBeProbed) {
  EXPECT_EXIT(({
                refuse_calls({SYS_io_uring_register}, EPERM);
                Wakeup wakeup;
                std::vector<Fallback> fallbacks;
                std::string refusal;
                const auto reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
                require(reader == nullptr, "the ring is refused");
                require(refusal.find("io_uring_register") != std::string::npos, refusal.c_str());
                require(fallbacks.empty(), "nothing was tried on it");
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace sluice
