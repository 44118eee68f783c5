#include "tests/sim/virtual_memory.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace sluice::sim {
namespace {

// So many freed reservations keep their addresses, if they are of no more bytes; the oldest gives them up first.
constexpr std::size_t quarantine_count = 1000;
constexpr std::uint64_t quarantine_bytes = std::uint64_t{1} << 38;

}  // namespace

bool Exported::is_open() const {
  struct stat now {};
  return fstat(descriptor, &now) == 0 && now.st_dev == device && now.st_ino == inode;
}

VirtualMemory::~VirtualMemory() {
  for (const auto& [begin, reservation] : reservations_) munmap(reinterpret_cast<void*>(begin), reservation.bytes);
}

std::optional<std::uint64_t> VirtualMemory::reserve(std::uint64_t bytes, std::uint64_t alignment) {
  // More than is needed, so that an odd multiple of the alignment lies in it.
  const std::uint64_t more = bytes + 3 * alignment;
  if (more < bytes) return std::nullopt;
  void* const fresh = mmap(nullptr, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fresh == MAP_FAILED) return std::nullopt;
  const auto first = reinterpret_cast<std::uint64_t>(fresh);
  const std::uint64_t begin = (first + 2 * alignment - 1) / (2 * alignment) * (2 * alignment) + alignment;
  munmap(fresh, begin - first);
  munmap(reinterpret_cast<void*>(begin + bytes), first + more - (begin + bytes));
  reservations_[begin] = {begin, bytes, false, {}};
  return begin;
}

void VirtualMemory::free(Reservation& reservation) {
  reservation.freed = true;
  freed_.push_back(reservation.begin);
  freed_bytes_ += reservation.bytes;
  while (freed_.size() > quarantine_count || freed_bytes_ > quarantine_bytes) {
    const auto oldest = reservations_.find(freed_.front());
    freed_bytes_ -= oldest->second.bytes;
    munmap(reinterpret_cast<void*>(oldest->first), oldest->second.bytes);
    reservations_.erase(oldest);
    freed_.pop_front();
  }
}

const Reservation* VirtualMemory::find(std::uint64_t address) const {
  const auto after = reservations_.upper_bound(address);
  if (after == reservations_.begin()) return nullptr;
  const Reservation& reservation = std::prev(after)->second;
  return address < reservation.end() ? &reservation : nullptr;
}

Reservation* VirtualMemory::find(std::uint64_t address) {
  return const_cast<Reservation*>(std::as_const(*this).find(address));
}

std::vector<Mappings::value_type*> VirtualMemory::mapped(std::uint64_t address, std::uint64_t bytes) {
  std::vector<Mappings::value_type*> all;
  Reservation* const reservation = find(address);
  if (reservation == nullptr) return all;
  std::uint64_t at = address;
  for (auto next = reservation->mappings.find(at); next != reservation->mappings.end() && next->first == at; ++next) {
    all.push_back(&*next);
    at += next->second.bytes;
    if (at - address >= bytes) break;
  }
  if (at - address != bytes) all.clear();
  return all;
}

bool VirtualMemory::is_mapped(const CreatedMemory& memory) const {
  return std::any_of(reservations_.begin(), reservations_.end(), [&](const auto& reservation) {
    const Mappings& mappings = reservation.second.mappings;
    return std::any_of(mappings.begin(), mappings.end(),
                       [&](const auto& mapping) { return &created.at(mapping.second.memory) == &memory; });
  });
}

const Mappings::value_type* VirtualMemory::mapping_at(std::uint64_t address) const {
  const Reservation* const reservation = find(address);
  if (reservation == nullptr) return nullptr;
  const auto after = reservation->mappings.upper_bound(address);
  if (after == reservation->mappings.begin()) return nullptr;
  const auto& mapping = *std::prev(after);
  return address - mapping.first < mapping.second.bytes ? &mapping : nullptr;
}

std::optional<Violation> VirtualMemory::check(std::uint64_t address, std::uint64_t bytes, int device, Use use) const {
  const Reservation& reservation = *find(address);
  const auto refuse = [&](Rule rule, std::string_view why) {
    return Violation{rule, fmt::format("{} bytes at {:#x}: {}, in the {} bytes reserved at {:#x}", bytes, address, why,
                                       reservation.bytes, reservation.begin)};
  };
  if (reservation.freed) return refuse(Rule::freed, "of a reservation that was freed");
  if (bytes > reservation.end() - address) return refuse(Rule::out_of_bounds, "not within a reservation");
  for (std::uint64_t at = address; at < address + bytes;) {
    const auto* const found = mapping_at(at);
    if (found == nullptr) return refuse(Rule::no_access, fmt::format("nothing is mapped at {:#x}", at));
    const auto& [begin, mapping] = *found;
    if (created.at(mapping.memory).device != device) return refuse(Rule::foreign, "not memory of the current device");
    if (mapping.access == cu::Access::none) return refuse(Rule::no_access, "mapped, but no access to it was set");
    if (use == Use::write && mapping.access == cu::Access::read) return refuse(Rule::no_access, "read-only");
    at = begin + mapping.bytes;
  }
  return std::nullopt;
}

Stretch VirtualMemory::stretch(std::uint64_t address) const {
  const auto& [begin, mapping] = *mapping_at(address);
  return {begin, begin + mapping.bytes, created.at(mapping.memory).place, mapping.access == cu::Access::read_write};
}

std::optional<std::uint64_t> VirtualMemory::place_of(std::uint64_t address) const {
  if (mapping_at(address) == nullptr) return std::nullopt;
  return stretch(address).place_of(address);
}

}  // namespace sluice::sim
