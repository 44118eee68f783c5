#include "loader/python/session.hpp"

#include "sluice/error.hpp"

namespace sluice::python {

std::shared_ptr<const Tensor> keep(const Session& session, const Tensor& tensor) {
  std::shared_ptr<const Tensor> kept = session.load.keep(tensor);
  if (session.has_budget) session.load.drop(tensor);  // from here on it is Python's alone
  return kept;
}

bool has_left(const Session& session, const Tensor& tensor) {
  return session.has_budget && session.load.find(tensor.name, tensor.device) == nullptr;
}

const Tensor* wait_for(const Load& load, const std::string& name, const std::optional<DeviceId>& device,
                       std::chrono::nanoseconds timeout) {
  return device ? load.wait_for(name, *device, timeout) : load.wait_for(name, timeout);
}

}  // namespace sluice::python
