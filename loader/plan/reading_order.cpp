#include "loader/plan/reading_order.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "loader/base/limits.hpp"

namespace sluice {
namespace {

// A group's extents for one set of devices.
struct Share {
  std::uint64_t bytes = 0;
  std::uint64_t placed_bytes = 0;  // of those that have a place already
};

// Where an extent comes: the middle of it in its share, of which there are 2^32 parts.
struct Place {
  std::uint32_t group = 0;
  std::uint32_t extent = 0;  // the order of files
  std::uint64_t in_share = 0;

  friend bool operator<(const Place& a, const Place& b) noexcept {
    return std::tie(a.group, a.in_share, a.extent) < std::tie(b.group, b.in_share, b.extent);
  }
};

// A bit per device that the extent brings something to.
std::uint64_t devices_of(const PlanData& plan, const Extent& extent) {
  static_assert(limits::devices_max <= 64);
  std::uint64_t devices = 0;
  for (const Part& part : plan.parts_of(extent)) devices |= std::uint64_t{1} << part.device;
  return devices;
}

std::vector<Place> places_of(const PlanData& plan) {
  using Key = std::pair<std::uint32_t, std::uint64_t>;  // group and devices
  std::map<Key, Share> shares;
  auto last = shares.end();  // neighbours are often for the same devices
  const auto share_of = [&](const Extent& extent) -> Share& {
    const Key key{extent.group, devices_of(plan, extent)};
    if (last == shares.end() || last->first != key) last = shares.try_emplace(key).first;
    return last->second;
  };
  for (const Extent& extent : plan.extents) share_of(extent).bytes += extent.bytes;
  std::vector<Place> places;
  places.reserve(plan.extents.size());
  for (const Extent& extent : plan.extents) {
    Share& share = share_of(extent);
    const auto twice_the_middle = static_cast<unsigned __int128>(share.placed_bytes) * 2 + extent.bytes;
    share.placed_bytes += extent.bytes;
    places.push_back(
        {extent.group, plan.index_of(extent),
         static_cast<std::uint64_t>((twice_the_middle << 32) / (static_cast<unsigned __int128>(share.bytes) * 2))});
  }
  return places;
}

}  // namespace

void sort_for_reading(PlanData& plan) {
  if (plan.devices.size() == 1 || plan.budget_bytes != 0) {
    const auto by_group = [](const Extent& a, const Extent& b) { return a.group < b.group; };
    if (!std::is_sorted(plan.extents.begin(), plan.extents.end(), by_group)) {
      std::stable_sort(plan.extents.begin(), plan.extents.end(), by_group);
    }
    return;
  }
  std::vector<Place> places = places_of(plan);
  if (std::is_sorted(places.begin(), places.end())) return;
  std::sort(places.begin(), places.end());
  BigVector<Extent> extents;
  extents.reserve(plan.extents.size());
  for (const Place& place : places) extents.push_back(plan.extents[place.extent]);
  plan.extents = std::move(extents);
}

}  // namespace sluice
