#include "loader/python/session.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>

namespace sluice::python {
namespace {

/// Until something has arrived or the load has ended, or time is up.
void wait_for_news(const Load& load, std::chrono::nanoseconds timeout) {
  pollfd waiting{load.descriptor(), POLLIN, 0};
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
  if (poll(&waiting, 1, static_cast<int>(std::min<std::int64_t>(ms, 10))) <= 0) return;
  std::uint64_t count = 0;
  static_cast<void>(!read(waiting.fd, &count, sizeof count));
}

}  // namespace

std::shared_ptr<const Tensor> keep(const std::shared_ptr<Session>& session, const Tensor& tensor) {
  return {session, &tensor};
}

bool wait_for_arrival(const Load& load, std::size_t index, std::chrono::nanoseconds timeout) {
  const auto there = [&] {
    const Progress progress = load.progress();
    return progress.finished || progress.tensors_ready > index;
  };
  if (there()) return true;
  if (timeout.count() == 0) return false;
  wait_for_news(load, timeout);
  return there();
}

bool wait_for_all(const Load& load, std::chrono::nanoseconds timeout) {
  if (!load.progress().finished) {
    if (timeout.count() == 0) return false;
    wait_for_news(load, timeout);
    if (!load.progress().finished) return false;
  }
  load.wait();
  return true;
}

const Tensor* wait_for(const Load& load, const std::string& name, const std::optional<DeviceId>& device,
                       std::chrono::nanoseconds timeout) {
  const auto find = [&] { return device ? load.find(name, *device) : load.find(name); };
  if (const Tensor* found = find(); found != nullptr) return found;
  if (load.progress().finished) return device ? &load.wait(name, *device) : &load.wait(name);
  if (timeout.count() == 0) return nullptr;
  wait_for_news(load, timeout);
  return find();
}

}  // namespace sluice::python
