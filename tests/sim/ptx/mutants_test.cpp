// Goal: every mutant is another program that still parses; good tests kill all but those that compute the same.
// Method: the mutants of a few statements by name; all those of statements of every kind parsed; those of a small
// kernel run against what it should do.
#include "tests/sim/ptx/mutants.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/sim/ptx/test_kernel.hpp"

namespace sluice::sim::ptx {
namespace {

std::vector<std::string> descriptions(std::string_view text, std::uint64_t seed = 0) {
  std::vector<std::string> all;
  for (const Mutation& mutation : mutations(text, seed)) {
    all.push_back(mutation.description);
  }
  return all;
}

TEST(Mutants, AreTheSlipsThatAStatementInvites) {
  const std::string text = kernel_text(
      "$loop: @!%p1 setp.lt.u32 %p1, %w1, -8;\n"
      "{ st.v2.u32 [%l1], {%w1, %w2}; }\n"
      "selp.b16 %h1, %h2, 65535, %p1;\n"
      "ld.param.u64 %l1, [p];\n"
      "ld.global.nc.u8 %w1, [%l1+-3];\n"
      "mov.f32 %w1, 0f00000000; mov.pred %p1, -1; cvt.u64.u32 %l1, %w1;\n"
      "mul.lo.u32 %w1, %w2, %w3; mul.hi.u32 %w1, %w2, %w3; ret;");
  EXPECT_THAT(
      descriptions(text),
      testing::ElementsAre(
          "line 7: `@!%p1` is gone", "line 7: `@!%p1` becomes `@%p1`", "line 7: `setp.lt.u32` becomes `setp.le.u32`",
          "line 7: `setp.lt.u32` becomes `setp.ge.u32`", "line 7: `setp.lt.u32` becomes `setp.lt.s32`",
          "line 7: `-8` becomes `-7`", "line 7: `-8` becomes `-9`", "line 8: `st.v2.u32 [%l1], {%w1, %w2};` is gone",
          "line 8: `%l1` becomes `%l1+8`", "line 8: `%l1` becomes `%l1+-8`", "line 9: `65535` becomes `65534`",
          "line 9: `%h2, 65535` becomes `65535, %h2`", "line 11: `-3` becomes `-2`", "line 11: `-3` becomes `-4`",
          "line 12: `cvt.u64.u32` becomes `cvt.u64.s32`", "line 13: `mul.lo.u32` becomes `mul.hi.u32`",
          "line 13: `mul.hi.u32` becomes `mul.hi.s32`"));
}

constexpr std::string_view every_kind = R"(
    ld.param.u64 %l1, [p];
    ld.param.u32 %w1, [n+0];
  $again:
    @%p1 bra $again;
    @!%p1 bra.uni $again;
    add.s32 %w1, %w1, -1; sub.s64 %l1, %l1, 4096; add.cc.u32 %w1, %w2, %w3; addc.u32 %w1, %w2, %w3;
    mul.wide.s32 %l2, %w1, 24; mad.lo.s32 %w1, %w2, %w3, %w4; mad.wide.u16 %w1, %h1, 65535, %w2;
    div.u16 %h1, %h2, 10; rem.s32 %w1, %w2, -3; min.u32 %w1, %w2, 255; max.s32 %w1, %w2, -2147483648;
    and.b32 %w1, %w2, 0xFFFFFFFF; or.b64 %l1, %l2, 1; xor.b16 %h1, %h2, -32768; not.b16 %h1, %h2;
    and.pred %p1, %p2, %p3; not.pred %p1, %p2; not.b32 %w1, %w2; or.pred %p1, %p2, %p3;
    shl.b64 %l1, %l2, 3; shr.s16 %h1, %h2, 15; shr.u64 %l1, %l2, %w1;
    shf.l.wrap.b32 %w1, %w2, %w3, 8; shf.r.clamp.b32 %w1, %w2, %w3, %w4;
    prmt.b32 %w1, %w2, 0, 0x4440U; bfe.u32 %w1, %w2, 8, 8; bfi.b32 %w1, %w2, %w3, 0, 16;
    clz.b32 %w1, %w2; popc.b64 %w1, %l2; lop3.b32 %w1, %w2, %w3, %w4, 0xFF; brev.b32 %w1, %w2;
    setp.eq.s16 %p1, %h1, 0; setp.ge.or.s64 %p1|%p2, %l1, 9223372036854775807, !%p3;
    selp.u64 %l1, 0, -1, %p1; slct.b32.s32 %w1, %w2, 1, %w3; cvt.sat.u8.s32 %h1, %w1;
    mov.b64 %l1, {%w1, 7}; mov.b32 {%h1, _}, %w1; mov.u64 %l1, 18446744073709551615; cvta.to.global.u64 %l1, %l2;
    ld.global.nc.v4.u32 {%w1, %w2, %w3, _}, [%l1+16]; ld.s8 %w1, [%l1]; st.v2.u8 [%l1-2], {%h1, 3};
    { .reg .b32 tmp; mov.b64 {tmp, %w1}, %l1; }
    @%p1 ret;
    trap;)";

TEST(Mutants, ParseAndDifferFromTheTextAndFromEachOther) {
  const std::string text = ".const .u8 table[2] = {1, 2};\n";
  std::string whole = kernel_text(every_kind);
  whole.insert(whole.find(".visible"), text);
  parse(whole);
  const std::vector<Mutation> all = mutations(whole);
  EXPECT_GT(all.size(), 100);
  std::set<std::string> texts = {whole};
  for (const Mutation& mutation : all) {
    const std::string mutated = mutate(whole, mutation);
    EXPECT_NO_THROW(parse(mutated)) << mutation.description;
    EXPECT_TRUE(texts.insert(mutated).second) << mutation.description;
    EXPECT_THAT(mutation.description, testing::StartsWith("line " + std::to_string(mutation.line) + ": "));
  }
}

TEST(Mutants, ComeInAnOrderThatTheSeedGives) {
  const std::string text = kernel_text(every_kind);
  const std::vector<std::string> in_order = descriptions(text);
  EXPECT_EQ(descriptions(text, 5), descriptions(text, 5));
  EXPECT_NE(descriptions(text, 5), in_order);
  EXPECT_NE(descriptions(text, 5), descriptions(text, 6));
  EXPECT_THAT(descriptions(text, 5), testing::UnorderedElementsAreArray(in_order));
}

// Thread i of 8 writes 3 i + 1 to the i-th of n words; n is at most 8.
constexpr std::string_view fill = R"(    ld.param.u64 %l1, [p];
    ld.param.u32 %w1, [n];
    mov.u32 %w2, %tid.x;
    setp.ge.u32 %p1, %w2, %w1;
    @%p1 bra $end;
    mad.lo.u32 %w3, %w2, 3, 1;
    mul.wide.u32 %l2, %w2, 4;
    add.s64 %l1, %l1, %l2;
    st.global.u32 [%l1], %w3;
  $end:
    ret;)";

bool fills_as_it_should(std::string_view text) {
  constexpr std::uint64_t address = 0x1000;
  for (const std::uint32_t n : {0, 3, 8}) {
    TestMemory memory;
    const Region& region = memory.add(address, 32, 0xff);
    const Parameters parameters = {address, n, 0};
    try {
      run(*parse(text).kernel("k"), {.block = {8, 1, 1}, .parameters = parameters.bytes(), .step_limit = 1000}, memory);
    } catch (const Fault&) {
      return false;
    }
    for (std::uint32_t i = 0; i < 8; ++i) {
      if (value_at<std::uint32_t>(region, 4 * i) != (i < n ? 3 * i + 1 : ~0u)) {
        return false;
      }
    }
  }
  return true;
}

TEST(Mutants, AreKilledButForThoseThatComputeTheSame) {
  const std::string text = kernel_text(fill);
  ASSERT_TRUE(fills_as_it_should(text));
  std::vector<std::string> survivors;
  for (const Mutation& mutation : mutations(text)) {
    if (fills_as_it_should(mutate(text, mutation))) {
      survivors.push_back(mutation.description);
    }
  }
  EXPECT_THAT(survivors, testing::ElementsAre(testing::HasSubstr("`setp.ge.u32` becomes `setp.ge.s32`"),
                                              testing::HasSubstr("`mul.wide.u32` becomes `mul.wide.s32`")));
}

}  // namespace
}  // namespace sluice::sim::ptx
