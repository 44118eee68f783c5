// cuGetProcAddress: which calls there are depends on the version that the caller was written against, and on the
// driver's own.
#include <string_view>

#include "tests/sim/driver_calls.hpp"
#include "tests/sim/simulator.hpp"

namespace sluice::cu {
namespace {

struct Row {
  std::string_view name;
  int since;
  void* entry;
};

const Row known_calls[] = {
#define SLUICE_ROW(name, symbol, since, arguments) {#name, since, reinterpret_cast<void*>(&(symbol))},
    SLUICE_CUDA_CALLS(SLUICE_ROW, SLUICE_ROW) SLUICE_CAPTURE_CALLS(SLUICE_ROW)
#undef SLUICE_ROW
};

// Older signatures of these names, 32 bits wide, are not there: whoever asks for them has forgotten to ask for those
// that he was written against.
Result find(std::string_view name, void** entry, int version, ProcAddressStatus& status) {
  *entry = nullptr;
  status = ProcAddressStatus::symbol_not_found;
  const int driver_version = sim::simulator().settings.driver_version;
  // "If the specified CUDA version is greater than the driver version, the API will return CUDA_ERROR_INVALID_VALUE."
  if (version > driver_version) return Result::invalid_value;
  for (const Row& row : known_calls) {
    if (row.name != name || row.since > driver_version) continue;
    status = row.since > version ? ProcAddressStatus::version_not_sufficient : ProcAddressStatus::found;
    if (status == ProcAddressStatus::found) *entry = row.entry;
  }
  return Result::success;
}

}  // namespace

// Before 12.0 what is not found is an error; since then it is not.
Result cuGetProcAddress(const char* name, void** entry, int version, std::uint64_t /*flags*/) {
  return sim::call("cuGetProcAddress", sim::Needs::nothing, [&](sim::Simulator&) {
    ProcAddressStatus status{};
    const Result result = find(name, entry, version, status);
    return result == Result::success && *entry == nullptr ? Result::not_found : result;
  });
}

Result cuGetProcAddress_v2(const char* name, void** entry, int version, std::uint64_t /*flags*/,
                           ProcAddressStatus* status) {
  return sim::call("cuGetProcAddress", sim::Needs::nothing, [&](sim::Simulator&) {
    ProcAddressStatus answer{};
    const Result result = find(name, entry, version, answer);
    if (status != nullptr) *status = answer;
    return result;
  });
}

}  // namespace sluice::cu
