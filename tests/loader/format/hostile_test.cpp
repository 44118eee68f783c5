// Goal: no file of tests/data/hostile/ is opened; each is refused with one line that names it.
// Method: open all of them. Each is one attack, named by it; make.py beside them tells the stories.
#include <gmock/gmock.h>

#include <filesystem>

#include "sluice/checkpoint.hpp"
#include "tests/loader/support/shard_builder.hpp"

namespace sluice {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Hostile, IsRefusedFileByFile) {
  unsigned count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SLUICE_HOSTILE_FOLDER)) {
    if (entry.path().extension() == ".py") continue;
    ++count;
    const Error error = error_of([&] { Checkpoint::open(entry.path()); });
    EXPECT_THAT(error.code(), AnyOf(ErrorCode::bad_header, ErrorCode::bad_index, ErrorCode::unsupported_format,
                                    ErrorCode::limit_exceeded))
        << entry.path();
    EXPECT_EQ(error.path(), entry.path().string());
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    EXPECT_THAT(error.what(), Not(HasSubstr("\x1B")));
  }
  EXPECT_GE(count, 42u);
}

}  // namespace
}  // namespace sluice
