#include "loader/base/nvtx.hpp"

#ifdef SLUICE_NVTX

#include <nvtx3/nvToolsExtPayload.h>

#include <array>
#include <cstddef>
#include <string>

namespace sluice::nvtx {
namespace {

struct Payload {
  std::uint64_t extent;
  std::uint64_t tensors;
  std::uint64_t bytes;
};

/// Says what a Payload looks like. 0 where the profiler does not take structures.
std::uint64_t register_payload(nvtxDomainHandle_t domain) noexcept {
  const auto entry = [](const char* name, std::size_t offset) {
    nvtxPayloadSchemaEntry_t described{};
    described.type = NVTX_PAYLOAD_ENTRY_TYPE_UINT64;
    described.name = name;
    described.offset = offset;
    return described;
  };
  const std::array entries = {entry("extent", offsetof(Payload, extent)), entry("tensors", offsetof(Payload, tensors)),
                              entry("bytes", offsetof(Payload, bytes))};
  nvtxPayloadSchemaAttr_t schema{};
  schema.fieldMask = NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_NAME | NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_TYPE |
                     NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_ENTRIES | NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_NUM_ENTRIES |
                     NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_STATIC_SIZE;
  schema.name = "sluice extent";
  schema.type = NVTX_PAYLOAD_SCHEMA_TYPE_STATIC;
  schema.entries = entries.data();
  schema.numEntries = entries.size();
  schema.payloadStaticSize = sizeof(Payload);
  return nvtxPayloadSchemaRegister(domain, &schema);
}

struct Domain {
  nvtxDomainHandle_t handle = nvtxDomainCreateA("sluice");  // nullptr where nobody listens
  std::array<nvtxStringHandle_t, static_cast<std::size_t>(Span::What::wait) + 1> names{};
  std::uint64_t payload = 0;

  Domain() noexcept {
    if (handle == nullptr) return;
    for (std::size_t i = 0; i < names.size(); ++i) {
      names[i] = nvtxDomainRegisterStringA(handle, name(static_cast<Span::What>(i)).data());
    }
    payload = register_payload(handle);
  }
};

/// Kept until the process ends: profilers read it even then.
const Domain& domain() noexcept {
  static const Domain sluice;
  return sluice;
}

/// What `take` returns, given the attributes of a range.
template <typename Take>
auto with_attributes(const Domain& sluice, const Span& span, Take take) noexcept {
  const Payload values{span.extent, span.tensors, span.bytes};
  const nvtxPayloadData_t data{sluice.payload, sizeof values, &values};
  nvtxEventAttributes_t attributes{};
  attributes.version = NVTX_VERSION;
  attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  attributes.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
  attributes.message.registered = sluice.names[static_cast<std::size_t>(span.what)];
  if (sluice.payload != 0) {
    attributes.payloadType = NVTX_PAYLOAD_TYPE_EXT;
    attributes.payload.ullValue = reinterpret_cast<std::uintptr_t>(&data);
    attributes.reserved0 = 1;  // how many of them
  } else {
    attributes.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
    attributes.payload.ullValue = span.extent;
  }
  return take(attributes);
}

}  // namespace

bool listens() noexcept {
  return domain().handle != nullptr;
}

void push(const Span& span) noexcept {
  const Domain& sluice = domain();
  if (sluice.handle == nullptr) return;
  with_attributes(sluice, span,
                  [&](const auto& attributes) { return nvtxDomainRangePushEx(sluice.handle, &attributes); });
}

void pop() noexcept {
  if (listens()) nvtxDomainRangePop(domain().handle);
}

std::uint64_t start(const Span& span) noexcept {
  const Domain& sluice = domain();
  if (sluice.handle == nullptr) return 0;
  return with_attributes(sluice, span,
                         [&](const auto& attributes) { return nvtxDomainRangeStartEx(sluice.handle, &attributes); });
}

void end(std::uint64_t range) noexcept {
  if (listens()) nvtxDomainRangeEnd(domain().handle, range);
}

}  // namespace sluice::nvtx

#else

namespace sluice::nvtx {

bool listens() noexcept {
  return false;
}
void push(const Span&) noexcept {}
void pop() noexcept {}
std::uint64_t start(const Span&) noexcept {
  return 0;
}
void end(std::uint64_t) noexcept {}

}  // namespace sluice::nvtx

#endif
