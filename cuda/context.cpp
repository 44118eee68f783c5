#include "cuda/context.hpp"

#include <fmt/format.h>

namespace sluice {
namespace {

const Driver& driver_for(int ordinal) {
  try {
    return driver();
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("cuda:{}: {}", ordinal, error.message()), {}, error.hint());
  }
}

/// False where the driver does not say: most GPUs are not.
bool is_integrated(const Driver& driver, cu::Device device) noexcept {
  int value = 0;
  return driver.cuDeviceGetAttribute(&value, cu::DeviceAttribute::integrated, device) == cu::Result::success &&
         value != 0;
}

}  // namespace

Context::Context(int ordinal)
    : driver_(driver_for(ordinal)),
      ordinal_(ordinal),
      device_(find_device(driver_, ordinal)),
      device_name_(describe_device(driver_, ordinal)),
      is_integrated_(sluice::is_integrated(driver_, device_)) {
  const RelaxedCapture relaxed(driver_);
  check(driver_.cuDevicePrimaryCtxRetain(&handle_, device_), "cuDevicePrimaryCtxRetain");
}

Context::~Context() {
  const RelaxedCapture relaxed(driver_);
  ignore(driver_.cuDevicePrimaryCtxRelease(device_));
}

CurrentContext::CurrentContext(const Context& context) : relaxed_(context.driver()), driver_(context.driver()) {
  context.check(driver_.cuCtxPushCurrent(context.handle()), "cuCtxPushCurrent");
}

CurrentContext::~CurrentContext() {
  cu::Context popped = nullptr;
  ignore(driver_.cuCtxPopCurrent(&popped));
}

void wait_for_device(const Context& context) noexcept {
  with_context(context, [&] { ignore(context.driver().cuCtxSynchronize()); });
}

Stream::Stream(const Context& context) : context_(context) {
  context.check(context.driver().cuStreamCreate(&handle_, cu::stream_non_blocking), "cuStreamCreate");
}

Stream::~Stream() {
  with_context(context_, [this] {
    ignore(context_.driver().cuStreamSynchronize(handle_));
    ignore(context_.driver().cuStreamDestroy(handle_));
  });
}

Event::Event(const Context& context, unsigned flags) : context_(context) {
  context.check(context.driver().cuEventCreate(&handle_, flags), "cuEventCreate");
}

Event::~Event() {
  with_context(context_, [this] { ignore(context_.driver().cuEventDestroy(handle_)); });
}

}  // namespace sluice
