#include "loader/engine/piece_memory.hpp"

#include <algorithm>
#include <iterator>
#include <new>
#include <utility>

namespace sluice {

PieceMemory::PieceMemory(std::shared_ptr<Arena> arena) : arena_(std::move(arena)) {}

PieceMemory::PieceMemory(std::shared_ptr<Arena> arena, const ArenaPiece& piece, std::uint32_t index,
                         std::shared_ptr<PieceMarks> returned)
    : arena_(std::move(arena)),
      offset_(piece.offset),
      bytes_(piece.bytes),
      index_(index),
      returned_(std::move(returned)) {}

PieceMemory::~PieceMemory() {
  if (!process_.is_still()) {
    // No driver and no memory is the child's to give back: the arena stays, and nobody has it.
    static_cast<void>(new (std::nothrow) std::shared_ptr<Arena>(std::move(arena_)));
    return;
  }
  {
    const MutexLock lock(mutex_);
    if (anywhere_) {
      arena_->wait_for_device();
    } else {
      for (const auto& mark : marks_) mark->wait();
    }
  }
  if (bytes_ == 0) return;
  arena_->unbind(offset_, bytes_);
  returned_->add(index_);
}

void PieceMemory::use_until(std::shared_ptr<const StreamMark> mark) {
  std::vector<std::shared_ptr<const StreamMark>> passed;  // they go behind the lock: they are the driver's
  const MutexLock lock(mutex_);
  marks_.push_back(mark);
  const auto behind =
      std::partition(marks_.begin(), marks_.end(), [&](const auto& its) { return !mark->is_behind(*its); });
  passed.assign(std::make_move_iterator(behind), std::make_move_iterator(marks_.end()));
  marks_.erase(behind, marks_.end());
}

void PieceMemory::use_anywhere() noexcept {
  const MutexLock lock(mutex_);
  anywhere_ = true;
}

}  // namespace sluice
