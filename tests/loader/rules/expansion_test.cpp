// Goal: a rules file works out to the request that it says: loops, captures, conditions, devices, first matches.
// Method: works files out on a small checkpoint, and reads the request in numbers.
#include "loader/rules/expansion.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loader/support/rules_case.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;

// The lines of the layers' tensors where they are skipped.
std::string skipped_layers() {
  std::string lines;
  for (const TestTensor& tensor : RulesCase::some()) {
    if (tensor.name.starts_with("l.")) lines += tensor.name + "  skip\n";
  }
  return lines;
}

TEST(Expansion, DeliversWhatRulesName) {
  const RulesCase on;
  EXPECT_EQ(on.worked_out("norm"), "norm  on host\n");
  EXPECT_EQ(on.worked_out("norm  # as it is\n\n  # nothing\nstrict\nembed[2:4] cast F32 group 3\nhead skip\nl.* skip"),
            "strict\nembed[2:4, :]  cast F32  group 3  on host\nnorm  on host\nhead  skip\n" + skipped_layers());
  EXPECT_EQ(on.worked_out("e*  skip\nhead[:, part 1 of 2] order (1, 0)"),
            "head[:, 2:4] order (1, 0)  on host\nembed  skip\n");
  EXPECT_EQ(on.worked_out("\"norm\" cast F32"), "norm  cast F32  on host\n");
}

TEST(Expansion, FillsDestinations) {
  const RulesCase on;
  EXPECT_EQ(on.worked_out("let n = 2\n"
                          "tensor qk BF16 [4 + n, 4] group 7 zero\n"
                          "l.0.q[:] -> qk[0 : 4]\n"
                          "l.0.k -> qk[4 :]\n"),
            "tensor qk  BF16 [6, 4]  group 7  zero  on host\n"
            "l.0.q  -> qk[0:4, :]  on host\n"
            "l.0.k  -> qk[4:6, :]  on host\n");
  EXPECT_EQ(on.worked_out("tensor t BF16 [2, 2, 4]\nl.0.q as [2, 2, 4] order (1, 0, 2) -> t"),
            "tensor t  BF16 [2, 2, 4]  on host\nl.0.q as [2, 2, 4] order (1, 0, 2)  -> t  on host\n");
  EXPECT_EQ(on.worked_out("tensor t F32 [1, 4]\nl.0.q[2] cast F32 -> t"),
            "tensor t  F32 [1, 4]  on host\nl.0.q[2, :]  cast F32  -> t  on host\n");
}

TEST(Expansion, RunsLoopsAndCaptures) {
  const RulesCase on;
  EXPECT_EQ(on.worked_out("for l in 0 .. 2\n"
                          "tensor up.{l} BF16 [2, 2, 4]\n"
                          "l.{l}.e.{e}.up when e < 2 -> up.{l}[e % 2]\n"
                          "l.{l}.e.{e}.* skip\n"
                          "end\n"),
            "tensor up.0  BF16 [2, 2, 4]  on host\n"
            "l.0.e.0.up  -> up.0[0, :, :]  on host\n"
            "l.0.e.1.up  -> up.0[1, :, :]  on host\n"
            "tensor up.1  BF16 [2, 2, 4]  on host\n"
            "l.1.e.0.up  -> up.1[0, :, :]  on host\n"
            "l.1.e.1.up  -> up.1[1, :, :]  on host\n"
            "l.0.e.0.down  skip\nl.0.e.1.down  skip\nl.0.e.10.up  skip\nl.0.e.10.down  skip\n"
            "l.1.e.0.down  skip\nl.1.e.1.down  skip\nl.1.e.10.up  skip\nl.1.e.10.down  skip\n");
  EXPECT_EQ(on.worked_out("for a in 1 .. 3\nfor b in 0 .. a\nl.{a - 1}.e.{b}.up optional\nend\nend\nnorm"),
            "norm  on host\nl.0.e.0.up  on host\nl.1.e.0.up  on host\nl.1.e.1.up  on host\n");
  EXPECT_EQ(on.worked_out("for a in 3 .. 3\nnothing -> nowhere\nend\nnorm"), "norm  on host\n");
}

TEST(Expansion, CapturesAreBoundInTheirLineOnly) {
  const RulesCase on;
  EXPECT_EQ(on.worked_out("l.{x}.q group x + 1\nl.{x}.k group x + 2"),
            "l.0.q  group 1  on host\nl.0.k  group 2  on host\nl.1.q  group 2  on host\nl.1.k  group 3  on host\n");
}

TEST(Expansion, TakesTheFirstNameThatIsThere) {
  const RulesCase on;
  EXPECT_EQ(on.worked_out("lm_head | head | embed"), "head  on host\n");
  EXPECT_EQ(on.worked_out("x.{i}.q | l.{i}.q group i"), "l.0.q  on host\nl.1.q  group 1  on host\n");
  EXPECT_EQ(
      on.worked_out("tensor a BF16 [8, 4]\ntensor b BF16 [8, 4]\nembed -> a\nlm_head | embed -> b"),
      "tensor a  BF16 [8, 4]  on host\nembed  -> a  on host\ntensor b  BF16 [8, 4]  on host\nembed  -> b  on host\n");
}

TEST(Expansion, TheFirstLineThatMatchesDecides) {
  const RulesCase on;
  EXPECT_EQ(on.worked_out("norm cast F32\n*norm group 2"),
            "norm  cast F32  on host\nl.0.norm  group 2  on host\nl.1.norm  group 2  on host\n");
  const Error error = on.refusal("*norm\n\nnorm cast F32");
  EXPECT_EQ(error.code(), ErrorCode::bad_rules);
  EXPECT_EQ(error.line(), 3u);
  EXPECT_THAT(error.what(), HasSubstr("the rule decides nothing: line 1 has taken \"norm\" already"));
  EXPECT_EQ(on.worked_out("norm\nnorm cast F32 optional"), "norm  on host\n");
  EXPECT_EQ(on.worked_out("norm\nnorm skip"), "norm  on host\n") << "what is to be skipped is gone already";
  // A name says each of its copies; what a star means is the rest.
  EXPECT_EQ(on.worked_out("tensor a BF16 [4]\ntensor b BF16 [8]\nnorm -> a\nnorm -> b[:4]\nnorm -> b[4:]\n"),
            "tensor a  BF16 [4]  on host\nnorm  -> a  on host\n"
            "tensor b  BF16 [8]  on host\nnorm  -> b[0:4]  on host\nnorm  -> b[4:8]  on host\n");
  EXPECT_EQ(on.refusal("tensor a BF16 [4]\ntensor b BF16 [4]\nnorm -> a\nnor* -> b").line(), 4u);
}

TEST(Expansion, GivesEachDeviceItsRank) {
  const RulesCase on;
  const RulesOptions two{{}, {host(), null()}};
  EXPECT_EQ(on.worked_out("tensor t BF16 [8 / world, 4]\nembed[part rank of world] -> t", two),
            "tensor t  BF16 [4, 4]  on host\nembed[0:4, :]  -> t  on host\n"
            "tensor t  BF16 [4, 4]  on null\nembed[4:8, :]  -> t  on null\n");
  EXPECT_EQ(on.worked_out("embed", two), "embed  on host\nembed  on null\n");
  EXPECT_EQ(on.request("embed", two).destinations().size(), 0u) << "the same on each needs no destination";
  // What differs becomes a destination of the tensor's name.
  EXPECT_EQ(on.worked_out("embed[part rank of world] group 2", two),
            "tensor embed  BF16 [4, 4]  group 2  on host\nembed[0:4, :]  -> embed  on host\n"
            "tensor embed  BF16 [4, 4]  group 2  on null\nembed[4:8, :]  -> embed  on null\n");
  EXPECT_EQ(on.worked_out("embed[part rank of world]", {{{"rank", 3}, {"world", 4}}, {host(), null()}}),
            "embed[6:8, :]  on host\nembed[6:8, :]  on null\n");
  EXPECT_EQ(on.worked_out("embed when rank == 1\nnorm when rank == 0", two), "embed  on null\nnorm  on host\n");
}

TEST(Expansion, KnowsNoRankWhereOnlyTheWorldIsGiven) {
  const RulesCase on;
  const Error error = on.refusal("embed[part rank of world]", {{{"world", 4}}, {host()}});
  EXPECT_THAT(error.what(), HasSubstr("nothing gives 'rank' a value; these have one: world"));
  EXPECT_THAT(error.hint(), HasSubstr("give rank, too"));
}

TEST(Expansion, SendsLinesToTheDeviceThatTheyName) {
  const RulesCase on;
  const RulesOptions two{{}, {host(), null()}};
  EXPECT_EQ(on.worked_out("embed on null\nnorm\nhead on cuda:{3}", two),
            "embed  on null\nhead  on cuda:3\nnorm  on host\nnorm  on null\n");
  EXPECT_EQ(
      on.worked_out("tensor t BF16 [4] on cuda:1\nnorm -> t on cuda:1\nnorm"),
      "tensor t  BF16 [4]  on cuda:1\nnorm  -> t  on cuda:1\ntensor norm  BF16 [4]  on host\nnorm  -> norm  on host\n")
      << "a tensor that is copied and delivered";
}

TEST(Expansion, AsksWhetherTensorsAreThere) {
  const RulesCase on;
  EXPECT_EQ(on.worked_out("norm when has(head) and not has(lm_head) and has(l.{1}.q) and has(*.up) and has(l.{x}.k)"),
            "norm  on host\n");
  EXPECT_EQ(on.worked_out("norm\nno.such when has(no.such)\nno.{i}.such when has(no.1.such)\nno.{i} when 0"),
            "norm  on host\n");
  EXPECT_EQ(on.worked_out("l.{l}.e.{e}.up when has(l.{l}.e.{e + 1}.up)"), "l.0.e.0.up  on host\nl.1.e.0.up  on host\n");
}

TEST(Expansion, UsesTheNumbersOfAConfiguration) {
  const std::string config =
      R"({"n": 2, "head_dim": null, "x": 1.5, "tie": true, "inner": {"n": 3, "m": -1}, "s": "2"})";
  const RulesCase on(RulesCase::some(), config);
  EXPECT_EQ(on.worked_out("use config.json\nnorm group n\nhead group default(head_dim, 7)\nembed group tie"),
            "embed  group 1  on host\nhead  group 7  on host\nnorm  group 2  on host\n");
  EXPECT_EQ(on.worked_out("use config.json inner\nnorm group n + m"), "norm  group 2  on host\n");
  EXPECT_EQ(on.worked_out("use config.json\nuse config.json inner\nnorm group n"), "norm  group 3  on host\n");
  EXPECT_EQ(on.worked_out("use config.json outer optional\nuse other.json optional\nlet n = 5\nnorm group n"),
            "norm  group 5  on host\n");
  EXPECT_EQ(on.worked_out("use config.json\nnorm group n", {{{"n", 9}}, {host()}}), "norm  group 9  on host\n");
  EXPECT_EQ(on.worked_out("let n = 5\nnorm group n", {{{"n", 9}}, {host()}}), "norm  group 9  on host\n")
      << "what a file says of a name is what it is without --set";
}

TEST(Expansion, RefusesAConfigurationThatIsNotThere) {
  const RulesCase on;
  const Error missing = on.refusal("\n use config.json\n");
  EXPECT_EQ(missing.code(), ErrorCode::not_found);
  EXPECT_THAT(missing.what(), HasSubstr("f.rules:2:2"));
  EXPECT_THAT(missing.what(), HasSubstr("config.json"));
  const RulesCase broken(RulesCase::some(), "{\"a\": 1,}");
  EXPECT_EQ(broken.refusal("use config.json").code(), ErrorCode::bad_rules);
  const RulesCase other(RulesCase::some(), "{\"a\": 1}");
  EXPECT_THAT(other.refusal("use config.json text_config").what(), HasSubstr("has no object 'text_config'"));
}

TEST(Expansion, SaysWhatMatchesNothing) {
  const RulesCase on;
  const Error error = on.refusal("norm\nfor l in 0 .. 3\nl.{l}.q | m.{l}.q\nend");
  EXPECT_EQ(error.code(), ErrorCode::tensor_not_found);
  EXPECT_STREQ(error.what(),
               "tensor not found: no tensor matches l.{l}.q | m.{l}.q (l = 2); the nearest is \"l.1.q\": f.rules:3:1; "
               "write 'optional' behind the rule if it may match nothing");
}

TEST(Expansion, TakesDevicesAndValuesThatMakeSense) {
  const RulesCase on;
  EXPECT_EQ(on.refusal("norm", {{}, {}}).code(), ErrorCode::invalid_argument);
  EXPECT_EQ(on.refusal("norm", {{}, {host(), host()}}).code(), ErrorCode::invalid_argument);
  EXPECT_EQ(on.refusal("norm", {{}, std::vector<DeviceId>(65)}).code(), ErrorCode::invalid_argument);
  const Error error = on.refusal("let tp = 1\nnorm group tp", {{{"pt", 2}}, {host()}});
  EXPECT_STREQ(error.what(), "bad rules: the file has no name 'pt' to give a value to: f.rules; it has tp");
}

}  // namespace
}  // namespace sluice
