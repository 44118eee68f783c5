// Staging: the bounded pool of slabs between reader and lanes; the only host memory that grows with speed.
// A slab is free -> lent to one extent -> counted by each lane that needs it -> free. Staging owns it throughout.
// Threads: the engine's only. take() never blocks: it returns nullptr when all are out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "loader/engine/slab_memory.hpp"

namespace sluice {

class Staging {
 public:
  /// As many slabs as `memory` has room for; those that are not ready yet join as they become so.
  Staging(std::uint64_t slab_bytes, std::unique_ptr<SlabMemory> memory);

  /// As SlabMemory::pin(), first what has been in use so far.
  void pin(std::shared_ptr<Pinner> pinner) { memory_->pin(std::move(pinner), used_bytes()); }
  /// As SlabMemory::allocate(): no slab is out any more.
  void allocate();

  /// A free slab, the one that was given back last (its pages are warm), or nullptr.
  std::byte* take() noexcept;
  /// `uses` lanes need `slab`, instead of its one reader: call before the first of them is handed the slab, or a lane
  /// that is done at once would free what the next one still needs.
  void count(std::byte* slab, std::uint32_t uses) noexcept;
  /// One use is over; the last one frees the slab.
  void give_back(std::byte* slab) noexcept;
  /// Frees what is still out: for a load that ended early, once nothing touches its slabs any more.
  void give_back_all() noexcept;

  const SlabMemory& memory() const noexcept { return *memory_; }
  std::uint64_t slab_bytes() const noexcept { return slab_bytes_; }
  std::uint32_t slab_count() const noexcept {
    return static_cast<std::uint32_t>(memory_->bytes().size() / slab_bytes_);
  }
  /// Of all slabs that have ever been taken: memory that is there.
  std::uint64_t used_bytes() const noexcept { return uses_.size() * slab_bytes_; }
  /// The most bytes of slabs that were out at a time since the last call.
  std::uint64_t take_peak_bytes() noexcept;

 private:
  std::uint32_t index_of(const std::byte* slab) const noexcept;

  std::uint64_t slab_bytes_;
  std::uint32_t out_ = 0;
  std::uint32_t out_peak_ = 0;
  std::unique_ptr<SlabMemory> memory_;
  std::vector<std::uint32_t> uses_;  // by index, of the slabs that were ready when this last looked; 0: free
  std::vector<std::uint32_t> free_;  // a stack of indices
};

}  // namespace sluice
