#include "cuda/delivery_kernel.hpp"

#include <fmt/format.h>

#include "cuda/kernel_image.hpp"

namespace sluice {
namespace {

constexpr const char* kernel_name = "sluice_deliver";

bool is_unknown_to_driver(cu::Result result) noexcept {
  return result == cu::Result::invalid_image || result == cu::Result::no_binary_for_gpu ||
         result == cu::Result::invalid_ptx || result == cu::Result::unsupported_ptx_version;
}

}  // namespace

DeliveryKernel::DeliveryKernel(const Context& context, const Stream& stream) : context_(context) {
  if (kernel_fatbinary().empty()) {
    throw Error(ErrorCode::device_unavailable,
                context.device_name() + ": this sluice was built without nvcc, and has no kernel for CUDA devices", {},
                "build it where nvcc 12.8 or newer is found (scripts/setup brings one), or load to `host`");
  }
  cu::Result result = start(kernel_fatbinary().data(), stream);
  if (is_unknown_to_driver(result)) result = start(kernel_ptx_for_old_drivers().data(), stream);
  if (result != cu::Result::success) {
    throw driver_error(
        context.driver(), result, "loading the kernel",
        fmt::format("{}, a driver for CUDA {}", context.device_name(), version_text(context.driver().version)));
  }
}

DeliveryKernel::~DeliveryKernel() {
  with_context(context_, [this] { unload(); });
}

/// Loads the image, and launches the kernel once: where a driver loads lazily, the launch is the first to be refused.
cu::Result DeliveryKernel::start(const void* image, const Stream& stream) noexcept {
  cu::Result result = load(image);
  if (result != cu::Result::success) return result;
  result = try_launch(0, 0, {}, 0, stream);
  if (result == cu::Result::success) result = context_.driver().cuStreamSynchronize(stream.handle());
  if (result == cu::Result::success) return result;
  ignore(context_.driver().cuStreamSynchronize(stream.handle()));
  unload();
  return result;
}

cu::Result DeliveryKernel::load(const void* image) noexcept {
  const Driver& driver = context_.driver();
  cu::Result result = cu::Result::success;
  if (driver.cuLibraryLoadData != nullptr && driver.cuLibraryGetKernel != nullptr &&
      driver.cuLibraryUnload != nullptr) {
    result = driver.cuLibraryLoadData(&library_, image, nullptr, nullptr, 0, nullptr, nullptr, 0);
    if (result != cu::Result::success) {
      library_ = nullptr;
      return result;
    }
    cu::Kernel kernel = nullptr;
    result = driver.cuLibraryGetKernel(&kernel, library_, kernel_name);
    function_ = reinterpret_cast<cu::Function>(kernel);
  } else {
    result = driver.cuModuleLoadData(&module_, image);
    if (result != cu::Result::success) {
      module_ = nullptr;
      return result;
    }
    result = driver.cuModuleGetFunction(&function_, module_, kernel_name);
  }
  if (result != cu::Result::success) unload();
  return result;
}

void DeliveryKernel::unload() noexcept {
  if (library_ != nullptr) ignore(context_.driver().cuLibraryUnload(library_));
  if (module_ != nullptr) ignore(context_.driver().cuModuleUnload(module_));
  library_ = nullptr;
  module_ = nullptr;
}

void DeliveryKernel::launch(cu::DevicePointer extent, cu::DevicePointer table, const DeliveryTable& size,
                            cu::DevicePointer arena, const Stream& stream) const {
  context_.check(try_launch(extent, table, size, arena, stream), "cuLaunchKernel");
}

cu::Result DeliveryKernel::try_launch(cu::DevicePointer extent, cu::DevicePointer table, const DeliveryTable& size,
                                      cu::DevicePointer arena, const Stream& stream) const noexcept {
  std::uint32_t pieces = size.pieces;
  void* arguments[] = {&extent, &table, &pieces, &arena};
  return context_.driver().cuLaunchKernel(function_, size.blocks(), 1, 1, threads_per_block, 1, 1, 0, stream.handle(),
                                          arguments, nullptr);
}

}  // namespace sluice
