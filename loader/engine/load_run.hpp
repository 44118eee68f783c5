// LoadRun: one load being carried out, on the engine's thread, with the engine's equipment.
//
// An extent's trip through it:
//
//     next in the plan -> taken (an open shard; a worker touches fresh memory) -> ready -> reading, into a slab
//                      -> its parts in their lanes -> done: the slab is free, tensors that are complete are published
//
// Workers open devices, and then lanes, beside the first reads, which wait for them in their slabs.
//
// Whatever happens elsewhere - a read ends, a lane is done, a worker has touched memory, a caller cancels - only leaves
// a mark and wakes the engine out of Reader::wait(). turn() is the one place that looks at the marks and decides what
// is next.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "loader/base/stopwatch.hpp"
#include "loader/base/task_group.hpp"
#include "loader/engine/binding_pieces.hpp"
#include "loader/engine/equipment.hpp"
#include "loader/engine/load_state.hpp"
#include "loader/engine/opening_devices.hpp"
#include "loader/engine/opening_lanes.hpp"
#include "loader/engine/trips.hpp"
#include "loader/engine/window.hpp"
#include "loader/read/paths_ahead.hpp"
#include "loader/read/shard_files.hpp"

namespace sluice {

/// Carries a load out, from its start-up to its end, which the state tells: also where there is no memory to begin
/// with. Both outlive the call. The load's time began with `began`. REQUIRES: LoadState::begin() said that it is to be
/// done.
void run_load(LoadState& state, Equipment& equipment, const Stopwatch& began = {}) noexcept;

class LoadRun {
 public:
  /// As run_load(). Throws Error{system} and std::bad_alloc.
  LoadRun(LoadState& state, Equipment& equipment, const Stopwatch& began);

  void run() noexcept;

 private:
  void start_up();

  void turn();
  bool lanes_are_open();
  void bind_pieces();
  void tell_whether_held_up();
  void take_done_reads();
  void end_done_reads() noexcept;
  void end_read(Trip& trip, std::uint64_t in_flight, std::int64_t now_ns) noexcept;
  void finish_reads();
  void finish_read(const Done& done);
  void read_again(std::uint32_t trip);
  bool have_slabs();
  void finish_lanes();
  void complete(std::span<const Delivery> deliveries);
  void publish();
  void check_files();
  void submit_ready();
  bool submit(std::uint32_t trip);
  bool has_room(const Trip& trip, const Extent& extent);
  std::uint64_t ready_bytes_most() const;
  std::uint64_t copying_bytes_most() const;
  bool is_for_host(const Extent& extent) const;
  void end_copying(Trip& trip) noexcept;
  void take_extents();
  void follow_preference();
  std::uint32_t next_extent();
  std::uint32_t next_to_take();
  bool has_memory(std::uint32_t extent) const;
  bool take_extent();
  void populate(std::uint32_t trip, Arena& arena);

  void hand_to_lanes(std::uint32_t trip);
  [[noreturn]] void throw_read_error(const Extent& extent, const Done& done) const;
  void drain() noexcept;
  void fill_in_stats();
  void leave_equipment() noexcept;

  LoadState& state_;
  Equipment& equipment_;
  const Stopwatch began_;
  const PlanData& plan_;
  Stats stats_;
  std::unique_ptr<ShardFiles> files_;
  std::unique_ptr<PathsAhead> paths_;  // behind the files: it ends first
  Staging* staging_ = nullptr;         // the equipment's

  OpeningLanes::Opened opened_;  // by device of the plan; empty until all are open
  OpeningDevices devices_;
  OpeningLanes opening_;
  BindingPieces pieces_;
  bool opening_began_ = false;

  struct DeliveriesLeft {
    std::uint32_t to_hand = 0;  // to lanes
    std::uint32_t to_end = 0;
  };
  std::vector<DeliveriesLeft> deliveries_left_;  // by placement
  std::vector<std::uint64_t> works_;             // by device: how many its lane was given
  // To publish once the shards have been found unchanged.
  std::vector<std::uint32_t> complete_;    // placements
  std::vector<LoadState::Handed> handed_;  // likewise, that are with their lanes
  /// What may be published when so many reads have been checked.
  struct Checking {
    std::uint64_t reads = 0;
    std::size_t complete = 0;  // the first of complete_
    std::size_t handed = 0;
  };
  Checking checking_;                           // what the check under way is for
  std::optional<std::int64_t> check_began_ns_;  // the last one
  std::uint64_t published_ = 0;

  std::uint32_t extents_left_ = 0;  // to take
  std::vector<bool> taken_;         // by extent
  std::uint32_t next_extent_ = 0;   // all before it have been taken
  std::optional<Group> preferred_;
  std::deque<std::uint32_t> preferred_extents_;  // to be taken first
  Trips trips_;
  std::deque<std::uint32_t> ready_;  // trips
  std::uint32_t reads_in_flight_ = 0;
  Window window_;  // of reads that storage works on
  std::uint64_t bytes_in_window_ = 0;
  std::uint64_t ready_bytes_ = 0;  // of extents that are taken and not submitted
  std::uint64_t storage_reads_ = 0;
  std::int64_t storage_read_ns_ = 0;  // of all of them together
  // Of extents that processors copy out of the page cache, and for the host out of their slabs as well.
  std::uint64_t copying_bytes_ = 0;
  bool ring_broke_ = false;  // they cannot be drained
  std::uint32_t populating_ = 0;
  std::vector<Done> done_;           // of the last wait
  std::vector<Done> read_;           // and what has not been handed on since
  std::vector<LaneDone> lane_done_;  // scratch of a turn

  // What workers mark.
  Mutex marks_mutex_;
  std::vector<std::uint32_t> populated_ SLUICE_GUARDED_BY(marks_mutex_);  // trips whose memory has been touched
  TaskGroup tasks_;                                                       // last: its tasks use all of the above
};

}  // namespace sluice
