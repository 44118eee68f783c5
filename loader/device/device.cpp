#include "loader/device/device.hpp"

#include "loader/device/host_device.hpp"
#include "loader/device/null_device.hpp"

namespace sluice {

bool needs_driver(DeviceId id) noexcept {
  return id.kind == DeviceId::Kind::cuda;
}

std::shared_ptr<Device> open_device(DeviceId id, Workers& workers) {
  switch (id.kind) {
    case DeviceId::Kind::host:
      return std::make_shared<HostDevice>(workers);
    case DeviceId::Kind::null:
      return std::make_shared<NullDevice>();
    case DeviceId::Kind::cuda:
      return open_cuda_device(id.ordinal);
  }
  throw Error(ErrorCode::device_unavailable, name(id) + ": no such device", {}, "load to `host`");
}

}  // namespace sluice
