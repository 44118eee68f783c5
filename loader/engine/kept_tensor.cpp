#include "loader/engine/kept_tensor.hpp"

#include <exception>
#include <utility>

namespace sluice {

void use_on(PieceMemory& memory, DeviceId device, std::optional<CUstream_st*> stream) noexcept {
  if (device.kind != DeviceId::Kind::cuda) return;
  if (!stream) return memory.use_anywhere();
  try {
    memory.use_until(mark_cuda_stream(device.ordinal, *stream));
  } catch (const std::exception&) {
    memory.use_anywhere();  // a stream that captures a graph, or a driver that refuses
  }
}

KeptTensor::KeptTensor(const Tensor& its, std::shared_ptr<const PlanData> its_plan,
                       std::shared_ptr<PieceMemory> its_memory, std::optional<CUstream_st*> its_stream)
    : tensor(its), plan(std::move(its_plan)), memory(std::move(its_memory)), stream(its_stream) {}

KeptTensor::~KeptTensor() {
  if (memory != nullptr && process.is_still()) use_on(*memory, tensor.device, stream);
}

}  // namespace sluice
