#include "cuda/cuda_pinner.hpp"

#include <utility>

namespace sluice {

CudaPinner::CudaPinner(std::shared_ptr<const Context> context)
    : context_(std::move(context)), numa_node_(numa_node_of(context_->driver(), context_->ordinal())) {}

void CudaPinner::pin(std::span<std::byte> memory) {
  const CurrentContext current(*context_);
  context_->check(context_->driver().cuMemHostRegister(memory.data(), memory.size(), cu::host_register_portable),
                  "cuMemHostRegister");
}

void CudaPinner::unpin(std::span<std::byte> memory) noexcept {
  with_context(*context_, [&] { ignore(context_->driver().cuMemHostUnregister(memory.data())); });
}

std::span<std::byte> CudaPinner::allocate(std::uint64_t bytes) {
  const CurrentContext current(*context_);
  void* memory = nullptr;
  context_->check(context_->driver().cuMemHostAlloc(&memory, bytes, cu::host_alloc_portable), "cuMemHostAlloc");
  return {static_cast<std::byte*>(memory), bytes};
}

void CudaPinner::free(std::span<std::byte> memory) noexcept {
  with_context(*context_, [&] { ignore(context_->driver().cuMemFreeHost(memory.data())); });
}

}  // namespace sluice
