#include "loader/engine/load_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "loader/base/memory.hpp"
#include "loader/plan/arena_pieces.hpp"
#include "sluice/error.hpp"

namespace sluice {

void run_load(LoadState& state, Equipment& equipment, const Stopwatch& began) noexcept {
  std::exception_ptr error;
  try {
    LoadRun(state, equipment, began).run();
    return;
  } catch (...) {
    error = std::current_exception();
  }
  // Nothing was begun. Behind the handler: within it this thread could be the last to release what a caller reads.
  state.finish(std::move(error), {});
}

LoadRun::LoadRun(LoadState& state, Equipment& equipment, const Stopwatch& began)
    : state_(state),
      equipment_(equipment),
      began_(began),
      plan_(state.plan()),
      devices_(state, equipment),
      opening_(equipment.workers(), equipment.wakeup()),
      pieces_(state, equipment.workers(), equipment.shared_wakeup()),
      window_(equipment.options().slab_bytes,
              std::min(equipment.options().staging_bytes,
                       equipment.options().queue_depth * equipment.options().slab_bytes)),
      tasks_(equipment.workers()) {}

void LoadRun::run() noexcept {
  double start_up_seconds = 0;
  std::exception_ptr error;
  try {
    start_up();
    start_up_seconds = began_.seconds();
    for (turn(); published_ < plan_.placements.size(); turn()) {
      const Tracer::Scope waiting(state_.tracer(), {.what = Span::What::wait, .row = Tracer::engine});
      equipment_.reader().wait(done_, true);
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
  try {
    fill_in_stats();
  } catch (...) {
    if (error == nullptr) error = std::current_exception();
  }
  leave_equipment();
  opened_.arenas.clear();  // from here on they are the caller's alone
  state_.finish(std::move(error), std::move(stats_));
}

void LoadRun::start_up() {
  const Tracer::Scope scope(state_.tracer(),
                            {.what = Span::What::start_up, .row = Tracer::engine, .begin_ns = began_.begin_ns()});
  if (state_.cancel_requested()) throw Error(ErrorCode::cancelled, "the load was cancelled");
  devices_.begin(began_);
  stats_.reader = equipment_.reader().kind();
  // The plan may have been made with other options: it gets what it counted on, within the engine's own bound.
  const Options& options = equipment_.options();
  staging_ =
      equipment_.staging((plan_.costs.staging_bytes + options.slab_bytes - 1) / options.slab_bytes, plan_.devices);
  FileAsker& asker = equipment_.file_asker();
  files_ = std::make_unique<ShardFiles>(plan_, equipment_.reader(), options.io, stats_.fallbacks, asker);
  paths_ = std::make_unique<PathsAhead>(plan_, *files_, options.io, asker);

  deliveries_left_.reserve(plan_.placements.size());
  for (std::uint32_t i = 0; i < plan_.placements.size(); ++i) {
    deliveries_left_.push_back({plan_.placements[i].deliveries, plan_.placements[i].deliveries});
    // Nothing is to be read of it; what lies in a piece has to wait for memory.
    const Placement& placement = plan_.placements[i];
    if (placement.deliveries == 0 && !piece_of(plan_, placement)) complete_.push_back(i);
  }
  works_.resize(plan_.devices.size());
  taken_.resize(plan_.extents.size());
  extents_left_ = static_cast<std::uint32_t>(plan_.extents.size());
  // What marks an end must not fail: no more reads are in flight, nor extents made ready, than the queue is deep.
  done_.reserve(options.queue_depth);
  {
    const MutexLock lock(marks_mutex_);
    populated_.reserve(options.queue_depth);
  }
}

bool LoadRun::lanes_are_open() {
  if (!opened_.lanes.empty() || plan_.devices.empty()) return true;
  if (!devices_.are_ready()) return false;
  if (!std::exchange(opening_began_, true)) opening_.begin(state_, devices_.devices());
  if (!opening_.take(opened_)) return false;
  state_.place(opened_.arenas, opened_.lanes);
  return true;
}

void LoadRun::turn() {
  take_done_reads();
  // What is read before the lanes are open waits for them in its slab.
  if (lanes_are_open()) {
    bind_pieces();
    finish_reads();
    finish_lanes();  // behind them: what a lane has done at once, it notifies nobody of
    publish();
    if (published_ == plan_.placements.size()) return;
  }
  if (state_.cancel_requested()) throw Error(ErrorCode::cancelled, "the load was cancelled");
  take_extents();
  if (have_slabs()) submit_ready();
  check_files();
  tell_whether_held_up();
}

void LoadRun::tell_whether_held_up() {
  if (plan_.pieces.empty() || opened_.arenas.empty()) return;
  const bool is_idle = trips_.empty() && complete_.empty() && handed_.empty();
  pieces_.tell_whether_held_up(next_to_take(), is_idle);
}

void LoadRun::bind_pieces() {
  if (!plan_.pieces.empty()) pieces_.advance(opened_.arenas, next_to_take(), complete_);
}

void LoadRun::take_done_reads() {
  read_.insert(read_.end(), done_.begin(), done_.end());
  end_done_reads();
}

void LoadRun::end_done_reads() noexcept {
  if (done_.empty()) return;
  reads_in_flight_ -= static_cast<std::uint32_t>(done_.size());
  const std::int64_t now_ns = equipment_.reader().now_ns();
  const std::uint64_t in_flight = bytes_in_window_;
  for (const Done& read : done_) end_read(trips_[read.tag], in_flight, now_ns);
  done_.clear();
}

void LoadRun::end_read(Trip& trip, std::uint64_t in_flight, std::int64_t now_ns) noexcept {
  const Extent& extent = plan_.extents[trip.extent];
  state_.tracer().end(trip.reading);
  if (trip.path == ReadPath::cached) {
    if (!is_for_host(extent)) end_copying(trip);
    return;
  }
  bytes_in_window_ -= extent.bytes;
  window_.arrived({extent.bytes, in_flight, trip.submitted_ns, now_ns});
  ++storage_reads_;
  storage_read_ns_ += now_ns - trip.submitted_ns;
}

void LoadRun::finish_reads() {
  std::size_t kept = 0;
  for (const Done& read : read_) {
    const Trip& trip = trips_[read.tag];
    if (trip.slab != nullptr && staging_->memory().is_lost(trip.slab)) {
      read_again(static_cast<std::uint32_t>(read.tag));
    } else if ((trip.slab == nullptr || staging_->memory().is_ready_for_lanes(trip.slab)) && has_memory(trip.extent)) {
      finish_read(read);
    } else {
      read_[kept++] = read;  // its slab is about to be pinned, or a piece to be bound
    }
  }
  read_.resize(kept);
}

/// Into another slab.
void LoadRun::read_again(std::uint32_t number) {
  Trip& trip = trips_[number];
  ready_.push_front(number);
  ready_bytes_ += plan_.extents[trip.extent].bytes;
  trip.slab = nullptr;
  end_copying(trip);
}

/// Where not one slab could be pinned, there are none until nobody reads any more, and then others.
bool LoadRun::have_slabs() {
  if (staging_ == nullptr || !staging_->memory().was_refused()) return true;
  if (reads_in_flight_ > 0 || !read_.empty()) return false;
  for (const std::uint32_t number : ready_) trips_[number].slab = nullptr;
  Staging* const slabs = std::exchange(staging_, nullptr);  // where it is refused there are none
  equipment_.allocate_staging();
  staging_ = slabs;
  return true;
}

void LoadRun::finish_read(const Done& done) {
  const auto number = static_cast<std::uint32_t>(done.tag);
  Trip& trip = trips_[number];
  const Extent& extent = plan_.extents[trip.extent];
  if (done.error != 0) {
    if (trip.path != ReadPath::direct || (done.error != EINVAL && done.error != EOPNOTSUPP)) {
      throw_read_error(extent, done);
    }
    files_->refuse_direct(extent.shard, done.error);
    trip.path = ReadPath::buffered;
    ready_.push_front(number);  // before those that wait for the slab that it has
    ready_bytes_ += extent.bytes;
    return;
  }
  if (done.bytes < extent.bytes) files_->throw_ended_early(extent.shard, extent.offset + done.bytes);
  stats_.bytes += extent.bytes;
  if (trip.path == ReadPath::direct) stats_.direct_bytes += extent.bytes;
  ++stats_.extents;
  files_->done_with_extent(extent.shard);
  if (extent.in_place) {
    complete(plan_.deliveries_of(extent));
    end_copying(trip);
    trips_.remove(number);
  } else {
    hand_to_lanes(number);
  }
}

void LoadRun::hand_to_lanes(std::uint32_t number) {
  Trip& trip = trips_[number];
  const Extent& extent = plan_.extents[trip.extent];
  // All parts are counted before the first lane gets the slab: one that is done at once must not free it for the
  // others.
  trip.parts_left = extent.part_count;
  staging_->count(trip.slab, trip.parts_left);
  for (const Part& part : plan_.parts_of(extent)) {
    opened_.lanes[part.device]->deliver({trip.slab, &extent, &part, number});
    const std::uint64_t works = ++works_[part.device];
    for (const Delivery& delivery : plan_.deliveries_of(part)) {
      if (--deliveries_left_[delivery.placement].to_hand == 0) handed_.push_back({delivery.placement, works});
    }
  }
}

void LoadRun::finish_lanes() {
  for (const auto& lane : opened_.lanes) {
    lane_done_.clear();
    lane->collect(lane_done_);
    for (const LaneDone& done : lane_done_) {
      const auto number = static_cast<std::uint32_t>(done.tag);
      stats_.copies += done.copies;
      stats_.launches += done.launches;
      complete(plan_.deliveries_of(*done.part));
      Trip& trip = trips_[number];
      staging_->give_back(trip.slab);
      if (--trip.parts_left > 0) continue;
      end_copying(trip);
      trips_.remove(number);
    }
  }
}

void LoadRun::complete(std::span<const Delivery> deliveries) {
  for (const Delivery& delivery : deliveries) {
    if (--deliveries_left_[delivery.placement].to_end == 0) complete_.push_back(delivery.placement);
  }
}

void LoadRun::publish() {
  const std::uint64_t checked = files_->reads_checked();
  Checking last;  // of what is published now
  if (checked >= checking_.reads) last = std::exchange(checking_, {});
  if (checked == files_->reads_done()) last = {checked, complete_.size(), handed_.size()};
  const std::span<const std::uint32_t> complete(complete_.data(), last.complete);
  for (const std::uint32_t placement : complete) stats_.delivered_bytes += plan_.placements[placement].bytes;
  published_ += complete.size();
  state_.publish(complete, {handed_.data(), last.handed}, stats_);
  complete_.erase(complete_.begin(), complete_.begin() + static_cast<std::ptrdiff_t>(last.complete));
  handed_.erase(handed_.begin(), handed_.begin() + static_cast<std::ptrdiff_t>(last.handed));
}

// Each check wakes a thread, and that one wakes this. So one is of all that was read in some milliseconds; unless
// memory may come back with what it lets through, or nothing is being read, whose end would be the next occasion.
void LoadRun::check_files() {
  constexpr std::int64_t pause_ns = 20'000'000;
  if (complete_.empty() && handed_.empty()) return;
  const std::int64_t now_ns = equipment_.reader().now_ns();
  const bool may_wait = reads_in_flight_ > 0 && plan_.budget_bytes == 0;
  if (may_wait && check_began_ns_ && now_ns - *check_began_ns_ < pause_ns) return;
  if (!files_->begin_check()) return;
  check_began_ns_ = now_ns;
  checking_ = {files_->reads_done(), complete_.size(), handed_.size()};
}

void LoadRun::take_extents() {
  follow_preference();
  // What marks an end has room for so many.
  const std::uint32_t ahead = equipment_.options().queue_depth;
  while (extents_left_ > 0 && populating_ + ready_.size() < ahead && ready_bytes_ < ready_bytes_most() &&
         take_extent()) {
  }
}

// As much is made ready ahead of storage as it works on at a time, and what the workers are at; no more, as what has
// just been touched is still in the caches.
std::uint64_t LoadRun::ready_bytes_most() const {
  const Options& options = equipment_.options();
  return window_.bytes() + options.threads * options.slab_bytes;
}

void LoadRun::follow_preference() {
  const std::optional<Group> wanted = state_.preferred();
  if (!wanted || wanted == preferred_ || plan_.budget_bytes != 0) return;
  preferred_ = wanted;
  preferred_extents_.clear();
  // Extents of earlier groups may hold the beginning or the end of what it needs.
  for (std::uint32_t i = 0; i < plan_.extents.size(); ++i) {
    const Extent& extent = plan_.extents[i];
    if (plan_.costs.groups[extent.group].group > *wanted) break;
    const std::span<const Delivery> deliveries = plan_.deliveries_of(extent);
    const bool needed = !taken_[i] && std::any_of(deliveries.begin(), deliveries.end(), [&](const Delivery& delivery) {
      return plan_.costs.groups[plan_.placements[delivery.placement].group].group == *wanted;
    });
    if (needed) preferred_extents_.push_back(i);
  }
}

std::uint32_t LoadRun::next_extent() {
  while (!preferred_extents_.empty() && taken_[preferred_extents_.front()]) preferred_extents_.pop_front();
  if (!preferred_extents_.empty()) return preferred_extents_.front();
  while (taken_[next_extent_]) ++next_extent_;
  return next_extent_;
}

/// The number of extents where none is left.
std::uint32_t LoadRun::next_to_take() {
  return extents_left_ > 0 ? next_extent() : static_cast<std::uint32_t>(plan_.extents.size());
}

// With a budget: pieces of arenas that it goes to are there; before there are arenas, which come with the lanes, they
// will be.
bool LoadRun::has_memory(std::uint32_t extent) const {
  if (plan_.pieces.empty()) return true;
  return opened_.arenas.empty() ? pieces_.will_cover(extent) : pieces_.covers(extent);
}

bool LoadRun::take_extent() {
  const std::uint32_t next = next_extent();
  const Extent& extent = plan_.extents[next];
  if ((extent.in_place && opened_.arenas.empty()) || !has_memory(next)) return false;
  const std::optional<ReadPath> path = paths_->path_of(next);
  if (!path) return false;
  Trip trip;
  trip.extent = next;
  trip.path = *path;
  Arena* arena = nullptr;
  if (extent.in_place) {
    const Part& part = plan_.parts_of(extent).front();
    arena = opened_.arenas[part.device].get();
    trip.target = arena->data() + plan_.deliveries_of(part).front().target_offset;
  }
  const std::uint32_t number = trips_.add(trip);
  ready_bytes_ += extent.bytes;
  files_->hold(extent.shard);
  taken_[next] = true;
  --extents_left_;
  // What comes out of the page cache is copied by a thread that touches the memory as it goes.
  if (arena == nullptr || trip.path == ReadPath::cached) {
    ready_.push_back(number);
  } else {
    populate(number, *arena);
  }
  return true;
}

void LoadRun::populate(std::uint32_t number, Arena& arena) {
  tasks_.run([this, &arena, number, extent = trips_[number].extent, target = trips_[number].target] {
    const std::uint32_t bytes = plan_.extents[extent].bytes;
    {
      const Tracer::Scope scope(state_.tracer(),
                                {.what = Span::What::populate, .row = Tracer::host, .extent = extent, .bytes = bytes});
      arena.populate(static_cast<std::uint64_t>(target - arena.data()), bytes);
    }
    const MutexLock lock(marks_mutex_);
    populated_.push_back(number);
    equipment_.wakeup().notify();
  });
  ++populating_;
}

void LoadRun::submit_ready() {
  {
    const MutexLock lock(marks_mutex_);
    ready_.insert(ready_.end(), populated_.begin(), populated_.end());
    populating_ -= static_cast<std::uint32_t>(populated_.size());
    populated_.clear();
  }
  while (!ready_.empty() && reads_in_flight_ < equipment_.options().queue_depth && submit(ready_.front())) {
    ready_.pop_front();
  }
  if (window_.admits(bytes_in_window_, equipment_.options().slab_bytes)) window_.starved();
}

bool LoadRun::has_room(const Trip& trip, const Extent& extent) {
  return trip.path == ReadPath::cached ? copying_bytes_ <= copying_bytes_most()
                                       : window_.admits(bytes_in_window_, extent.bytes);
}

// A slab is taken now and not before: few are in use then, and those that were used last are still in the caches.
bool LoadRun::submit(std::uint32_t number) {
  Trip& trip = trips_[number];
  const Extent& extent = plan_.extents[trip.extent];
  if (!has_room(trip, extent)) return false;
  if (!extent.in_place && trip.slab == nullptr) {
    trip.slab = trip.target = staging_->take();
    if (trip.slab == nullptr) return false;
  }
  const ShardFiles::File& file = *files_->find_open(extent.shard);
  Read read;
  read.offset = extent.offset;
  read.target = trip.target;
  read.bytes = extent.bytes;
  read.file = trip.path == ReadPath::direct ? file.direct : file.buffered;
  read.path = trip.path;
  read.in_slabs = !extent.in_place;
  read.tag = number;
  const std::span<const Delivery> deliveries = plan_.deliveries_of(extent);
  trip.reading = state_.tracer().begin({.what = Span::What::read,
                                        .row = Tracer::reader,
                                        .extent = trip.extent,
                                        .tensors = static_cast<std::uint32_t>(deliveries.size()),
                                        .bytes = extent.bytes});
  trip.submitted_ns = equipment_.reader().now_ns();
  equipment_.reader().submit(read);
  ++reads_in_flight_;
  if (trip.path == ReadPath::cached) {
    copying_bytes_ += trip.copying_bytes = extent.bytes;
  } else {
    bytes_in_window_ += extent.bytes;
  }
  ready_bytes_ -= extent.bytes;
  return true;
}

// Each thread has one to copy, and the next one waits for it: more would only be more memory in turn.
std::uint64_t LoadRun::copying_bytes_most() const {
  const Options& options = equipment_.options();
  return options.threads * options.slab_bytes;
}

bool LoadRun::is_for_host(const Extent& extent) const {
  const std::span<const Part> parts = plan_.parts_of(extent);
  return std::any_of(parts.begin(), parts.end(),
                     [&](const Part& part) { return plan_.devices[part.device].kind == DeviceId::Kind::host; });
}

void LoadRun::end_copying(Trip& trip) noexcept {
  copying_bytes_ -= std::exchange(trip.copying_bytes, 0);
}

void LoadRun::throw_read_error(const Extent& extent, const Done& done) const {
  const Placement& placement = plan_.placements[plan_.deliveries_of(extent).front().placement];
  throw Error(ErrorCode::io, fmt::format("reading failed: {}", std::strerror(done.error)),
              {plan_.catalogue->shards[extent.shard].path.string(), extent.offset + done.bytes,
               std::string(plan_.name_of(placement))},
              "check the disk or file system (dmesg tells more), then load again");
}

void LoadRun::drain() noexcept {
  try {
    while (reads_in_flight_ > 0) {
      end_done_reads();
      if (reads_in_flight_ > 0) equipment_.reader().wait(done_, true);
    }
  } catch (...) {
    ring_broke_ = true;
  }
  tasks_.wait();
  state_.close_lanes();
  opened_.lanes.clear();  // waits for what is in flight
  pieces_.close();
  opening_.close();
  devices_.close();
  if (paths_ != nullptr) paths_->close();
  if (staging_ != nullptr) {
    stats_.pinning_seconds = staging_->memory().pinning_seconds();
    stats_.peak_staging_bytes = staging_->take_peak_bytes();
  }
}

void LoadRun::leave_equipment() noexcept {
  if (ring_broke_) {
    // Before the files: a thread of the reader may still read by their descriptors. Arenas stay away from children: the
    // kernel may still write to them.
    if (files_ != nullptr) files_->leave_reader();
    equipment_.discard_reader_and_slabs();
    staging_ = nullptr;
  } else {
    if (staging_ != nullptr) staging_->give_back_all();
    for (const auto& arena : opened_.arenas) arena->end_reads();
  }
  paths_.reset();
  files_.reset();
}

void LoadRun::fill_in_stats() {
  stats_.fallbacks.insert(stats_.fallbacks.begin(), equipment_.fallbacks().begin(), equipment_.fallbacks().end());
  if (files_ != nullptr) {
    if (const auto late = equipment_.reader().late_refusal()) stats_.fallbacks.push_back(*late);
  }
  if (paths_ != nullptr && !paths_->refusal().empty()) stats_.fallbacks.push_back({"cachestat", paths_->refusal()});
  stats_.devices_seconds = devices_.seconds();
  stats_.lanes_seconds = opening_.seconds();
  stats_.peak_arena_bytes = pieces_.peak_bytes();
  if (storage_reads_ > 0) {
    stats_.window_bytes = window_.bytes();
    stats_.window_bytes_per_second = window_.rate();
    stats_.read_latency_seconds = static_cast<double>(storage_read_ns_) * 1e-9 / static_cast<double>(storage_reads_);
  }
  for (std::size_t i = 0; i < opened_.arenas.size(); ++i) {
    const bool is_whole = plan_.budget_bytes == 0 && state_.memory().arenas[i] == nullptr;
    if (is_whole) stats_.peak_arena_bytes += plan_.costs.devices[i].arena_bytes;
    const std::string refusal = opened_.arenas[i]->refusal();
    if (!refusal.empty()) stats_.fallbacks.push_back({"mapped arena", name(plan_.devices[i]) + ": " + refusal});
  }
  if (staging_ != nullptr) {
    if (const std::string refusal = staging_->memory().refusal(); !refusal.empty()) {
      stats_.fallbacks.push_back({"pinned slabs", refusal});
    }
  }
  stats_.peak_resident_bytes = peak_resident_bytes();
}

}  // namespace sluice
