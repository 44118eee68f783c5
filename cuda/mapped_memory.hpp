// MappedMemory: device memory that was created by itself and mapped at addresses that were reserved for it, so that
// memory and addresses can outlive each other. Its parts are held by one class each, which gives back what it made.
// Threads: any; nothing may be in flight when it is destroyed.
#pragma once

#include <cstdint>
#include <string>

#include "cuda/context.hpp"

namespace sluice {

/// How a device makes mapped memory, if it does.
struct MappedMemorySupport {
  cu::MemoryProperties properties;  // exportable as a descriptor and open to RDMA where the device has that
  std::uint64_t granularity = 0;    // memory and addresses are multiples of it
  std::string refusal;              // why the device does not; empty if it does

  /// What so many bytes take of the device.
  std::uint64_t round_up(std::uint64_t bytes) const noexcept;
};

/// Asks the driver. Whatever the driver lacks or answers with an error becomes the refusal; nothing is thrown for it.
MappedMemorySupport find_mapped_memory_support(const Driver& driver, cu::Device device, int ordinal);

/// Addresses where nothing is mapped yet.
class ReservedAddresses {
 public:
  /// REQUIRES: the context is current. Throws as Context::check().
  ReservedAddresses(const Context& context, std::uint64_t bytes, std::uint64_t alignment);
  ~ReservedAddresses();
  ReservedAddresses(const ReservedAddresses&) = delete;
  ReservedAddresses& operator=(const ReservedAddresses&) = delete;

  cu::DevicePointer pointer() const noexcept { return pointer_; }

 private:
  const Context& context_;
  const std::uint64_t bytes_;
  cu::DevicePointer pointer_ = 0;
};

/// Memory at no address.
class CreatedMemory {
 public:
  /// REQUIRES: the context is current. Throws Error{out_of_memory}, and as Context::check().
  CreatedMemory(const Context& context, std::uint64_t bytes, const cu::MemoryProperties& properties);
  ~CreatedMemory();
  CreatedMemory(const CreatedMemory&) = delete;
  CreatedMemory& operator=(const CreatedMemory&) = delete;

  cu::MemoryHandle handle() const noexcept { return handle_; }

 private:
  const Context& context_;
  cu::MemoryHandle handle_ = 0;
};

/// All of some created memory, at the begin of some addresses, to which nobody has access yet.
class MemoryMapping {
 public:
  /// REQUIRES: the context is current. Throws as Context::check().
  MemoryMapping(const Context& context, cu::DevicePointer pointer, std::uint64_t bytes, cu::MemoryHandle memory);
  ~MemoryMapping();
  MemoryMapping(const MemoryMapping&) = delete;
  MemoryMapping& operator=(const MemoryMapping&) = delete;

  /// REQUIRES: the context is current. Throws as Context::check().
  void set_access(cu::Access access) const;

 private:
  const Context& context_;
  const cu::DevicePointer pointer_;
  const std::uint64_t bytes_;
};

/// Created memory that is mapped, readable and writable by the device, at addresses that were reserved.
class BoundMemory {
 public:
  /// `bytes`: a multiple of the granularity. REQUIRES: the context is current, and `support` is the device's and no
  /// refusal. Throws Error{out_of_memory, device_unavailable}.
  BoundMemory(const Context& context, const MappedMemorySupport& support, cu::DevicePointer at, std::uint64_t bytes);

 private:
  const CreatedMemory memory_;
  const MemoryMapping mapping_;
};

class MappedMemory {
 public:
  /// At least `bytes`, readable and writable by the device. REQUIRES: the context is current, and `support` is the
  /// device's and no refusal. Throws Error{out_of_memory, device_unavailable}.
  MappedMemory(const Context& context, const MappedMemorySupport& support, std::uint64_t bytes);

  cu::DevicePointer pointer() const noexcept { return addresses_.pointer(); }

 private:
  const ReservedAddresses addresses_;
  const BoundMemory memory_;
};

}  // namespace sluice
