#include "loader/engine/load_state.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "loader/plan/access.hpp"


namespace sluice {

LoadState::LoadState(std::shared_ptr<const PlanData> plan_to_run, std::shared_ptr<Wakeup> engine_wakeup, bool trace)
    : plan(std::move(plan_to_run)),
      wakeup(std::move(engine_wakeup)),
      tracer(trace),
      delivered(plan->extents.size(), false),
      tensors(Access::plan(plan).tensors()),
      arrived(tensors.size(), false) {
  arrivals.reserve(tensors.size());
  // These came before there was a load to keep them.
  const auto add = [this](Span span, double seconds) {
    span.end_ns = span.begin_ns + std::llround(seconds * 1e9);
    tracer.add(span);
  };
  const Catalogue& catalogue = *plan->catalogue;
  add({.what = Span::What::open,
       .row = Tracer::caller,
       .tensors = static_cast<std::uint32_t>(catalogue.tensors.size()),
       .begin_ns = catalogue.open_begin_ns},
      catalogue.open_seconds);
  add({.what = Span::What::plan,
       .row = Tracer::caller,
       .tensors = static_cast<std::uint32_t>(tensors.size()),
       .bytes = plan->costs.read_bytes,
       .begin_ns = plan->begin_ns},
      plan->seconds);
}

void LoadState::place(std::vector<std::shared_ptr<Arena>> all, std::span<const std::unique_ptr<Lane>> open_lanes) {
  const std::lock_guard lock(mutex);
  arenas = std::move(all);
  for (const auto& lane : open_lanes) lanes.push_back(lane.get());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Placement& placement = plan->placements[i];
    std::byte* const base = arenas[placement.device]->data();
    if (base != nullptr && placement.bytes != 0) tensors[i].data = base + placement.arena_offset;
  }
}

void LoadState::close_lanes() noexcept {
  std::unique_lock lock(mutex);
  lanes.clear();
  changed.wait(lock, [this] { return orders == 0; });
}

bool LoadState::order(std::unique_lock<std::mutex>& lock, std::size_t device, CUstream_st* stream,
                      std::span<const Extent> extents) {
  if (lanes.empty()) return false;
  struct InLane {
    explicit InLane(LoadState& its_state, std::unique_lock<std::mutex>& its_lock) : state(its_state), held(its_lock) {
      ++state.orders;
      held.unlock();
    }
    ~InLane() {
      held.lock();
      if (--state.orders == 0) state.changed.notify_all();
    }
    LoadState& state;
    std::unique_lock<std::mutex>& held;
  };
  Lane& lane = *lanes[device];
  const InLane in_lane(*this, lock);
  return lane.order(stream, extents);
}

void LoadState::publish(std::span<const std::uint32_t> placements, std::span<const std::uint32_t> extents,
                        const Stats& known) {
  {
    const std::lock_guard lock(mutex);
    stats = known;
    if (placements.empty() && extents.empty()) return;
    for (const std::uint32_t extent : extents) delivered[extent] = true;
    for (const std::uint32_t placement : placements) arrived[placement] = true;
    arrivals.insert(arrivals.end(), placements.begin(), placements.end());
  }
  changed.notify_all();
}

void LoadState::finish(std::exception_ptr how, const Stats& known) {
  {
    const std::lock_guard lock(mutex);
    stats = known;
    error = std::move(how);
    finished = true;
  }
  changed.notify_all();
}

void LoadState::cancel() noexcept {
  cancel_requested = true;
  wakeup->notify();
}

void LoadState::wait_until_finished() noexcept {
  std::unique_lock lock(mutex);
  changed.wait(lock, [this] { return finished; });
}

std::optional<std::uint32_t> LoadState::placement_of(std::string_view name, const DeviceId* device) const noexcept {
  const auto tensor = plan->catalogue->find(name);
  if (!tensor) return std::nullopt;
  const auto& placements = plan->placements;
  auto at = std::partition_point(placements.begin(), placements.end(),
                                 [&](const Placement& placement) { return placement.tensor < *tensor; });
  for (; at != placements.end() && at->tensor == *tensor; ++at) {
    if (device == nullptr || plan->devices[at->device] == *device) {
      return static_cast<std::uint32_t>(at - placements.begin());
    }
  }
  return std::nullopt;
}

}  // namespace sluice
