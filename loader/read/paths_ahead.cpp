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

std::optional<ReadPath> PathsAhead::path_of(std::uint32_t extent) {
  take_answers();  // first: shards that were asked about may be closed to make room for this one
  const ShardFiles::File* const file = files_.open(plan_.extents[extent].shard);
  if (file == nullptr) return std::nullopt;
  const bool direct = file->takes_direct && plan_.extents[extent].aligned;
  if (direct && io_ == IoMode::direct) return ReadPath::direct;
  if (known_[extent] == Known::nothing) ask_from(extent);
  if (known_[extent] == Known::nothing || known_[extent] == Known::asked) return std::nullopt;
  const auto later = extent + std::uint64_t{known_least};
  if (later < known_.size() && known_[later] == Known::nothing) ask_from(static_cast<std::uint32_t>(later));
  if (known_[extent] == Known::cached) return ReadPath::cached;
  return direct ? ReadPath::direct : ReadPath::buffered;
}

void PathsAhead::take_answers() {
  if (!is_asking()) return;
  std::size_t answered = 0;
  {
    const MutexLock lock(mutex_);
    answered = answered_;
  }
  for (; taken_ < answered; ++taken_) {
    const Question& question = questions_[taken_];
    known_[question.extent] = question.cached ? Known::cached : Known::not_cached;
    files_.release(plan_.extents[question.extent].shard);
  }
}

/// About extents from this one on, as far as their shards are open.
void PathsAhead::ask_from(std::uint32_t extent) {
  if (is_asking()) return;
  questions_.clear();
  taken_ = 0;
  {
    const MutexLock lock(mutex_);
    answered_ = 0;
  }
  for (std::uint32_t i = extent; i < known_.size() && questions_.size() < asked_at_once; ++i) {
    const ShardFiles::File* const file = files_.find_open(plan_.extents[i].shard);
    if (file == nullptr) break;
    if (known_[i] == Known::nothing) questions_.push_back({i, file->descriptor});
  }
  if (questions_.empty()) return;
  tasks_.run([this] { answer(); });
  for (const Question& question : questions_) {
    known_[question.extent] = Known::asked;
    files_.hold(plan_.extents[question.extent].shard);
  }
}

/// On a thread of the asker's.
void PathsAhead::answer() noexcept {
  const std::size_t count = questions_.size();  // with the last answer they are the engine's again
  for (std::size_t begin = 0, end = 0; begin < count; begin = end) {
    // What lies side by side in a file.
    const auto touches = [&](std::size_t next) {
      const Extent& before = plan_.extents[questions_[next - 1].extent];
      const Extent& after = plan_.extents[questions_[next].extent];
      return before.shard == after.shard && before.offset + before.bytes == after.offset;
    };
    for (end = begin + 1; end < count && touches(end);) ++end;
    answer_run(begin, end);
    {
      const MutexLock lock(mutex_);
      answered_ = end;
    }
    asker_.wakeup().notify();  // whoever waits for these does not have to wait for the rest
  }
}

/// All of it at once; one by one where only part of it is cached, or a sample tells.
void PathsAhead::answer_run(std::size_t begin, std::size_t end) noexcept {
  const auto cached_bytes = [&](std::uint64_t offset, std::uint64_t bytes) {
    asker_.before_question();
    return page_cache_.cached_bytes(questions_[begin].descriptor, offset, bytes);
  };
  const std::uint64_t offset = plan_.extents[questions_[begin].extent].offset;
  const Extent& last = plan_.extents[questions_[end - 1].extent];
  const std::uint64_t bytes = last.offset + last.bytes - offset;
  if (end - begin > 1 && !page_cache_.samples()) {
    const auto cached = cached_bytes(offset, bytes);
    const bool are_alike = !cached || *cached == 0 || *cached == bytes;
    if (are_alike && !page_cache_.samples()) {
      for (std::size_t i = begin; i < end; ++i) questions_[i].cached = cached == bytes;
      return;
    }
  }
  for (std::size_t i = begin; i < end; ++i) {
    const Extent& extent = plan_.extents[questions_[i].extent];
    const auto cached = cached_bytes(extent.offset, extent.bytes);
    questions_[i].cached = cached && mostly(*cached, extent.bytes);
  }
}

}  // namespace sluice
