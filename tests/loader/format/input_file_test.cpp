// Goal: a regular file is read as it is, wherever; anything else is refused by its kind; a file that ends early is told
// with the byte.
// Method: small files in a temporary folder. What the kinds of refusal say is in checkpoint_test.
#include "loader/format/input_file.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <thread>

#include "tests/loader/support/lease.hpp"
#include "tests/loader/support/shard_builder.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

using ::testing::HasSubstr;

TEST(InputFile, ReadsAnyRange) {
  const TemporaryFolder folder;
  const InputFile file(folder.write("a", bytes_of("0123456789")), "shard");
  EXPECT_EQ(file.bytes(), 10u);
  std::string text(4, ' ');
  file.read(text.data(), 6, 4);
  EXPECT_EQ(text, "6789");
  file.read(text.data(), 10, 0);
  EXPECT_EQ(text, "6789");
}

TEST(InputFile, SaysWhereAFileEndsThatBecameShorter) {
  const TemporaryFolder folder;
  const auto path = folder.write("a", bytes_of("0123456789"));
  const InputFile file(path, "shard");
  ASSERT_EQ(truncate(path.c_str(), 7), 0);
  std::string text(8, ' ');
  const Error error = error_of([&] { file.read(text.data(), 2, 8); });
  EXPECT_EQ(error.code(), ErrorCode::file_changed);
  EXPECT_EQ(error.offset(), 7u);
}

TEST(InputFile, WaitsWhileAnotherHoldsALease) {
  const TemporaryFolder folder;
  const auto path = folder.write("a", bytes_of("0123456789"));
  const Lease lease(path);
  if (!lease.refusal().empty()) GTEST_SKIP() << lease.refusal();
  Error error(ErrorCode{}, "");
  std::thread opens([&] { error = error_of([&] { InputFile(path, "shard"); }); });
  lease.wait_until_asked_for();
  lease.let_go();
  opens.join();
  EXPECT_THAT(error.what(), HasSubstr("nothing was thrown"));
}

TEST(InputFile, SaysTheWayOutOfEachRefusal) {
  const std::filesystem::path path = "model.safetensors";
  EXPECT_EQ(refusal_to_open(path, "shard", EMFILE).hint(), "raise the limit of open descriptors (ulimit -n)");
  EXPECT_EQ(refusal_to_open(path, "shard", EACCES).hint(), "allow this user to read it");
  EXPECT_THAT(std::string(refusal_to_open(path, "shard", EAGAIN).hint()), HasSubstr("lease"));
  EXPECT_EQ(refusal_to_open(path, "shard", ENOENT).code(), ErrorCode::not_found);
  EXPECT_EQ(refusal_to_open(path, "shard", ENOENT).path(), path.string());
}

TEST(InputFile, SaysWhatShouldBeThere) {
  const TemporaryFolder folder;
  const Error missing = error_of([&] { InputFile(folder.path() / "a", "index"); });
  EXPECT_EQ(missing.code(), ErrorCode::not_found);
  EXPECT_THAT(missing.what(), HasSubstr("the index cannot be opened"));
  const Error kind = error_of([&] { InputFile(folder.path(), "shard"); });
  EXPECT_EQ(kind.code(), ErrorCode::io);
  EXPECT_THAT(kind.what(), HasSubstr("a folder lies where the shard should be"));
}

}  // namespace
}  // namespace sluice
