// PathsAhead: past the page cache, or through it, decided for each extent ahead of its read: what of it is cached is
// asked by a thread of the asker's, of many extents at a time, those that are read next. Threads: the engine's only;
// the asker's are inside.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "loader/base/mutex.hpp"
#include "loader/base/task_group.hpp"
#include "loader/read/file_asker.hpp"
#include "loader/read/page_cache.hpp"
#include "loader/read/reader.hpp"
#include "loader/read/shard_files.hpp"

namespace sluice {

class PathsAhead {
 public:
  /// All arguments outlive it.
  PathsAhead(const PlanData& plan, ShardFiles& files, IoMode io, FileAsker& asker);

  /// How to read an extent of an open shard: direct wherever that is asked for and possible; else out of the page cache
  /// what lies there for the most part; else direct, or buffered where direct reads are refused. Nothing: that is being
  /// asked, and the wakeup is notified when it is known. Throws std::bad_alloc.
  std::optional<ReadPath> path_of(std::uint32_t extent, const ShardFiles::File& file);
  /// Waits for what is being asked.
  void close() noexcept { tasks_.wait(); }
  /// As PageCache::refusal(). REQUIRES: close().
  const std::string& refusal() const noexcept { return page_cache_.refusal(); }

 private:
  enum class Known : std::uint8_t { nothing, asked, cached, not_cached };
  struct Question {
    std::uint32_t extent = 0;
    int descriptor = -1;
    bool cached = false;  // the answer
  };

  void take_answers();
  void ask_from(std::uint32_t extent);
  void answer() noexcept;
  void answer_run(std::size_t begin, std::size_t end) noexcept;

  const PlanData& plan_;
  ShardFiles& files_;
  const IoMode io_;
  FileAsker& asker_;
  std::vector<Known> known_;  // by extent
  bool asking_ = false;
  std::vector<Question> questions_;  // the thread's that asks, while one does
  PageCache page_cache_;             // likewise
  Mutex mutex_;
  bool answered_ SLUICE_GUARDED_BY(mutex_) = false;
  TaskGroup tasks_;  // last: its tasks use all of the above
};

}  // namespace sluice
