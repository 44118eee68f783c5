// Goal: a request is a plain value: what is added stays where it is, and a copy means its own destinations.
#include "sluice/request.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "loader/plan/plan.hpp"
#include "sluice/error.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

std::shared_ptr<const Catalogue> two_rows() {
  CatalogueBuilder builder;
  builder.tensor("a", f32, {4}).tensor("b", f32, {4});
  return builder.build();
}

Request fused() {
  Request request;
  Destination& both = request.destination("both", {2, 4}, f32, host());
  request.add("a").to(both, {}, at(0, 0));
  request.add("b").to(both, {}, at(0, 1));
  return request;
}

TEST(RequestValue, AddsARuleOrGivesTheOneOfThePattern) {
  Request request;
  Rule& first = request.add("a*");
  for (int i = 0; i < 1000; ++i) request.add(std::to_string(i)).optional();
  EXPECT_EQ(&request.add("a*"), &first) << "references survive further adding";
  EXPECT_EQ(request.rules().size(), 1001u);
}

TEST(RequestValue, CopiesMeanTheirOwnDestinations) {
  Request copy;
  {
    const Request original = fused();
    copy = original;
    EXPECT_TRUE(check(two_rows(), original).empty());
  }
  EXPECT_EQ(copy.rules().front().targets().front().destination, &copy.destinations().front());
  EXPECT_TRUE(check(two_rows(), copy).empty());
  Request more = copy;
  more.add("a").cast(bf16);
  EXPECT_EQ(copy.add("a").cast(), std::nullopt);
  const Request& same = more;
  more = same;
  EXPECT_EQ(more.rules().size(), 2u);
}

TEST(RequestValue, MovesWithWhatItHolds) {
  Request original = fused();
  Request moved = std::move(original);
  EXPECT_TRUE(check(two_rows(), moved).empty());
  moved.add("a").optional();
  EXPECT_EQ(moved.rules().size(), 2u);
}

TEST(RequestValue, KnowsADestinationOfAnotherRequest) {
  Request other = fused();
  Request request;
  request.add("a").to(other.destination("more", {4}, f32, host()));
  const std::vector<Error> errors = check(two_rows(), request);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].code(), ErrorCode::invalid_argument);
  EXPECT_THAT(errors[0].what(), testing::HasSubstr("a destination of another request"));
}

}  // namespace
}  // namespace sluice
