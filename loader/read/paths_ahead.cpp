#include "loader/read/paths_ahead.hpp"

#include <algorithm>

namespace sluice {
namespace {

// Extents that are asked about at a time, and how many known ones are left when the next are: at 4 MiB each, a file
// system that takes 5 ms to answer keeps up with 13 GB/s, also where it has to be asked of two shards.
constexpr std::uint32_t asked_at_once = 64;
constexpr std::uint32_t known_least = 32;

// An extent of which at least three quarters are cached is copied out of the page cache, which fetches the rest:
// storage is some four times slower than memory.
bool mostly(std::uint64_t part, std::uint64_t whole) {
  return part >= whole - whole / 4;
}

}  // namespace

PathsAhead::PathsAhead(const PlanData& plan, ShardFiles& files, IoMode io, FileAsker& asker)
    : plan_(plan),
      files_(files),
      io_(io),
      asker_(asker),
      known_(plan.extents.size(), Known::nothing),
      tasks_(asker.workers()) {
  questions_.reserve(asked_at_once);
}

std::optional<ReadPath> PathsAhead::path_of(std::uint32_t extent, const ShardFiles::File& file) {
  const bool direct = file.takes_direct && plan_.extents[extent].aligned;
  if (direct && io_ == IoMode::direct) return ReadPath::direct;
  take_answers();
  if (known_[extent] == Known::nothing) ask_from(extent);
  if (known_[extent] == Known::nothing || known_[extent] == Known::asked) return std::nullopt;
  const auto later = extent + std::uint64_t{known_least};
  if (later < known_.size() && known_[later] == Known::nothing) ask_from(static_cast<std::uint32_t>(later));
  if (known_[extent] == Known::cached) return ReadPath::cached;
  return direct ? ReadPath::direct : ReadPath::buffered;
}

void PathsAhead::take_answers() {
  {
    const MutexLock lock(mutex_);
    if (!answered_) return;
    answered_ = false;
  }
  for (const Question& question : questions_) {
    known_[question.extent] = question.cached ? Known::cached : Known::not_cached;
    files_.release(plan_.extents[question.extent].shard);
  }
  asking_ = false;
}

/// About extents from this one on, as far as their shards are open.
void PathsAhead::ask_from(std::uint32_t extent) {
  if (asking_) return;
  questions_.clear();
  for (std::uint32_t i = extent; i < known_.size() && questions_.size() < asked_at_once; ++i) {
    const ShardFiles::File* const file = files_.find_open(plan_.extents[i].shard);
    if (file == nullptr) break;
    if (known_[i] == Known::nothing) questions_.push_back({i, file->descriptor});
  }
  if (questions_.empty()) return;
  tasks_.run([this] { answer(); });
  asking_ = true;
  for (const Question& question : questions_) {
    known_[question.extent] = Known::asked;
    files_.hold(plan_.extents[question.extent].shard);
  }
}

/// On a thread of the asker's.
void PathsAhead::answer() noexcept {
  for (std::size_t begin = 0, end = 0; begin < questions_.size(); begin = end) {
    // What lies side by side in a file.
    const auto touches = [&](std::size_t next) {
      const Extent& before = plan_.extents[questions_[next - 1].extent];
      const Extent& after = plan_.extents[questions_[next].extent];
      return before.shard == after.shard && before.offset + before.bytes == after.offset;
    };
    for (end = begin + 1; end < questions_.size() && touches(end);) ++end;
    answer_run(begin, end);
  }
  {
    const MutexLock lock(mutex_);
    answered_ = true;
  }
  asker_.wakeup().notify();
}

/// All of it at once; one by one only where part of it is cached.
void PathsAhead::answer_run(std::size_t begin, std::size_t end) noexcept {
  const int descriptor = questions_[begin].descriptor;
  const std::uint64_t offset = plan_.extents[questions_[begin].extent].offset;
  const Extent& last = plan_.extents[questions_[end - 1].extent];
  const std::uint64_t bytes = last.offset + last.bytes - offset;
  asker_.before_question();
  const auto cached = page_cache_.cached_bytes(descriptor, offset, bytes);
  const bool is_one_answer =
      end - begin == 1 || !cached || *cached == bytes || (*cached == 0 && !page_cache_.samples());
  for (std::size_t i = begin; i < end; ++i) {
    const Extent& extent = plan_.extents[questions_[i].extent];
    if (is_one_answer) {
      questions_[i].cached = cached && mostly(*cached, bytes);
    } else {
      asker_.before_question();
      const auto its = page_cache_.cached_bytes(descriptor, extent.offset, extent.bytes);
      questions_[i].cached = its && mostly(*its, extent.bytes);
    }
  }
}

}  // namespace sluice
