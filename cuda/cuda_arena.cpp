#include "cuda/cuda_arena.hpp"

#include <utility>

#include "loader/base/alignment.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t arena_alignment_bytes = 4096;
constexpr std::uint64_t driver_alignment_bytes = 256;  // of cuMemAlloc, by the CUDA C++ Programming Guide

}  // namespace

CudaArena::CudaArena(std::shared_ptr<const Context> context, std::uint64_t bytes)
    : context_(std::move(context)), way_back_(*context_) {
  if (bytes == 0) return;
  map(bytes);
  if (mapped_ != nullptr) return;
  allocated_ = std::make_unique<const DeviceMemory>(*context_, bytes + arena_alignment_bytes - driver_alignment_bytes);
}

// Some calls refuse what attributes promise, with any error: in a container without the rights, or on WSL 2 before
// driver R615, which sets no access to memory that it created for RDMA. So every error but want of memory leads to
// cuMemAlloc, and if that fails, too, its error is the one thrown.
void CudaArena::map(std::uint64_t bytes) {
  const CurrentContext current(*context_);
  const MappedMemorySupport support =
      find_mapped_memory_support(context_->driver(), context_->device(), context_->ordinal());
  refusal_ = support.refusal;
  if (!refusal_.empty()) return;
  try {
    mapped_ = std::make_unique<const MappedMemory>(*context_, support, bytes);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::out_of_memory) throw;
    refusal_ = error.message();
  }
}

CudaArena::CudaArena(std::shared_ptr<const Context> context, Callers memory)
    : context_(std::move(context)), callers_(memory.data), way_back_(*context_) {}

std::byte* CudaArena::data() const noexcept {
  if (callers_ != nullptr) return callers_;
  if (mapped_ != nullptr) return reinterpret_cast<std::byte*>(mapped_->pointer());
  if (allocated_ == nullptr) return nullptr;
  return reinterpret_cast<std::byte*>(align_up(allocated_->pointer(), arena_alignment_bytes));
}

}  // namespace sluice
