// Goal: whatever path a user gives, open() finds the checkpoint that it means or says in one line why there is none.
// Method: folders as the Hub, interrupted downloads and attackers leave them, made anew for each test.
#include "sluice/checkpoint.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "loader/base/limits.hpp"
#include "tests/loader/support/shard_builder.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* usual_index = "model.safetensors.index.json";

std::vector<std::string> names_in(const fs::path& path) {
  const Checkpoint checkpoint = Checkpoint::open(path);
  std::vector<std::string> names;
  for (const TensorInfo& tensor : checkpoint.tensors()) names.emplace_back(tensor.name);
  return names;
}

Error refusal_of(const fs::path& path) {
  const Error error = error_of([&] { Checkpoint::open(path); });
  EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
  return error;
}

class CheckpointTest : public ::testing::Test {
 protected:
  fs::path shard(const std::string& name, const std::vector<std::string>& tensors) {
    return folder_.write(name, shard_with(tensors));
  }
  fs::path text(const std::string& name, std::string_view content) { return folder_.write(name, bytes_of(content)); }
  fs::path index(const std::string& name, const std::string& map) {
    return text(name, R"({"metadata":{"total_size":7},"weight_map":{)" + map + "}}");
  }
  const fs::path& folder() const { return folder_.path(); }

  TemporaryFolder folder_;
};

TEST_F(CheckpointTest, OpensAShardByAnyName) {
  EXPECT_THAT(names_in(shard("a.safetensors", {"x", "y"})), ElementsAre("x", "y"));
  EXPECT_THAT(names_in(shard("pytorch_model.bin", {"z"})), ElementsAre("z"));
}

TEST_F(CheckpointTest, TellsOfTensorsAndShards) {
  const fs::path path =
      folder_.write("a.safetensors", shard_of(R"({"__metadata__":{"format":"pt"},"x":["BF16",[3,2],[0,12]]})", 12));
  const Checkpoint checkpoint = Checkpoint::open(path);
  ASSERT_EQ(checkpoint.shards().size(), 1u);
  const Shard& shard = checkpoint.shards()[0];
  struct stat status {};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(shard.path, path);
  EXPECT_EQ(shard.bytes, static_cast<std::uint64_t>(status.st_size));
  EXPECT_EQ(shard.data_offset, shard.bytes - 12);
  ASSERT_EQ(shard.metadata.size(), 1u);
  EXPECT_EQ(shard.metadata[0].second, "pt");

  const TensorInfo* x = checkpoint.find("x");
  ASSERT_NE(x, nullptr);
  EXPECT_THAT(x->shape, ElementsAre(3, 2));
  EXPECT_EQ(x->offset, shard.data_offset);
  EXPECT_EQ(checkpoint.find("y"), nullptr);
  EXPECT_EQ(checkpoint.bytes(), 12u);
  EXPECT_EQ(checkpoint.path(), path);
  EXPECT_GT(checkpoint.open_seconds(), 0);
}

TEST_F(CheckpointTest, TakesAllShardsOfAFolderInOrderOfNames) {
  shard("b.safetensors", {"b"});
  shard("a.safetensors", {"a"});
  shard(".hidden.safetensors", {"h"});
  text("config.json", "{}");
  fs::create_directory(folder() / "sub");
  folder_.write("sub/c.safetensors", shard_with({"c"}));
  EXPECT_THAT(names_in(folder()), ElementsAre("a", "b"));
}

TEST_F(CheckpointTest, RefusesATensorInTwoShardsAndNamesBoth) {
  shard("a.safetensors", {"x"});
  shard("b.safetensors", {"x"});
  const Error error = refusal_of(folder());
  EXPECT_EQ(error.code(), ErrorCode::bad_header);
  EXPECT_EQ(error.tensor(), "x");
  EXPECT_THAT(error.what(), HasSubstr("a.safetensors"));
  EXPECT_THAT(error.what(), HasSubstr("b.safetensors"));
}

TEST_F(CheckpointTest, CountsTwoLinksToAFileAsOneShard) {
  fs::create_hard_link(shard("a.safetensors", {"x"}), folder() / "b.safetensors");
  shard("c.safetensors", {"y"});
  const Checkpoint checkpoint = Checkpoint::open(folder());
  ASSERT_EQ(checkpoint.shards().size(), 2u);
  EXPECT_EQ(checkpoint.find("y")->shard, 1u);
  index(usual_index, R"("x":"b.safetensors","y":"c.safetensors")");
  EXPECT_THAT(names_in(folder()), ElementsAre("x", "y"));
}

TEST_F(CheckpointTest, CountsTwoNamesOfAFileAsOneShardHoweverTheyComeToIt) {
  fs::create_directory(folder() / "elsewhere");
  const fs::path file = shard("elsewhere/x", {"x"});
  fs::create_symlink(file, folder() / "a.safetensors");
  fs::create_symlink("a.safetensors", folder() / "b.safetensors");
  fs::create_hard_link(file, folder() / "c.safetensors");
  fs::create_symlink("c.safetensors", folder() / "d.safetensors");
  shard("e.safetensors", {"y"});
  EXPECT_EQ(Checkpoint::open(folder()).shards().size(), 2u);
  index(usual_index, R"("x":"d.safetensors","y":"e.safetensors")");
  EXPECT_THAT(names_in(folder()), ElementsAre("x", "y"));
}

// Two files with one header are two, and a name of both is refused, however alike they look.
TEST_F(CheckpointTest, TellsCopiesOfAFileFromLinksToIt) {
  const fs::path a = shard("a.safetensors", {"x"});
  const fs::path b = shard("b.safetensors", {"x"});
  const timespec times[2] = {{1, 0}, {1, 0}};
  for (const fs::path& path : {a, b}) ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  EXPECT_EQ(refusal_of(folder()).code(), ErrorCode::bad_header);
}

TEST_F(CheckpointTest, OpensManyShardsOfOneHeader) {
  for (int i = 0; i < 300; ++i) shard("s" + std::to_string(i) + ".safetensors", {});
  EXPECT_EQ(Checkpoint::open(folder()).shards().size(), 300u);
}

TEST_F(CheckpointTest, OpensAShardOfAnyDate) {
  const fs::path path = shard("a.safetensors", {"x"});
  const timespec in_2300[2] = {{10'413'792'000, 0}, {10'413'792'000, 999'999'999}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), in_2300, 0), 0);
  EXPECT_THAT(names_in(path), ElementsAre("x"));
}

TEST_F(CheckpointTest, LetsAnIndexDecideWhatBelongs) {
  shard("1.safetensors", {"a"});
  shard("2.safetensors", {"b"});
  shard("consolidated.safetensors", {"a", "b"});
  const fs::path path = index(usual_index, R"("b":"2.safetensors","a":"./1.safetensors")");
  EXPECT_THAT(names_in(folder()), ElementsAre("a", "b"));
  EXPECT_THAT(names_in(path), ElementsAre("a", "b"));
}

TEST_F(CheckpointTest, TakesOfCopiesTheOneThatTheIndexNames) {
  shard("1.safetensors", {"a", "tied"});
  shard("2.safetensors", {"b", "tied"});
  index(usual_index, R"("a":"1.safetensors","b":"2.safetensors","tied":"2.safetensors")");
  const Checkpoint checkpoint = Checkpoint::open(folder());
  EXPECT_EQ(checkpoint.tensors().size(), 3u);
  EXPECT_EQ(checkpoint.find("tied")->shard, 1u);
}

TEST_F(CheckpointTest, ChoosesAmongIndexes) {
  shard("a.safetensors", {"a"});
  shard("a.fp16.safetensors", {"h"});
  index("model.fp16.safetensors.index.json", R"("h":"a.fp16.safetensors")");
  EXPECT_THAT(names_in(folder()), ElementsAre("h"));
  index(usual_index, R"("a":"a.safetensors")");
  EXPECT_THAT(names_in(folder()), ElementsAre("a"));
  EXPECT_THAT(names_in(folder() / "model.fp16.safetensors.index.json"), ElementsAre("h"));
  fs::rename(folder() / usual_index, folder() / "other.safetensors.index.json");
  const Error error = refusal_of(folder());
  EXPECT_EQ(error.code(), ErrorCode::bad_index);
  EXPECT_THAT(error.what(), HasSubstr("model.fp16.safetensors.index.json, other.safetensors.index.json"));
}

TEST_F(CheckpointTest, HoldsTheIndexToItsShards) {
  shard("1.safetensors", {"a"});
  shard("2.safetensors", {"b"});
  index(usual_index, R"("a":"1.safetensors","b":"1.safetensors")");
  const Error elsewhere = refusal_of(folder());
  EXPECT_EQ(elsewhere.code(), ErrorCode::bad_index);
  EXPECT_EQ(elsewhere.tensor(), "b");

  EXPECT_THAT(elsewhere.what(), HasSubstr("1.safetensors holds the tensor, which it does not"));
  EXPECT_THAT(elsewhere.hint(), HasSubstr("move the index away"));
  fs::remove(folder() / usual_index);
  EXPECT_THAT(names_in(folder()), ElementsAre("a", "b"));

  for (const char* map : {R"("a":"1.safetensors","b":"2.safetensors","a":"2.safetensors")",
                          R"("a":"2.safetensors","b":"2.safetensors","a":"1.safetensors")"}) {
    index(usual_index, map);
    const Error twice = refusal_of(folder());
    EXPECT_EQ(twice.code(), ErrorCode::bad_index);
    EXPECT_EQ(twice.tensor(), "a");
    EXPECT_THAT(twice.what(), HasSubstr("the index names the tensor twice"));
    EXPECT_THAT(twice.what(), Not(HasSubstr("does not")));
  }

  index(usual_index, R"("a":"1.safetensors","b":"2.safetensors","c":"3.safetensors","d":"4.safetensors")");
  const Error missing = refusal_of(folder());
  EXPECT_EQ(missing.code(), ErrorCode::bad_index);
  EXPECT_EQ(missing.tensor(), "c");
  EXPECT_THAT(missing.what(),
              HasSubstr("2 of the 4 shards that the index names are missing, the first is 3.safetensors"));
}

TEST_F(CheckpointTest, SaysThatAnIndexNamesATensorTwiceThatTwoShardsHold) {
  shard("1.safetensors", {"a", "tied"});
  shard("2.safetensors", {"b", "tied"});
  index(usual_index, R"("a":"1.safetensors","b":"2.safetensors","tied":"1.safetensors","tied":"2.safetensors")");
  EXPECT_THAT(refusal_of(folder()).what(), HasSubstr("names the tensor twice, in 1.safetensors and in 2.safetensors"));
  index(usual_index, R"("a":"1.safetensors","b":"2.safetensors","tied":"2.safetensors","tied":"2.safetensors")");
  EXPECT_EQ(Checkpoint::open(folder()).find("tied")->shard, 1u);
}

TEST_F(CheckpointTest, OpensAnIndexThatACacheNamedByItsHash) {
  shard("1.safetensors", {"a"});
  const fs::path path = index("0123456789abcdef", R"("a":"1.safetensors")");
  EXPECT_THAT(names_in(path), ElementsAre("a"));
}

TEST_F(CheckpointTest, RefusesAnIndexThatIsEmptyOrLeadsOut) {
  text(usual_index, "");
  EXPECT_EQ(refusal_of(folder()).code(), ErrorCode::bad_index);
  index(usual_index, "");
  EXPECT_THAT(refusal_of(folder()).what(), HasSubstr("weight_map\" is empty"));
  for (const char* file : {"/etc/passwd", "../a.safetensors", "s/../../a.safetensors"}) {
    index(usual_index, std::string(R"("a":")") + file + '"');
    EXPECT_EQ(refusal_of(folder()).code(), ErrorCode::bad_index) << file;
  }
}

TEST_F(CheckpointTest, OpensASnapshotOfTheHubsCache) {
  fs::create_directories(folder() / "blobs");
  fs::create_directories(folder() / "snapshots/abc");
  folder_.write("blobs/0123", shard_with({"a"}));
  folder_.write("blobs/4567", bytes_of(R"({"weight_map":{"a":"model-00001-of-00001.safetensors"}})"));
  fs::create_symlink("../../blobs/0123", folder() / "snapshots/abc/model-00001-of-00001.safetensors");
  fs::create_symlink("../../blobs/4567", folder() / "snapshots/abc" / usual_index);
  EXPECT_THAT(names_in(folder() / "snapshots/abc"), ElementsAre("a"));
  EXPECT_THAT(refusal_of(folder()).hint(), HasSubstr("snapshots/"));
}

TEST_F(CheckpointTest, SaysWhatAPathIsThatIsNoCheckpoint) {
  const Error missing = refusal_of(folder() / "none");
  EXPECT_EQ(missing.code(), ErrorCode::not_found);
  EXPECT_EQ(refusal_of(folder()).code(), ErrorCode::not_found);
  EXPECT_THAT(refusal_of(folder()).what(), HasSubstr("empty"));
  EXPECT_EQ(refusal_of("").code(), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal_of(std::string(5000, 'x')).code(), ErrorCode::io);
  const Error under_file = refusal_of(shard("a.safetensors", {"x"}) / "b");
  EXPECT_EQ(under_file.code(), ErrorCode::io);
}

TEST_F(CheckpointTest, RefusesPicklesByNameAndByContent) {
  using namespace std::string_literals;
  text("pytorch_model.bin", "\x80\x02}q\0X"s);
  const Error of_folder = refusal_of(folder());
  EXPECT_EQ(of_folder.code(), ErrorCode::unsupported_format);
  EXPECT_THAT(of_folder.what(), HasSubstr("pytorch_model.bin"));
  EXPECT_THAT(of_folder.hint(), HasSubstr("convert it with safetensors"));

  EXPECT_EQ(refusal_of(folder() / "pytorch_model.bin").code(), ErrorCode::unsupported_format);
  EXPECT_EQ(refusal_of(text("renamed.safetensors", "\x80\x02}q\0X"s)).code(), ErrorCode::unsupported_format);
  EXPECT_EQ(refusal_of(text("z.safetensors", "PK\x03\x04"s + std::string(26, '\0') + "a/data.pkl")).code(),
            ErrorCode::unsupported_format);
  EXPECT_EQ(refusal_of(text("x.pt", "what is this")).code(), ErrorCode::unsupported_format);
  EXPECT_EQ(refusal_of(text("pytorch_model.bin.index.json", "{\"weight_map\": {}}")).code(),
            ErrorCode::unsupported_format);
}

TEST_F(CheckpointTest, NamesOtherFormatsAndFailedDownloads) {
  EXPECT_THAT(refusal_of(text("a.safetensors", "GGUF\x03")).what(), HasSubstr("GGUF"));
  EXPECT_THAT(refusal_of(text("b.safetensors", "version https://git-lfs.github.com/spec/v1\n")).what(),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(refusal_of(text("c.safetensors", "<!DOCTYPE html>")).what(), HasSubstr("web page"));
  EXPECT_EQ(refusal_of(text("d.safetensors", "")).code(), ErrorCode::bad_header);
  const Error reserved = refusal_of(text("e.safetensors", std::string(100'000, '\0')));
  EXPECT_EQ(reserved.code(), ErrorCode::unsupported_format);
  EXPECT_THAT(reserved.what(), HasSubstr("begins with zeros"));
  EXPECT_THAT(reserved.hint(), HasSubstr("download it again"));
}

TEST_F(CheckpointTest, TakesATruncatedShardForNoOtherFormat) {
  // Headers of 66,176, 329,088 and 1,180,936 bytes, whose lengths spell the beginnings of pickles and of an ONNX model.
  for (const std::size_t length : {0x010280u, 0x050580u, 0x120508u}) {
    std::vector<std::byte> shard = shard_of(std::string(length, ' ').replace(0, 5, R"({"a":)"));
    shard.resize(length / 2);
    for (const char* name : {"a.safetensors", "pytorch_model.bin", "a.onnx"}) {
      const Error error = refusal_of(folder_.write(name, shard));
      EXPECT_EQ(error.code(), ErrorCode::bad_header) << name;
      EXPECT_THAT(error.what(), HasSubstr("truncated"));
    }
  }
}

TEST_F(CheckpointTest, NeverHangsOnWhatIsNoFile) {
  const fs::path pipe = folder() / "pipe.safetensors";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(refusal_of(pipe).code(), ErrorCode::io);
  EXPECT_THAT(refusal_of(folder()).what(), HasSubstr("named pipe"));
  fs::remove(pipe);

  const fs::path socket_path = folder() / "socket.safetensors";
  const int socket_descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(socket_path.string().size(), sizeof address.sun_path);
  socket_path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(socket_descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_THAT(refusal_of(socket_path).what(), HasSubstr("socket"));
  close(socket_descriptor);
  fs::remove(socket_path);

  EXPECT_THAT(refusal_of("/dev/zero").what(), HasSubstr("device"));

  fs::create_directory(folder() / "folder.safetensors");
  EXPECT_THAT(refusal_of(folder()).what(), HasSubstr("a folder lies where the shard should be"));
  fs::remove(folder() / "folder.safetensors");

  fs::create_symlink("nowhere", folder() / "link.safetensors");
  const Error dangling = refusal_of(folder());
  EXPECT_EQ(dangling.code(), ErrorCode::not_found);
  EXPECT_THAT(dangling.what(), HasSubstr("symbolic link to nothing: nowhere"));
  fs::remove(folder() / "link.safetensors");

  fs::create_symlink("loop.safetensors", folder() / "loop.safetensors");
  EXPECT_EQ(refusal_of(folder()).code(), ErrorCode::io);
}

TEST_F(CheckpointTest, ThrowsTheErrorOfTheFirstShardWhicheverThreadIsFaster) {
  for (int i = 100; i < 140; ++i) shard("s" + std::to_string(i) + ".safetensors", {"t" + std::to_string(i)});
  text("s110.safetensors", "12345678{");
  text("s111.safetensors", "");
  for (const unsigned threads : {1u, 2u, 8u}) {
    const Error error = error_of([&] { Checkpoint::open(folder(), threads); });
    EXPECT_THAT(error.path(), HasSubstr("s110"));
  }
}

TEST_F(CheckpointTest, NeedsFewDescriptorsForManyShards) {
  for (int i = 0; i < 300; ++i) shard("s" + std::to_string(i) + ".safetensors", {"t" + std::to_string(i)});
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{64, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  for (const unsigned threads : {0u, 1u, 256u}) {
    EXPECT_EQ(Checkpoint::open(folder(), threads).tensors().size(), 300u);
  }
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(CheckpointTest, ReadsHeadersOfAnyLength) {
  // Around what one read fetches, and far beyond.
  for (const std::size_t length : {65'527u, 65'528u, 65'529u, 1'000'000u}) {
    std::string header = header_of({"x"});
    header.resize(length, ' ');
    EXPECT_THAT(names_in(folder_.write("a.safetensors", shard_of(header, 4))), ElementsAre("x"));
  }
}

TEST_F(CheckpointTest, KeepsItsCatalogueWhereverItIsCopied) {
  std::vector<Checkpoint> copies;
  {
    const Checkpoint first = Checkpoint::open(shard("a.safetensors", {"x"}));
    copies.push_back(first);
  }
  EXPECT_EQ(copies[0].find("x")->name, "x");
}

TEST_F(CheckpointTest, RefusesAnIndexPastItsLimit) {
  const fs::path path = text(usual_index, "{}");
  ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(limits::index_bytes_max + 1)), 0);
  const Error error = refusal_of(path);
  EXPECT_EQ(error.code(), ErrorCode::limit_exceeded);
  EXPECT_THAT(error.what(), HasSubstr("index_bytes_max"));
}

}  // namespace
}  // namespace sluice
