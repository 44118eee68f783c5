// Goal: the first rule that matches a tensor decides it, a pattern takes what it matches and what it names, and a
// request that cannot be meant, or that would lose weights silently, is refused with a message that says which rule.
// Method: selections of small catalogues; globs compared with fnmatch(3) over random patterns and names.
#include "loader/plan/selection.hpp"

#include <fmt/format.h>
#include <fnmatch.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <set>
#include <string>

#include "loader/base/limits.hpp"
#include "sluice/error.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

using namespace std::string_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::shared_ptr<const Catalogue> catalogue_of(const std::vector<std::string>& names) {
  CatalogueBuilder builder;
  builder.shard();
  for (const std::string& name : names) builder.bytes(name, 8);
  return builder.build();
}

Selection select_or_throw(const std::vector<std::string>& names, const Request& request) {
  Findings findings;
  Selection selection = select(*catalogue_of(names), request, findings);
  findings.throw_first();
  return selection;
}

// The devices that a rule delivers to, by their numbers.
std::vector<int> devices_of(const Selection& selection, std::size_t rule) {
  std::vector<int> devices;
  for (const Selection::OnDevice on : selection.targets_of(selection.rules[rule])) devices.push_back(on.device);
  return devices;
}

// The rule that takes each tensor, or -1.
std::vector<int> owners(const std::vector<std::string>& names, const Request& request) {
  const Selection selection = select_or_throw(names, request);
  std::vector<int> owners;
  for (const std::uint32_t rule : selection.rule_of)
    owners.push_back(rule == Selection::none ? -1 : static_cast<int>(rule));
  return owners;
}

Request rules(const std::vector<std::string>& patterns) {
  Request request;
  for (const std::string& pattern : patterns) request.add(pattern);
  return request;
}

Request optional_rules(const std::vector<std::string>& patterns) {
  Request request;
  for (const std::string& pattern : patterns) request.add(pattern).optional();
  return request;
}

// The message of the error that select() throws.
std::string refusal(const std::vector<std::string>& names, const Request& request, ErrorCode code) {
  try {
    select_or_throw(names, request);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "no error";
}

TEST(Request, LetsTheFirstRuleThatMatchesDecide) {
  EXPECT_THAT(owners({"a.weight", "a.bias", "b.weight", "c"}, rules({"a.*", "*.weight"})), ElementsAre(0, 0, 1, -1));
  EXPECT_THAT(owners({"a.weight", "a.bias"}, optional_rules({"*", "a.bias"})), ElementsAre(0, 0));
}

TEST(Request, RefusesARuleThatEarlierOnesLeaveNothing) {
  for (const char* const second : {"a.bias", "*", "*.bias", "a*"}) {
    const Request request = rules({"a.*", "b", second});
    const std::string told = refusal({"a.weight", "a.bias", "b"}, request, ErrorCode::invalid_argument);
    EXPECT_THAT(told, HasSubstr("decides nothing")) << second;
    EXPECT_THAT(told, HasSubstr(second));
  }
  EXPECT_THAT(owners({"a", "b"}, rules({"a", "*"})), ElementsAre(0, 1)) << "something is left";
}

TEST(Request, MatchesStarsAcrossDotsAndSlashes) {
  EXPECT_THAT(owners({"model/layers.0.w", "model", ".hidden"}, rules({"m*w", "*d*"})), ElementsAre(0, 1, 1));
}

TEST(Request, TakesWhatAPatternMatchesAndTheTensorOfThatName) {
  EXPECT_THAT(owners({"*", "a", "b"}, rules({"*"})), ElementsAre(0, 0, 0));
  EXPECT_THAT(owners({"a*", "ab", "b"}, rules({"a*"})), ElementsAre(0, 0, -1));
  EXPECT_THAT(owners({"t?", "t1", "t12"}, rules({"t?"})), ElementsAre(0, 0, -1));
  EXPECT_THAT(owners({"a[b]", "ab", "a["}, rules({"a[b]"})), ElementsAre(0, 0, -1));
  EXPECT_THAT(owners({"a\\*", "a*", "ab"}, rules({"a\\*"})), ElementsAre(0, 0, -1));
  EXPECT_THAT(owners({"a\\", "a"}, rules({"a\\", "*"})), ElementsAre(0, 1));
  EXPECT_THAT(owners({"a[", "ab"}, rules({"a["})), ElementsAre(0, -1));
  EXPECT_THAT(owners({"a[b]", "ab"}, rules({"a\\[b\\]", "*"})), ElementsAre(0, 1));
}

TEST(Request, SeesTheNameOfATensorBehindThePatternOfAnEarlierRule) {
  EXPECT_THAT(owners({"a*", "ab", "a[b]"}, optional_rules({"a[b]", "a*", "*"})), ElementsAre(1, 0, 0));
}

TEST(Request, TakesANameWithANulByItsWholeNameOrByStarOnly) {
  const std::string name = "a\0b"s;
  EXPECT_THAT(owners({name, "a"}, rules({"a*", "*"})), ElementsAre(1, 0));
  EXPECT_THAT(owners({name, "a"}, rules({name})), ElementsAre(0, -1));
  EXPECT_THAT(refusal({name}, rules({"?*"}), ErrorCode::tensor_not_found), HasSubstr("no tensor"));
  EXPECT_THAT(refusal({name, "a"}, rules({"a\0*"s}), ErrorCode::tensor_not_found), HasSubstr("no tensor"));
}

TEST(Request, KnowsBracketsQuestionMarksAndEscapes) {
  EXPECT_THAT(owners({"t0", "t1", "t10", "t*"}, rules({"t[1-9]", "t??", "t\\*", "t[!1]"})), ElementsAre(3, 0, 1, 2));
}

TEST(Request, CountsARuleAsMatchedThatOnlyFindsWhatIsTaken) {
  EXPECT_THAT(owners({"a", "b"}, optional_rules({"*", "a", "b*"})), ElementsAre(0, 0));
}

// Draws a pattern and names, one of them the pattern's own, and compares what a rule takes with fnmatch.
void compare_with_fnmatch(const std::string& of_patterns, const std::string& of_names) {
  const auto text = [](const std::string& alphabet) {
    return rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::elementOf(alphabet)));
  };
  const std::string pattern = *text(of_patterns);
  auto drawn = *rc::gen::container<std::set<std::string>>(text(of_names));
  drawn.insert(pattern);
  const std::vector<std::string> names(drawn.begin(), drawn.end());
  const std::vector<int> owner = owners(names, rules({pattern}));
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool matches = names[i] == pattern || fnmatch(pattern.c_str(), names[i].c_str(), 0) == 0;
    RC_ASSERT((owner[i] == 0) == matches);
  }
}

RC_GTEST_PROP(Request, MatchesAsFnmatchDoes, ()) {
  compare_with_fnmatch("aab.**?", "aab.");
}

RC_GTEST_PROP(Request, MatchesAsFnmatchDoesWhateverNamesHold, ()) {
  compare_with_fnmatch("ab!-*?[[]]\\", "ab!-*?[[]]\\");
}

TEST(Request, RefusesARuleThatMatchesNothingAndNamesIt) {
  EXPECT_THAT(refusal({"a"}, rules({"a", "lm_head.*"}), ErrorCode::tensor_not_found),
              AllOf(HasSubstr("lm_head.*"), HasSubstr("optional"), HasSubstr("model")));
  Request request;
  request.add("lm_head.*").optional();
  request.add("a");
  EXPECT_THAT(owners({"a"}, request), ElementsAre(1));
}

TEST(Request, SuggestsTheNearestName) {
  const std::vector<std::string> names = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"};
  EXPECT_THAT(refusal(names, rules({"model.embed_token.weight"}), ErrorCode::tensor_not_found),
              HasSubstr("did you mean \"model.embed_tokens.weight\"?"));
  EXPECT_THAT(refusal(names, rules({"norm.weight"}), ErrorCode::tensor_not_found), HasSubstr("\"model.norm.weight\""));
  EXPECT_THAT(refusal(names, rules({"q"}), ErrorCode::tensor_not_found), Not(HasSubstr("did you mean")));
}

TEST(Request, RefusesWhatCannotBeMeant) {
  EXPECT_THAT(refusal({"a"}, Request(), ErrorCode::invalid_argument), HasSubstr("no rules"));
  EXPECT_THAT(refusal({"a"}, rules({""}), ErrorCode::invalid_argument), HasSubstr("empty"));

  Request cast = rules({"a"});
  cast.add("*").cast(Dtype::i32);
  EXPECT_THAT(refusal({"a"}, cast, ErrorCode::invalid_argument), HasSubstr("I32"));

  Request nowhere = rules({"a"});
  nowhere.devices.clear();
  EXPECT_THAT(refusal({"a"}, nowhere, ErrorCode::invalid_argument), HasSubstr("no device"));

  Request twice;
  twice.add("a").on({cuda(1), cuda(1)});
  EXPECT_THAT(refusal({"a"}, twice, ErrorCode::invalid_argument), HasSubstr("twice"));
  Request shared_twice = rules({"a"});
  shared_twice.devices = {host(), host()};
  EXPECT_THAT(refusal({"a"}, shared_twice, ErrorCode::invalid_argument), HasSubstr("twice"));

  Request negative;
  negative.add("a").on(cuda(-1));
  EXPECT_THAT(refusal({"a"}, negative, ErrorCode::invalid_argument), HasSubstr("-1"));
  Request numbered;
  numbered.add("a").on(DeviceId{DeviceId::Kind::host, 1});
  EXPECT_THAT(refusal({"a"}, numbered, ErrorCode::invalid_argument), HasSubstr("ordinal"));
}

TEST(Request, TakesAlignmentsThatArePowersOfTwoUpToAPage) {
  Request request = rules({"a"});
  for (const std::uint32_t alignment : {0u, 1u, 2u, 256u, 4096u}) {
    request.alignment_bytes = alignment;
    EXPECT_THAT(owners({"a"}, request), ElementsAre(0)) << alignment;
  }
  for (const std::uint32_t alignment : {3u, 255u, 8192u, 0xffffffffu}) {
    request.alignment_bytes = alignment;
    EXPECT_THAT(refusal({"a"}, request, ErrorCode::invalid_argument), HasSubstr("alignment_bytes")) << alignment;
  }
}

TEST(Request, TakesPatternsAndDevicesUpToTheirLimits) {
  Request request;
  request.add(std::string(limits::pattern_bytes_max, 'x')).optional();
  EXPECT_THAT(owners({"a"}, request), ElementsAre(-1));
  request.add(std::string(limits::pattern_bytes_max + 1, 'x')).optional();
  EXPECT_THAT(refusal({"a"}, request, ErrorCode::invalid_argument), HasSubstr("65536"));

  Request many;
  for (std::size_t i = 0; i < limits::devices_max; ++i) {
    many.add("*" + std::string(i, '*')).optional().on(cuda(static_cast<int>(i)));
  }
  EXPECT_THAT(owners({"a"}, many), ElementsAre(0));
  many.add("a").optional().on(host());
  EXPECT_THAT(refusal({"a"}, many, ErrorCode::invalid_argument), HasSubstr("64 devices"));
}

TEST(Request, NamesDevicesInTheOrderOfItsRules) {
  Request request;
  request.devices = {cuda(2), cuda(1)};
  request.add("a").on(cuda(5));
  request.add("b");
  request.add("c").on({cuda(1), host(), cuda(5)});
  const Selection selection = select_or_throw({"a", "b", "c"}, request);
  EXPECT_THAT(selection.devices, ElementsAre(cuda(5), cuda(2), cuda(1), host()));
  EXPECT_THAT(devices_of(selection, 0), ElementsAre(0));
  EXPECT_THAT(devices_of(selection, 1), ElementsAre(1, 2));
  EXPECT_THAT(devices_of(selection, 2), ElementsAre(0, 2, 3));
}

TEST(Request, LeavesOutItsOwnDevicesWhereEveryRuleNamesOthers) {
  Request request;
  request.add("a").on(cuda(0));
  EXPECT_THAT(select_or_throw({"a"}, request).devices, ElementsAre(cuda(0)));
}

}  // namespace
}  // namespace sluice
