// Goal: kernels run as launched: branches, guards, indices, parameters, memory; and every access that a GPU would fault
// on, or answer with garbage, is a Fault with its place.
// Method: small kernels by hand, on regions with neighbours and ends; a fault of each kind; the same launch under many
// seeds.
#include "tests/sim/ptx/run.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/ptx/test_kernel.hpp"

namespace sluice::sim::ptx {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint64_t base = 0x7f00'0000'0000;

class Run : public testing::Test {
 protected:
  Counters launch(std::string_view body, Launch how = {}) {
    const Module module = parse(kernel_text(body));
    how.parameters = parameters_.bytes();
    return run(*module.kernel("k"), how, memory_);
  }

  /// The fault that `body` ends in. What it stores before that stays.
  Fault fault_of(std::string_view body, const Launch& how = {}) {
    try {
      launch(body, how);
    } catch (const Fault& fault) {
      return fault;
    }
    ADD_FAILURE() << "no fault: " << body;
    return Fault("none", 0, {}, {}, {});
  }

  std::uint32_t word(std::size_t index) const { return value_at<std::uint32_t>(region_, 4 * index); }

  TestMemory memory_;
  Region& region_ = memory_.add(base, 64, 0x11);
  Parameters parameters_ = {base, 5, 0};
};

TEST_F(Run, BranchesAndLoops) {
  launch(R"(
    ld.param.u64 %l1, [p];
    ld.param.u32 %w1, [n];
    mov.u32 %w2, 0;
  $again:
    add.s32 %w2, %w2, %w1;
    add.s32 %w1, %w1, -1;
    setp.ne.s32 %p1, %w1, 0;
    @%p1 bra $again;
    bra.uni $end;
    trap;
  $end:
    st.global.u32 [%l1], %w2;)");
  EXPECT_EQ(word(0), 5 + 4 + 3 + 2 + 1);
}

TEST_F(Run, GuardsAnyInstructionEitherWay) {
  const Counters counters = launch(R"(
    ld.param.u64 %l1, [p];
    setp.eq.u32 %p1, 1, 1;
    @%p1  st.u32 [%l1], 1;
    @!%p1 st.u32 [%l1+4], 2;
    @!%p1 bra $skipped;
    // In several steps, all of them or none.
    @!%p1 setp.lt.and.u32 %p1|%p2, 3, 2, !%p1;
    @%p1  setp.lt.or.u32 %p2|%p3, 3, 2, !%p1;
    selp.u32 %w1, 3, 4, %p3;
    @%p1 st.u32 [%l1+8], %w1;
    @!%p1 ret;
    @%p1 exit;
  $skipped:
    trap;)");
  EXPECT_EQ(word(0), 1);
  EXPECT_EQ(word(1), 0x11111111);
  EXPECT_EQ(word(2), 3);
  EXPECT_EQ(counters.stores, 2);
}

TEST_F(Run, TellsEachThreadItsIndices) {
  Region& region = memory_.add(base + 0x1000, 4 * 2 * 3 * 4 * 5 * 2);
  parameters_.p = region.address;
  const Counters counters = launch(R"(
    ld.param.u64 %l1, [p];
    mad.lo.u32 %w1, %ctaid.z, %nctaid.y, %ctaid.y;
    mad.lo.u32 %w1, %w1, %nctaid.x, %ctaid.x;
    mad.lo.u32 %w1, %w1, %ntid.z, %tid.z;
    mad.lo.u32 %w1, %w1, %ntid.y, %tid.y;
    mad.lo.u32 %w1, %w1, %ntid.x, %tid.x;
    mad.wide.u32 %l1, %w1, 4, %l1;
    add.u32 %w2, %w1, 1;
    st.u32 [%l1], %w2;
    mov.u32 %w3, %nctaid.z;
    setp.ne.u32 %p1, %w3, 1;
    @%p1 trap;)",
                                   {.grid = {2, 3, 1}, .block = {4, 5, 2}});
  EXPECT_EQ(counters.threads, 240);
  for (std::uint32_t i = 0; i < 240; ++i) {
    ASSERT_EQ(value_at<std::uint32_t>(region, 4 * i), i + 1);
  }
}

TEST_F(Run, LoadsAndStoresVectorsOfAllWidths) {
  for (std::size_t i = 0; i < 32; ++i) {
    region_.host[i] = std::byte(i + 0x80);
  }
  launch(R"(
    ld.param.u64 %l1, [p];
    ld.global.nc.L2::128B.v2.b64 {%l2, %l3}, [%l1+16];
    st.global.cs.v2.b64 [%l1+32], {%l3, %l2};
    ld.global.ca.L1::no_allocate.v4.u32 {%w1, _, %w2, %w3}, [%l1];
    st.weak.v4.u8 [%l1+48], {%w1, %w2, %w3, 7};
    ld.v2.f32 {%w4, %w5}, [%l1+8];
    st.global.wt.v2.f32 [%l1+56], {%w4, %w5};)");
  EXPECT_EQ(value_at<std::uint64_t>(region_, 32), 0x9f9e9d9c9b9a9998);
  EXPECT_EQ(value_at<std::uint64_t>(region_, 40), 0x9796959493929190);
  EXPECT_EQ(value_at<std::uint32_t>(region_, 48), 0x078c8880);
  EXPECT_EQ(value_at<std::uint64_t>(region_, 56), 0x8f8e8d8c8b8a8988);
}

TEST_F(Run, ExtendsWhatIsLoadedIntoWiderRegisters) {
  region_.host[0] = std::byte{0x80};
  launch(R"(
    ld.param.u64 %l1, [p];
    ld.s8 %w1, [%l1];
    ld.u8 %w2, [%l1];
    ld.v2.s8 {%l2, %l3}, [%l1];
    ld.b8 %h1, [%l1];
    st.u32 [%l1+16], %w1;
    st.u32 [%l1+20], %w2;
    st.u64 [%l1+24], %l2;
    st.u64 [%l1+32], %l3;
    st.u16 [%l1+40], %h1;)");
  EXPECT_EQ(word(4), 0xffffff80);
  EXPECT_EQ(word(5), 0x80);
  EXPECT_EQ(value_at<std::uint64_t>(region_, 24), 0xffffffffffffff80);
  EXPECT_EQ(value_at<std::uint64_t>(region_, 32), 0x11);
  EXPECT_EQ(value_at<std::uint16_t>(region_, 40), 0x80);
}

TEST_F(Run, ReadsParametersByNameAndByAddress) {
  launch(R"(
    mov.b64 %l2, p;
    ld.param.u64 %l1, [%l2];
    ld.param.v2.u32 {%w1, %w2}, [p];
    ld.param.u8 %w3, [n+0];
    ld.param::entry.b16 %h1, [%l2+8];
    st.v2.u32 [%l1], {%w1, %w2};
    st.u32 [%l1+8], %w3;
    st.u16 [%l1+12], %h1;)");
  EXPECT_EQ(value_at<std::uint64_t>(region_, 0), base);
  EXPECT_EQ(word(2), 5);
  EXPECT_EQ(value_at<std::uint16_t>(region_, 12), 5);
}

TEST_F(Run, KnowsTheModulesConstants) {
  const std::string text = kernel_text(R"(
    ld.param.u64 %l1, [p];
    ld.const.u16 %h1, [table+2];
    mov.u64 %l2, scalar;
    cvta.global.u64 %l2, %l2;
    ld.s8 %w1, [%l2];
    ld.const.u16 %h2, [table+4];
    st.u16 [%l1], %h1;
    st.u16 [%l1+2], %h2;
    st.u32 [%l1+4], %w1;)");
  const std::string constants = ".const .align 8 .u16 table[4] = {1, 0x102};\n.visible .global .s8 scalar = -3;\n";
  std::string whole = text;
  whole.insert(whole.find(".visible"), constants);
  const Module module = parse(whole);
  Launch how;
  how.parameters = parameters_.bytes();
  run(*module.kernel("k"), how, memory_);
  EXPECT_EQ(word(0), 0x0102);
  EXPECT_EQ(word(1), 0xfffffffd);
  parameters_.p = constants_address;
  EXPECT_THAT(fault_of("ld.param.u64 %l1, [p];\nld.u8 %w1, [%l1];").what(), HasSubstr("no allocation"));
}

// --- faults ----------------------------------------------------------------------------------------------------------

constexpr std::string_view pointer = "ld.param.u64 %l1, [p];\n";  // line 7

TEST_F(Run, FaultsOnAccessesThatAreNotAligned) {
  for (const char* access :
       {"ld.u16 %w1, [%l1+1];", "ld.u32 %w1, [%l1+2];", "ld.u64 %l2, [%l1+4];", "st.v2.u8 [%l1+1], {1, 2};",
        "st.v2.u64 [%l1+8], {%l1, %l1};", "ld.global.nc.v4.u32 {%w1, %w2, %w3, %w4}, [%l1+4];"}) {
    const Fault fault = fault_of(std::string(pointer) + access);
    EXPECT_THAT(fault.what(), HasSubstr("not aligned")) << access;
    EXPECT_EQ(fault.line, 8);
    ASSERT_TRUE(fault.address.has_value());
    EXPECT_TRUE(*fault.address > base && *fault.address <= base + 8);
  }
}

TEST_F(Run, FaultsOnAccessesOutsideOfAllocations) {
  Region& odd = memory_.add(base + 0x1000, 62);
  Region& neighbour = memory_.add(base + 0x1000 + 62, 10);
  parameters_.p = odd.address;
  for (const auto& [access, reason] : {std::pair("ld.u8 %w1, [%l1+-1];", "no allocation"),
                                       {"st.u8 [%l1-1], 1;", "no allocation"},
                                       {"ld.u32 %w1, [%l1+60];", "beyond the end"},
                                       {"st.u32 [%l1+60], 1;", "beyond the end"},
                                       {"st.v4.u32 [%l1+48], {1, 2, 3, 4};", "beyond the end"},
                                       {"ld.u64 %l2, [%l1+72];", "no allocation"},
                                       {"ld.u8 %w1, [0];", "no allocation"},
                                       {"ld.u64 %l2, [-8];", "no allocation"}}) {
    const Fault fault = fault_of(std::string(pointer) + access);
    EXPECT_THAT(fault.what(), HasSubstr(reason)) << access;
    EXPECT_EQ(fault.line, 8);
  }
  // From one allocation to the next, each on its own, is fine.
  launch(std::string(pointer) +
         "st.u16 [%l1+60], 0x0203; ld.u16 %w1, [%l1+60]; ld.u16 %w1, [%l1+62];\n"
         "st.u16 [%l1+62], %w1; st.u16 [%l1+58], %w1;");
  EXPECT_EQ(value_at<std::uint16_t>(odd, 60), 0x0203);
  EXPECT_EQ(value_at<std::uint16_t>(neighbour, 0), 0);
}

TEST_F(Run, FaultsOnStoresToReadOnlyMemory) {
  region_.writable = false;
  EXPECT_THAT(fault_of(std::string(pointer) + "ld.u32 %w1, [%l1];\nst.u32 [%l1], %w1;").what(),
              HasSubstr("line 9, block (0,0,0), thread (0,0,0): 4 bytes at 0x7f0000000000: stored, but"));
  EXPECT_EQ(word(0), 0x11111111);
}

TEST_F(Run, FaultsOnLoadsOfBytesThatWereNeverWritten) {
  region_.defined[7] = 0;
  const Fault fault = fault_of(std::string(pointer) + "ld.u32 %w1, [%l1];\nld.v2.u32 {%w1, %w2}, [%l1];");
  EXPECT_THAT(fault.what(), HasSubstr("never written"));
  EXPECT_EQ(fault.line, 9);
  EXPECT_EQ(fault.address, base);
  launch(std::string(pointer) + "st.u8 [%l1+7], 1; ld.v2.u32 {%w1, %w2}, [%l1];");
  EXPECT_EQ(region_.defined[7], stored_mark | loaded_mark);
  EXPECT_EQ(region_.defined[8], 1) << "untouched";
  region_.defined = nullptr;  // a region whose owner does not care
  launch(std::string(pointer) + "ld.v2.u32 {%w1, %w2}, [%l1]; st.u32 [%l1], %w1;");
}

TEST_F(Run, FaultsOnRegistersThatWereNeverWritten) {
  for (const auto& [body, name] : {std::pair("add.u32 %w1, %w2, 1;", "%w2"),
                                   {"@%p1 bra $x; $x:", "%p1"},
                                   {"@!%p1 mov.u32 %w1, 1;", "%p1"},
                                   {"st.u64 [%l1], %l2;", "%l2"},
                                   {"ld.u64 %l3, [%l2];", "%l2"},
                                   {"addc.u32 %w1, 1, 1;", "the carry"},
                                   {"{ .reg .b32 t; cvt.u64.u32 %l2, t; }", "t"}}) {
    const Fault fault = fault_of(std::string(pointer) + body);
    EXPECT_THAT(fault.what(), HasSubstr(fmt::format("{} is read before it is written", name))) << body;
    EXPECT_EQ(fault.line, 8);
  }
  // Copying it, or not choosing it, is no use of it; what one thread wrote is not there for the next.
  launch("mov.u32 %w1, %w2; setp.eq.u32 %p1, 1, 1; selp.u32 %w3, 7, %w1, %p1; add.u32 %w3, %w3, %w3;");
  const Fault fault = fault_of(std::string(pointer) +
                                   "mov.u32 %w1, %tid.x; setp.eq.u32 %p1, %w1, 0;\n"
                                   "@%p1 mov.u32 %w2, 5;\n"
                                   "st.u32 [%l1], %w2;",
                               {.block = {2, 1, 1}});
  EXPECT_EQ(fault.line, 10);
  EXPECT_EQ(fault.thread, (Index{1, 0, 0}));
}

TEST_F(Run, FaultsOnDivisionByZeroOnTrapsAndOnParametersThatAreNone) {
  EXPECT_THAT(fault_of("mov.u32 %w1, 0; div.u32 %w1, 1, %w1;").what(), HasSubstr("division by zero"));
  EXPECT_THAT(fault_of("mov.u16 %h1, 0; rem.s16 %h1, 1, %h1;").what(), HasSubstr("division by zero"));
  EXPECT_THAT(fault_of("trap;").what(), HasSubstr("trap"));
  EXPECT_THAT(fault_of("ld.param.u64 %l1, [n];").what(), HasSubstr("beyond the parameters"));
  EXPECT_THAT(fault_of("ld.param.u32 %w1, [p+-4];").what(), HasSubstr("beyond the parameters"));
  EXPECT_THAT(fault_of("ld.param.u64 %l1, [p+4];").what(), HasSubstr("not aligned"));
}

TEST_F(Run, EndsEndlessLoops) {
  const Fault fault = fault_of("$x:\nbra $x;", {.step_limit = 1000});
  EXPECT_THAT(fault.what(), HasSubstr("no end after 1000 steps"));
  EXPECT_EQ(fault.line, 8);
  launch("nothing: mov.u32 %w1, 1; ret;", {.step_limit = 2});
}

TEST_F(Run, RefusesLaunchesThatTheDriverWouldRefuse) {
  EXPECT_THAT(fault_of("ret;", {.grid = {0, 1, 1}}).what(), HasSubstr("no threads"));
  EXPECT_THAT(fault_of("ret;", {.block = {32, 33, 1}}).what(), HasSubstr("1056 threads a block"));
  const auto bounded = [&](const char* bound, std::uint32_t threads) {
    std::string text = kernel_text("ret;");
    text.insert(text.find("{\n.reg"), bound);
    Launch how;
    how.block = {threads, 1, 1};
    how.parameters = parameters_.bytes();
    run(*parse(text).kernel("k"), how, memory_);
  };
  bounded(".maxntid 16, 2, 1", 32);
  EXPECT_THROW(bounded(".maxntid 16, 2, 1\n.minnctapersm 2", 33), Fault);
  bounded(".reqntid 32", 32);
  EXPECT_THROW(bounded(".reqntid 32", 31), Fault);
  const Module module = parse(kernel_text("ret;"));
  EXPECT_THROW(run(*module.kernel("k"), {}, memory_), Fault);
}

// --- order -----------------------------------------------------------------------------------------------------------

/// Each thread takes a number: the order in which they came.
constexpr std::string_view numbered = R"(
    ld.param.u64 %l1, [p];
    ld.u32 %w1, [%l1];
    add.u32 %w2, %w1, 1;
    st.u32 [%l1], %w2;
    mad.lo.u32 %w3, %ctaid.x, %ntid.x, %tid.x;
    mad.wide.u32 %l2, %w3, 4, %l1;
    st.u32 [%l2+4], %w1;)";

TEST_F(Run, RunsThreadsInTheOrderOfTheSeed) {
  const Launch grid = {.grid = {3, 1, 1}, .block = {5, 1, 1}};
  std::set<std::vector<std::uint32_t>> orders;
  std::vector<std::uint32_t> in_order(15);
  std::iota(in_order.begin(), in_order.end(), 0);
  int last_before_first = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    std::fill_n(region_.host, 64, std::byte{0});
    Launch how = grid;
    how.order_seed = seed;
    launch(numbered, how);
    std::vector<std::uint32_t> order(15);
    std::memcpy(order.data(), region_.host + 4, 60);
    last_before_first += order[14] < order[0] ? 1 : 0;
    EXPECT_EQ(order == in_order, seed == 0);
    orders.insert(order);
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, in_order) << "each thread once";
  }
  EXPECT_GT(orders.size(), 30);
  EXPECT_TRUE(last_before_first > 8 && last_before_first < 32) << last_before_first;
}

TEST_F(Run, GivesTheSameUnderEverySeedWhereThreadsAreIndependent) {
  constexpr std::uint32_t threads = 7 * 32;
  Region& source = memory_.add(base + 0x10000, 4 * threads);
  Region& target = memory_.add(base + 0x20000, 4 * threads);
  source.writable = false;
  parameters_.p = source.address;
  for (std::uint32_t i = 0; i < 4 * threads; ++i) {
    source.host[i] = std::byte(i * 37);
  }
  std::vector<std::byte> expected;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::fill_n(target.host, target.bytes, std::byte{0});
    const Counters counters = launch(R"(
        ld.param.u64 %l1, [p];
        mad.lo.u32 %w1, %ctaid.x, %ntid.x, %tid.x;
        mad.wide.u32 %l1, %w1, 4, %l1;
        ld.global.nc.u32 %w2, [%l1];
        prmt.b32 %w2, %w2, 0, 0x0123;
        st.global.u32 [%l1+65536], %w2;)",
                                     {.grid = {7, 1, 1}, .block = {32, 1, 1}, .order_seed = seed});
    EXPECT_EQ(counters.threads, threads);
    EXPECT_EQ(counters.loads, threads);
    EXPECT_EQ(counters.stores, threads);
    EXPECT_EQ(counters.loaded_bytes, 4 * threads);
    EXPECT_EQ(counters.stored_bytes, 4 * threads);
    EXPECT_EQ(counters.instructions, 7 * threads);
    const std::vector<std::byte> result(target.host, target.host + target.bytes);
    expected = seed == 0 ? result : expected;
    EXPECT_EQ(result, expected) << seed;
  }
  EXPECT_EQ(value_at<std::uint32_t>(target, 4), std::uint32_t{148} << 24 | 185 << 16 | 222 << 8 | 3);
}

}  // namespace
}  // namespace sluice::sim::ptx
