// A libcuda.so.1 for bench_engine in which every call succeeds at once and does nothing: what a load onto its eight
// devices then costs is the lanes' own work, and that of waking the threads that wait. Nothing arrives anywhere.
#include <cstdlib>
#include <string_view>

#include "cuda/driver_api.hpp"

namespace sluice::cu {
namespace {

template <typename Signature>
struct Nothing;
template <typename... Arguments>
struct Nothing<Result(Arguments...)> {
  static Result call(Arguments... /*ignored*/) { return Result::success; }
};

constexpr DevicePointer memory = DevicePointer{1} << 40;  // is never followed
constexpr std::size_t memory_bytes = std::size_t{1} << 40;

template <typename Value>
Result answer(Value* place, Value value) {
  *place = value;
  return Result::success;
}

Result free_memory(std::size_t* free, std::size_t* total) {
  *total = memory_bytes;
  return answer(free, memory_bytes);
}

Result allocate_pinned(void** pointer, std::size_t bytes, unsigned /*flags*/) {
  constexpr std::size_t page = 4096;
  *pointer = std::aligned_alloc(page, (bytes + page - 1) / page * page);
  return *pointer != nullptr ? Result::success : Result::out_of_memory;
}

Result free_pinned(void* pointer) {
  std::free(pointer);
  return Result::success;
}

Calls make_calls() {
  Calls calls;
#define SLUICE_NOTHING(name, symbol, since, arguments) calls.name = &Nothing<Result arguments>::call;
  SLUICE_CUDA_CALLS(SLUICE_NOTHING, SLUICE_NOTHING)
#undef SLUICE_NOTHING
  // Those whose answer is looked at; handles are not.
  calls.cuDriverGetVersion = [](int* version) { return answer(version, 13000); };
  calls.cuDeviceGetCount = [](int* count) { return answer(count, 8); };
  calls.cuMemGetInfo = free_memory;
  calls.cuMemAlloc = [](DevicePointer* pointer, std::size_t) { return answer(pointer, memory); };
  calls.cuMemHostAlloc = allocate_pinned;
  calls.cuMemFreeHost = free_pinned;
  return calls;
}

}  // namespace

extern "C" [[gnu::visibility("default")]] Result cuGetProcAddress_v2(const char* name, void** entry, int /*version*/,
                                                                     std::uint64_t /*flags*/, ProcAddressStatus*) {
  static const Calls calls = make_calls();
  const std::string_view wanted = name;
#define SLUICE_FIND(name, symbol, since, arguments) \
  if (wanted == #name) return answer(entry, reinterpret_cast<void*>(calls.name));
  SLUICE_CUDA_CALLS(SLUICE_FIND, SLUICE_FIND)
#undef SLUICE_FIND
  return Result::not_found;
}

}  // namespace sluice::cu
