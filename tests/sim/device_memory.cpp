#include "tests/sim/device_memory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <system_error>
#include <utility>

namespace sluice::sim {
namespace {

constexpr std::uint64_t page_bytes = 4096;
// "Any address of a variable residing in global memory or returned by one of the memory allocation routines from the
// driver or runtime API is always aligned to at least 256 bytes" (CUDA C++ Programming Guide, device memory accesses).
constexpr std::uint64_t alignment_bytes = 256;
constexpr std::uint64_t guard_bytes = 256;
constexpr int guard_value = 0xBD;
constexpr int poison_value = 0xA5;
// Addresses for so many times the memory, before those of freed allocations are used again.
constexpr std::uint64_t quarantine_factor = 4;

std::uint64_t round_up(std::uint64_t value, std::uint64_t step) {
  return (value + step - 1) / step * step;
}

void* map(std::uint64_t bytes, int protection, int flags, int file) {
  void* memory = mmap(nullptr, bytes, protection, flags | MAP_NORESERVE, file, 0);
  if (memory == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  return memory;
}

int make_file(std::uint64_t bytes) {
  const int file = memfd_create("simulated device memory", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) {
    throw std::system_error(errno, std::generic_category(), "memfd_create");
  }
  return file;
}

}  // namespace

DeviceMemory::DeviceMemory(std::uint64_t bytes, int ordinal, std::uint64_t seed, const VirtualMemory& virtual_memory)
    : ordinal_(ordinal),
      virtual_memory_(virtual_memory),
      total_(bytes),
      span_(round_up(bytes * quarantine_factor + (std::uint64_t{1} << 24), page_bytes)),
      file_(make_file(span_)),
      base_(reinterpret_cast<std::uintptr_t>(map(span_, PROT_NONE, MAP_SHARED, file_))),
      view_(static_cast<std::byte*>(map(span_, PROT_READ | PROT_WRITE, MAP_SHARED, file_))),
      defined_(static_cast<std::uint8_t*>(map(span_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1))),
      cursor_(base_),
      random_(seed) {}

DeviceMemory::~DeviceMemory() {
  munmap(reinterpret_cast<void*>(base_), span_);
  munmap(view_, span_);
  munmap(defined_, span_);
  close(file_);
}

Allocation* DeviceMemory::allocate(std::uint64_t bytes) {
  if (bytes > total_ - used_) return nullptr;
  // A pointer that happens to begin a page would hide that more than the promised alignment was relied upon.
  const std::uint64_t skew = alignment_bytes * (1 + random_() % (page_bytes / alignment_bytes - 1));
  const std::uint64_t block_bytes = round_up(skew + bytes + guard_bytes, page_bytes);
  const auto room = find_room(block_bytes);
  if (!room) return nullptr;
  Allocation& allocation = allocations_[*room];
  allocation = {*room + skew, bytes, *room, *room + block_bytes};
  used_ += bytes;
  peak_ = std::max(peak_, used_);
  std::memset(view(allocation.begin), poison_value, bytes);
  std::memset(view(allocation.begin - guard_bytes), guard_value, guard_bytes);
  std::memset(view(allocation.end()), guard_value, guard_bytes);
  return &allocation;
}

std::optional<std::uint64_t> DeviceMemory::find_room(std::uint64_t bytes) {
  for (int round = 0; round < 2; ++round, cursor_ = base_) {
    for (auto next = allocations_.lower_bound(cursor_); base_ + span_ - cursor_ >= bytes;) {
      if (next == allocations_.end() || next->first - cursor_ >= bytes) return std::exchange(cursor_, cursor_ + bytes);
      if (!next->second.freed) cursor_ = next->second.block_end;
      next = next->second.freed ? allocations_.erase(next) : std::next(next);
    }
  }
  return std::nullopt;
}

void DeviceMemory::free(Allocation& allocation) {
  allocation.freed = true;
  used_ -= allocation.bytes;
  const std::uint64_t block_bytes = allocation.block_end - allocation.block_begin;
  fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(allocation.block_begin - base_),
            static_cast<off_t>(block_bytes));
  madvise(defined(allocation.block_begin), block_bytes, MADV_DONTNEED);
}

Allocation* DeviceMemory::find(std::uint64_t address) {
  const auto after = allocations_.upper_bound(address);
  if (after == allocations_.begin()) return nullptr;
  Allocation& allocation = std::prev(after)->second;
  return address < allocation.block_end ? &allocation : nullptr;
}

std::optional<Violation> DeviceMemory::check(std::uint64_t address, std::uint64_t bytes, Use use) {
  if (virtual_memory_.owns(address)) return virtual_memory_.check(address, bytes, ordinal_, use);
  const auto refuse = [&](Rule rule, std::string_view why) {
    return Violation{rule, fmt::format("{} bytes at {:#x}: {}", bytes, address, why)};
  };
  if (!owns(address)) return refuse(Rule::foreign, "not memory of the current device");
  const Allocation* allocation = find(address);
  if (allocation == nullptr || allocation->created) return refuse(Rule::out_of_bounds, "in no allocation");
  if (allocation->freed) return refuse(Rule::freed, "of an allocation that was freed");
  if (address < allocation->begin || address > allocation->end() || bytes > allocation->end() - address) {
    return refuse(Rule::out_of_bounds,
                  fmt::format("not within the {} bytes allocated at {:#x}", allocation->bytes, allocation->begin));
  }
  return std::nullopt;
}

Stretch DeviceMemory::stretch(std::uint64_t address) {
  if (virtual_memory_.owns(address)) return virtual_memory_.stretch(address);
  const Allocation& allocation = *find(address);
  return {allocation.begin, allocation.end(), allocation.begin, true};
}

std::vector<Violation> DeviceMemory::check_guards(const Allocation& allocation) const {
  std::vector<Violation> broken;
  for (const std::uint64_t guard : {allocation.begin - guard_bytes, allocation.end()}) {
    const std::byte* bytes = view(guard);
    const std::byte* wrong =
        std::find_if(bytes, bytes + guard_bytes, [](std::byte b) { return b != std::byte{guard_value}; });
    if (wrong == bytes + guard_bytes) continue;
    broken.push_back(
        {Rule::broken_guard,
         fmt::format("the byte at {:#x}, {} the {} bytes allocated at {:#x}, was written", guard + (wrong - bytes),
                     guard < allocation.begin ? "before" : "behind", allocation.bytes, allocation.begin)});
  }
  return broken;
}

}  // namespace sluice::sim
