#include "tests/sim/access_log.hpp"

#include <algorithm>
#include <iterator>

namespace sluice::sim {

std::optional<AccessLog::Conflict> AccessLog::read(std::uint64_t begin, std::uint64_t end, const Stamp& stamp,
                                                   const VectorClock& clock) {
  auto conflict = find_conflict(begin, end, clock, false);
  split(begin);
  split(end);
  for (std::uint64_t at = begin; at < end;) {
    auto next = ranges_.lower_bound(at);
    if (next == ranges_.end() || next->first != at) {  // nobody has been here yet
      const std::uint64_t until = next == ranges_.end() ? end : std::min(end, next->first);
      next = ranges_.emplace(at, Range{until, std::nullopt, {}}).first;
    }
    // Only the stream's last reader counts: whoever comes after it comes after the others.
    std::vector<Stamp>& readers = next->second.readers;
    const auto same =
        std::find_if(readers.begin(), readers.end(), [&](const Stamp& s) { return s.stream == stamp.stream; });
    same == readers.end() ? readers.push_back(stamp) : void(*same = stamp);
    at = next->second.end;
  }
  return conflict;
}

std::optional<AccessLog::Conflict> AccessLog::write(std::uint64_t begin, std::uint64_t end, const Stamp& stamp,
                                                    const VectorClock& clock) {
  auto conflict = forget(begin, end, clock);
  if (begin != end) ranges_.emplace(begin, Range{end, stamp, {}});
  return conflict;
}

std::optional<AccessLog::Conflict> AccessLog::forget(std::uint64_t begin, std::uint64_t end, const VectorClock& clock) {
  auto conflict = find_conflict(begin, end, clock, true);
  split(begin);
  split(end);
  ranges_.erase(ranges_.lower_bound(begin), ranges_.lower_bound(end));
  return conflict;
}

void AccessLog::split(std::uint64_t address) {
  const auto after = ranges_.upper_bound(address);
  if (after == ranges_.begin()) return;
  Range& range = std::prev(after)->second;
  if (std::prev(after)->first == address || range.end <= address) return;
  Range tail = range;
  range.end = address;
  ranges_.emplace(address, std::move(tail));
}

std::optional<AccessLog::Conflict> AccessLog::find_conflict(std::uint64_t begin, std::uint64_t end,
                                                            const VectorClock& clock, bool with_readers) const {
  auto at = ranges_.upper_bound(begin);
  if (at != ranges_.begin() && std::prev(at)->second.end > begin) --at;
  for (; at != ranges_.end() && at->first < end; ++at) {
    const Range& range = at->second;
    const std::uint64_t address = std::max(begin, at->first);
    if (range.writer && !clock.saw(*range.writer)) return Conflict{address, *range.writer, true};
    if (!with_readers) continue;
    for (const Stamp& reader : range.readers) {
      if (!clock.saw(reader)) return Conflict{address, reader, false};
    }
  }
  return std::nullopt;
}

}  // namespace sluice::sim
