// A small checkpoint for whole loads, options that make many extents of it, and the comparison of what a load delivered
// with what was written.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "loader/device/array_cast.hpp"
#include "sluice/sluice.hpp"
#include "tests/loader/support/shard_writer.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {

inline const std::vector<TestTensor> small_model = {
    {"embed", f32, {300, 1000}},   {"scalar", f64, {}},           {"none", bf16, {0, 7}},
    {"norm", bf16, {33}},          {"down", bf16, {1 << 20}},     {"ids", Dtype::i64, {512}},
    {"packed", Dtype::f4, {3, 2}}, {"eight", f8_e4m3, {100, 99}}, {"tail", f32, {17}},
};

/// The same with fewer elements in its large tensors: enough for a simulated GPU, which interprets each cast.
inline std::vector<TestTensor> model_for(DeviceId device) {
  std::vector<TestTensor> tensors = small_model;
  if (device.kind != DeviceId::Kind::cuda) return tensors;
  for (TestTensor& tensor : tensors) {
    if (!tensor.shape.empty() && tensor.shape[0] >= 100) tensor.shape[0] /= 20;
  }
  return tensors;
}

inline Options small_options() {
  Options options;
  options.staging_bytes = 1 << 20;
  options.slab_bytes = 128 << 10;
  options.threads = 2;
  return options;
}

inline Request everything(std::optional<Dtype> cast = {}) {
  Request request;
  Rule& rule = request.add("*");
  if (cast) rule.cast(*cast);
  return request;
}

/// The tensor's bytes as a load of it to `dtype` must deliver them.
inline std::vector<std::byte> expected(const TestTensor& tensor, Dtype dtype) {
  std::vector<std::byte> source = tensor.content();
  if (dtype == tensor.dtype) return source;
  const std::size_t count = source.size() / (bits(tensor.dtype) / 8);
  std::vector<std::byte> target(count * bits(dtype) / 8);
  cast_elements(tensor.dtype, source.data(), dtype, target.data(), count);
  return target;
}

/// That a tensor that has arrived is what was written, cast to its dtype, byte for byte. The null device keeps nothing:
/// there its size can be right.
inline void expect_holds(const Load& load, const Tensor& got, const TestTensor& written) {
  const testing::ScopedTrace trace(__FILE__, __LINE__, written.name + " on " + name(got.device));
  const std::vector<std::byte> want = expected(written, got.dtype);
  ASSERT_EQ(got.bytes, want.size());
  if (got.device == null()) return;
  std::vector<std::byte> bytes(got.bytes);
  load.read_back(got, 0, bytes.data(), bytes.size());
  EXPECT_TRUE(same_bytes(bytes, want)) << "delivered bytes differ";
}

/// That these have arrived and are right, each at an address fit for its dtype.
inline void expect_arrived(const Load& load, const std::vector<TestTensor>& tensors, std::optional<Dtype> cast = {}) {
  for (const TestTensor& tensor : tensors) {
    const Tensor* const got = load.find(tensor.name);
    ASSERT_NE(got, nullptr) << tensor.name;
    EXPECT_EQ(got->dtype, cast && is_castable(tensor.dtype) ? *cast : tensor.dtype) << tensor.name;
    expect_holds(load, *got, tensor);
    if (got->bytes == 0) continue;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(got->data) % natural_alignment(got->dtype), 0u) << tensor.name;
  }
}

/// That these arrive, and each is right as soon as it is there: not only once the load has ended.
inline void expect_delivered(const Load& load, const std::vector<TestTensor>& tensors, std::optional<Dtype> cast = {}) {
  for (const TestTensor& tensor : tensors) {
    load.wait(tensor.name);
    expect_arrived(load, {tensor}, cast);
  }
  load.wait();
}

}  // namespace sluice
