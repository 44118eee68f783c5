#include "loader/engine/load_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "loader/base/limits.hpp"
#include "loader/base/memory.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

/// An extent of which at least three quarters are cached is copied out of the page cache, which fetches the rest:
/// storage is some four times slower than memory.
bool mostly(std::uint64_t part, std::uint64_t whole) {
  return part >= whole - whole / 4;
}

}  // namespace

LoadRun::LoadRun(LoadState& state, EngineParts& parts, const Stopwatch& began)
    : state_(state), parts_(parts), began_(began), plan_(*state.plan) {}

void LoadRun::run() noexcept {
  double start_up_seconds = 0;
  std::exception_ptr error;
  try {
    start_up();
    start_up_seconds = began_.seconds();
    for (turn(); published_ < plan_.placements.size(); turn()) {
      const Tracer::Scope waiting(state_.tracer, {.what = Span::What::wait, .row = Tracer::engine});
      parts_.reader->wait(done_, true);
    }
  } catch (...) {
    error = std::current_exception();
  }
  const double seconds = began_.seconds();
  drain();

  const Catalogue& catalogue = *plan_.catalogue;
  stats_.open_seconds = catalogue.open_seconds;
  stats_.plan_seconds = plan_.seconds;
  stats_.start_up_seconds = start_up_seconds;
  stats_.load_seconds = seconds - start_up_seconds;
  stats_.seconds = catalogue.open_seconds + plan_.seconds + seconds;
  stats_.cpu_seconds = catalogue.open_cpu_seconds + plan_.cpu_seconds + began_.cpu_seconds();
  state_.finish(std::move(error), stats_);
}

void LoadRun::start_up() {
  const Tracer::Scope scope(state_.tracer,
                            {.what = Span::What::start_up, .row = Tracer::engine, .begin_ns = began_.begin_ns()});
  if (state_.cancel_requested) throw Error(ErrorCode::cancelled, "the load was cancelled");
  parts_.make_workers_once();
  parts_.begin_to_open(plan_.devices);
  parts_.make_reader_once();
  stats_.reader = parts_.reader->kind();
  for (const DeviceId id : plan_.devices) parts_.device(id);
  stats_.devices_seconds = began_.seconds();
  check_memory();
  // The plan may have been made with other options: it gets what it counted on, within the engine's own bound.
  const std::uint64_t slab_bytes = parts_.options.slab_bytes;
  parts_.make_staging_once((plan_.costs.staging_bytes + slab_bytes - 1) / slab_bytes, plan_.devices);
  files_ = std::make_unique<ShardFiles>(plan_, *parts_.reader, parts_.options.io, stats_.fallbacks);

  deliveries_left_.reserve(plan_.placements.size());
  for (std::uint32_t i = 0; i < plan_.placements.size(); ++i) {
    deliveries_left_.push_back(plan_.placements[i].deliveries);
    if (plan_.placements[i].deliveries == 0) complete_.push_back(i);  // tensors of no bytes are there from the start
  }
  begin_to_open_lanes();
}

void LoadRun::begin_to_open_lanes() {
  const std::size_t count = plan_.devices.size();
  arenas_.resize(count);
  lanes_.resize(count);
  lanes_to_open_ = count;
  for (std::size_t i = 0; i < count; ++i) {
    parts_.workers->run([this, i, device = parts_.device(plan_.devices[i])] {
      const Stopwatch stopwatch;
      std::shared_ptr<Arena> arena;
      std::unique_ptr<Lane> lane;
      std::exception_ptr error;
      try {
        arena = device->allocate(plan_.costs.devices[i].arena_bytes);
        lane = device->open_lane(plan_, *arena, *parts_.wakeup, state_.tracer);
      } catch (...) {
        error = std::current_exception();
      }
      const std::lock_guard lock(marks_mutex_);
      arenas_[i] = std::move(arena);
      lanes_[i] = std::move(lane);
      if (error != nullptr) opening_error_ = std::move(error);
      lanes_seconds_ = std::max(lanes_seconds_, stopwatch.seconds());
      --lanes_to_open_;
      parts_.wakeup->notify();
      marked_.notify_all();
    });
  }
}

bool LoadRun::lanes_are_open() {
  if (lanes_are_open_) return true;
  const std::lock_guard lock(marks_mutex_);
  if (lanes_to_open_ > 0) return false;
  if (opening_error_ != nullptr) std::rethrow_exception(std::exchange(opening_error_, nullptr));
  state_.place(arenas_, lanes_);
  return lanes_are_open_ = true;
}

void LoadRun::check_memory() const {
  std::map<DeviceId, std::uint64_t> needed;
  for (const PlanCosts::OnDevice& on : plan_.costs.devices) needed[on.device] += on.arena_bytes + on.scratch_bytes;
  const std::uint64_t staging_bytes = parts_.staging == nullptr ? 0 : parts_.staging->memory().bytes().size();
  needed[host()] += plan_.costs.staging_bytes - std::min(plan_.costs.staging_bytes, staging_bytes);
  for (const auto& [id, bytes] : needed) {
    const auto device = parts_.devices.find(id);
    const std::uint64_t free = device != parts_.devices.end() ? device->second->free_bytes() : available_memory_bytes();
    if (bytes <= free) continue;
    throw Error(
        ErrorCode::out_of_memory, fmt::format("the load needs {} bytes on {}, {} are free", bytes, name(id), free),
        {plan_.catalogue->path.string(), {}, {}}, "free memory, select fewer tensors or cast to a smaller dtype");
  }
}

void LoadRun::turn() {
  take_done_reads();
  // What is read before the lanes are open waits for them in its slab.
  if (lanes_are_open()) {
    finish_reads();
    finish_lanes();
    publish();
    if (published_ == plan_.placements.size()) return;
  }
  if (state_.cancel_requested) throw Error(ErrorCode::cancelled, "the load was cancelled");
  take_extents();
  submit_ready();
}

void LoadRun::take_done_reads() {
  reads_in_flight_ -= static_cast<std::uint32_t>(done_.size());
  for (const Done& read : done_) state_.tracer.end(trips_[read.tag].reading);
  read_.insert(read_.end(), done_.begin(), done_.end());
  done_.clear();
}

void LoadRun::finish_reads() {
  for (const Done& read : read_) finish_read(read);
  read_.clear();
}

void LoadRun::finish_read(const Done& done) {
  const auto index = static_cast<std::uint32_t>(done.tag);
  Trip& trip = trips_[index];
  const Extent& extent = plan_.extents[trip.extent];
  if (done.error != 0) {
    if (trip.path != ReadPath::direct || (done.error != EINVAL && done.error != EOPNOTSUPP)) {
      throw_read_error(extent, done);
    }
    files_->refuse_direct(extent.shard, done.error);
    trip.path = ReadPath::buffered;
    ready_.push_back(index);
    return;
  }
  if (done.bytes < extent.bytes) files_->throw_ended_early(extent.shard, extent.offset + done.bytes);
  stats_.bytes += extent.bytes;
  if (trip.path == ReadPath::direct) stats_.direct_bytes += extent.bytes;
  ++stats_.extents;
  files_->done_with_extent(extent.shard);
  if (trip.slab == nullptr) {
    complete(plan_.deliveries_of(extent));
    end_trip(index);
  } else {
    hand_to_lanes(index);
  }
}

void LoadRun::hand_to_lanes(std::uint32_t index) {
  Trip& trip = trips_[index];
  const Extent& extent = plan_.extents[trip.extent];
  for (const Delivery& delivery : plan_.deliveries_of(extent)) {
    trip.lanes_left |= std::uint64_t{1} << plan_.placements[delivery.placement].device;
  }
  // All lanes are counted before the first gets the slab: one that is done at once must not free it for the others.
  parts_.staging->count(trip.slab, static_cast<std::uint32_t>(std::popcount(trip.lanes_left)));
  for (std::uint64_t left = trip.lanes_left; left != 0; left &= left - 1) {
    const auto device = static_cast<std::size_t>(std::countr_zero(left));
    lanes_[device]->deliver({trip.slab, &extent, plan_.deliveries_of(extent, device), index});
  }
  delivered_.push_back(trip.extent);
}

void LoadRun::finish_lanes() {
  for (std::size_t device = 0; device < lanes_.size(); ++device) {
    lane_done_.clear();
    lanes_[device]->collect(lane_done_);
    for (const LaneDone& done : lane_done_) {
      const auto index = static_cast<std::uint32_t>(done.tag);
      Trip& trip = trips_[index];
      stats_.copies += done.cost.copies;
      stats_.launches += done.cost.launches;
      complete(plan_.deliveries_of(plan_.extents[trip.extent], device));
      parts_.staging->give_back(trip.slab);
      trip.lanes_left &= ~(std::uint64_t{1} << device);
      if (trip.lanes_left == 0) end_trip(index);
    }
  }
}

void LoadRun::complete(std::span<const Delivery> deliveries) {
  for (const Delivery& delivery : deliveries) {
    if (--deliveries_left_[delivery.placement] == 0) complete_.push_back(delivery.placement);
  }
}

void LoadRun::publish() {
  for (const std::uint32_t placement : complete_) stats_.delivered_bytes += plan_.placements[placement].bytes;
  published_ += complete_.size();
  state_.publish(complete_, delivered_, stats_);
  complete_.clear();
  delivered_.clear();
}

void LoadRun::take_extents() {
  // As many extents are made ready ahead of storage as it works on at a time.
  const std::uint32_t ahead = parts_.options.queue_depth;
  while (next_extent_ < plan_.extents.size() && populating_ + ready_.size() < ahead && take_extent()) {
  }
}

bool LoadRun::take_extent() {
  const Extent& extent = plan_.extents[next_extent_];
  ShardFiles::File* const file = files_->open(extent.shard);
  if (file == nullptr) return false;
  Trip trip;
  trip.extent = next_extent_;
  const Delivery& first = plan_.deliveries[extent.first_delivery];
  Arena* arena = nullptr;
  if (extent.in_place) {
    if (!lanes_are_open_) return false;
    arena = arenas_[plan_.placements[first.placement].device].get();
    trip.target = arena->data() + first.target_offset;
  } else {
    trip.slab = trip.target = parts_.staging->take();
    if (trip.slab == nullptr) return false;
  }
  trip.path = choose_path(extent, *file);
  files_->begin_extent(extent.shard);
  ++next_extent_;

  if (free_trips_.empty()) {
    free_trips_.push_back(static_cast<std::uint32_t>(trips_.size()));
    trips_.emplace_back();
  }
  const std::uint32_t index = free_trips_.back();
  free_trips_.pop_back();
  trips_[index] = trip;
  // What comes out of the page cache is copied by a thread that touches the memory as it goes.
  if (arena == nullptr || trip.path == ReadPath::cached) {
    ready_.push_back(index);
    return true;
  }
  ++populating_;
  parts_.workers->run([this, arena, index, &extent, offset = first.target_offset] {
    {
      const Tracer::Scope scope(
          state_.tracer,
          {.what = Span::What::populate, .row = Tracer::host, .extent = plan_.index_of(extent), .bytes = extent.bytes});
      arena->populate(offset, extent.bytes);
    }
    const std::lock_guard lock(marks_mutex_);
    populated_.push_back(index);
    parts_.wakeup->notify();
    marked_.notify_all();
  });
  return true;
}

ReadPath LoadRun::choose_path(const Extent& extent, const ShardFiles::File& file) {
  const bool direct = file.takes_direct && extent.aligned;
  if (direct && parts_.options.io == IoMode::direct) return ReadPath::direct;
  const auto cached = page_cache_.cached_bytes(file.descriptor, extent.offset, extent.bytes);
  if (cached && mostly(*cached, extent.bytes)) return ReadPath::cached;
  return direct ? ReadPath::direct : ReadPath::buffered;
}

void LoadRun::submit_ready() {
  {
    const std::lock_guard lock(marks_mutex_);
    ready_.insert(ready_.end(), populated_.begin(), populated_.end());
    populating_ -= static_cast<std::uint32_t>(populated_.size());
    populated_.clear();
  }
  for (; !ready_.empty() && reads_in_flight_ < parts_.options.queue_depth; ready_.pop_front()) {
    const std::uint32_t index = ready_.front();
    Trip& trip = trips_[index];
    const Extent& extent = plan_.extents[trip.extent];
    const ShardFiles::File& file = *files_->open(extent.shard);
    Read read;
    read.offset = extent.offset;
    read.target = trip.target;
    read.bytes = extent.bytes;
    read.file = trip.path == ReadPath::direct ? file.direct : file.buffered;
    read.path = trip.path;
    read.in_slabs = trip.slab != nullptr;
    read.tag = index;
    trip.reading = state_.tracer.begin({.what = Span::What::read,
                                        .row = Tracer::reader,
                                        .extent = trip.extent,
                                        .tensors = extent.delivery_count,
                                        .bytes = extent.bytes});
    parts_.reader->submit(read);
    ++reads_in_flight_;
  }
}

void LoadRun::end_trip(std::uint32_t index) {
  trips_[index] = {};
  free_trips_.push_back(index);
}

void LoadRun::throw_read_error(const Extent& extent, const Done& done) const {
  const Placement& placement = plan_.placements[plan_.deliveries[extent.first_delivery].placement];
  throw Error(ErrorCode::io, fmt::format("reading failed: {}", std::strerror(done.error)),
              {plan_.catalogue->shards[extent.shard].path.string(), extent.offset + done.bytes,
               std::string(plan_.catalogue->tensors[placement.tensor].name)},
              "check the disk or file system (dmesg tells more), then load again");
}

void LoadRun::drain() noexcept {
  bool ring_broke = false;
  try {
    for (; reads_in_flight_ > 0; take_done_reads()) parts_.reader->wait(done_, true);
  } catch (...) {
    ring_broke = true;
  }
  {
    std::unique_lock lock(marks_mutex_);
    marked_.wait(lock, [this] { return populating_ == populated_.size() && lanes_to_open_ == 0; });
  }
  state_.close_lanes();
  lanes_.clear();  // waits for what is in flight
  files_.reset();
  fill_in_stats();
  if (ring_broke) {
    // Closing the ring lets the kernel keep the pages it may still write to. The next load makes both anew.
    parts_.reader.reset();
    parts_.staging.reset();
  } else if (parts_.staging != nullptr) {
    parts_.staging->give_back_all();
  }
  arenas_.clear();  // from here on they are the caller's alone
}

void LoadRun::fill_in_stats() {
  stats_.fallbacks.insert(stats_.fallbacks.begin(), parts_.fallbacks.begin(), parts_.fallbacks.end());
  if (!page_cache_.refusal().empty()) stats_.fallbacks.push_back({"cachestat", page_cache_.refusal()});
  stats_.lanes_seconds = lanes_seconds_;
  if (parts_.staging != nullptr) {
    const SlabMemory& memory = parts_.staging->memory();
    if (const std::string refusal = memory.refusal(); !refusal.empty()) {
      stats_.fallbacks.push_back({"pinned slabs", refusal});
    }
    stats_.pinning_seconds = memory.pinning_seconds();
    stats_.peak_staging_bytes = parts_.staging->take_peak_bytes();
  }
  stats_.peak_resident_bytes = peak_resident_bytes();
}

}  // namespace sluice
