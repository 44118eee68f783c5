// Modules, libraries, and the launch of kernels.
#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <vector>

#include "tests/sim/driver_calls.hpp"
#include "tests/sim/image.hpp"
#include "tests/sim/kernel_memory.hpp"
#include "tests/sim/ptx/run.hpp"
#include "tests/sim/simulator.hpp"

namespace sluice::cu {

using sim::call;
using sim::CodeState;
using sim::HandleKind;
using sim::Needs;
using sim::Operation;
using sim::Rule;
using sim::Simulator;

namespace {

struct Launch {
  std::shared_ptr<const sim::Image> image;
  const sim::ptx::Kernel* kernel = nullptr;
  sim::ptx::Index grid{};
  sim::ptx::Index block{};
  std::vector<std::byte> parameters;
};

constexpr int lazy_version = 12020;  // "Lazy loading enabled by default for Linux" (CUDA Programming Guide, 4.7.2)

template <typename Handle>
Result load(Simulator& sim, Handle* handle, const void* data, std::optional<int> device) {
  sim::LoadedImage loaded = sim::load_image(data, sim.settings.driver_version);
  if (!loaded.problem.empty()) sim.violations.add(Rule::bad_kernel, loaded.problem);
  // Of a library, not of a module: that is loaded in one context.
  const bool is_lazy = !device && sim.settings.driver_version >= lazy_version;
  if (loaded.result != Result::success && !is_lazy) return loaded.result;
  sim.code[++sim.last_id] = {std::move(loaded.image), device, {}, loaded.result};
  *handle = sim::to_handle<Handle>(HandleKind::code, sim.last_id);
  return Result::success;
}

template <typename Handle>
CodeState* find_code(Simulator& sim, Handle handle) {
  const auto id = sim::from_handle(HandleKind::code, handle);
  const auto found = id ? sim.code.find(*id) : sim.code.end();
  if (found != sim.code.end()) return &found->second;
  sim.violations.add(Rule::bad_handle, fmt::format("{} is no module or library, or one that was unloaded",
                                                   static_cast<const void*>(handle)));
  return nullptr;
}

template <typename Handle>
Result unload(Simulator& sim, const char* call_name, Handle handle) {
  const CodeState* code = find_code(sim, handle);
  if (code == nullptr) return Result::invalid_handle;
  for (const auto& [stream, stamp] : code->users) {
    if (sim.known_done(stamp)) continue;
    sim.violations.add(Rule::in_use, fmt::format("{}, and the host cannot know that kernel {} of stream {} is done",
                                                 call_name, stamp.number, stamp.stream));
    break;
  }
  const std::uint64_t id = *sim::from_handle(HandleKind::code, handle);
  std::erase_if(sim.functions, [&](const auto& entry) { return entry.second.code == id; });
  sim.code.erase(id);
  return Result::success;
}

template <typename FunctionHandle, typename Handle>
Result get_function(Simulator& sim, FunctionHandle* function, Handle handle, const char* name) {
  const CodeState* code = find_code(sim, handle);
  if (code == nullptr) return Result::invalid_handle;
  if (code->image != nullptr && code->image->module.kernel(name) == nullptr) return Result::not_found;
  sim.functions[++sim.last_id] = {*sim::from_handle(HandleKind::code, handle), name};
  *function = sim::to_handle<FunctionHandle>(HandleKind::function, sim.last_id);
  return Result::success;
}

/// What kind of mistake a fault of the kernel is, and what the driver would call it.
std::pair<Rule, Result> classify(sim::DeviceMemory& memory, const sim::ptx::Fault& fault) {
  const std::string_view what = fault.what();
  if (what.find("never written") != std::string_view::npos) return {Rule::undefined, Result::launch_failed};
  if (!fault.address) return {Rule::bad_kernel, Result::launch_failed};
  if (what.find("not aligned") != std::string_view::npos) return {Rule::misaligned, Result::misaligned_address};
  const bool stored = what.find("read-only") != std::string_view::npos;
  const auto wrong = memory.check(*fault.address, 1, stored ? sim::Use::write : sim::Use::read);
  return {wrong ? wrong->rule : Rule::out_of_bounds, Result::illegal_address};
}

void run(Simulator& sim, const Launch& launch, Operation& operation) {
  sim::DeviceState& device = *sim.devices[static_cast<std::size_t>(operation.device)];
  sim::KernelMemory memory(device.memory);
  ++sim.counts.launches;
  try {
    const sim::ptx::Counters work =
        sim::ptx::run(*launch.kernel, {launch.grid, launch.block, launch.parameters, sim.settings.seed}, memory);
    operation.duration = device.settings.kernel_latency +
                         static_cast<sim::Nanoseconds>(static_cast<double>(work.loaded_bytes + work.stored_bytes) *
                                                       1e9 / device.settings.kernel_bytes_per_second);
  } catch (const sim::ptx::Fault& fault) {
    const auto [rule, result] = classify(device.memory, fault);
    sim.violations.add(rule, fmt::format("kernel {}: {}", launch.kernel->name, fault.what()));
    return sim.kill(operation.device, result);
  }
  for (const auto& range : memory.take_accesses()) {
    sim.access(operation, range.begin, range.end - range.begin, range.written ? sim::Use::write : sim::Use::read);
  }
}

/// The arguments as the kernel lays out its parameters.
std::vector<std::byte> pack(const sim::ptx::Kernel& kernel, void** arguments) {
  std::vector<std::byte> packed(kernel.parameter_bytes);
  for (std::size_t i = 0; i < kernel.parameters.size(); ++i) {
    std::memcpy(packed.data() + kernel.parameters[i].offset, arguments[i], kernel.parameters[i].bytes);
  }
  return packed;
}

/// Of the programming guide's table of what all compute capabilities take.
bool is_launchable(const Launch& launch) {
  const auto& [grid, block] = std::pair(launch.grid, launch.block);
  const std::uint64_t threads = std::uint64_t{block[0]} * block[1] * block[2];
  return grid[0] > 0 && grid[0] <= INT32_MAX && grid[1] > 0 && grid[1] <= 65535 && grid[2] > 0 && grid[2] <= 65535 &&
         block[0] > 0 && block[0] <= 1024 && block[1] > 0 && block[1] <= 1024 && block[2] > 0 && block[2] <= 64 &&
         threads <= launch.kernel->threads_max &&
         (!launch.kernel->threads_exact || threads == launch.kernel->threads_max);
}

}  // namespace

Result cuModuleLoadData(Module* module, const void* image) {
  return call("cuModuleLoadData", Needs::context,
              [&](Simulator& sim) { return load(sim, module, image, sim.device_ordinal()); });
}

Result cuModuleUnload(Module module) {
  return sim::release("cuModuleUnload", Needs::context,
                      [&](Simulator& sim) { return unload(sim, "cuModuleUnload", module); });
}

Result cuModuleGetFunction(Function* function, Module module, const char* name) {
  return call("cuModuleGetFunction", Needs::context,
              [&](Simulator& sim) { return get_function(sim, function, module, name); });
}

// "If the environment variables are set to LAZY, library is not immediately loaded onto all existent contexts and will
// only be loaded when a function is needed for that context, such as a kernel launch." So it is there, too, that a
// driver says what it has against an image.
Result cuLibraryLoadData(Library* library, const void* image, int* /*jit_options*/, void** /*jit_values*/,
                         unsigned jit_count, int* /*library_options*/, void** /*library_values*/,
                         unsigned library_count) {
  return call("cuLibraryLoadData", Needs::driver, [&](Simulator& sim) {
    if (jit_count != 0 || library_count != 0) return Result::not_supported;
    return load(sim, library, image, std::nullopt);
  });
}

Result cuLibraryUnload(Library library) {
  return sim::release("cuLibraryUnload", Needs::driver,
                      [&](Simulator& sim) { return unload(sim, "cuLibraryUnload", library); });
}

Result cuLibraryGetKernel(Kernel* kernel, Library library, const char* name) {
  return call("cuLibraryGetKernel", Needs::driver,
              [&](Simulator& sim) { return get_function(sim, kernel, library, name); });
}

Result cuLaunchKernel(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream handle, void** arguments,
                      void** extra) {
  return call("cuLaunchKernel", Needs::context, [&](Simulator& sim) {
    Result result{};
    sim::StreamState* stream = sim.find_stream(handle, result);
    if (result != Result::success) return result;
    const auto id = sim::from_handle(HandleKind::function, function);
    const auto found = id ? sim.functions.find(*id) : sim.functions.end();
    if (found == sim.functions.end()) {
      sim.violations.add(Rule::bad_handle, "cuLaunchKernel of no kernel, or one whose module was unloaded");
      return Result::invalid_handle;
    }
    CodeState& code = sim.code.at(found->second.code);
    if (code.refused != Result::success) return code.refused;
    const bool elsewhere = code.device && *code.device != stream->device;
    if (stream->device != sim.device_ordinal() || elsewhere) return Result::invalid_handle;
    if (shared_bytes != 0 || extra != nullptr) return Result::not_supported;
    Launch launch{code.image,
                  code.image->module.kernel(found->second.name),
                  {grid_x, grid_y, grid_z},
                  {block_x, block_y, block_z},
                  {}};
    if (!is_launchable(launch)) return Result::invalid_value;
    if (const auto captured = sim.capture(*stream)) return *captured;
    launch.parameters = pack(*launch.kernel, arguments);
    const auto operation = std::make_shared<Operation>();
    operation->what = "kernel";
    operation->engine = sim::Engine::kernel;
    operation->work = [&sim, launch = std::move(launch)](Operation& its) { run(sim, launch, its); };
    sim.enqueue(*stream, operation);
    code.users[operation->stamp.stream] = operation->stamp;
    return Result::success;
  });
}

}  // namespace sluice::cu
