// Goal: what cannot be delivered is refused before anything is read, by a message with names and numbers; check() tells
// all of it, in the request's order, and make_plan() throws the first.
#include "loader/plan/routing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "loader/base/limits.hpp"
#include "loader/plan/access.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::shared_ptr<const Catalogue> model() {
  CatalogueBuilder builder;
  builder.tensor("q", bf16, {64, 16}).tensor("k", bf16, {16, 16}).tensor("ids", Dtype::i64, {8});
  builder.tensor("packed", Dtype::f4, {4, 6}).tensor("none", f32, {0, 4}).tensor("norm", f32, {16});
  return builder.build();
}

alignas(64) std::byte memory[8192];

// The codes and messages of all that is wrong with what `ask` adds to a request.
std::vector<std::string> told(const std::function<void(Request&)>& ask) {
  Request request;
  ask(request);
  std::vector<std::string> lines;
  for (const Error& error : check(model(), request)) {
    lines.push_back(std::string(name(error.code())) + ": " + error.what());
  }
  try {
    make_plan(model(), request, {});
    EXPECT_THAT(lines, IsEmpty()) << "check() refuses what make_plan() accepts";
  } catch (const Error& error) {
    EXPECT_THAT(lines, testing::Not(IsEmpty())) << error.what();
    if (!lines.empty()) {
      EXPECT_EQ(lines.front(), std::string(name(error.code())) + ": " + error.what());
    }
  }
  return lines;
}

// The one thing that is wrong.
std::string refusal(const std::function<void(Request&)>& ask) {
  const std::vector<std::string> lines = told(ask);
  EXPECT_EQ(lines.size(), 1u) << testing::PrintToString(lines);
  return lines.empty() ? "accepted" : lines.front();
}

TEST(Routing, RefusesSlicesThatDoNotFitTheirTensor) {
  EXPECT_THAT(
      refusal([](Request& r) { r.add("q").take(take(0, 60, 8)); }),
      AllOf(HasSubstr("invalid_argument"), HasSubstr("8 from 60 on of dimension 0, which has 64"), HasSubstr("\"q\"")));
  EXPECT_THAT(refusal([](Request& r) { r.add("q").take(as({64, 17})); }), HasSubstr("1088 elements"));
  EXPECT_THAT(refusal([](Request& r) { r.add("q").take(part(0, 0, 3)); }), HasSubstr("3 parts do not divide"));
  EXPECT_THAT(refusal([](Request& r) { r.add("q").take(order({0, 0})); }), HasSubstr("order"));
  EXPECT_THAT(refusal([](Request& r) { r.add("q").take(at(2, 0)); }), HasSubstr("no dimension 2"));
  EXPECT_THAT(refusal([](Request& r) { r.add("packed").take(take(1, 1, 2)); }), HasSubstr("inside a byte"));
  EXPECT_THAT(told([](Request& r) { r.add("packed").take(take(1, 2, 2)); }), IsEmpty());
  EXPECT_THAT(refusal([](Request& r) { r.add("packed").take(order({1, 0})); }), HasSubstr("inside a byte"));
  EXPECT_THAT(refusal([](Request& r) {
                r.devices = {cuda(0), cuda(1), cuda(2)};
                r.add("q").split(0, 2);
              }),
              HasSubstr("splits into 2 parts for 3 devices"));
}

// On either side, by a message with the tensor, the slice and the numbers.
TEST(Routing, RefusesSlicesOnBothSides) {
  const auto both = [](const Slice& wrong, const std::vector<std::string>& parts) {
    const std::string from = refusal([&](Request& r) {
      r.add("q").to(r.destination("d", {64, 16}, bf16, host()), wrong);
    });
    const std::string into = refusal([&](Request& r) {
      r.add("q").to(r.destination("d", {64, 16}, bf16, host()), {}, wrong);
    });
    for (const std::string& told : {from, into, refusal([&](Request& r) { r.add("q").take(wrong); })}) {
      EXPECT_THAT(told, AllOf(HasSubstr("invalid_argument"), HasSubstr("\"q\""), HasSubstr("slice " + text(wrong))));
      for (const std::string& part : parts) EXPECT_THAT(told, HasSubstr(part));
    }
    EXPECT_THAT(from, HasSubstr(": " + text(wrong) + " -> d on host: "));
    EXPECT_THAT(into, HasSubstr((text(wrong).front() == '[' ? ": -> d" : ": -> d ") + text(wrong) + " on host: "));
  };
  both(as({64, 17}), {"[64, 17] has 1088 elements", "[64, 16] has 1024"});
  both(as({1ull << 40, 1ull << 40}), {"has 18446744073709551615 elements"});
  both(take(2, 0), {"no dimension 2 in [64, 16]"});
  both(take(0, 65), {"from 65 on of dimension 0, which has 64"});
  both(take(1, 4, 13), {"13 from 4 on of dimension 1, which has 16"});
  both(take(0, 1, UINT64_MAX - 1), {"from 1 on of dimension 0, which has 64"});
  both(take(0, 32).take(0, 30, 4), {"4 from 30 on of dimension 0, which has 32"});
  both(at(1, 16), {"1 from 16 on of dimension 1, which has 16"});
  both(part(0, 0, 3), {"dimension 0 has 64, which 3 parts do not divide", "use take()"});
  both(part(0, 4, 4), {"no part 4 of 4"});
  both(part(1, 0, 0), {"0 parts"});
  both(part(3, 0, 2), {"no dimension 3"});
  both(order({0}), {"none of the 2 dimensions"});
  both(order({0, 0}), {"none of the 2 dimensions"});
  both(order({0, 2}), {"none of the 2 dimensions"});
  both(order({0, 1, 2}), {"none of the 2 dimensions"});
}

// What ends where a tensor ends is no mistake.
TEST(Routing, TakesSlicesUpToTheEnd) {
  for (const Slice& right : {take(0, 64), take(0, 63), take(0, 64, 0), at(0, 63), part(0, 3, 4), part(0, 63, 64),
                             take(0, 32).take(0, 31, 1), take(0, 0, 64), part(0, 0, 1)}) {
    EXPECT_THAT(told([&](Request& r) { r.add("q").take(right); }), IsEmpty()) << text(right);
  }
}

// F4 and F6: elements of less than a byte are cut where they begin and end with one.
TEST(Routing, RefusesToCutInsideAByte) {
  CatalogueBuilder builder;
  builder.tensor("four", Dtype::f4, {4, 6}).tensor("six", Dtype::f6_e2m3, {4, 8});
  const auto catalogue = builder.build();
  const auto refused = [&](const char* tensor, const Slice& slice) {
    Request request;
    request.add(tensor).take(slice);
    const std::vector<Error> errors = check(catalogue, request);
    if (errors.empty()) return false;
    EXPECT_EQ(errors[0].code(), ErrorCode::invalid_argument);
    EXPECT_THAT(errors[0].what(), AllOf(HasSubstr("inside a byte"), HasSubstr(tensor)));
    return true;
  };
  for (const Slice& right : {take(0, 1, 2), take(1, 2, 2), take(1, 4), part(1, 1, 3), as({8, 3}).take(0, 2, 2),
                             as({12, 2}).order({0, 1}), as({4, 3, 2}).order({1, 0, 2}), at(0, 3)}) {
    EXPECT_FALSE(refused("four", right)) << text(right);
  }
  for (const Slice& wrong : {take(1, 1, 2), take(1, 0, 3), at(1, 2), part(1, 1, 2), as({8, 3}).take(0, 1, 2),
                             as({8, 3}).at(0, 1), order({1, 0}), as({24}).take(0, 3, 2)}) {
    EXPECT_TRUE(refused("four", wrong)) << text(wrong);
  }
  for (const Slice& right : {take(0, 1, 2), take(1, 4), part(1, 1, 2), as({8, 4}).order({0, 1})}) {
    EXPECT_FALSE(refused("six", right)) << text(right);
  }
  for (const Slice& wrong : {take(1, 2, 4), take(1, 0, 2), part(1, 1, 4), at(1, 4), order({1, 0})}) {
    EXPECT_TRUE(refused("six", wrong)) << text(wrong);
  }
  Request into;
  into.add("four").to(into.destination("d", {4, 7}, Dtype::f4, host()).zero(), {}, take(1, 1));
  const std::vector<Error> errors = check(catalogue, into);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_THAT(errors[0].what(), HasSubstr("inside a byte"));
}

TEST(Routing, RefusesWaysThatExcludeEachOther) {
  const auto with_to = [](const std::function<void(Rule&)>& more) {
    return refusal([&](Request& r) {
      Rule& rule = r.add("norm").to(r.destination("d", {16}, f32, host()));
      more(rule);
    });
  };
  EXPECT_THAT(with_to([](Rule& rule) { rule.on(cuda(0)); }), HasSubstr("to() and on()"));
  EXPECT_THAT(with_to([](Rule& rule) { rule.take(take(0, 1)); }), HasSubstr("to() and take() or split()"));
  EXPECT_THAT(with_to([](Rule& rule) { rule.split(0); }), HasSubstr("to() and take() or split()"));
  EXPECT_THAT(with_to([](Rule& rule) { rule.skip(); }), HasSubstr("skips what it also delivers"));
  EXPECT_THAT(refusal([](Request& r) { r.add("q").cast(f32).skip(); }), HasSubstr("skips"));
}

TEST(Routing, RefusesWhatDoesNotFitTheDestination) {
  EXPECT_THAT(refusal([](Request& r) {
                r.add("q").to(r.destination("d", {60, 16}, bf16, cuda(1)));
              }),
              AllOf(HasSubstr("counts differ: [64, 16] of [64, 16] go to [60, 16] of [60, 16]"), HasSubstr("\"q\""),
                    HasSubstr("d on cuda:1")));
  EXPECT_THAT(refusal([](Request& r) {
                r.add("q").to(r.destination("d", {64, 16}, f32, host()));
              }),
              AllOf(HasSubstr("the tensor is BF16, the destination F32"), HasSubstr(".cast(F32)")));
  EXPECT_THAT(refusal([](Request& r) {
                r.add("q").cast(f16).to(r.destination("d", {64, 16}, f32, host()));
              }),
              HasSubstr("casts to F16, the destination holds F32"));
  EXPECT_THAT(refusal([](Request& r) {
                r.add("q").cast(f16).to(r.destination("d", {64, 16}, bf16, host()));
              }),
              HasSubstr("casts to F16"))
      << "though the tensor would fit";
  EXPECT_THAT(refusal([](Request& r) { r.add("ids").cast(f32).to(r.destination("d", {8}, f32, host())); }),
              HasSubstr("I64, which cannot become F32"));
  EXPECT_THAT(refusal([](Request& r) {
                Destination& d = r.destination("d", {80, 16}, bf16, host());
                r.add("k").to(d, {}, take(0, 64));
                r.add("q").to(d, {}, as({5, 16, 16}).take(0, 0, 4));
              }),
              HasSubstr("counts differ"));
  EXPECT_THAT(refusal([](Request& r) {
                Destination& d = r.destination("d", {80, 16}, bf16, host());
                r.add("k").to(d, {}, take(0, 64));
                r.add("q").to(d, as({4, 16, 16}), as({5, 16, 16}).take(0, 0, 4));
              }),
              AllOf(HasSubstr("see it as [5, 16, 16] and as [80, 16]"), HasSubstr("\"k\"")));
}

TEST(Routing, RefusesDestinationsThatAreNotWrittenOnce) {
  EXPECT_THAT(refusal([](Request& r) {
                r.add("q").to(r.destination("qkv", {96, 16}, bf16, cuda(1)), {}, take(0, 0, 64));
              }),
              AllOf(HasSubstr("incomplete"), HasSubstr("no rule writes [64:96, :] of it: 512 of 1536 elements"),
                    HasSubstr("\"qkv\" on cuda:1")));
  EXPECT_THAT(refusal([](Request& r) {
                r.add("q").to(r.destination("qkv", {96, 16}, bf16, host()), {}, take(0, 16, 64));
              }),
              HasSubstr("no rule writes [0:16, :] of it: 512 of 1536 elements"))
      << "both gaps count";
  EXPECT_THAT(refusal([](Request& r) {
                Destination& d = r.destination("qkv", {64, 16}, bf16, host());
                r.add("q").to(d);
                r.add("k").to(d, {}, take(0, 8, 16));
              }),
              AllOf(HasSubstr("incomplete"), HasSubstr("[8:24, :] is written twice, by \"q\" and by \"k\"")));
  EXPECT_THAT(refusal([](Request& r) {
                r.add("?").to(r.destination("d", {16, 16}, bf16, host()), take(0, 0, 16));
              }),
              HasSubstr("written twice"))
      << "every tensor of a glob";
  EXPECT_THAT(refusal([](Request& r) {
                r.destination("lonely", {3}, f32, host());
                r.add("q");
              }),
              HasSubstr("no rule writes [:] of it"));
  const auto padded = [](Request& r) -> Destination& {
    Destination& d = r.destination("d", {80, 16}, bf16, host());
    r.add("q").to(d, {}, take(0, 0, 64));
    return d;
  };
  EXPECT_THAT(told([&](Request& r) { padded(r).zero(); }), IsEmpty());
  EXPECT_THAT(told([&](Request& r) { padded(r).keep(); }), IsEmpty());
  EXPECT_THAT(told([](Request& r) { r.add("none").to(r.destination("d", {0, 4}, f32, host())); }), IsEmpty());
}

TEST(Routing, RefusesDestinationsThatCannotBeMeant) {
  const auto with = [](const std::function<void(Request&)>& make) {
    return refusal([&](Request& r) {
      r.add("*");
      make(r);
    });
  };
  EXPECT_THAT(with([](Request& r) { r.destination("", {1}, f32, host()).zero(); }), HasSubstr("has no name"));
  EXPECT_THAT(with([](Request& r) {
                r.destination("d", {UINT64_MAX, 2}, f32, host()).zero();
              }),
              HasSubstr("too large"));
  EXPECT_THAT(with([](Request& r) { r.destination("d", {3}, Dtype::f4, host()).zero(); }), HasSubstr("whole bytes"));
  EXPECT_THAT(with([](Request& r) { r.destination("d", std::vector<std::uint64_t>(65, 1), f32, host()).zero(); }),
              HasSubstr("65 dimensions"));
  EXPECT_THAT(with([](Request& r) { r.destination("d", {1}, f32, cuda(-1)).zero(); }), HasSubstr("ordinal -1"));
  EXPECT_THAT(with([](Request& r) {
                r.destination("d", {1}, f32, host()).zero();
                r.destination("d", {2}, f32, host()).zero();
              }),
              HasSubstr("twice on this device"));
  EXPECT_THAT(with([](Request& r) { r.destination("q", {1}, f32, host()).zero(); }),
              HasSubstr("a rule delivers the tensor of its name"));
  EXPECT_THAT(told([](Request& r) {
                r.add("q");
                r.destination("q", {1}, f32, cuda(0)).zero();
              }),
              IsEmpty())
      << "another device";
}

TEST(Routing, RefusesMemoryThatDoesNotHoldTheDestination) {
  const auto with = [](const std::function<void(Destination&)>& make) {
    return refusal([&](Request& r) {
      r.add("q");
      make(r.destination("d", {4, 6}, f32, host()).zero());
    });
  };
  EXPECT_THAT(with([](Destination& d) { d.memory(nullptr, 96); }), HasSubstr("nullptr"));
  EXPECT_THAT(with([](Destination& d) { d.memory(memory, 95); }), HasSubstr("has 95 bytes, it needs 96"));
  EXPECT_THAT(with([](Destination& d) { d.memory(memory + 2, 200); }), HasSubstr("not aligned to 4 bytes"));
  EXPECT_THAT(with([](Destination& d) { d.strides({6, 1}); }), HasSubstr("without memory()"));
  EXPECT_THAT(with([](Destination& d) { d.memory(memory, 200).strides({6}); }),
              HasSubstr("1 strides for 2 dimensions"));
  EXPECT_THAT(with([](Destination& d) { d.memory(memory, 200).strides({8, 2}); }), HasSubstr("last stride is 2"));
  EXPECT_THAT(with([](Destination& d) { d.memory(memory, 200).strides({5, 1}); }), HasSubstr("overlaps another"));
  EXPECT_THAT(with([](Destination& d) { d.memory(memory, 119).strides({8, 1}); }), HasSubstr("it needs 120"));
  EXPECT_THAT(with([](Destination& d) { d.memory(memory, UINT64_MAX); }), HasSubstr("beyond all addresses"));
  EXPECT_THAT(refusal([](Request& r) {
                r.add("q");
                r.destination("first", {8}, f32, host()).zero().memory(memory, 32);
                r.destination("second", {8}, f32, host()).zero().memory(memory + 28, 32);
              }),
              AllOf(HasSubstr("\"second\""), HasSubstr("overlaps that of \"first\"")));
  EXPECT_THAT(told([](Request& r) {
                r.add("q");
                r.destination("first", {8}, f32, host()).zero().memory(memory, 32);
                r.destination("second", {8}, f32, host()).zero().memory(memory + 32, 32);
              }),
              IsEmpty())
      << "neighbours";
  EXPECT_THAT(told([](Request& r) {
                r.add("q");
                r.destination("first", {8}, f32, host()).zero().memory(memory, 32);
                r.destination("second", {8}, f32, cuda(0)).zero().memory(memory, 32);
              }),
              IsEmpty())
      << "addresses of two devices are not the same";
}

TEST(Routing, IsStrictWhereItIsAsked) {
  EXPECT_THAT(
      refusal([](Request& r) {
        r.strict = true;
        r.add("q");
      }),
      AllOf(HasSubstr("incomplete"), HasSubstr("no rule matches 5 of 6 tensors: \"k\", \"ids\", \"packed\", ...")));
  EXPECT_THAT(told([](Request& r) {
                r.strict = true;
                r.add("q");
                r.add("*").skip();
              }),
              IsEmpty());
  Request request;
  request.add("q");
  request.add("norm").skip();
  std::vector<std::string_view> names;
  const Plan plan = make_plan(model(), request, {});
  for (const TensorInfo* const tensor : plan.left_out()) names.push_back(tensor->name);
  EXPECT_THAT(names, ElementsAre("k", "ids", "packed", "none"));
}

TEST(Routing, TellsEverythingInTheRequestsOrder) {
  const std::vector<std::string> lines = told([](Request& r) {
    r.strict = true;
    r.destination("lonely", {3}, f32, host());
    r.add("missing");
    r.add("q").take(take(0, 99));
    r.add("k").to(r.destination("d", {16, 16}, f32, host()));
    r.add("k2*").optional();
    r.add("*norm*").on(cuda(-2));
  });
  EXPECT_THAT(lines, ElementsAre(HasSubstr("missing"), HasSubstr("99"), HasSubstr("\"k\""), HasSubstr("ordinal -2"),
                                 HasSubstr("\"lonely\""), HasSubstr("3 of 6 tensors")));
}

TEST(Routing, SplitsByThePlaceOfADeviceInTheRule) {
  Request request;
  request.add("k").on({cuda(1), cuda(0)});
  request.add("q").on({cuda(1), cuda(0), host(), null()}).split(0, 2);
  const Plan plan = make_plan(model(), request, {});
  const PlanData& data = *Access::data(plan);
  std::map<std::string, std::uint64_t> begins;
  for (const Route& route : data.routes) {
    if (data.catalogue->tensors[route.tensor].name != "q") continue;
    begins[name(data.devices[data.placements[route.first_placement].device])] =
        route.begin - data.catalogue->tensors[route.tensor].offset;
  }
  EXPECT_EQ(begins,
            (std::map<std::string, std::uint64_t>{{"cuda:1", 0}, {"cuda:0", 0}, {"host", 1024}, {"null", 1024}}));
}

}  // namespace
}  // namespace sluice
