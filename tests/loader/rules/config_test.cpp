// Goal: whole numbers of a configuration are found, whatever else is in it, and what is no JSON is refused.
#include "loader/rules/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sluice/error.hpp"
#include "tests/loader/support/shard_builder.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(Config, GivesWholeNumbers) {
  const TemporaryFolder folder;
  const auto path = folder.write(
      "c.json",
      bytes_of(R"({"a": 1, "b": -2, "c": 1.5, "d": 1e3, "e": "5", "f": [1, {"g": 2}], "h": {"i": 3}, "j": true,
                             "k": false, "l": null, "m": 9223372036854775807, "n": 9223372036854775808, "o": NaN,
                             "p\u0061": 4})"));
  EXPECT_THAT(*rules::read_config(path, {}), ElementsAre(Pair("a", 1), Pair("b", -2), Pair("j", 1), Pair("k", 0),
                                                         Pair("m", INT64_MAX), Pair("pa", 4)));
}

TEST(Config, LooksIntoObjects) {
  const TemporaryFolder folder;
  const auto path = folder.write("c.json", bytes_of(R"({"a": 1, "h": {"i": 3, "j": {"k": 4}}, "l": [1, 2], "i": {}})"));
  EXPECT_THAT(*rules::read_config(path, {"h"}), ElementsAre(Pair("i", 3)));
  EXPECT_THAT(*rules::read_config(path, {"h", "j"}), ElementsAre(Pair("k", 4)));
  EXPECT_THAT(*rules::read_config(path, {"i"}), ElementsAre());
  EXPECT_FALSE(rules::read_config(path, {"l"}));
  EXPECT_FALSE(rules::read_config(path, {"a"}));
  EXPECT_FALSE(rules::read_config(path, {"h", "i"}));
  EXPECT_FALSE(rules::read_config(path, {"nothing"}));
}

TEST(Config, RefusesWhatIsNoConfiguration) {
  const TemporaryFolder folder;
  for (const char* const text :
       {"", "[1]", "{\"a\": 1", "{\"a\": tru}", "{\"a\": 01}", "{\"a\": 1} 2", "{\"a\" 1}", "{\"a\": -}"}) {
    const auto path = folder.write("c.json", bytes_of(text));
    const Error error = error_of([&] { rules::read_config(path, {}); });
    EXPECT_EQ(error.code(), ErrorCode::bad_rules) << text;
    EXPECT_EQ(error.path(), path.string()) << text;
  }
  EXPECT_EQ(error_of([&] { rules::read_config(folder.path() / "gone", {}); }).code(), ErrorCode::not_found);
  EXPECT_EQ(error_of([&] { rules::read_config(folder.path(), {}); }).code(), ErrorCode::io);
}

}  // namespace
}  // namespace sluice
