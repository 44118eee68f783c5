// KeptTensor: a tensor that a caller keeps beyond its load, and all that it takes: its memory, and the plan, which its
// name and shape lie in. Threads: it does not change; the last pointer to it may go on any.
#pragma once

#include <memory>
#include <optional>

#include "loader/base/this_process.hpp"
#include "loader/engine/piece_memory.hpp"
#include "loader/plan/plan.hpp"
#include "sluice/tensor.hpp"

namespace sluice {

/// A caller on `device` needs the memory until what is queued now, on `stream` or, where it named none, on the whole
/// device, has been done.
void use_on(PieceMemory& memory, DeviceId device, std::optional<CUstream_st*> stream) noexcept;

struct KeptTensor {
  /// `memory`: nullptr where it is the caller's, or none. `stream`: where the caller uses it; none: anywhere.
  KeptTensor(const Tensor& tensor, std::shared_ptr<const PlanData> plan, std::shared_ptr<PieceMemory> memory,
             std::optional<CUstream_st*> stream);
  ~KeptTensor();
  KeptTensor(const KeptTensor&) = delete;
  KeptTensor& operator=(const KeptTensor&) = delete;

  const Tensor tensor;
  const std::shared_ptr<const PlanData> plan;
  const std::shared_ptr<PieceMemory> memory;
  const std::optional<CUstream_st*> stream;
  const ThisProcess process = {};
};

}  // namespace sluice
