// PieceMemory: memory of an arena that tensors lie in, shared by all who need one of them: the load until they have
// been dropped, and callers who keep some. With the last of them it goes back: a piece to its device, the whole of an
// arena by letting go of it. Before that it waits for what callers have queued. Threads: any.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "loader/base/mutex.hpp"
#include "loader/base/this_process.hpp"
#include "loader/device/device.hpp"
#include "loader/engine/piece_marks.hpp"
#include "loader/plan/plan.hpp"

namespace sluice {

class PieceMemory {
 public:
  /// The whole of an arena.
  explicit PieceMemory(std::shared_ptr<Arena> arena);
  /// A piece of an arena, which has been bound, as number `index` of the plan. `returned` is told when it has gone
  /// back.
  PieceMemory(std::shared_ptr<Arena> arena, const ArenaPiece& piece, std::uint32_t index,
              std::shared_ptr<PieceMarks> returned);
  /// May wait for the device. In a child of the process that made it, it does nothing: the memory is the parent's.
  ~PieceMemory();
  PieceMemory(const PieceMemory&) = delete;
  PieceMemory& operator=(const PieceMemory&) = delete;

  /// It is not to go before what `mark` stands for has been done.
  void use_until(std::shared_ptr<const StreamMark> mark) SLUICE_EXCLUDES(mutex_);
  /// It is not to go before all that has been queued on the device when it goes.
  void use_anywhere() noexcept SLUICE_EXCLUDES(mutex_);

 private:
  const ThisProcess process_;
  std::shared_ptr<Arena> arena_;
  const std::uint64_t offset_ = 0;
  const std::uint64_t bytes_ = 0;  // 0: the whole arena
  const std::uint32_t index_ = 0;
  const std::shared_ptr<PieceMarks> returned_;

  Mutex mutex_;
  std::vector<std::shared_ptr<const StreamMark>> marks_ SLUICE_GUARDED_BY(mutex_);  // none of them behind another
  bool anywhere_ SLUICE_GUARDED_BY(mutex_) = false;
};

}  // namespace sluice
