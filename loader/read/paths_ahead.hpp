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

  /// How to read an extent, of which the shard is open then, as by ShardFiles::open(): direct wherever that is asked
  /// for and possible; else out of the page cache what lies there for the most part; else direct, or buffered where
  /// direct reads are refused. Nothing: the shard is not open yet, or that is being asked; call again when the wakeup
  /// was notified, or an extent is done. Throws as ShardFiles::open().
  std::optional<ReadPath> path_of(std::uint32_t extent);
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

  bool is_asking() const noexcept { return taken_ < questions_.size(); }
  void take_answers();
  void ask_from(std::uint32_t extent);
  void answer() noexcept;
  void answer_run(std::size_t begin, std::size_t end) noexcept;

  const PlanData& plan_;
  ShardFiles& files_;
  const IoMode io_;
  FileAsker& asker_;
  std::vector<Known> known_;         // by extent
  std::vector<Question> questions_;  // those without an answer are the thread's that asks
  std::size_t taken_ = 0;            // so many of their answers
  PageCache page_cache_;             // the thread's that asks, while one does
  Mutex mutex_;
  std::size_t answered_ SLUICE_GUARDED_BY(mutex_) = 0;
  TaskGroup tasks_;  // last: its tasks use all of the above
};

}  // namespace sluice
