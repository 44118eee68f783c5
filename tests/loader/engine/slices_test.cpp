// Goal: every element of a destination is the one that its slices name, whatever the boxes, shapes, orders, casts and
// memory; and nothing beside is written.
// Method: whole loads of random requests against a reference that works element by element; thousands by hand:
// SLUICE_SEEDS=5000 build/release/tests/loader_engine_test --gtest_filter='Slices.*'. Then worked examples.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "loader/plan/access.hpp"
#include "loader/plan/plan.hpp"
#include "tests/fallbacks/engine_here.hpp"
#include "tests/loader/support/sanitized.hpp"
#include "tests/loader/support/slice_cases.hpp"
#include "tests/loader/support/small_model.hpp"
#include "tests/loader/support/tampered_reader.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

bool goes_to(const Plan& plan, Group group, DeviceId device) {
  const std::vector<Tensor> tensors = plan.tensors();
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const Tensor& tensor) { return tensor.group == group && tensor.device == device; });
}

std::uint64_t seeds_of_slices() {
  const char* const told = std::getenv("SLUICE_SEEDS");
  return told != nullptr ? std::strtoull(told, nullptr, 10) : sanitized ? 100 : 500;
}

/// Small extents, for one loop after another.
Options slice_options() {
  Options options = small_options();
  options.slab_bytes = 64 << 10;
  options.staging_bytes = 256 << 10;
  return options;
}

TEST(Slices, AreWhatAReferenceTakesElementByElement) {
  const Options options = slice_options();
  Engine engine(options);
  for (std::uint64_t seed = 1; seed <= seeds_of_slices() && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    const TemporaryFolder folder;
    CallersHostMemory memory;
    SliceCase sliced(seed, {host(), null()}, memory);
    sliced.write_to(folder);
    const Checkpoint checkpoint = Checkpoint::open(folder.path());
    const std::vector<Error> errors = check(checkpoint, sliced.request());
    for (const Error& error : errors) ADD_FAILURE() << error.what();
    if (!errors.empty()) break;
    const Plan plan = make_plan(checkpoint, sliced.request(), options);
    EXPECT_EQ(check_plan(*Access::data(plan)), "");
    const Load load = engine.start(plan);
    load.wait();
    sliced.expect_right(load);
    if (seed % 2 == 0) continue;
    const TemporaryFolder other;
    sliced.write_to(other, 1);
    const Plan next = make_plan(Checkpoint::open(other.path()), plan);
    sliced.expect_same_left_out(plan, next);
    EXPECT_EQ(check_plan(*Access::data(next)), "");
    const Load again = engine.start(next, {.arenas = load.arenas(), .after = {}});
    again.wait();
    sliced.expect_right(again, 1);
  }
}

// Where everything lies, and how large an arena is.
std::vector<std::uint64_t> places_of(const Plan& plan) {
  std::vector<std::uint64_t> places;
  for (const Placement& placement : Access::data(plan)->placements) {
    places.insert(places.end(), {placement.device, placement.region, placement.arena_offset, placement.bytes});
  }
  for (const PlanCosts::OnDevice& on : plan.costs().devices) {
    places.insert(places.end(), {on.arena_bytes, on.caller_bytes, on.tensors});
  }
  return places;
}

// A process that makes the same plan with other options finds every tensor where the other has it.
TEST(Slices, LieWhereTheRequestPutsThemWhateverTheOptions) {
  for (std::uint64_t seed = 1; seed <= seeds_of_slices() && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    const TemporaryFolder folder;
    CallersHostMemory memory;
    SliceCase sliced(seed, {host(), null(), cuda(0), cuda(1), cuda(2)}, memory);
    sliced.write_to(folder);
    const Checkpoint checkpoint = Checkpoint::open(folder.path());
    const Plan plan = make_plan(checkpoint, sliced.request(), slice_options());
    Options other;
    other.io = seed % 2 == 0 ? IoMode::direct : IoMode::buffered;
    other.reader = ReaderKind::pread;
    other.slab_bytes = (64 << 10) << (seed % 5);
    other.queue_depth = 1 + seed % 40;
    other.threads = 1 + seed % 3;
    EXPECT_EQ(places_of(plan), places_of(make_plan(checkpoint, sliced.request(), other)));
    EXPECT_EQ(places_of(plan), places_of(make_plan(Checkpoint::open(folder.path()), sliced.request(), {})));
  }
}

// PlanCosts says what is read until a group is there, and the load reads just that.
TEST(Slices, AreReadInTheOrderThatThePlanPromises) {
  Options options = slice_options();
  options.queue_depth = 1;
  const TemporaryFolder folder;
  for (std::uint64_t seed = 1; seed <= seeds_of_slices() / 5 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    CallersHostMemory memory;
    SliceCase sliced(seed, {host(), null()}, memory);
    const std::filesystem::path file = write_shard(folder, "model.safetensors", sliced.tensors(), 3);
    const Plan plan = make_plan(Checkpoint::open(file), sliced.request(), options);
    TamperedReader* reader = nullptr;
    EngineHere engine(options, [&](const Options& resolved, Wakeup& wakeup) {
      std::vector<Fallback> untold;
      auto made = std::make_unique<TamperedReader>(make_reader(resolved, wakeup, untold));
      reader = made.get();
      return made;
    });
    // Before anybody is told of a read, each group is there for which what was read so far is enough, and no other.
    for (std::uint64_t nth = 1; nth <= plan.costs().extents; ++nth) {
      reader->hold(nth, [&, tries = 0]() mutable {
        LoadState& state = *engine.running();
        const std::uint64_t read = state.statistics().bytes;
        for (const PlanCosts::OfGroup& group : plan.costs().groups) {
          bool there = true;
          for (const DeviceId device : {host(), null()}) {
            there = there && (state.ready(group.group, device) || !goes_to(plan, group.group, device));
          }
          if (read >= group.read_bytes_until && !there && ++tries < 1'000'000) return false;  // it is on its way
          EXPECT_EQ(there, read >= group.read_bytes_until)
              << "group " << group.group.number << " after " << read << " bytes of " << group.read_bytes_until;
        }
        return true;
      });
      engine.run(plan).wait();
      reader->mend();
    }
    const Load load = engine.run(plan);
    load.wait();
    EXPECT_EQ(load.statistics().bytes, plan.costs().read_bytes);
    EXPECT_EQ(load.statistics().copies, plan.costs().copies);
    EXPECT_EQ(load.statistics().launches, plan.costs().launches);
    EXPECT_EQ(load.statistics().delivered_bytes, plan.costs().delivered_bytes);
    std::uint64_t until = 0;
    for (const PlanCosts::OfGroup& group : plan.costs().groups) until = std::max(until, group.read_bytes_until);
    EXPECT_EQ(until, plan.costs().read_bytes);
  }
}

// --- worked examples: elements are their numbers ------------------------------------------------------------------

class Numbers : public testing::Test {
 protected:
  // A tensor of I32 whose elements are `first`, `first` + 1 and so on.
  void tensor(const std::string& name, const Shape& shape, std::int32_t first) {
    header_ += fmt::format("{}\"{}\":{{\"dtype\":\"I32\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                           header_.empty() ? "" : ",", name, fmt::join(shape, ","), bytes_.size() * 4,
                           (bytes_.size() + product(shape)) * 4);
    for (std::uint64_t i = 0; i < product(shape); ++i) bytes_.push_back(first + static_cast<std::int32_t>(i));
  }
  Checkpoint open(const std::string& file = "model.safetensors") {
    const std::string header = "{" + header_ + "}";
    std::vector<std::byte> content(8 + header.size() + bytes_.size() * 4);
    const std::uint64_t length = header.size();
    std::memcpy(content.data(), &length, 8);
    std::memcpy(&content[8], header.data(), header.size());
    std::memcpy(&content[8 + header.size()], bytes_.data(), bytes_.size() * 4);
    header_.clear();
    bytes_.clear();
    return Checkpoint::open(folder_.write(file, content));
  }
  static std::vector<std::int32_t> values(const Load& load, const std::string& name, DeviceId device = host()) {
    const Tensor& tensor = load.wait(name, device);
    std::vector<std::int32_t> values(tensor.bytes / 4);
    load.read_back(tensor, 0, values.data(), tensor.bytes);
    return values;
  }
  static Destination& i32(Request& request, const std::string& name, const Shape& shape) {
    return request.destination(name, shape, Dtype::i32, host());
  }
  std::vector<std::int32_t> load(const Request& request) { return values(start(request), "d"); }
  Load start(const Request& request) {
    if (!checkpoint_) checkpoint_.emplace(open());
    return engine_.start(make_plan(*checkpoint_, request, small_options()));
  }

  const TemporaryFolder folder_;
  std::optional<Checkpoint> checkpoint_;
  Engine engine_{small_options()};

 private:
  std::string header_;
  std::vector<std::int32_t> bytes_;
};

using testing::ElementsAre;

TEST_F(Numbers, OfColumnAndRowParallelMatrices) {
  tensor("w", {4, 4}, 0);
  Request request;
  request.add("w").to(i32(request, "d", {2, 4}), part(0, 1, 2));
  EXPECT_THAT(load(request), ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
  Request rows;
  rows.add("w").to(i32(rows, "d", {4, 2}), part(1, 1, 2));
  EXPECT_THAT(load(rows), ElementsAre(2, 3, 6, 7, 10, 11, 14, 15));
}

TEST_F(Numbers, OfReplicatedHeads) {
  tensor("k", {4, 1}, 0);  // two heads of two rows, for four ranks
  Request request;
  const std::uint64_t rank = 3;
  const std::uint64_t copies = 2;
  request.add("k").to(i32(request, "d", {2, 1}), part(0, rank / copies, 4 / copies));
  EXPECT_THAT(load(request), ElementsAre(2, 3));
}

TEST_F(Numbers, OfAPaddedVocabularyThatIsTied) {
  tensor("embed", {5, 2}, 0);
  Request request;
  Destination& embed = i32(request, "d", {3, 2}).zero();
  Destination& head = i32(request, "head", {5, 2});
  request.add("embed").to(embed, take(0, 3, 2), take(0, 0, 2)).to(head);
  const Load loaded = start(request);
  EXPECT_THAT(values(loaded, "d"), ElementsAre(6, 7, 8, 9, 0, 0));
  EXPECT_EQ(values(loaded, "head").size(), 10u);
}

TEST_F(Numbers, OfFusedAndInterleavedGates) {
  tensor("gate", {2, 2}, 0);
  tensor("up", {2, 2}, 10);
  Request fused;
  Destination& both = i32(fused, "d", {4, 2});
  fused.add("gate").to(both, {}, take(0, 0, 2));
  fused.add("up").to(both, {}, take(0, 2, 2));
  EXPECT_THAT(load(fused), ElementsAre(0, 1, 2, 3, 10, 11, 12, 13));
  Request interleaved;
  Destination& rows = i32(interleaved, "d", {4, 2});
  interleaved.add("gate").to(rows, {}, as({2, 2, 2}).at(1, 1));
  interleaved.add("up").to(rows, {}, as({2, 2, 2}).at(1, 0));
  EXPECT_THAT(load(interleaved), ElementsAre(10, 11, 0, 1, 12, 13, 2, 3));
  Request columns;  // packed along the other dimension
  Destination& side = i32(columns, "d", {2, 4});
  columns.add("gate").to(side, {}, take(1, 0, 2));
  columns.add("up").to(side, {}, take(1, 2, 2));
  EXPECT_THAT(load(columns), ElementsAre(0, 1, 10, 11, 2, 3, 12, 13));
}

TEST_F(Numbers, OfExpertsFusedOnDiskInTensorAndExpertParallel) {
  tensor("gate_up", {2, 4, 1}, 0);  // [E, 2F, H], two ranks of F
  Request request;
  request.add("gate_up").to(i32(request, "d", {1, 2, 1, 1}), as({2, 2, 2, 1}).part(0, 1, 2).part(2, 1, 2));
  EXPECT_THAT(load(request), ElementsAre(5, 7));
  Request interleaved;  // gate and up in turn
  interleaved.add("gate_up").to(i32(interleaved, "d", {2, 2, 2, 1}), as({2, 2, 2, 1}).order({0, 2, 1, 3}));
  EXPECT_THAT(load(interleaved), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
}

TEST_F(Numbers, OfTransposedExperts) {
  tensor("experts", {1, 2, 4}, 0);  // [E, D, 2F]
  Request request;
  request.add("experts").to(i32(request, "d", {1, 4, 2}), order({0, 2, 1}));
  EXPECT_THAT(load(request), ElementsAre(0, 4, 1, 5, 2, 6, 3, 7));
}

TEST_F(Numbers, OfStackedExpertsWithReplicasAndScalars) {
  for (int e = 0; e < 3; ++e) tensor(fmt::format("e{}", e), {2}, 10 * e);
  tensor("scale", {}, 7);
  Request request;
  Destination& stacked = i32(request, "d", {4, 2});
  const int logical[] = {2, 0, 2, 1};
  for (std::uint64_t slot = 0; slot < 4; ++slot) {
    request.add(fmt::format("e{}", logical[slot])).to(stacked, {}, at(0, slot));
  }
  request.add("scale").to(i32(request, "scales", {3}).zero(), {}, at(0, 1));
  const Load loaded = start(request);
  EXPECT_THAT(values(loaded, "d"), ElementsAre(20, 21, 0, 1, 20, 21, 10, 11));
  EXPECT_THAT(values(loaded, "scales"), ElementsAre(0, 7, 0));
}

TEST_F(Numbers, OfHeadsThatAreFusedInTurn) {
  tensor("qkv", {2, 3, 2, 1}, 0);  // GPT-NeoX: [heads, 3, d, H]
  Request request;
  Destination& d = i32(request, "d", {12});
  Rule& rule = request.add("qkv");
  for (std::uint64_t i = 0; i < 3; ++i) rule.to(d, at(1, i), as({3, 2, 2}).at(0, i));
  EXPECT_THAT(load(request), ElementsAre(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11));
}

TEST_F(Numbers, OfBlockScalesBesideTheirWeights) {
  tensor("weight", {4, 4}, 0);
  tensor("scales", {2, 2}, 100);
  Request request;
  const Slice rows = part(0, 1, 2);
  request.add("weight").to(i32(request, "w", {2, 4}), rows);
  request.add("scales").to(i32(request, "d", {1, 2}), blocks_of(rows, {4, 4}, {2, 2}));
  EXPECT_THAT(load(request), ElementsAre(102, 103));
}

TEST_F(Numbers, OfRulesThatCutWithoutADestination) {
  tensor("w", {4, 2}, 0);
  tensor("v", {4}, 50);
  Request request;
  request.add("w").take(take(0, 1, 2));
  request.add("v").split(0);
  const Load loaded = start(request);
  EXPECT_THAT(values(loaded, "w"), ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(loaded.find("w")->shape, ElementsAre(2, 2));
  EXPECT_THAT(values(loaded, "v"), ElementsAre(50, 51, 52, 53)) << "one device, one part";
}

TEST_F(Numbers, OfPartsThatAreNotEqual) {
  tensor("w", {7, 2}, 0);
  const std::uint64_t world = 3;
  // The last one short; whole grains of 2 with what is left over on the first ranks; whatever the engine says.
  const std::pair<std::uint64_t, std::uint64_t> ceil[] = {{0, 3}, {3, 3}, {6, 1}};
  const std::pair<std::uint64_t, std::uint64_t> grains[] = {{0, 3}, {3, 2}, {5, 2}};
  const std::pair<std::uint64_t, std::uint64_t> ranges[] = {{0, 1}, {1, 5}, {6, 1}};
  for (const auto& parts : {std::span(ceil), std::span(grains), std::span(ranges)}) {
    Request request;
    for (std::uint64_t rank = 0; rank < world; ++rank) {
      const auto [first, count] = parts[rank];
      request.add("w").to(i32(request, fmt::format("d{}", rank), {count, 2}), take(0, first, count));
    }
    const Load loaded = start(request);
    std::vector<std::int32_t> all;
    for (std::uint64_t rank = 0; rank < world; ++rank) {
      const std::vector<std::int32_t> its = values(loaded, fmt::format("d{}", rank));
      EXPECT_EQ(its.size(), 2 * parts[rank].second);
      all.insert(all.end(), its.begin(), its.end());
    }
    EXPECT_THAT(all, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13));
  }
}

TEST_F(Numbers, OfPaddedInnerDimensions) {
  tensor("w", {2, 3}, 1);
  Request request;
  request.add("w").to(i32(request, "d", {2, 4}).zero(), {}, take(1, 0, 3));
  EXPECT_THAT(load(request), ElementsAre(1, 2, 3, 0, 4, 5, 6, 0));
  Request experts;  // a part of F that is padded, in each of two halves
  experts.add("w").to(i32(experts, "d", {2, 2, 2}).zero(), take(1, 2), take(1, 0, 1).take(2, 1, 1));
  EXPECT_THAT(load(experts), ElementsAre(0, 3, 0, 0, 0, 6, 0, 0));
}

TEST_F(Numbers, OfGatesInterleavedByBlock) {
  tensor("gate", {4, 1}, 0);
  tensor("up", {4, 1}, 10);
  Request request;
  Destination& both = i32(request, "d", {8, 1});
  request.add("gate").to(both, as({2, 2, 1}), as({2, 2, 2, 1}).at(1, 0));
  request.add("up").to(both, as({2, 2, 1}), as({2, 2, 2, 1}).at(1, 1));
  EXPECT_THAT(load(request), ElementsAre(0, 1, 10, 11, 2, 3, 12, 13));
}

TEST_F(Numbers, OfWhatIsFusedOnDisk) {
  tensor("qkv_proj", {8, 1}, 0);       // Phi-3: four rows of q, two of k, two of v
  tensor("gate_up_proj", {4, 1}, 20);  // two of gate, two of up
  tensor("qkvz", {2, 6, 1}, 40);       // Qwen3-Next: per head group q 1, k 1, v 2, z 2
  Request request;
  const std::uint64_t rank = 1, world = 2;
  Destination& d = i32(request, "d", {4, 1});
  request.add("qkv_proj").to(d, take(0, 0, 4).part(0, rank, world), take(0, 0, 2));
  request.add("qkv_proj").to(d, take(0, 4, 2).part(0, rank, world), take(0, 2, 1));
  request.add("qkv_proj").to(d, take(0, 6, 2).part(0, rank, world), take(0, 3, 1));
  Destination& gate_up = i32(request, "gate_up", {2, 1});
  request.add("gate_up_proj").to(gate_up, as({2, 2, 1}).part(1, rank, world), as({2, 1, 1}));
  Destination& v = i32(request, "v", {4, 1});
  Destination& z = i32(request, "z", {2, 1});
  request.add("qkvz").to(v, take(1, 2, 2), as({2, 2, 1})).to(z, part(0, rank, world).take(1, 4, 2), as({1, 2, 1}));
  const Load loaded = start(request);
  EXPECT_THAT(values(loaded, "d"), ElementsAre(2, 3, 5, 7));
  EXPECT_THAT(values(loaded, "gate_up"), ElementsAre(21, 23));
  EXPECT_THAT(values(loaded, "v"), ElementsAre(42, 43, 48, 49));
  EXPECT_THAT(values(loaded, "z"), ElementsAre(50, 51));
}

TEST_F(Numbers, OfExpertsThatAreTakenApart) {
  tensor("experts", {2, 2, 2}, 0);
  Request request;
  for (std::uint64_t e = 0; e < 2; ++e) {
    request.add("experts").to(i32(request, fmt::format("expert{}", e), {2, 2}), at(0, e));
  }
  const Load loaded = start(request);
  EXPECT_THAT(values(loaded, "expert0"), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(values(loaded, "expert1"), ElementsAre(4, 5, 6, 7));
}

TEST_F(Numbers, OfTransposedMatricesAndConvolutions) {
  tensor("c_attn", {2, 3}, 0);       // GPT-2: [in, out]
  tensor("conv", {2, 2, 1, 2}, 10);  // [out, in, height, width], which MLX wants as [out, height, width, in]
  Request request;
  request.add("c_attn").to(i32(request, "d", {3, 2}), order({1, 0}));
  request.add("conv").to(i32(request, "conv.mlx", {2, 1, 2, 2}), order({0, 2, 3, 1}));
  Destination& half = i32(request, "half", {2, 1});
  request.add("c_attn").to(half, take(1, 1).part(0, 1, 2).order({1, 0}));
  const Load loaded = start(request);
  EXPECT_THAT(values(loaded, "d"), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(values(loaded, "conv.mlx"), ElementsAre(10, 12, 11, 13, 14, 16, 15, 17));
  EXPECT_THAT(values(loaded, "half"), ElementsAre(4, 5));
}

// The first that the checkpoint has: a head of its own, or the tied one.
TEST_F(Numbers, OfAlternativeNames) {
  tensor("model.embed_tokens.weight", {2, 1}, 3);
  checkpoint_.emplace(open());
  const auto head_of = [](const Checkpoint& checkpoint) {
    return checkpoint.find("lm_head.weight") != nullptr ? "lm_head.weight" : "model.embed_tokens.weight";
  };
  Request request;
  request.add(head_of(*checkpoint_)).to(i32(request, "d", {2, 1}));
  EXPECT_THAT(load(request), ElementsAre(3, 4));
  tensor("lm_head.weight", {2, 1}, 7);
  tensor("model.embed_tokens.weight", {2, 1}, 3);
  checkpoint_.emplace(open("untied.safetensors"));
  Request untied;
  untied.strict = true;
  untied.add(head_of(*checkpoint_)).to(i32(untied, "d", {2, 1}));
  untied.add("model.embed_tokens.weight").skip();
  EXPECT_THAT(load(untied), ElementsAre(7, 8));
}

TEST_F(Numbers, OfScalarsThatBecomeAnArray) {
  tensor("q.scale", {}, 1);
  tensor("k.scale", {1}, 2);
  tensor("v.scale", {1, 1}, 3);
  Request request;
  Destination& scales = i32(request, "d", {3});
  request.add("q.scale").to(scales, {}, at(0, 0));
  request.add("k.scale").to(scales, {}, at(0, 1));
  request.add("v.scale").to(scales, {}, at(0, 2));
  EXPECT_THAT(load(request), ElementsAre(1, 2, 3));
}

// A cut that is large enough to be read straight into place, and that another device wants as well.
TEST_F(Numbers, OfOneCutForSeveralDevices) {
  tensor("wwww", {1 << 18}, 0);  // behind a header of so many bytes, an element is aligned
  checkpoint_.emplace(open());
  for (const std::vector<DeviceId>& devices : {std::vector{host(), null()}, {null(), host()}}) {
    Request request;
    request.add("wwww").take(take(0, 1024, 1 << 17)).on(devices);
    const Plan plan = make_plan(*checkpoint_, request, small_options());
    EXPECT_EQ(check_plan(*Access::data(plan)), "");
    EXPECT_EQ(plan.costs().in_place_extents, 0u) << "what is read in place goes to one device only";
    const Load loaded = engine_.start(plan);
    const std::vector<std::int32_t> got = values(loaded, "wwww");
    ASSERT_EQ(got.size(), 1u << 17);
    for (std::size_t i = 0; i < got.size(); i += 1023) EXPECT_EQ(got[i], static_cast<std::int32_t>(1024 + i));
  }
}

// AWQ packs eight columns into an I32, so that what is fused lies along the packed dimension; units are I32s.
TEST_F(Numbers, OfColumnsThatArePacked) {
  tensor("q.qweight", {2, 4}, 0);
  tensor("k.qweight", {2, 2}, 10);
  Request request;
  const std::uint64_t rank = 1, world = 2;
  Destination& qk = i32(request, "d", {2, 3});
  request.add("q.qweight").to(qk, part(1, rank, world), take(1, 0, 2));
  request.add("k.qweight").to(qk, part(1, rank, world), take(1, 2, 1));
  EXPECT_THAT(load(request), ElementsAre(2, 3, 11, 6, 7, 13));
}

// All but norms and routers become BF16; those become F32, or stay as they are.
TEST(Slices, AreCastByTheFirstRuleThatKnowsThem) {
  const TemporaryFolder folder;
  const std::vector<TestTensor> tensors = {
      {"q.weight", f32, {3, 4}}, {"norm.weight", bf16, {4}}, {"gate.weight", f32, {2, 4}}, {"ids", Dtype::i64, {2}}};
  const Checkpoint checkpoint = Checkpoint::open(write_shard(folder, "model.safetensors", tensors));
  Request request;
  request.add("*norm.weight").cast(f32).to(request.destination("norm", {4}, f32, host()));
  request.add("gate.weight");
  request.add("*").cast(bf16);
  Engine engine(small_options());
  const Load load = engine.start(make_plan(checkpoint, request, small_options()));
  load.wait();
  EXPECT_EQ(load.find("q.weight")->dtype, bf16);
  EXPECT_EQ(load.find("gate.weight")->dtype, f32);
  EXPECT_EQ(load.find("ids")->dtype, Dtype::i64) << "integers stay as they are";
  expect_holds(load, *load.find("q.weight"), tensors[0]);
  expect_holds(load, *load.find("norm"), tensors[1]);
  expect_holds(load, *load.find("gate.weight"), tensors[2]);
}

// --- memory, groups, reload ------------------------------------------------------------------------------------------

TEST_F(Numbers, LandInMemoryWithAPitch) {
  tensor("w", {2, 3}, 0);
  std::vector<std::int32_t> memory(9, -1);
  Request request;
  i32(request, "d", {2, 3}).memory(&memory[1], 28).strides({4, 1});
  request.add("w").to(const_cast<Destination&>(request.destinations().front()));
  const Load loaded = start(request);
  EXPECT_THAT(values(loaded, "d"), ElementsAre(0, 1, 2, 3, 4, 5)) << "read back without the gaps";
  EXPECT_THAT(memory, ElementsAre(-1, 0, 1, 2, -1, 3, 4, 5, -1));
  EXPECT_EQ(loaded.find("d")->data, &memory[1]);
  EXPECT_THAT(loaded.find("d")->strides, ElementsAre(4, 1));
}

class Layers : public Numbers {
 protected:
  // 8 layers whose tensors lie in no order, 64 KiB each, and something that every group needs a little of.
  Layers() {
    for (int i = 0; i < 8; ++i) tensor(fmt::format("layer{}", order_[i]), {16'384}, order_[i] * 100'000);
    tensor("shared", {8, 4}, 5);
  }
  Request request() const {
    Request request;
    for (std::uint32_t i = 0; i < 8; ++i) {
      Destination& layer = request.destination(fmt::format("l{}", i), {16'388}, Dtype::i32, host()).group({i});
      request.add(fmt::format("layer{}", i)).to(layer, {}, take(0, 0, 16'384));
      request.add("shared").to(layer, at(0, i), take(0, 16'384, 4));
    }
    return request;
  }
  static constexpr int order_[] = {5, 1, 7, 0, 3, 6, 2, 4};
};

TEST_F(Layers, AreReadGroupByGroup) {
  checkpoint_.emplace(open());
  const Plan plan = make_plan(*checkpoint_, request(), small_options());
  EXPECT_EQ(check_plan(*Access::data(plan)), "");
  ASSERT_EQ(plan.costs().groups.size(), 8u);
  std::uint64_t until = 0;
  for (const PlanCosts::OfGroup& group : plan.costs().groups) {
    EXPECT_EQ(group.tensors, 1u);
    EXPECT_EQ(group.delivered_bytes, 16'388u * 4);
    EXPECT_GE(group.read_bytes_until, until);
    EXPECT_LE(group.read_bytes_until - until, 16'384u * 4 + 3 * 4096) << "no more than its blocks";
    until = group.read_bytes_until;
  }
  EXPECT_LE(until, checkpoint_->bytes() + 2 * 4096);
  const Load load = engine_.start(plan);
  for (std::uint32_t i = 0; i < 8; ++i) {
    load.wait(Group{i}, host());
    EXPECT_TRUE(load.ready(Group{i}, host()));
    const std::vector<std::int32_t> got = values(load, fmt::format("l{}", i));
    EXPECT_EQ(got[0], static_cast<std::int32_t>(i) * 100'000);
    EXPECT_EQ(got[16'384], 5 + static_cast<std::int32_t>(i) * 4);
  }
  load.wait_on(nullptr, Group{7}, host());
  EXPECT_FALSE(load.ready(Group{8}, host()));
  EXPECT_FALSE(load.ready(Group{0}, cuda(0)));
  for (const auto& [group, device] : {std::pair{Group{8}, host()}, {Group{0}, cuda(0)}}) {
    for (const bool on_a_stream : {false, true}) {
      try {
        on_a_stream ? load.wait_on(nullptr, group, device) : load.wait(group, device);
        ADD_FAILURE() << "nothing goes there";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::tensor_not_found);
        EXPECT_THAT(error.what(), testing::HasSubstr(fmt::format("group {} goes to {}", group.number, name(device))));
      }
    }
  }
}

TEST_F(Layers, ArriveAllTheSameWhenOneIsPreferred) {
  checkpoint_.emplace(open());
  const Plan plan = make_plan(*checkpoint_, request(), small_options());
  for (std::uint32_t preferred = 0; preferred < 10; ++preferred) {
    Load load = engine_.start(plan);
    load.prefer(Group{preferred});
    if (preferred < 8) load.wait(Group{preferred}, host());
    load.prefer(Group{3});
    load.wait();
    EXPECT_EQ(values(load, "l6")[16'387], 5 + 6 * 4 + 3);
  }
}

TEST_F(Layers, SignalTheirArrivalOnADescriptor) {
  Load load = start(request());
  const int descriptor = load.descriptor();
  ASSERT_GE(descriptor, 0);
  EXPECT_EQ(load.descriptor(), descriptor);
  while (!load.progress().finished) {
    pollfd waiting{descriptor, POLLIN, 0};
    ASSERT_EQ(poll(&waiting, 1, 60'000), 1);
    std::uint64_t count = 0;
    ASSERT_EQ(read(descriptor, &count, sizeof count), static_cast<ssize_t>(sizeof count));
  }
  load.wait();
}

TEST_F(Layers, AreReplacedInPlaceByAnotherCheckpoint) {
  checkpoint_.emplace(open());
  const Plan plan = make_plan(*checkpoint_, request(), small_options());
  // The same tensors in another order, with other values.
  tensor("shared", {8, 4}, 1005);
  for (int i = 0; i < 8; ++i) tensor(fmt::format("layer{}", i), {16'384}, i * 100'000 + 7);
  tensor("more", {1}, 0);
  const Checkpoint other = open("other.safetensors");
  const Load first = engine_.start(plan);
  first.wait();
  const std::vector<Memory> arenas = first.arenas();
  ASSERT_EQ(arenas.size(), 1u);
  EXPECT_EQ(arenas[0].bytes, plan.costs().devices[0].arena_bytes);
  const Plan next = make_plan(other, plan);
  EXPECT_EQ(check_plan(*Access::data(next)), "");
  EXPECT_EQ(next.costs().devices[0].arena_bytes, arenas[0].bytes);
  {
    const Load second = engine_.start(next, {.arenas = arenas, .after = {}});
    second.wait();
    EXPECT_EQ(second.find("l3")->data, first.find("l3")->data);
  }
  for (int i = 0; i < 8; ++i) {
    const auto* const got = static_cast<const std::int32_t*>(first.find(fmt::format("l{}", i))->data);
    EXPECT_EQ(got[1], i * 100'000 + 8);
    EXPECT_EQ(got[16'385], 1005 + i * 4 + 1);
  }
}

TEST_F(Layers, AreNotReplacedByWhatDoesNotFit) {
  checkpoint_.emplace(open());
  Request strict = request();
  strict.strict = true;
  const Plan plan = make_plan(*checkpoint_, strict, small_options());
  const auto refusal = [&](const Checkpoint& other) {
    try {
      make_plan(other, plan);
    } catch (const Error& error) {
      return std::string(name(error.code())) + ": " + error.what();
    }
    return std::string("accepted");
  };
  EXPECT_EQ(refusal(*checkpoint_), "accepted");
  tensor("shared", {8, 4}, 0);
  EXPECT_THAT(refusal(open("few.safetensors")), testing::HasSubstr("tensor_not_found"));
  tensor("shared", {4, 8}, 0);
  for (int i = 0; i < 8; ++i) tensor(fmt::format("layer{}", i), {16'384}, 0);
  EXPECT_THAT(
      refusal(open("shape.safetensors")),
      testing::AllOf(testing::HasSubstr("invalid_argument"), testing::HasSubstr("I32 [4, 8] here, and I32 [8, 4]")));
  std::vector<TestTensor> as_floats = {{"shared", f32, {8, 4}}};
  for (int i = 0; i < 8; ++i) as_floats.push_back({fmt::format("layer{}", i), Dtype::i32, {16'384}});
  EXPECT_THAT(
      refusal(Checkpoint::open(write_shard(folder_, "dtype.safetensors", as_floats))),
      testing::AllOf(testing::HasSubstr("invalid_argument"), testing::HasSubstr("F32 [8, 4] here, and I32 [8, 4]")));
  tensor("shared", {8, 4}, 0);
  for (int i = 0; i < 9; ++i) tensor(fmt::format("layer{}", i), {16'384}, 0);
  EXPECT_THAT(refusal(open("more.safetensors")),
              testing::AllOf(testing::HasSubstr("incomplete"), testing::HasSubstr("layer8")));
}

}  // namespace
}  // namespace sluice
