// Goal: a path means the shards that its user would name: all of them or none, with the reason and the way out.
// Method: folders as publishers, caches and interrupted downloads leave them; shards are found by name, so that empty
// files will do. checkpoint_test.cpp opens what is found here.
#include "loader/format/shard_search.hpp"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "tests/loader/support/shard_builder.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class ShardSearchTest : public ::testing::Test {
 protected:
  fs::path text(const std::string& name, std::string_view content = "") {
    return folder_.write(name, bytes_of(content));
  }
  fs::path index(const std::string& name, const std::string& map) {
    return text(name, R"({"weight_map":{)" + map + "}}");
  }
  const fs::path& folder() const { return folder_.path(); }

  // The names of the shards that `path` means.
  static std::vector<std::string> found_in(const fs::path& path) {
    std::vector<std::string> names;
    find_shards(path, [&](const fs::path& shard) { names.push_back(shard.filename().string()); });
    return names;
  }
  static Error refusal(const fs::path& path) {
    return error_of([&] { found_in(path); });
  }
  // What is said of an index of which shards are missing.
  static Error missing(const fs::path& path) {
    return error_of([&] {
      const auto read = find_shards(path, [](const fs::path&) {});
      refuse_missing_shards(read.value());
    });
  }

  TemporaryFolder folder_;
};

TEST_F(ShardSearchTest, TakesNumberedShardsThatAreComplete) {
  for (const char* name : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                           "unet.fp16-1-of-1.safetensors", "dev-00001-of-000002.fp16.safetensors",
                           "dev-00002-of-000002.fp16.safetensors", "zero-00000-of-00002.safetensors",
                           "zero-00001-of-00002.safetensors", "both-0-of-1.safetensors", "both-1-of-1.safetensors"}) {
    text(name);
  }
  EXPECT_EQ(found_in(folder()).size(), 9u);
}

TEST_F(ShardSearchTest, TakesNamesThatCountNothing) {
  for (const char* name :
       {"a-of-3.safetensors", "x-of-y.safetensors", "-of-.safetensors", "best-of-3.safetensors", "l2-of-7.safetensors",
        "m-00001-of-.safetensors", "m-1-of-99999999999999999999999.safetensors", "m-1-of-999999999.safetensors",
        "m-99999999999999999999999-of-3.safetensors", "m-00003-of-00000.safetensors"}) {
    text(name);
  }
  EXPECT_EQ(found_in(folder()).size(), 10u);
}

TEST_F(ShardSearchTest, RefusesAGapAndNamesWhatIsMissing) {
  text("model-00001-of-00003.safetensors");
  text("model-00003-of-00003.safetensors");
  text("other.safetensors");
  const Error error = refusal(folder());
  EXPECT_EQ(error.code(), ErrorCode::not_found);
  EXPECT_EQ(error.path(), folder().string());
  EXPECT_THAT(error.what(), HasSubstr("1 of the 3 shards that their names count is missing: "
                                      "model-00002-of-00003.safetensors"));
  EXPECT_THAT(error.hint(), HasSubstr("finish it"));
  // One of them alone is named on purpose; an index decides by itself.
  EXPECT_THAT(found_in(folder() / "model-00001-of-00003.safetensors"), ElementsAre("model-00001-of-00003.safetensors"));
  index("model.safetensors.index.json", R"("a":"model-00001-of-00003.safetensors")");
  EXPECT_THAT(found_in(folder()), ElementsAre("model-00001-of-00003.safetensors"));
}

TEST_F(ShardSearchTest, RefusesGapsWhereverTheyAre) {
  const auto is_missing = [&](const std::vector<std::string>& there, const std::string& what) {
    const TemporaryFolder own;
    for (const std::string& name : there) own.write(name, {});
    EXPECT_THAT(refusal(own.path()).what(), HasSubstr("missing: " + what));
  };
  is_missing({"m-00002-of-00002.safetensors"}, "m-00001-of-00002.safetensors");
  is_missing({"m-00001-of-00002.safetensors"}, "m-00002-of-00002.safetensors");
  is_missing({"m-00000-of-00002.safetensors"}, "m-00001-of-00002.safetensors");
  is_missing({"m-00001-of-000163.safetensors"}, "m-00002-of-000163.safetensors, m-00003-of-000163.safetensors");
  is_missing({"m-1-of-2.safetensors", "m-1-of-2.fp16.safetensors", "m-2-of-2.fp16.safetensors"},
             "m-2-of-2.safetensors");
  is_missing({"a-1-of-1.safetensors", "m.fp16-2-of-3.safetensors"},
             "m.fp16-1-of-3.safetensors, m.fp16-3-of-3.safetensors");
  is_missing({"00001-of-00002.safetensors"}, "00002-of-00002.safetensors");

  text("m-1-of-65536.safetensors");
  EXPECT_THAT(refusal(folder()).what(), AllOf(HasSubstr("65535 of the 65536"),
                                              HasSubstr("m-9-of-65536.safetensors, ..."), Not(HasSubstr("m-10-of"))));
}

TEST_F(ShardSearchTest, OpensAnIndexByAnyNameWhenItIsNamed) {
  const std::string map = R"("a":"1.safetensors","b":"2.safetensors")";
  for (const char* name : {"model.safetensors.index.json", "model.safetensors.index.fp16.json", "0123456789abcdef",
                           "weights.json", "index"}) {
    EXPECT_THAT(found_in(index(name, map)), UnorderedElementsAre("1.safetensors", "2.safetensors")) << name;
    fs::remove(folder() / name);
  }
  // What is named like a shard is one, whatever it holds.
  EXPECT_THAT(found_in(index("x.safetensors", map)), ElementsAre("x.safetensors"));
}

TEST_F(ShardSearchTest, LooksInAFolderForIndexesOfTheUsualNameOnly) {
  text("a.safetensors");
  index("model.safetensors.index.fp16.json", R"("a":"b.safetensors")");
  index("0123456789abcdef", R"("a":"b.safetensors")");
  EXPECT_THAT(found_in(folder()), ElementsAre("a.safetensors"));
}

TEST_F(ShardSearchTest, SaysThatOtherJsonIsNoIndex) {
  const Error error = refusal(text("config.json", R"({"model_type": "llama"})"));
  EXPECT_EQ(error.code(), ErrorCode::bad_index);
  EXPECT_THAT(error.what(), HasSubstr("no \"weight_map\""));
  EXPECT_THAT(error.hint(), HasSubstr("name the folder"));
}

TEST_F(ShardSearchTest, SaysWhatAnIndexIsThatIsNone) {
  const auto says = [&](std::string_view content, ErrorCode code, const char* what, const char* hint) {
    const Error error = refusal(text("model.safetensors.index.json", content));
    EXPECT_EQ(error.code(), code) << what;
    EXPECT_EQ(error.path(), (folder() / "model.safetensors.index.json").string());
    EXPECT_THAT(error.what(), HasSubstr(what));
    EXPECT_THAT(error.hint(), HasSubstr(hint));
  };
  says("version https://git-lfs.github.com/spec/v1\nsize 12\n", ErrorCode::unsupported_format, "Git LFS",
       "git lfs pull");
  says("<!DOCTYPE html><title>401</title>", ErrorCode::unsupported_format, "web page", "download it again");
  says(std::string(100'000, '\0'), ErrorCode::unsupported_format, "begins with zeros", "download it again");
  says("", ErrorCode::bad_index, "the index is empty", "download it again");
  says("what is this", ErrorCode::bad_index, "not a JSON object", "download it again");
  says(R"({"weight_map":{"a":"1.safe)", ErrorCode::bad_index, "not valid JSON", "download it again");
  says(R"({"error": "Repository not found"})", ErrorCode::bad_index, "no \"weight_map\"", "their index");
}

TEST_F(ShardSearchTest, KnowsTheIndexesOfOtherFormats) {
  for (const auto& [name, what] : {std::pair("pytorch_model.bin.index.json", "index of a pickle"),
                                   std::pair("pytorch_model.bin.index.fp16.json", "index of a pickle"),
                                   std::pair("tf_model.h5.index.json", "index of a TensorFlow"),
                                   std::pair("flax_model.msgpack.index.json", "index of a Flax")}) {
    const Error error = refusal(index(name, R"("a":"pytorch_model-00001-of-00001.bin")"));
    EXPECT_EQ(error.code(), ErrorCode::unsupported_format) << name;
    EXPECT_THAT(error.what(), HasSubstr(what));
    EXPECT_THAT(error.hint(), HasSubstr("safetensors"));
  }
  const Error by_content = missing(index("0123", R"("a":"pytorch_model-00001-of-00001.bin")"));
  EXPECT_EQ(by_content.code(), ErrorCode::unsupported_format);
  EXPECT_THAT(by_content.what(), HasSubstr("pickle"));
}

TEST_F(ShardSearchTest, SaysWhichShardsAreMissing) {
  const fs::path path = index("model.safetensors.index.json",
                              R"("a":"1.safetensors","b":"2.safetensors","c":"3.safetensors","d":"3.safetensors")");
  const Error all = missing(path);
  EXPECT_EQ(all.code(), ErrorCode::bad_index);
  EXPECT_THAT(all.what(), HasSubstr("3 of the 3 shards that the index names are missing, the first is 1.safetensors"));
  EXPECT_THAT(all.hint(), HasSubstr("finish it"));
  text("1.safetensors");
  text("2.safetensors");
  const Error one = missing(path);
  EXPECT_THAT(one.what(), HasSubstr("1 of the 3 shards that the index names is missing, 3.safetensors"));
  EXPECT_EQ(one.tensor(), "c");
  text("3.safetensors");
  EXPECT_NO_THROW(refuse_missing_shards(*find_shards(path, [](const fs::path&) {})));
}

TEST_F(ShardSearchTest, TellsAnIndexOfAnotherSharding) {
  const fs::path path =
      index("model.safetensors.index.json", R"("a":"model-1-of-2.safetensors","b":"model-2-of-2.safetensors")");
  text("model-1-of-1.safetensors");
  const Error error = missing(path);
  EXPECT_EQ(error.code(), ErrorCode::bad_index);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("none of the 2 shards"), HasSubstr("model-1-of-2.safetensors")));
  EXPECT_THAT(error.hint(), AllOf(HasSubstr("another sharding"), HasSubstr("without")));
}

TEST_F(ShardSearchTest, LeadsFromBlobsOfTheHubsCacheToSnapshots) {
  fs::create_directories(folder() / "blobs");
  fs::create_directories(folder() / "snapshots/abc");
  const fs::path blob = index("blobs/0123", R"("a":"model.safetensors")");
  EXPECT_THAT(missing(blob).hint(), HasSubstr("snapshots/"));
  EXPECT_THAT(refusal(folder() / "blobs").hint(), HasSubstr("snapshots/"));
  EXPECT_THAT(refusal(folder() / "blobs/").hint(), HasSubstr("snapshots/"));
  EXPECT_THAT(refusal(folder()).hint(), HasSubstr("snapshots/"));
}

TEST_F(ShardSearchTest, TakesOrNamesShardsOfTheShortEnding) {
  const fs::path path = text("ae.sft");
  EXPECT_THAT(found_in(path), ElementsAre("ae.sft"));
  const Error error = refusal(folder());
  EXPECT_EQ(error.code(), ErrorCode::not_found);
  EXPECT_THAT(error.what(), HasSubstr("no *.safetensors, but ae.sft"));
  EXPECT_THAT(error.hint(), HasSubstr("whatever its ending"));
}

}  // namespace
}  // namespace sluice
