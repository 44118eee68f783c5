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

void throw_held_up(const Session& session) {
  throw Error(
      ErrorCode::out_of_memory,
      "the budget, of this load or of one that was begun before it, is used up by tensors that are held, and no "
      "more can arrive before some are let go of",
      {session.checkpoint.path().string(), {}, {}},
      "let go of tensors before you ask for more, give a larger budget or none, or, where another thread lets "
      "go of them, when_full=\"wait\"");
}

const Tensor* wait_for(const Load& load, const std::string& name, const std::optional<DeviceId>& device,
                       std::chrono::nanoseconds timeout) {
  return device ? load.wait_for(name, *device, timeout) : load.wait_for(name, timeout);
}

}  // namespace sluice::python
