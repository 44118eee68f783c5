// Goal: shards are read while others are still added; what comes out does not depend on the order or on threads.
// Method: small shards in a temporary folder, added in a wrong order, some of them refused; a reader that is let go of
// while there is work.
#include "loader/format/header_reader.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <string>

#include "loader/format/name_table.hpp"
#include "tests/loader/support/shard_builder.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

using ::testing::HasSubstr;

class HeaderReaderTest : public ::testing::Test {
 protected:
  std::filesystem::path shard(const std::string& name) {
    return folder_.write(name, shard_of("{\"" + name + R"(":["U8",[4],[0,4]]})", 4));
  }

  TemporaryFolder folder_;
};

TEST_F(HeaderReaderTest, GivesShardsInOrderOfTheirPaths) {
  for (const unsigned threads : {0u, 1u, 4u}) {
    HeaderReader reader(threads);
    for (int i = 99; i >= 10; --i) reader.add(shard(std::to_string(i)));
    const std::vector<ReadShard> shards = reader.finish();
    ASSERT_EQ(shards.size(), 90u);
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const std::string name = std::to_string(i + 10);
      EXPECT_EQ(shards[i].shard.path.filename(), name);
      ASSERT_EQ(shards[i].header.tensors.size(), 1u);
      EXPECT_EQ(shards[i].header.tensors[0].name, name);
      ASSERT_EQ(shards[i].hashes.size(), 1u);
      EXPECT_EQ(shards[i].hashes[0], NameTable::hash(name));
    }
  }
}

TEST_F(HeaderReaderTest, ThrowsTheErrorOfTheFirstPathInWhateverOrderTheyCame) {
  for (const unsigned threads : {1u, 2u, 8u}) {
    HeaderReader reader(threads);
    for (int i = 99; i >= 50; --i) reader.add(shard(std::to_string(i)));
    reader.add(folder_.path() / "49");
    reader.add(folder_.write("20", shard_of("{", 0)));
    reader.add(shard("10"));
    EXPECT_THAT(error_of([&] { reader.finish(); }).path(), HasSubstr("/20"));
  }
}

TEST_F(HeaderReaderTest, KnowsAHeaderAgainAndTellsItFromAnyOther) {
  // Around what one read fetches.
  std::set<std::uint64_t> digests;
  for (const std::size_t length : {40u, 65'527u, 65'528u, 65'529u, 200'000u}) {
    for (const char last : {' ', '}'}) {
      std::string header = "{";
      header.resize(length - 1, ' ');
      header += last;
      if (last == ' ') header[length / 2] = '}';
      const auto path = folder_.write("a", shard_of(header));
      HeaderReader reader(1);
      reader.add(path);
      const std::vector<ReadShard> shards = reader.finish();
      const ReadShard& shard = shards.at(0);
      const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
      EXPECT_EQ(read_header_digest(descriptor, shard.shard), shard.identity.header_digest);
      struct stat status {};
      EXPECT_EQ(fstat(descriptor, &status), 0);
      EXPECT_EQ(shard.identity.file, identity_of(status));
      close(descriptor);
      EXPECT_TRUE(digests.insert(shard.identity.header_digest).second) << length;
    }
  }
}

TEST_F(HeaderReaderTest, CanBeLetGoOfBeforeItHasFinished) {
  for (const unsigned threads : {1u, 4u}) {
    HeaderReader reader(threads);
    for (int i = 10; i < 60; ++i) reader.add(shard(std::to_string(i)));
  }
}

TEST_F(HeaderReaderTest, HasNothingToGiveWhereNothingWasAdded) {
  EXPECT_TRUE(HeaderReader(4).finish().empty());
}

}  // namespace
}  // namespace sluice
