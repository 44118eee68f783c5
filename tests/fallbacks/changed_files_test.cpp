// Goal: whatever happens to the files of a checkpoint while it is loaded, the load is complete and right, or ends in
// one Error that names the file; what had arrived is right either way, and the engine runs the next load. Method: loads
// on the test's own thread; the change is made at their Nth step, N rising until a load ends before it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "tests/fallbacks/engine_here.hpp"
#include "tests/fallbacks/whole_load.hpp"
#include "tests/loader/support/sanitized.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// Two shards of several extents each; one tensor of each is large enough to be read in place.
struct Half {
  std::string file;
  std::vector<TestTensor> tensors;
};
const Half first_half = {"a.safetensors", {{"a.small", f32, {9}}, {"a.large", f32, {66'000}}, {"a.end", bf16, {33}}}};
const Half second_half = {"b.safetensors",
                          {{"b.small", Dtype::u8, {9}}, {"b.large", f32, {66'000}}, {"b.end", bf16, {35}}}};

Options options_of(ReaderKind reader, IoMode io) {
  Options options;
  options.reader = reader;
  options.io = io;
  options.staging_bytes = 256 << 10;
  options.slab_bytes = 64 << 10;
  options.queue_depth = 2;
  options.threads = 1;
  return options;
}

/// What happens to a shard.
struct Change {
  const char* name;
  std::function<void(const fs::path& shard)> make;
  ErrorCode code;           // of the error, where there is one
  bool says_where = false;  // the error names a byte
  bool harms_open = true;   // the file, not only its name: a load that has opened it cannot go on either

  friend void PrintTo(const Change& change, std::ostream* out) { *out << change.name; }
};

void resize(const fs::path& shard, long by) {
  fs::resize_file(shard, static_cast<std::uintmax_t>(static_cast<long>(fs::file_size(shard)) + by));
}

// All bytes from `begin` on become others.
void overwrite(const fs::path& shard, std::uintmax_t begin) {
  const std::vector<std::byte> bytes = noise(fs::file_size(shard) - begin, 77);
  std::fstream file(shard, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(begin));
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

void replace(const fs::path& shard) {
  const fs::path other = shard.string() + ".new";
  fs::copy_file(shard, other);
  overwrite(other, 0);
  fs::rename(other, shard);
}

std::vector<Change> changes() {
  constexpr ErrorCode changed = ErrorCode::file_changed;
  return {
      {"TruncatedInTheMiddle", [](const fs::path& shard) { resize(shard, -130'000); }, changed, true},
      {"TruncatedToNothing", [](const fs::path& shard) { fs::resize_file(shard, 0); }, changed, true},
      {"TruncatedByAByte", [](const fs::path& shard) { resize(shard, -1); }, changed, true},
      {"Grown", [](const fs::path& shard) { resize(shard, 5'000); }, changed, true},
      {"Overwritten", [](const fs::path& shard) { overwrite(shard, 0); }, changed},
      {"OverwrittenAtItsEnd", [](const fs::path& shard) { overwrite(shard, fs::file_size(shard) - 100); }, changed},
      {"Replaced", replace, changed, false, false},
      {"Removed", [](const fs::path& shard) { fs::remove(shard); }, ErrorCode::not_found, false, false},
  };
}

// Sanitizers make loads slow: they see every fifth step.
constexpr int stride = sanitized ? 5 : 1;

std::size_t open_descriptors() {
  const fs::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

using Way = std::tuple<ReaderKind, IoMode>;

class ChangedFiles : public testing::TestWithParam<std::tuple<Change, Way>> {
 protected:
  ChangedFiles() {
    if (std::get<ReaderKind>(std::get<Way>(GetParam())) == ReaderKind::uring) refusal_ = ring_refusal();
    for (const Half* const half : {&first_half, &second_half}) {
      write_shard(pristine_, half->file, half->tensors);
      restore(half->file);
      tensors_.insert(tensors_.end(), half->tensors.begin(), half->tensors.end());
    }
  }

  // The shard as it was, written long ago so that every change shows in its times.
  void restore(const std::string& file) const {
    const fs::path shard = folder_.path() / file;
    fs::remove(shard);
    fs::copy_file(pristine_.path() / file, shard);
    const timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
    utimensat(AT_FDCWD, shard.c_str(), times, 0);
  }

  // Changes `file` at every step of a load in turn.
  void sweep(const Target& target, const std::string& file);

  // What can be said of a load that was changed, once it has ended; true where it failed.
  bool failed(const Load& load, const Target& target, const std::string& file) const;

  std::string refusal_;
  const TemporaryFolder folder_;
  const TemporaryFolder pristine_;
  std::vector<TestTensor> tensors_;
};

void ChangedFiles::sweep(const Target& target, const std::string& file) {
  const auto& change = std::get<Change>(GetParam());
  const auto [reader, io] = std::get<Way>(GetParam());
  const Options options = options_of(reader, io);
  int steps_left = -1;
  bool changed = true;
  EngineHere engine(options, [&] {
    if (steps_left-- != 0) return;
    change.make(folder_.path() / file);
    changed = true;
  });
  restore(file);
  engine.run(plan_for(folder_.path(), target, options)).wait();  // opens what the engine keeps
  const std::size_t descriptors = open_descriptors();
  for (int step = 0; changed; step += stride) {
    const testing::ScopedTrace trace(__FILE__, __LINE__, std::string(target.name) + ", step " + std::to_string(step));
    restore(file);
    const Plan plan = plan_for(folder_.path(), target, options);
    changed = false;
    steps_left = step;
    const Load load = engine.run(plan);
    const bool has_failed = failed(load, target, file);
    // At its first step the load has opened both shards, and read nothing.
    if (step == 0) {
      EXPECT_EQ(has_failed, change.harms_open);
    }
    EXPECT_FALSE(has_failed && !changed);
    ASSERT_EQ(open_descriptors(), descriptors);
    if (HasFailure()) return restore(file);
  }
}

bool ChangedFiles::failed(const Load& load, const Target& target, const std::string& file) const {
  std::vector<TestTensor> arrived;
  for (const TestTensor& tensor : tensors_) {
    if (load.find(tensor.name) != nullptr) arrived.push_back(tensor);
  }
  expect_arrived(load, arrived, target.cast);
  const auto& change = std::get<Change>(GetParam());
  try {
    load.wait();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), change.code) << error.what();
    EXPECT_EQ(error.path(), (folder_.path() / file).string());
    EXPECT_EQ(error.offset().has_value(), change.says_where) << error.what();
    return true;
  }
  EXPECT_EQ(arrived.size(), tensors_.size());
  return false;
}

TEST_P(ChangedFiles, NeverMixWithWhatWasValidated) {
  if (!refusal_.empty()) GTEST_SKIP() << refusal_;
  sweep(targets[0], first_half.file);
  for (const Target& target : targets) sweep(target, second_half.file);
}

INSTANTIATE_TEST_SUITE_P(Fallbacks, ChangedFiles,
                         testing::Combine(testing::ValuesIn(changes()),
                                          testing::Values(Way(ReaderKind::uring, IoMode::direct),
                                                          Way(ReaderKind::pread, IoMode::automatic))),
                         [](const auto& test) {
                           return std::string(std::get<Change>(test.param).name) + '_' +
                                  std::string(name(std::get<ReaderKind>(std::get<Way>(test.param))));
                         });

}  // namespace
}  // namespace sluice
