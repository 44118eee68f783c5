// CudaPinner: pins host memory for all GPUs of the process, by way of one of them.
#pragma once

#include <memory>

#include "cuda/context.hpp"
#include "loader/device/pinner.hpp"

namespace sluice {

class CudaPinner final : public Pinner {
 public:
  explicit CudaPinner(std::shared_ptr<const Context> context);

  int numa_node() const noexcept override { return numa_node_; }
  void pin(std::span<std::byte> memory) override;
  void unpin(std::span<std::byte> memory) noexcept override;
  std::span<std::byte> allocate(std::uint64_t bytes) override;
  void free(std::span<std::byte> memory) noexcept override;

 private:
  const std::shared_ptr<const Context> context_;
  const int numa_node_;
};

}  // namespace sluice
