// GpuLoads: whole loads of a small checkpoint onto GPUs, each byte compared, and the simulator's verdict on them.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "cuda/kernel_image.hpp"
#include "loader/plan/kernel_table.hpp"
#include "loader/plan/plan.hpp"
#include "tests/cuda/gpus.hpp"
#include "tests/loader/support/sanitized.hpp"
#include "tests/loader/support/small_model.hpp"
#include "tests/sim/control.hpp"

namespace sluice {

/// Eager, lazy, never unless waited for, and from then on random; every other one without virtual memory.
inline sim::Settings in_order_of(std::uint64_t seed) {
  constexpr sim::Policy first[] = {sim::Policy::eager, sim::Policy::lazy, sim::Policy::never};
  sim::Settings settings;
  settings.seed = seed;
  settings.policy = seed <= std::size(first) ? first[seed - 1] : sim::Policy::random;
  for (sim::DeviceSettings& device : settings.devices) device.virtual_memory = !sim::is_simulated() || seed % 2 == 0;
  return settings;
}

/// How many orders are tried: few where a sanitizer looks at the code and not at the order, or on a real device, whose
/// order nobody sets.
inline std::uint64_t orders() {
  return !sim::is_simulated() ? 20 : sanitized ? 4 : 200;
}

/// Several extents in slabs of 64 KiB, none of them aligned, and one of so many tensors that its table is full.
inline std::vector<TestTensor> gpu_model() {
  std::vector<TestTensor> tensors = {
      {"scalar", f64, {}},           {"none", bf16, {0, 7}},       {"embed", f32, {20, 300}},
      {"norm", bf16, {33}},          {"ids", Dtype::i64, {3001}},  {"down", bf16, {60, 200}},
      {"packed", Dtype::f4, {3, 2}}, {"eight", f8_e4m3, {30, 99}}, {"half", f16, {7, 31}}};
  for (int i = 0; i < 150; ++i) tensors.push_back({fmt::format("scale {}", i), f32, {}});
  return tensors;
}

inline Options small_slabs() {
  Options options;
  options.staging_bytes = 256 << 10;
  options.slab_bytes = 64 << 10;
  options.threads = 2;
  return options;
}

class GpuLoads : public testing::Test {
 protected:
  GpuLoads() { deal_out(); }
  void SetUp() override {
    if (kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
    sim::reset();
  }
  void TearDown() override { sim::reset(); }

  /// That all that the plan delivers arrives, and each byte is right at that moment: not only once the load has ended.
  void expect_right(const Load& load, const Plan& plan) const {
    for (const Tensor& got : load) expect_holds(load, got, by_name_.at(std::string(got.name)));
    load.wait();
    EXPECT_EQ(load.progress().tensors_ready, plan.tensors().size());
    for (const Tensor& planned : plan.tensors()) {
      const Tensor* const got = load.find(planned.name, planned.device);
      ASSERT_NE(got, nullptr) << planned.name << " on " << name(planned.device);
      EXPECT_EQ(got->dtype, planned.dtype) << planned.name << " on " << name(planned.device);
    }
  }

  /// Also that no engine's thread has waited for the driver.
  static void expect_clean() {
    sim::check_leaks();
    EXPECT_EQ(sim::counters().callers.count("sluice-engine"), 0u);
    for (const sim::Violation& violation : sim::take_violations()) {
      ADD_FAILURE() << sim::name(violation.rule) << ": " << violation.message;
    }
  }

  const TemporaryFolder folder_;
  const std::vector<TestTensor> tensors_ = gpu_model();
  const std::filesystem::path file_ = write_shard(folder_, "model.safetensors", tensors_, 3);
  /// The first of them alone: fewer calls, and as many extents but one.
  const std::filesystem::path few_ =
      write_shard(folder_, "few.safetensors", {tensors_.begin(), tensors_.begin() + 9}, 3);
  /// All of them, dealt out to more shards, and so extents, than a lane has scratch slabs: in a folder of their own.
  const TemporaryFolder shards_;

 private:
  void deal_out() const {
    std::vector<TestTensor> dealt[scratch_slabs + 3];
    for (std::size_t i = 0; i < tensors_.size(); ++i) dealt[i % std::size(dealt)].push_back(tensors_[i]);
    for (unsigned shard = 0; shard < std::size(dealt); ++shard) {
      write_shard(shards_, fmt::format("{}.safetensors", shard), dealt[shard], shard);
    }
  }

  static std::map<std::string, TestTensor> by_name(const std::vector<TestTensor>& tensors) {
    std::map<std::string, TestTensor> named;
    for (const TestTensor& tensor : tensors) named[tensor.name] = tensor;
    return named;
  }

  const std::map<std::string, TestTensor> by_name_ = by_name(tensors_);
};

}  // namespace sluice
