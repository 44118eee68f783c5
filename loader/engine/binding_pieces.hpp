// BindingPieces: with a budget, the memory of a load's arenas: pieces are bound by workers, in the order in which
// extents need them, as far as the budget goes, and come back when callers have dropped what lies in them. For a load
// without a budget it has nothing to do.
//
// It never waits for memory that cannot come: pieces are begun in the order of their first extents, extents are taken
// in order, and the plan's arena_peak_bytes has room for all pieces that are incomplete when an extent needs another
// one.
//
// Threads: the engine's only; the workers are inside.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <vector>

#include "loader/base/mutex.hpp"
#include "loader/base/task_group.hpp"
#include "loader/engine/load_state.hpp"
#include "loader/engine/piece_marks.hpp"

namespace sluice {

class BindingPieces {
 public:
  /// All arguments outlive it. `wakeup` is notified when a piece is bound, or has come back.
  BindingPieces(LoadState& state, Workers& workers, std::shared_ptr<Wakeup> wakeup);

  /// Looks at what has been bound and what has come back, and begins to bind what may be needed by `next_extent` and
  /// behind it. `arenas` are those of the plan's devices; they stay as they are from the first call on, until close().
  /// Placements that are complete as soon as they have memory are appended to `complete`. Throws what kept a piece from
  /// being bound.
  void advance(std::span<const std::shared_ptr<Arena>> arenas, std::uint32_t next_extent,
               std::vector<std::uint32_t>& complete);
  /// Whether there is memory for all that the extent brings.
  bool covers(std::uint32_t extent) const noexcept;
  /// Whether there will be, as soon as there are arenas, without that anything comes back. REQUIRES: nothing is begun.
  bool will_cover(std::uint32_t extent) const noexcept;
  /// Tells the load's callers whether it goes on only when they let go of something. `is_idle`: nothing is on its way,
  /// and all that has arrived is published. REQUIRES: extents before `next_extent` are taken.
  void tell_whether_held_up(std::uint32_t next_extent, bool is_idle);
  /// Waits for what is being bound.
  void close() noexcept { tasks_.wait(); }
  /// The most bytes of pieces that were there at a time, over all devices.
  std::uint64_t peak_bytes() const noexcept { return peak_bytes_; }

 private:
  struct OnDevice {
    std::vector<std::uint32_t> pieces;  // by their first extents
    std::size_t begun = 0;              // so many of them, from the first on
    std::size_t covered = 0;            // so many of them, from the first on, have been bound
    std::uint64_t there_bytes = 0;
  };

  void sort_pieces();
  void find_unread();
  void take_bound(std::span<const std::shared_ptr<Arena>> arenas, std::vector<std::uint32_t>& complete);
  void take_returned();
  void begin(OnDevice& on, Arena& arena);
  void bind(std::uint32_t piece, Arena& arena) noexcept;
  bool has_fills(std::uint32_t piece) const;

  LoadState& state_;
  const PlanData& plan_;
  const std::shared_ptr<Wakeup> wakeup_;
  PieceMarks bound_;
  const std::shared_ptr<PieceMarks> returned_;      // whoever has a piece may outlive this
  std::vector<OnDevice> devices_;                   // by device of the plan
  std::vector<bool> is_bound_;                      // by piece; stays so when it has come back
  std::vector<std::vector<std::uint32_t>> unread_;  // by piece: placements that nothing is read for
  std::uint64_t there_bytes_ = 0;
  std::uint64_t peak_bytes_ = 0;

  Mutex mutex_;
  std::exception_ptr error_ SLUICE_GUARDED_BY(mutex_);
  TaskGroup tasks_;  // last: its tasks use all of the above
};

}  // namespace sluice
