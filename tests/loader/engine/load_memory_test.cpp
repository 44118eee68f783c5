// Goal: start() takes the caller's arenas and streams only where they fit the plan, and touches nothing otherwise.
#include "loader/engine/load_memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "loader/base/memory.hpp"
#include "loader/plan/plan.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;

class LoadMemoryTest : public testing::Test {
 protected:
  LoadMemoryTest() {
    CatalogueBuilder builder;
    builder.tensor("a", f32, {4096}).tensor("b", f32, {16});
    Request request;
    request.devices = {host(), null()};
    request.add("b").to(request.destination("own", {16}, f32, host()).memory(memory_.data() + 20'480, 64));
    request.add("a");
    plan_.emplace(make_plan(builder.build(), request, {}));
  }
  std::string refusal(const StartOptions& options) const {
    try {
      memory_for(*plan_, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return error.what();
    }
    return "accepted";
  }
  Memory arena(std::uint64_t at, std::uint64_t bytes, DeviceId device = host()) {
    return {device, memory_.data() + at, bytes};
  }

  Mapping memory_{64 << 10, "a test"};
  std::optional<Plan> plan_;
};

TEST_F(LoadMemoryTest, TakesWhatFits) {
  const LoadMemory none = memory_for(*plan_, {});
  EXPECT_THAT(none.arenas, testing::ElementsAre(nullptr, nullptr));
  const LoadMemory memory = memory_for(*plan_, {.arenas = {arena(4096, 16'384)}, .after = {}});
  EXPECT_THAT(memory.arenas, testing::Contains(memory_.data() + 4096));
  EXPECT_EQ(refusal({.arenas = {arena(0, 16'384), {null(), nullptr, 1 << 20}}, .after = {}}), "accepted");
}

TEST_F(LoadMemoryTest, RefusesWhatDoesNot) {
  EXPECT_THAT(refusal({.arenas = {arena(0, 16'383)}, .after = {}}), HasSubstr("has 16383 bytes, the plan needs 16384"));
  EXPECT_THAT(refusal({.arenas = {arena(64, 16'384)}, .after = {}}), HasSubstr("not at a multiple of 4096"));
  EXPECT_THAT(refusal({.arenas = {{host(), nullptr, 16'384}}, .after = {}}), HasSubstr("not at a multiple of 4096"));
  EXPECT_THAT(refusal({.arenas = {arena(0, 16'384), arena(32'768, 16'384)}, .after = {}}),
              HasSubstr("two arenas on host"));
  EXPECT_THAT(refusal({.arenas = {arena(0, 16'384, cuda(0))}, .after = {}}),
              HasSubstr("to which the plan delivers nothing"));
  EXPECT_THAT(refusal({.arenas = {arena(8192, 16'384)}, .after = {}}), HasSubstr("overlaps a destination's memory"));
  EXPECT_THAT(refusal({.arenas = {arena(0, UINT64_MAX)}, .after = {}}), HasSubstr("beyond all addresses"));
}

TEST_F(LoadMemoryTest, RefusesStreamsThatCannotBe) {
  EXPECT_THAT(refusal({.arenas = {}, .after = {{host(), nullptr}}}), HasSubstr("host has no streams"));
  EXPECT_THAT(refusal({.arenas = {}, .after = {{cuda(0), nullptr}}}), HasSubstr("to which the plan delivers nothing"));
}

}  // namespace
}  // namespace sluice
