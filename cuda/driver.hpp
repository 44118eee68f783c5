// Driver: the entry points of the CUDA driver, and what its answers mean. It is loaded and initialised once per
// process, when somebody first asks for a CUDA device, and never unloaded; nothing links it. Threads: everything here
// may be called from any thread at any time; which context a call acts on is the thread's. Errors: whatever the driver
// answers becomes Error{out_of_memory} or Error{device_unavailable}, with the way out.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "cuda/driver_api.hpp"
#include "sluice/error.hpp"

namespace sluice {

/// driver.cuMemAlloc(...) and so on: cuda/driver_api.hpp lists the calls.
struct Driver : cu::Calls {
  int version = 0;  // of CUDA, as far as the driver implements it: 12040 is 12.4
};

/// "12.4" for 12040.
std::string version_text(int version);

/// The driver of this process. The first call loads it and takes a while, 0.1 to some seconds on machines with many
/// GPUs; a call that fails may be repeated. Throws Error{device_unavailable}: no driver, too old, no device, used after
/// a fork, or whatever else cuInit complains of.
const Driver& driver();

/// The device's handle. Throws Error{device_unavailable}, with the number of devices, for an ordinal that is none.
cu::Device find_device(const Driver& driver, int ordinal);

/// For messages: "cuda:1 (NVIDIA H100, 0000:3b:00.0, GPU-01020304-...)"; what the driver does not tell is left out.
std::string describe_device(const Driver& driver, int ordinal);

/// The device's link as it is now, which is slower while the device is idle, and as it could be: "16.0 GT/s PCIe x16 of
/// at most 32.0 GT/s PCIe x16"; empty where the system does not say.
std::string describe_link(const Driver& driver, int ordinal);

/// The NUMA node that the device is attached to; -1 where that is unknown.
int numa_node_of(const Driver& driver, int ordinal);

/// The Error that an answer other than success of `call` ("cuMemAlloc") means. `device` is describe_device()'s.
Error driver_error(const Driver& driver, cu::Result result, std::string_view call, std::string_view device = {});

/// Throws driver_error() unless the call succeeded.
inline void check(const Driver& driver, cu::Result result, std::string_view call, std::string_view device = {}) {
  if (result != cu::Result::success) throw driver_error(driver, result, call, device);
}

/// For destructors, which can do nothing about an answer: the context may be dead, and at the end of the process the
/// driver may be gone before them (CUDA_ERROR_DEINITIALIZED).
inline void ignore(cu::Result) noexcept {}

/// While it lives, this thread may make any call although streams of the process are capturing graphs. Without it, a
/// capture on another thread, in the default mode, has the driver refuse our allocations, pinning and waits, and each
/// refused call spoils that capture.
class RelaxedCapture {
 public:
  explicit RelaxedCapture(const Driver& driver) noexcept
      : driver_(driver), is_set_(driver.cuThreadExchangeStreamCaptureMode(&mode_) == cu::Result::success) {}
  ~RelaxedCapture() {
    if (is_set_) ignore(driver_.cuThreadExchangeStreamCaptureMode(&mode_));
  }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  const Driver& driver_;
  cu::CaptureMode mode_ = cu::CaptureMode::relaxed;  // once it is set, the mode before
  const bool is_set_;  // a driver that refuses this refuses the calls for which it was meant, and says why there
};

/// What driver() does at its first call: opens a library by name, and then start_driver() with its symbols.
Driver open_driver(const char* library);

/// Fills the table and initialises the driver. `symbol` gives the address of a symbol, or nullptr.
Driver start_driver(const std::function<void*(const char*)>& symbol);

}  // namespace sluice
