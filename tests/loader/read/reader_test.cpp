// Goal: the reader that was asked for, or the first that this machine allows, each refusal told.
// Method: a seccomp filter refuses io_uring.
#include "loader/read/reader.hpp"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <cerrno>
#include <string>

#include "sluice/error.hpp"
#include "tests/loader/support/reader_contract.hpp"
#include "tests/loader/support/refusals.hpp"

namespace sluice {
namespace {

Options options_with(ReaderKind reader) {
  Options options;
  options.reader = reader;
  return resolve(options);
}

TEST(MakeReader, MakesTheOneThatWasAskedFor) {
  Wakeup wakeup;
  std::vector<Fallback> fallbacks;
  EXPECT_EQ(make_reader(options_with(ReaderKind::null), wakeup, fallbacks)->kind(), ReaderKind::null);
  EXPECT_EQ(make_reader(options_with(ReaderKind::pread), wakeup, fallbacks)->kind(), ReaderKind::pread);
  EXPECT_TRUE(fallbacks.empty());
}

TEST(MakeReader, PrefersTheRingAndSaysWhyNot) {
  Wakeup wakeup;
  std::vector<Fallback> fallbacks;
  const auto reader = make_reader(options_with(ReaderKind::automatic), wakeup, fallbacks);
  if (reader->kind() == ReaderKind::uring) return;
  ASSERT_FALSE(fallbacks.empty());
  EXPECT_EQ(fallbacks.back().what, "io_uring");
}

class MakeReaderWithoutRing : public testing::TestWithParam<int> {};

TEST_P(MakeReaderWithoutRing, FallsBackToPreadWhichReads) {
  EXPECT_EXIT(({
                refuse_calls({SYS_io_uring_setup}, GetParam());
                Wakeup wakeup;
                std::vector<Fallback> fallbacks;
                const auto reader = make_reader(options_with(ReaderKind::automatic), wakeup, fallbacks);
                require(reader->kind() == ReaderKind::pread, "pread is next");
                require(fallbacks.size() == 1 && fallbacks[0].what == "io_uring", "the refusal is told");
                require(!fallbacks[0].reason.empty(), "with a reason");
                ReaderContract contract;
                contract.reads_a_whole_file(*reader, reader->add_file(contract.descriptor()), ReadPath::buffered);
                std::_Exit(testing::Test::HasFailure() ? 1 : 0);
              }),
              testing::ExitedWithCode(0), "");
}

TEST_P(MakeReaderWithoutRing, ThrowsWhereNothingElseWasAskedFor) {
  EXPECT_EXIT(({
                refuse_calls({SYS_io_uring_setup}, GetParam());
                Wakeup wakeup;
                std::vector<Fallback> fallbacks;
                try {
                  make_reader(options_with(ReaderKind::uring), wakeup, fallbacks);
                  require(false, "the ring is refused");
                } catch (const Error& error) {
                  require(error.code() == ErrorCode::reader_unavailable, "the error says so");
                }
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

INSTANTIATE_TEST_SUITE_P(Errors, MakeReaderWithoutRing, testing::Values(EPERM, ENOSYS));

}  // namespace
}  // namespace sluice
