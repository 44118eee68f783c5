// A whole load, from open to digest, and the ways in which loads end that differ behind the reader: tensors taken as
// they are, cast, forgotten, and on a simulated GPU.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <vector>

#include "cuda/kernel_image.hpp"
#include "loader/read/uring_reader.hpp"
#include "tests/loader/support/small_model.hpp"

namespace sluice {

struct Target {
  const char* name;
  std::optional<Dtype> cast;
  DeviceId device;
};

inline const std::vector<Target> targets = [] {
  std::vector<Target> all = {
      {"as they are, host", {}, host()}, {"cast to F32, host", f32, host()}, {"as they are, null", {}, null()}};
  if (!kernel_fatbinary().empty()) all.push_back({"as they are, simulated GPU", {}, cuda(0)});
  return all;
}();

inline Plan plan_for(const std::filesystem::path& folder, const Target& target, const Options& options) {
  Request request = everything(target.cast);
  request.devices = {target.device};
  return make_plan(Checkpoint::open(folder), request, options);
}

/// Carries `plan` out with an engine of its own and compares every byte of `tensors`. How it went is returned.
inline Stats load_whole(const Plan& plan, const std::vector<TestTensor>& tensors, const Target& target,
                        const Options& options) {
  const testing::ScopedTrace trace(__FILE__, __LINE__, target.name);
  Engine engine(options);
  const Load load = engine.start(plan);
  expect_delivered(load, tensors, target.cast);
  EXPECT_EQ(load.progress().tensors_ready, tensors.size());
  Stats stats = load.statistics();
  EXPECT_EQ(stats.bytes, plan.costs().read_bytes);
  EXPECT_EQ(stats.delivered_bytes, plan.costs().delivered_bytes);
  return stats;
}

/// The same for all of `folder`.
inline Stats load_whole(const std::filesystem::path& folder, const std::vector<TestTensor>& tensors,
                        const Target& target, const Options& options = small_options()) {
  return load_whole(plan_for(folder, target, options), tensors, target, options);
}

/// Why `what` was not done; empty where it was.
inline std::string reason_for(const Stats& stats, std::string_view what) {
  for (const Fallback& fallback : stats.fallbacks) {
    if (fallback.what == what) return fallback.reason;
  }
  return "";
}

/// Makes the next load find nothing of the folder in the page cache.
inline void drop_from_page_cache(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const int file = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    fsync(file);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
  }
}

inline bool takes_direct_reads(const TemporaryFolder& folder) {
  const int file = open(folder.write("probe", noise(4096)).c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  if (file >= 0) close(file);
  std::filesystem::remove(folder.path() / "probe");
  return file >= 0;
}

/// Why this machine refuses io_uring altogether; empty where it does not.
inline std::string ring_refusal() {
  Wakeup wakeup;
  std::vector<Fallback> fallbacks;
  std::string refusal;
  (void)UringReader::make(resolve({}), wakeup, fallbacks, refusal);
  return refusal;
}

}  // namespace sluice
