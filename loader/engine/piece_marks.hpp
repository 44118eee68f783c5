// PieceMarks: numbers of pieces to which something has happened elsewhere, for the engine's thread to look at.
// Threads: add() and is_awaited() on any; the rest on the engine's.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "loader/base/mutex.hpp"
#include "loader/base/wakeup.hpp"

namespace sluice {

class PieceMarks {
 public:
  /// `count`: add() is called at most so often between two calls of take(). `wakeup` is notified of each.
  PieceMarks(std::size_t count, std::shared_ptr<Wakeup> wakeup) : wakeup_(std::move(wakeup)) { marks_.reserve(count); }

  void add(std::uint32_t piece) noexcept {
    {
      const MutexLock lock(mutex_);
      marks_.push_back(piece);  // there is room: what marks an end must not fail
      awaited_ = false;
    }
    wakeup_->notify();
  }

  /// Those since the last call.
  std::vector<std::uint32_t> take() {
    const MutexLock lock(mutex_);
    std::vector<std::uint32_t> marks(marks_.begin(), marks_.end());
    marks_.clear();  // its room stays
    return marks;
  }

  /// The engine can do nothing before the next add(), or it can again. Whether it is the first, and was not before; it
  /// is not where there is something to take().
  bool await(bool wanted) {
    const MutexLock lock(mutex_);
    const bool before = std::exchange(awaited_, wanted && marks_.empty());
    return awaited_ && !before;
  }
  bool is_awaited() const noexcept {
    const MutexLock lock(mutex_);
    return awaited_;
  }

 private:
  const std::shared_ptr<Wakeup> wakeup_;
  mutable Mutex mutex_;
  bool awaited_ SLUICE_GUARDED_BY(mutex_) = false;
  std::vector<std::uint32_t> marks_ SLUICE_GUARDED_BY(mutex_);
};

}  // namespace sluice
