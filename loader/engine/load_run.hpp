// LoadRun: one load being carried out, on the engine's thread, with the engine's parts.
//
// An extent's trip through it:
//
//     next in the plan -> taken (a slab, an open shard; fresh memory is touched by a worker) -> ready -> reading
//                      -> in its lanes -> done: the slab is free, tensors that are complete are published
//
// Workers open the lanes beside the first reads, which wait for them in their slabs.
//
// Whatever happens elsewhere - a read ends, a lane is done, a worker has touched memory, a caller cancels - only leaves
// a mark and wakes the engine out of Reader::wait(). turn() is the one place that looks at the marks and decides what
// is next.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include "loader/base/stopwatch.hpp"
#include "loader/engine/engine_parts.hpp"
#include "loader/engine/load_state.hpp"
#include "loader/read/page_cache.hpp"
#include "loader/read/shard_files.hpp"

namespace sluice {

class LoadRun {
 public:
  /// Both outlive it. The load's time began with `began`.
  LoadRun(LoadState& state, EngineParts& parts, const Stopwatch& began = {});

  /// Runs the load to its end, good or bad, which the state tells. Does not throw.
  void run() noexcept;

 private:
  /// An extent on its trip; its index here is the tag of its reads and of its work in lanes.
  struct Trip {
    std::uint32_t extent = 0;
    std::byte* slab = nullptr;  // nullptr: read in place
    std::byte* target = nullptr;
    ReadPath path = ReadPath::buffered;
    std::uint64_t lanes_left = 0;  // a bit a device
    Tracer::Begun reading;
  };

  void start_up();
  void check_memory() const;
  void begin_to_open_lanes();

  void turn();
  bool lanes_are_open();
  void take_done_reads();
  void finish_reads();
  void finish_read(const Done& done);
  void finish_lanes();
  void complete(std::span<const Delivery> deliveries);
  void publish();
  void submit_ready();
  void take_extents();
  bool take_extent();

  ReadPath choose_path(const Extent& extent, const ShardFiles::File& file);
  void hand_to_lanes(std::uint32_t trip);
  void end_trip(std::uint32_t trip);
  [[noreturn]] void throw_read_error(const Extent& extent, const Done& done) const;
  void drain() noexcept;
  void fill_in_stats();

  LoadState& state_;
  EngineParts& parts_;
  const Stopwatch began_;
  const PlanData& plan_;
  Stats stats_;
  PageCache page_cache_;
  std::unique_ptr<ShardFiles> files_;
  std::vector<std::shared_ptr<Arena>> arenas_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // by device of the plan; both the workers' until the lanes are open

  bool lanes_are_open_ = false;

  std::vector<std::uint32_t> deliveries_left_;  // by placement
  std::vector<std::uint32_t> complete_;         // placements to publish at the end of this turn
  std::vector<std::uint32_t> delivered_;        // extents likewise, that went to their lanes
  std::uint64_t published_ = 0;

  std::uint32_t next_extent_ = 0;
  std::vector<Trip> trips_;
  std::vector<std::uint32_t> free_trips_;
  std::deque<std::uint32_t> ready_;
  std::uint32_t reads_in_flight_ = 0;
  std::uint32_t populating_ = 0;
  std::vector<Done> done_;           // of the last wait
  std::vector<Done> read_;           // and what has not been handed on since
  std::vector<LaneDone> lane_done_;  // scratch of a turn

  // What workers mark.
  std::mutex marks_mutex_;
  std::condition_variable marked_;
  std::vector<std::uint32_t> populated_;  // trips whose memory has been touched
  std::size_t lanes_to_open_ = 0;
  double lanes_seconds_ = 0;  // of the slowest
  std::exception_ptr opening_error_;
};

}  // namespace sluice
