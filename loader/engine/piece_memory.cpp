#include "loader/engine/piece_memory.hpp"

#include <algorithm>
#include <new>

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
      for (const auto& [stream, mark] : marks_) mark->wait();
    }
  }
  if (bytes_ == 0) return;
  arena_->unbind(offset_, bytes_);
  returned_->add(index_);
}

void PieceMemory::use_until(CUstream_st* stream, std::shared_ptr<const StreamMark> mark) {
  const MutexLock lock(mutex_);
  const auto its = std::find_if(marks_.begin(), marks_.end(), [&](const auto& on) { return on.first == stream; });
  if (its == marks_.end()) {
    marks_.emplace_back(stream, std::move(mark));
  } else {
    its->second.swap(mark);
  }
}

void PieceMemory::use_anywhere() noexcept {
  const MutexLock lock(mutex_);
  anywhere_ = true;
}

}  // namespace sluice
