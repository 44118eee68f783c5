// Goal: the layouts that engines serve models in arrive byte for byte, asked for in the words that the documentation
// uses, and what would be wrong in silence is refused.
// Method: all ranks of small models in one process, against references in plain loops; on GPUs in tests/cuda.
#include "tests/loader/support/layouts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "loader/plan/access.hpp"
#include "loader/plan/plan.hpp"
#include "tests/loader/support/shard_builder.hpp"
#include "tests/loader/support/small_model.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

TEST(Layouts, ArriveOnTheHostForEveryRank) {
  const TemporaryFolder folder;
  for (const bool with_memory : {false, true}) {
    for (const auto& layout : all_layouts()) {
      SCOPED_TRACE(layout->name());
      CallersHostMemory memory;
      if (with_memory) layout->take_memory_from(memory);
      const Checkpoint checkpoint = Checkpoint::open(write_shard(folder, "model.safetensors", layout->tensors(), 1));
      const std::vector<Rank> ranks = ranks_of(layout->world(), false);
      const Request request = request_of(*layout, ranks);
      for (const Error& error : check(checkpoint, request)) ADD_FAILURE() << error.what();
      Engine engine(small_options());
      const Plan plan = make_plan(checkpoint, request, engine.options());
      EXPECT_EQ(check_plan(*Access::data(plan)), "");
      const Load load = engine.start(plan);
      load.wait();
      expect_laid_out(load, *layout, ranks);
      if (HasFailure()) return;
    }
  }
}

// Two ranks of half a block each would share a scale: a fault that others found by their models' answers.
TEST(Layouts, OfScalesAreRefusedWhereARankBeginsInsideABlock) {
  const auto refusal = [](std::uint64_t rank, unsigned dimension) {
    return sluice::error_of([&] { blocks_of(part(dimension, rank, 8), {512, 512}, {128, 128}); });
  };
  for (const std::uint64_t rank : {1, 3, 5, 7}) {
    for (const unsigned dimension : {0, 1}) {
      EXPECT_EQ(refusal(rank, dimension).code(), ErrorCode::invalid_argument) << rank;
      EXPECT_THAT(refusal(rank, dimension).what(), testing::HasSubstr(std::to_string(rank * 64))) << "where it begins";
      EXPECT_THAT(refusal(rank, dimension).hint(), testing::HasSubstr("take"));
    }
  }
  for (const std::uint64_t rank : {0, 2, 4, 6}) EXPECT_EQ(refusal(rank, 0).message(), "nothing was thrown") << rank;
}

TEST(Layouts, OfScalesAreRefusedWhereARankWouldCutAGroup) {
  const TemporaryFolder folder;
  const Checkpoint checkpoint =
      Checkpoint::open(write_shard(folder, "model.safetensors", {{"down_proj.scales", f16, {1, 24}}}));
  Request request;
  request.add("down_proj.scales").to(request.destination("ds", {1, 24}, f16, host()), part(0, 0, 2));
  const Error error = sluice::error_of([&] { make_plan(checkpoint, request); });
  EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
  EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("dimension 0 has 1, which 2 parts do not divide"),
                                           testing::HasSubstr("down_proj.scales"), testing::HasSubstr("ds")));
}

// What several engines served without an error: an expert, a scale or a layer that nobody loaded.
TEST(Layouts, AreRefusedWithWhatIsMissingBeforeAnythingIsRead) {
  const TemporaryFolder folder;
  const Qwen3MoeLayout layout;
  for (const char* const missing : {"model.layers.0.mlp.experts.4.up_proj.weight", "model.layers.0.mlp.gate.weight"}) {
    std::vector<TestTensor> tensors = layout.tensors();
    std::erase_if(tensors, [&](const TestTensor& tensor) { return tensor.name == missing; });
    const Checkpoint checkpoint = Checkpoint::open(write_shard(folder, "model.safetensors", tensors));
    const Request request = request_of(layout, ranks_of(layout.world(), false));
    const std::vector<Error> errors = check(checkpoint, request);
    ASSERT_FALSE(errors.empty());
    EXPECT_EQ(errors.front().code(), ErrorCode::tensor_not_found);
    EXPECT_THAT(errors.front().what(), testing::HasSubstr(missing));
  }
  Request forgetful;
  for (const Rank& rank : ranks_of(layout.world(), false)) layout.build(forgetful, rank);
  forgetful.destination("model.layers.0.shared", {4}, bf16, host());
  const Checkpoint checkpoint = Checkpoint::open(write_shard(folder, "model.safetensors", layout.tensors()));
  const Error error = sluice::error_of([&] { make_plan(checkpoint, forgetful); });
  EXPECT_EQ(error.code(), ErrorCode::incomplete);
  EXPECT_THAT(error.what(), testing::HasSubstr("model.layers.0.shared"));
}

}  // namespace
}  // namespace sluice
