// Context: one GPU's primary context, shared with everybody else in the process: retained while this lives, never
// reset, never flagged. CurrentContext makes it the calling thread's for a scope. Streams and events belong to a
// context. Threads: any, at any time.
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "cuda/driver.hpp"

namespace sluice {

class Context {
 public:
  /// Throws Error{device_unavailable}: no driver, no such device, or the driver refuses.
  explicit Context(int ordinal);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Driver& driver() const noexcept { return driver_; }
  int ordinal() const noexcept { return ordinal_; }
  cu::Device device() const noexcept { return device_; }
  const std::string& device_name() const noexcept { return device_name_; }  // for messages
  cu::Context handle() const noexcept { return handle_; }
  bool is_integrated() const noexcept { return is_integrated_; }  // the GPU has no memory but the host's
  /// Throws what the answer of `call` means unless it is success.
  void check(cu::Result result, std::string_view call) const { sluice::check(driver_, result, call, device_name_); }

 private:
  const Driver& driver_;
  int ordinal_;
  cu::Device device_;
  std::string device_name_;
  bool is_integrated_;
  cu::Context handle_ = nullptr;
};

/// Makes the context current on this thread, and the thread deaf to others' graph captures; every call into a context
/// is made in such a scope. What was set before is so again afterwards: it may be the caller's thread.
class CurrentContext {
 public:
  /// Throws Error{device_unavailable}.
  explicit CurrentContext(const Context& context);
  ~CurrentContext();
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;

 private:
  const RelaxedCapture relaxed_;  // first: it encloses what else is called
  const Driver& driver_;
};

/// Calls `release` with the context current, or not at all where the driver refuses that: then the context is dead, and
/// so is what belonged to it. For destructors.
template <typename Release>
void with_context(const Context& context, Release release) noexcept {
  try {
    const CurrentContext current(context);
    release();
  } catch (const std::exception&) {
  }
}

/// Waits for all that has been queued on the device in this context, by whomever. Spoils what a stream of the context
/// captures meanwhile (CUDA C++ Programming Guide, "Prohibited and Unhandled Operations" of captures). What the driver
/// refuses is not waited for.
void wait_for_device(const Context& context) noexcept;

/// A stream that waits for no other, not even the default one.
class Stream {
 public:
  /// REQUIRES: the context is current. Throws as Context::check().
  explicit Stream(const Context& context);
  /// Waits for what is in flight.
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cu::Stream handle() const noexcept { return handle_; }
  void synchronize() const { context_.check(context_.driver().cuStreamSynchronize(handle_), "cuStreamSynchronize"); }
  /// What comes after this waits for what `event` recorded last.
  void wait_for(cu::Event event) const {
    context_.check(context_.driver().cuStreamWaitEvent(handle_, event, 0), "cuStreamWaitEvent");
  }

 private:
  const Context& context_;
  cu::Stream handle_ = nullptr;
};

/// An event. By default threads that wait for it sleep rather than spin, and it tells no time.
class Event {
 public:
  /// REQUIRES: the context is current. Throws as Context::check().
  explicit Event(const Context& context, unsigned flags = cu::event_blocking_sync | cu::event_disable_timing);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  cu::Event handle() const noexcept { return handle_; }
  void record(const Stream& stream) const {
    context_.check(context_.driver().cuEventRecord(handle_, stream.handle()), "cuEventRecord");
  }

 private:
  const Context& context_;
  cu::Event handle_ = nullptr;
};

}  // namespace sluice
