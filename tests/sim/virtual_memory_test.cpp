// Goal: memory that is created and mapped works as other device memory does; whoever touches what is not mapped, or
// maps, frees and releases otherwise than the manual has it, is caught; and what is not given back is found.
// Method: as in memory_test.cpp.
#include "tests/sim/virtual_memory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/scene.hpp"

namespace sluice::sim {
namespace {

using cu::Access;
using cu::Result;

constexpr std::size_t granule = std::size_t{2} << 20;

cu::MemoryProperties properties_of(int device, bool exportable = false) {
  cu::MemoryProperties properties;
  properties.location.id = device;
  if (exportable) properties.handle_types = cu::HandleType::posix_file_descriptor;
  return properties;
}

cu::DevicePointer reserve(std::size_t bytes) {
  cu::DevicePointer pointer = 0;
  Scene::ok(cu::cuMemAddressReserve(&pointer, bytes, 0, 0, 0));
  return pointer;
}

cu::MemoryHandle create(std::size_t bytes, int device = 0, bool exportable = false) {
  cu::MemoryHandle memory = 0;
  const cu::MemoryProperties properties = properties_of(device, exportable);
  Scene::ok(cu::cuMemCreate(&memory, bytes, &properties, 0));
  return memory;
}

void allow(cu::DevicePointer pointer, std::size_t bytes, Access access = Access::read_write, int device = 0) {
  const cu::MemoryAccess wanted{{cu::LocationType::device, device}, access};
  Scene::ok(cu::cuMemSetAccess(pointer, bytes, &wanted, 1));
}

/// What was made for it, but for the addresses, which stay.
struct Mapped {
  explicit Mapped(cu::DevicePointer at, std::size_t its_bytes = granule, int device = 0)
      : pointer(at), bytes(its_bytes), memory(create(its_bytes, device)) {
    Scene::ok(cu::cuMemMap(pointer, bytes, 0, memory, 0));
  }
  void unmap() const { Scene::ok(cu::cuMemUnmap(pointer, bytes)); }
  void release() const { Scene::ok(cu::cuMemRelease(memory)); }
  void end() const {
    unmap();
    release();
    Scene::ok(cu::cuMemAddressFree(pointer, bytes));
  }

  cu::DevicePointer pointer;
  std::size_t bytes;
  cu::MemoryHandle memory;
};

std::uint64_t used_bytes() {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  Scene::ok(cu::cuMemGetInfo_v2(&free_bytes, &total_bytes));
  return total_bytes - free_bytes;
}

TEST(VirtualMemory, IsCopiedToAndFrom) {
  for (const Policy policy : policies) {
    Settings settings;
    settings.policy = policy;
    Scene scene(settings);
    const auto stream = scene.stream();
    const Mapped mapped(reserve(granule));
    allow(mapped.pointer, granule);
    EXPECT_EQ(mapped.pointer % granule, 0u);
    EXPECT_NE(mapped.pointer % (2 * granule), 0u) << "no better aligned than was asked for";
    scene.copy_in(mapped.pointer + granule - size, scene.pin(size, 7), size, stream);
    std::byte* const back = scene.pin(size);
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(back, mapped.pointer + granule - size, size, stream));
    Scene::synchronize(stream);
    EXPECT_EQ(back[size - 1], std::byte{7});
    EXPECT_EQ(*peek(mapped.pointer + granule - 1), std::byte{7});
    mapped.end();
    scene.close();
    EXPECT_THAT(take_violations(), testing::IsEmpty());
  }
}

// What an allocator that grows does: neighbours in one reservation, each with memory of its own.
TEST(VirtualMemory, MaySpanSeveralMappings) {
  for (const Policy policy : policies) {
    Settings settings;
    settings.policy = policy;
    Scene scene(settings);
    const auto stream = scene.stream();
    const auto begin = reserve(2 * granule);
    const Mapped second(begin + granule);  // first, so that their memory lies the other way round
    const Mapped first(begin);
    allow(begin, 2 * granule);
    std::byte* const slab = scene.pin(size);
    for (std::size_t i = 0; i < size; ++i) slab[i] = static_cast<std::byte>(i);
    const auto across = begin + granule - size / 2;
    Scene::ok(cu::cuMemsetD8Async(across - 1, 9, size + 2, stream));
    scene.copy_in(across, slab, size, stream);
    std::byte* const back = scene.pin(size);
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(back, across, size, stream));
    Scene::synchronize(stream);
    EXPECT_EQ(std::memcmp(back, slab, size), 0);
    EXPECT_EQ(*peek(across - 1), std::byte{9});
    EXPECT_EQ(*peek(across + size), std::byte{9});
    Scene::ok(cu::cuMemUnmap(begin, 2 * granule));
    first.release();
    second.release();
    Scene::ok(cu::cuMemAddressFree(begin, 2 * granule));
    scene.close();
    EXPECT_THAT(take_violations(), testing::IsEmpty());
  }
}

TEST(VirtualMemory, KeepsItsContentWhileItsHandleIsHeld) {
  Scene scene;
  const auto stream = scene.stream();
  const auto pointer = reserve(granule);
  const Mapped mapped(pointer);
  allow(pointer, granule);
  scene.copy_in(pointer, scene.pin(size, 7), size, stream);
  Scene::synchronize(stream);
  mapped.unmap();
  EXPECT_EQ(used_bytes(), granule);
  const auto elsewhere = reserve(granule);
  Scene::ok(cu::cuMemMap(elsewhere, granule, 0, mapped.memory, 0));
  mapped.release();
  EXPECT_EQ(used_bytes(), granule) << "it is mapped";
  allow(elsewhere, granule, Access::read);
  std::byte* const back = scene.pin(size);
  Scene::ok(cu::cuMemcpyDtoHAsync_v2(back, elsewhere, size, stream));
  Scene::synchronize(stream);
  EXPECT_EQ(back[size - 1], std::byte{7});
  Scene::ok(cu::cuMemUnmap(elsewhere, granule));
  EXPECT_EQ(used_bytes(), 0u);
  Scene::ok(cu::cuMemAddressFree(elsewhere, granule));
  Scene::ok(cu::cuMemAddressFree(pointer, granule));
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(VirtualMemory, IsNotTouchedBeforeAccessIsSet) {
  expect_caught(Rule::no_access, [](Scene& scene, bool mistake) {
    const Mapped mapped(reserve(granule));
    if (!mistake) allow(mapped.pointer, granule);
    const auto stream = scene.stream();
    cu::cuMemcpyHtoDAsync_v2(mapped.pointer, scene.pin(size), size, stream);
    Scene::synchronize(stream);
    mapped.end();
  });
}

TEST(VirtualMemory, IsNotTouchedAfterItIsUnmapped) {
  expect_caught(Rule::no_access, [](Scene& scene, bool mistake) {
    const Mapped mapped(reserve(granule));
    allow(mapped.pointer, granule);
    const auto stream = scene.stream();
    if (mistake) mapped.unmap();
    cu::cuMemcpyHtoDAsync_v2(mapped.pointer, scene.pin(size), size, stream);
    Scene::synchronize(stream);
    if (!mistake) mapped.unmap();
    mapped.release();
    Scene::ok(cu::cuMemAddressFree(mapped.pointer, granule));
  });
}

TEST(VirtualMemory, HasNoAccessAfterItIsMappedAnew) {
  expect_caught(Rule::no_access, [](Scene& scene, bool mistake) {
    const Mapped mapped(reserve(granule));
    allow(mapped.pointer, granule);
    mapped.unmap();
    Scene::ok(cu::cuMemMap(mapped.pointer, granule, 0, mapped.memory, 0));
    if (!mistake) allow(mapped.pointer, granule);
    const auto stream = scene.stream();
    cu::cuMemcpyHtoDAsync_v2(mapped.pointer, scene.pin(size), size, stream);
    Scene::synchronize(stream);
    mapped.end();
  });
}

TEST(VirtualMemory, IsNotWrittenWhereItIsReadOnly) {
  expect_caught(Rule::no_access, [](Scene& scene, bool mistake) {
    const Mapped mapped(reserve(granule));
    allow(mapped.pointer, granule);
    const auto stream = scene.stream();
    scene.copy_in(mapped.pointer, scene.pin(size), size, stream);
    Scene::synchronize(stream);
    if (mistake) allow(mapped.pointer, granule, Access::read);
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(scene.pin(size), mapped.pointer, size, stream));
    cu::cuMemsetD8Async(mapped.pointer, 0, size, stream);
    Scene::synchronize(stream);
    mapped.end();
  });
}

TEST(VirtualMemory, IsNotTouchedInAHoleBetweenMappings) {
  expect_caught(Rule::no_access, [](Scene& scene, bool mistake) {
    const auto begin = reserve(3 * granule);
    const Mapped first(begin);
    const Mapped second(begin + (mistake ? 2 : 1) * granule);
    allow(first.pointer, granule);
    allow(second.pointer, granule);
    const auto stream = scene.stream();
    cu::cuMemsetD8Async(begin + granule - 1, 0, 2, stream);
    Scene::synchronize(stream);
    for (const Mapped& mapped : {first, second}) {
      mapped.unmap();
      mapped.release();
    }
    Scene::ok(cu::cuMemAddressFree(begin, 3 * granule));
  });
}

TEST(VirtualMemory, IsNotTouchedBeyondItsReservation) {
  expect_caught(Rule::out_of_bounds, [](Scene& scene, bool mistake) {
    const Mapped mapped(reserve(granule));
    allow(mapped.pointer, granule);
    const auto stream = scene.stream();
    cu::cuMemsetD8Async(mapped.pointer + granule - 1, 0, mistake ? 2 : 1, stream);
    Scene::synchronize(stream);
    mapped.end();
  });
}

TEST(VirtualMemory, IsNotTouchedOnceItsAddressesAreFreed) {
  expect_caught(Rule::freed, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    const auto stream = scene.stream();
    const Mapped mapped(reserve(granule));
    allow(mapped.pointer, granule);
    mapped.end();
    cu::cuMemcpyHtoDAsync_v2(mistake ? mapped.pointer : target, scene.pin(size), size, stream);
  });
}

TEST(VirtualMemory, IsOfTheDeviceThatItWasCreatedOn) {
  expect_caught(Rule::foreign, [](Scene& scene, bool mistake) {
    const int device = mistake ? 1 : 0;
    const Mapped mapped(reserve(granule), granule, device);
    allow(mapped.pointer, granule, Access::read_write, device);
    const auto stream = scene.stream();
    cu::cuMemcpyHtoDAsync_v2(mapped.pointer, scene.pin(size), size, stream);
    Scene::synchronize(stream);
    mapped.end();
  });
}

TEST(VirtualMemory, HoldsWhatNobodyWrote) {
  expect_caught(Rule::undefined, [](Scene& scene, bool mistake) {
    const Mapped mapped(reserve(granule));
    allow(mapped.pointer, granule);
    const auto stream = scene.stream();
    if (!mistake) scene.copy_in(mapped.pointer, scene.pin(size), size, stream);
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(scene.pin(size), mapped.pointer, size, stream));
    Scene::synchronize(stream);
    mapped.end();
  });
}

TEST(VirtualMemory, IsTheSameMemoryAtAllItsAddresses) {
  expect_caught(Rule::race, [](Scene& scene, bool mistake) {
    const Mapped mapped(reserve(granule));
    const auto again = reserve(granule);
    Scene::ok(cu::cuMemMap(again, granule, 0, mapped.memory, 0));
    allow(mapped.pointer, granule);
    allow(again, granule);
    const auto first = scene.stream();
    const auto second = scene.stream();
    scene.copy_in(mapped.pointer, scene.pin(size), size, first);
    if (!mistake) scene.join(first, second);
    scene.copy_in(again, scene.pin(size), size, second);
    Scene::synchronize(first);
    Scene::synchronize(second);
    mapped.end();
    Scene::ok(cu::cuMemUnmap(again, granule));
    Scene::ok(cu::cuMemAddressFree(again, granule));
  });
}

TEST(VirtualMemory, IsNotUnmappedWhileWorkOnItMayBeUnderWay) {
  expect_caught(Rule::in_use,
                [](Scene& scene, bool mistake) {
                  const Mapped mapped(reserve(granule));
                  allow(mapped.pointer, granule);
                  const auto stream = scene.stream();
                  scene.copy_in(mapped.pointer, scene.pin(size), size, stream);
                  if (!mistake) Scene::synchronize(stream);
                  mapped.end();
                },
                {Rule::freed, Rule::no_access});
}

TEST(VirtualMemory, ChecksGuardsWhenItGoes) {
  expect_caught(Rule::broken_guard, [](Scene& scene, bool mistake) {
    const Mapped mapped(reserve(granule));
    if (mistake) peek(mapped.pointer)[granule] = std::byte{0};
    mapped.end();
    scene.stream();
  });
}

TEST(VirtualMemoryDeathTest, KillsHostCodeThatFollowsAPointer) {
  Scene scene;
  const Mapped mapped(reserve(granule));
  allow(mapped.pointer, granule);
  const auto* pointer = reinterpret_cast<const volatile char*>(mapped.pointer);
  EXPECT_DEATH(static_cast<void>(*pointer), "");
}

// --- mapping -------------------------------------------------------------------------------------------------------

/// Plays a call on two granules of addresses, of which the first is mapped: the right one succeeds, the other is
/// refused and caught.
void expect_misuse(const std::function<Result(cu::DevicePointer, cu::MemoryHandle, bool mistake)>& call,
                   Rule rule = Rule::bad_mapping) {
  expect_caught(rule, [&](Scene& scene, bool mistake) {
    scene.stream();
    const auto begin = reserve(2 * granule);
    const Mapped mapped(begin);
    EXPECT_EQ(call(begin, mapped.memory, mistake), mistake ? Result::invalid_value : Result::success);
    for (const auto at : {begin, begin + granule}) {
      int is_mapped = 0;
      Scene::ok(cu::cuPointerGetAttribute(&is_mapped, cu::PointerAttribute::mapped, at));
      if (is_mapped != 0) Scene::ok(cu::cuMemUnmap(at, granule));
    }
    mapped.release();
    Scene::ok(cu::cuMemAddressFree(begin, 2 * granule));
  });
}

TEST(VirtualMemory, IsMappedAtWholeGranules) {
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle memory, bool mistake) {
    return cu::cuMemMap(begin + granule - (mistake ? 4096 : 0), granule, 0, memory, 0);
  });
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle memory, bool mistake) {
    return cu::cuMemMap(begin + granule, granule - (mistake ? 4096 : 0), 0, memory, 0);
  });
}

TEST(VirtualMemory, IsMappedFromItsBegin) {
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle memory, bool mistake) {
    return cu::cuMemMap(begin + granule, granule, mistake ? granule : 0, memory, 0);
  });
}

TEST(VirtualMemory, IsNotMappedOverAMapping) {
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle memory, bool mistake) {
    return cu::cuMemMap(begin + (mistake ? 0 : granule), granule, 0, memory, 0);
  });
}

TEST(VirtualMemory, IsNotMappedBeyondItself) {
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle, bool mistake) {
    const cu::MemoryHandle memory = create(granule);
    const Result result = cu::cuMemMap(begin + granule, (mistake ? 2 : 1) * granule, 0, memory, 0);
    Scene::ok(cu::cuMemRelease(memory));
    return result;
  });
}

TEST(VirtualMemory, IsMappedWhereAddressesAreReserved) {
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle, bool mistake) {
    const cu::MemoryHandle memory = create(2 * granule);
    const Result result = cu::cuMemMap(begin + granule, (mistake ? 2 : 1) * granule, 0, memory, 0);
    Scene::ok(cu::cuMemRelease(memory));
    return result;
  });
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle memory, bool mistake) {
    const auto freed = reserve(granule);
    Scene::ok(cu::cuMemAddressFree(freed, granule));
    return cu::cuMemMap(mistake ? freed : begin + granule, granule, 0, memory, 0);
  });
}

TEST(VirtualMemory, IsUnmappedAsItWasMapped) {
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle, bool mistake) {
    return cu::cuMemUnmap(begin, mistake ? 2 * granule : granule);
  });
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle, bool mistake) {
    return cu::cuMemUnmap(begin, mistake ? granule / 2 : granule);
  });
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle, bool mistake) {
    return cu::cuMemUnmap(begin + (mistake ? granule : 0), granule);
  });
}

TEST(VirtualMemory, GetsAccessAsItWasMapped) {
  const auto set_access = [](cu::DevicePointer pointer, std::size_t bytes) {
    const cu::MemoryAccess wanted{{cu::LocationType::device, 0}, Access::read_write};
    return cu::cuMemSetAccess(pointer, bytes, &wanted, 1);
  };
  expect_misuse([&](cu::DevicePointer begin, cu::MemoryHandle, bool mistake) {
    return set_access(begin, mistake ? 2 * granule : granule);
  });
  expect_misuse([&](cu::DevicePointer begin, cu::MemoryHandle, bool mistake) {
    return set_access(begin, mistake ? granule / 2 : granule);
  });
}

TEST(VirtualMemory, KeepsItsAddressesWhileItIsMapped) {
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle, bool mistake) {
    return mistake ? cu::cuMemAddressFree(begin, 2 * granule) : Result::success;
  });
}

TEST(VirtualMemory, FreesAddressesAsTheyWereReserved) {
  expect_caught(Rule::bad_mapping, [](Scene& scene, bool mistake) {
    scene.stream();
    const auto begin = reserve(2 * granule);
    if (mistake) {
      EXPECT_EQ(cu::cuMemAddressFree(begin, granule), Result::invalid_value);
      EXPECT_EQ(cu::cuMemAddressFree(begin + granule, granule), Result::invalid_value);
      EXPECT_EQ(cu::cuMemAddressFree(scene.allocate(size), size), Result::invalid_value);
    }
    Scene::ok(cu::cuMemAddressFree(begin, 2 * granule));
  });
  expect_caught(Rule::freed, [](Scene& scene, bool mistake) {
    scene.stream();
    const auto begin = reserve(granule);
    Scene::ok(cu::cuMemAddressFree(begin, granule));
    if (mistake) {
      EXPECT_EQ(cu::cuMemAddressFree(begin, granule), Result::invalid_value);
    }
  });
}

TEST(VirtualMemory, IsReservedInPagesAndCreatedInGranules) {
  expect_caught(Rule::bad_mapping, [](Scene& scene, bool mistake) {
    scene.stream();
    cu::DevicePointer pointer = 0;
    cu::MemoryHandle memory = 0;
    const cu::MemoryProperties properties = properties_of(0);
    if (mistake) {
      EXPECT_EQ(cu::cuMemAddressReserve(&pointer, granule + 1, 0, 0, 0), Result::invalid_value);
      EXPECT_EQ(cu::cuMemAddressReserve(&pointer, granule, 3 << 20, 0, 0), Result::invalid_value);
      EXPECT_EQ(cu::cuMemCreate(&memory, granule + 4096, &properties, 0), Result::invalid_value);
    }
    Scene::ok(cu::cuMemAddressReserve(&pointer, granule, 2 * granule, 0, 0));
    EXPECT_EQ(pointer % (2 * granule), 0u);
    Scene::ok(cu::cuMemAddressFree(pointer, granule));
  });
}

TEST(VirtualMemory, IsReleasedOnce) {
  expect_misuse(
      [](cu::DevicePointer, cu::MemoryHandle, bool mistake) {
        const cu::MemoryHandle memory = create(granule);
        Scene::ok(cu::cuMemRelease(memory));
        return mistake ? cu::cuMemRelease(memory) : Result::success;
      },
      Rule::bad_handle);
  expect_misuse(
      [](cu::DevicePointer begin, cu::MemoryHandle memory, bool mistake) {
        const cu::MemoryHandle released = create(granule);
        Scene::ok(cu::cuMemRelease(released));
        return cu::cuMemMap(begin + granule, granule, 0, mistake ? released : memory, 0);
      },
      Rule::bad_handle);
}

TEST(VirtualMemory, IsNotFreedAsAnAllocationIs) {
  expect_misuse([](cu::DevicePointer begin, cu::MemoryHandle,
                   bool mistake) { return mistake ? cu::cuMemFree_v2(begin) : Result::success; },
                Rule::foreign);
}

// --- export, sizes, devices, pointers -------------------------------------------------------------------------------

TEST(VirtualMemory, LivesAsLongAsADescriptorOfIt) {
  Scene scene;
  const cu::MemoryHandle memory = create(granule, 0, true);
  int descriptor = -1;
  Scene::ok(cu::cuMemExportToShareableHandle(&descriptor, memory, cu::HandleType::posix_file_descriptor, 0));
  EXPECT_EQ(fcntl(descriptor, F_GETFD) & FD_CLOEXEC, 0) << "the program has to see to that";
  Scene::ok(cu::cuMemRelease(memory));
  EXPECT_EQ(used_bytes(), granule);
  close(descriptor);
  EXPECT_EQ(used_bytes(), 0u);
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(VirtualMemory, IsExportedOnlyWhereItWasCreatedForThat) {
  expect_misuse(
      [](cu::DevicePointer, cu::MemoryHandle, bool mistake) {
        const cu::MemoryHandle memory = create(granule, 0, !mistake);
        int descriptor = -1;
        const Result result =
            cu::cuMemExportToShareableHandle(&descriptor, memory, cu::HandleType::posix_file_descriptor, 0);
        if (descriptor >= 0) close(descriptor);
        Scene::ok(cu::cuMemRelease(memory));
        return result;
      },
      Rule::bad_handle);
}

TEST(VirtualMemory, CountsAgainstItsDevicesMemory) {
  Settings settings;
  settings.devices[0].memory_bytes = 3 * granule;
  Scene scene(settings);
  const cu::MemoryHandle memory = create(2 * granule);
  EXPECT_EQ(used_bytes(), 2 * granule);
  cu::MemoryHandle more = 0;
  cu::MemoryProperties properties = properties_of(0);
  EXPECT_EQ(cu::cuMemCreate(&more, 2 * granule, &properties, 0), Result::out_of_memory);
  cu::DevicePointer pointer = 0;
  EXPECT_EQ(cu::cuMemAlloc_v2(&pointer, granule + 1), Result::out_of_memory);
  fail_allocation(1);
  EXPECT_EQ(cu::cuMemCreate(&more, granule, &properties, 0), Result::out_of_memory);
  Scene::ok(cu::cuMemRelease(memory));
  EXPECT_EQ(counters().peak_bytes[0], 2 * granule);
  EXPECT_EQ(used_bytes(), 0u);
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(VirtualMemory, IsWhatTheDeviceSaysItIs) {
  Settings settings;
  settings.devices.resize(3);
  settings.devices[0].granularity = 64 << 10;
  settings.devices[1].exports_memory = settings.devices[1].rdma_to_memory = false;
  settings.devices[2].virtual_memory = false;
  Scene scene(settings);
  const auto attribute = [](cu::DeviceAttribute which, int device) {
    int value = -1;
    Scene::ok(cu::cuDeviceGetAttribute(&value, which, device));
    return value;
  };
  for (int device = 0; device < 3; ++device) {
    EXPECT_EQ(attribute(cu::DeviceAttribute::virtual_memory_management_supported, device), device < 2);
    EXPECT_EQ(attribute(cu::DeviceAttribute::handle_type_posix_file_descriptor_supported, device), device < 1);
    EXPECT_EQ(attribute(cu::DeviceAttribute::gpu_direct_rdma_with_cuda_vmm_supported, device), device < 1);
  }
  std::size_t bytes = 0;
  cu::MemoryProperties properties = properties_of(0);
  Scene::ok(cu::cuMemGetAllocationGranularity(&bytes, &properties, cu::Granularity::minimum));
  EXPECT_EQ(bytes, 64u << 10);
  const auto answer = [&](int device, bool exportable, bool rdma) {
    properties = properties_of(device, exportable);
    properties.gpu_direct_rdma_capable = rdma ? 1 : 0;
    cu::MemoryHandle memory = 0;
    const Result result = cu::cuMemCreate(&memory, granule, &properties, 0);
    if (result == Result::success) Scene::ok(cu::cuMemRelease(memory));
    return result;
  };
  EXPECT_EQ(answer(0, true, true), Result::success);
  EXPECT_EQ(answer(1, false, false), Result::success);
  EXPECT_EQ(answer(1, true, false), Result::not_supported);
  EXPECT_EQ(answer(1, false, true), Result::not_supported);
  EXPECT_EQ(answer(2, false, false), Result::not_supported);
  EXPECT_EQ(answer(3, false, false), Result::invalid_device);
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(VirtualMemory, TellsWhoseAPointerIs) {
  Scene scene;
  const auto begin = reserve(2 * granule);
  const Mapped mapped(begin + granule, granule, 1);
  const auto pointer = begin + granule + 1;
  const auto ask = [](auto value, cu::PointerAttribute which, cu::DevicePointer of) {
    return std::pair(cu::cuPointerGetAttribute(&value, which, of), value);
  };
  const auto told = [](auto value) { return std::pair(Result::success, value); };
  EXPECT_EQ(ask(scene.contexts[0], cu::PointerAttribute::context, pointer), told(cu::Context{})) << "it has none";
  EXPECT_EQ(ask(-1, cu::PointerAttribute::device_ordinal, pointer), told(1));
  EXPECT_EQ(ask(cu::MemoryType{}, cu::PointerAttribute::memory_type, pointer), told(cu::MemoryType::device));
  EXPECT_EQ(ask(0, cu::PointerAttribute::mapped, pointer), told(1));
  EXPECT_EQ(ask(1, cu::PointerAttribute::mapped, begin), told(0));
  for (const auto inside : {begin, pointer}) {
    EXPECT_EQ(ask(cu::DevicePointer{}, cu::PointerAttribute::range_start, inside), told(begin));
    EXPECT_EQ(ask(std::size_t{}, cu::PointerAttribute::range_size, inside), told(2 * granule));
  }
  EXPECT_EQ(ask(-1, cu::PointerAttribute::device_ordinal, begin).first, Result::invalid_value) << "nothing is there";

  const auto device_pointer = [&] { return ask(cu::DevicePointer{}, cu::PointerAttribute::device_pointer, pointer); };
  Scene::ok(cu::cuCtxSetCurrent(scene.contexts[1]));
  EXPECT_EQ(device_pointer().first, Result::invalid_value) << "no access is set";
  allow(mapped.pointer, granule, Access::read, 1);
  EXPECT_EQ(device_pointer(), told(pointer));
  Scene::ok(cu::cuCtxSetCurrent(scene.contexts[0]));
  EXPECT_EQ(device_pointer().first, Result::invalid_value) << "of another device";
  Scene::ok(cu::cuCtxSetCurrent(nullptr));
  EXPECT_EQ(device_pointer().first, Result::invalid_context);
  Scene::ok(cu::cuCtxSetCurrent(scene.contexts[0]));
  mapped.unmap();
  mapped.release();
  Scene::ok(cu::cuMemAddressFree(begin, 2 * granule));
  EXPECT_EQ(ask(-1, cu::PointerAttribute::mapped, pointer).first, Result::invalid_value);
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(VirtualMemory, GivesAccessToItsOwnDevice) {
  Scene scene;
  const Mapped mapped(reserve(granule));
  for (const auto& [device, wanted] : {std::pair(1, Result::not_supported), {2, Result::invalid_device}}) {
    const cu::MemoryAccess access{{cu::LocationType::device, device}, Access::read};
    EXPECT_EQ(cu::cuMemSetAccess(mapped.pointer, granule, &access, 1), wanted);
  }
  mapped.end();
}

// --- the end --------------------------------------------------------------------------------------------------------

TEST(VirtualMemory, IsFoundWhereItIsNotGivenBack) {
  const auto leaks = [](const std::function<void(cu::DevicePointer, cu::MemoryHandle)>& leave) {
    Scene scene;
    Scene::ok(cu::cuDevicePrimaryCtxRelease_v2(1));
    const auto begin = reserve(granule);
    const cu::MemoryHandle memory = create(granule, 0, true);
    leave(begin, memory);
    take_violations();
    check_leaks();
    std::vector<std::string> told;
    for (const Violation& violation : take_violations()) told.push_back(violation.message);
    return told;
  };
  const auto retained = testing::HasSubstr("retained 1 times");
  EXPECT_THAT(leaks([](cu::DevicePointer begin, cu::MemoryHandle) { Scene::ok(cu::cuMemAddressFree(begin, granule)); }),
              testing::UnorderedElementsAre(testing::HasSubstr("were not released"), retained));
  EXPECT_THAT(leaks([](cu::DevicePointer, cu::MemoryHandle memory) { Scene::ok(cu::cuMemRelease(memory)); }),
              testing::UnorderedElementsAre(testing::HasSubstr("reserved at"), retained));
  EXPECT_THAT(
      leaks([](cu::DevicePointer begin, cu::MemoryHandle memory) {
        Scene::ok(cu::cuMemMap(begin, granule, 0, memory, 0));
        Scene::ok(cu::cuMemRelease(memory));
      }),
      testing::UnorderedElementsAre(testing::HasSubstr("stay mapped"), testing::HasSubstr("reserved at"), retained));
  int descriptor = -1;
  EXPECT_THAT(
      leaks([&](cu::DevicePointer begin, cu::MemoryHandle memory) {
        Scene::ok(cu::cuMemAddressFree(begin, granule));
        Scene::ok(cu::cuMemExportToShareableHandle(&descriptor, memory, cu::HandleType::posix_file_descriptor, 0));
        Scene::ok(cu::cuMemRelease(memory));
      }),
      testing::UnorderedElementsAre(testing::HasSubstr("descriptor"), retained));
  close(descriptor);
}

TEST(VirtualMemory, IsGivenBackEvenWhereTheCallFailsOrTheContextIsDead) {
  for (const bool dead : {false, true}) {
    Scene scene;
    const Mapped mapped(reserve(granule));
    allow(mapped.pointer, granule);
    const auto stream = scene.stream();
    if (dead) {
      fail_operation(1, Result::unknown);
      cu::cuMemsetD8Async(mapped.pointer, 0, 1, stream);
      EXPECT_EQ(cu::cuStreamSynchronize(stream), Result::unknown);
    } else {
      for (const char* const call : {"cuMemUnmap", "cuMemRelease", "cuMemAddressFree"}) {
        fail_call(call, 1, Result::unknown);
      }
    }
    EXPECT_EQ(cu::cuMemUnmap(mapped.pointer, granule), Result::unknown);
    EXPECT_EQ(cu::cuMemRelease(mapped.memory), Result::unknown);
    EXPECT_EQ(cu::cuMemAddressFree(mapped.pointer, granule), Result::unknown);
    EXPECT_THAT(take_violations(), testing::IsEmpty());
    EXPECT_EQ(peek(mapped.pointer), nullptr);
  }
}

TEST(VirtualMemory, DoesNotKeepOldAddressesForEver) {
  const auto address_space_pages = [] {
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages;
  };
  Scene scene;
  const std::uint64_t before = address_space_pages();
  ASSERT_NE(before, 0u);
  for (int i = 0; i < 100; ++i) {
    constexpr std::size_t bytes = std::size_t{64} << 30;
    Scene::ok(cu::cuMemAddressFree(reserve(bytes), bytes));
  }
  EXPECT_LT(address_space_pages() - before, (std::uint64_t{1} << 40) / 4096);
}

}  // namespace
}  // namespace sluice::sim
