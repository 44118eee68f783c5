// Goal: every mistake with memory, of the device or of the host, is caught, and nothing else is.
// Method: each mistake is played beside a twin without it, under every policy (scene.hpp).
#include <sys/mman.h>

#include <set>

#include "tests/sim/scene.hpp"

namespace sluice::sim {
namespace {

TEST(Memory, CatchesACopyBeyondTheEnd) {
  expect_caught(Rule::out_of_bounds, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    cu::cuMemcpyHtoDAsync_v2(target + (mistake ? 1 : 0), scene.pin(size), size, scene.stream());
  });
}

TEST(Memory, CatchesACopyBeforeTheBegin) {
  expect_caught(Rule::out_of_bounds, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    cu::cuMemcpyHtoDAsync_v2(target - (mistake ? 1 : 0), scene.pin(size), 1, scene.stream());
  });
}

TEST(Memory, CatchesACopyThatRunsIntoTheNextAllocation) {
  expect_caught(Rule::out_of_bounds, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    scene.allocate(size);
    cu::cuMemcpyHtoDAsync_v2(target, scene.pin(4 * 4096), mistake ? 4 * 4096 : size, scene.stream());
  });
}

TEST(Memory, CatchesFreedMemory) {
  expect_caught(Rule::freed, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    if (mistake) cu::cuMemFree_v2(target);
    cu::cuMemcpyHtoDAsync_v2(target, scene.pin(size), size, scene.stream());
  });
}

TEST(Memory, CatchesASecondFree) {
  expect_caught(Rule::freed, [](Scene& scene, bool mistake) {
    cu::DevicePointer pointer = 0;
    Scene::ok(cu::cuMemAlloc_v2(&pointer, size));
    Scene::ok(cu::cuMemFree_v2(pointer));
    if (mistake) cu::cuMemFree_v2(pointer);
    scene.allocate(size);
  });
}

TEST(Memory, CatchesAFreeOfSomethingElse) {
  expect_caught(Rule::foreign, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    if (mistake) cu::cuMemFree_v2(target + 256);
  });
}

TEST(Memory, CatchesAnotherDevicesMemory) {
  expect_caught(Rule::foreign, [](Scene& scene, bool mistake) {
    const auto mine = scene.allocate(size);
    Scene::ok(cu::cuCtxSetCurrent(scene.contexts[1]));
    const auto other = scene.allocate(size);
    Scene::ok(cu::cuCtxSetCurrent(scene.contexts[0]));
    cu::cuMemcpyHtoDAsync_v2(mistake ? other : mine, scene.pin(size), size, scene.stream());
  });
}

TEST(Memory, CatchesHostMemoryInPlaceOfTheDevices) {
  expect_caught(Rule::foreign, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    std::byte* slab = scene.pin(2 * size);
    cu::cuMemcpyHtoDAsync_v2(mistake ? reinterpret_cast<cu::DevicePointer>(slab + size) : target, slab, size,
                             scene.stream());
  });
}

TEST(Memory, CatchesBytesThatNobodyWrote) {
  expect_caught(Rule::undefined, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    const auto stream = scene.stream();
    scene.copy_in(target, scene.pin(size), size - (mistake ? 1 : 0), stream);
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(scene.pin(size), target, size, stream));
  });
}

TEST(Memory, ForgetsWhatAFreedAllocationHeld) {
  Settings settings;
  settings.devices = {DeviceSettings{std::uint64_t{1} << 20}};
  Scene scene(settings);
  const auto stream = scene.stream();
  std::byte* slab = scene.pin(1 << 20);
  std::set<cu::DevicePointer> used;
  for (int i = 0; i < 40; ++i) {  // more than there are addresses for
    cu::DevicePointer pointer = 0;
    Scene::ok(cu::cuMemAlloc_v2(&pointer, 1 << 20));
    used.insert(pointer);
    EXPECT_EQ(*peek(pointer), std::byte{0xA5}) << "poison";
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(slab, pointer, 1, stream));
    Scene::synchronize(stream);
    EXPECT_THAT(rules_of(take_violations()), testing::ElementsAre(Rule::undefined));
    scene.copy_in(pointer, slab, 1 << 20, stream);
    Scene::synchronize(stream);
    Scene::ok(cu::cuMemFree_v2(pointer));
  }
  EXPECT_GT(used.size(), 10u) << "addresses are not used again while others are left";
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(Memory, ChecksGuardsWhenItIsFreed) {
  for (const int side : {-1, 0}) {
    expect_caught(Rule::broken_guard, [side](Scene& scene, bool mistake) {
      cu::DevicePointer pointer = 0;
      Scene::ok(cu::cuMemAlloc_v2(&pointer, size));
      if (mistake) *peek(side < 0 ? pointer - 1 : pointer + size) = std::byte{0};
      Scene::ok(cu::cuMemFree_v2(pointer));
      scene.stream();
    });
  }
}

TEST(Memory, ChecksGuardsAtTheEnd) {
  Scene scene;
  *peek(scene.allocate(size) + size) = std::byte{0};
  check_leaks();
  EXPECT_THAT(rules_of(take_violations()), testing::Contains(Rule::broken_guard));
}

TEST(MemoryDeathTest, KillsHostCodeThatFollowsADevicePointer) {
  Scene scene;
  const auto* pointer = reinterpret_cast<const volatile char*>(scene.allocate(size));
  EXPECT_DEATH(static_cast<void>(*pointer), "");
  EXPECT_DEATH(*const_cast<volatile char*>(pointer) = 1, "");
}

TEST(Memory, IsNoBetterAlignedThanPromised) {
  Scene scene;
  for (int i = 0; i < 100; ++i) {
    const auto pointer = scene.allocate(size);
    EXPECT_EQ(pointer % 256, 0u);
    EXPECT_NE(pointer % 4096, 0u);
  }
}

TEST(Memory, RunsOut) {
  Settings settings;
  settings.devices = {DeviceSettings{10'000}};
  Scene scene(settings);
  scene.allocate(6'000);
  cu::DevicePointer pointer = 0;
  EXPECT_EQ(cu::cuMemAlloc_v2(&pointer, 4'001), cu::Result::out_of_memory);
  scene.allocate(4'000);
  std::size_t free_bytes = 1;
  std::size_t total_bytes = 0;
  Scene::ok(cu::cuMemGetInfo_v2(&free_bytes, &total_bytes));
  EXPECT_EQ(free_bytes, 0u);
  EXPECT_EQ(total_bytes, 10'000u);
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
  EXPECT_THAT(counters().peak_bytes, testing::ElementsAre(10'000u));
}

TEST(Memory, TellsWhoseAPointerIs) {
  Scene scene;
  Scene::ok(cu::cuCtxSetCurrent(scene.contexts[1]));
  const auto pointer = scene.allocate(size);
  const auto* slab = scene.pin(size);
  const auto attribute = [](auto value, cu::PointerAttribute which, cu::DevicePointer of) {
    Scene::ok(cu::cuPointerGetAttribute(&value, which, of));
    return value;
  };
  EXPECT_EQ(attribute(cu::MemoryType{}, cu::PointerAttribute::memory_type, pointer + 1), cu::MemoryType::device);
  EXPECT_EQ(attribute(-1, cu::PointerAttribute::device_ordinal, pointer + 1), 1);
  EXPECT_EQ(attribute(cu::Context{}, cu::PointerAttribute::context, pointer + 1), scene.contexts[1]);
  EXPECT_EQ(attribute(cu::DevicePointer{}, cu::PointerAttribute::range_start, pointer + 1), pointer);
  EXPECT_EQ(attribute(std::size_t{}, cu::PointerAttribute::range_size, pointer + 1), size);
  EXPECT_EQ(attribute(cu::MemoryType{}, cu::PointerAttribute::memory_type, reinterpret_cast<cu::DevicePointer>(slab)),
            cu::MemoryType::host);
  int ordinal = 0;
  for (const auto nowhere : {pointer + size, reinterpret_cast<cu::DevicePointer>(&ordinal)}) {
    EXPECT_EQ(cu::cuPointerGetAttribute(&ordinal, cu::PointerAttribute::device_ordinal, nowhere),
              cu::Result::invalid_value);
  }
}

TEST(HostMemory, MustBePinned) {
  std::vector<std::byte> plain(size);
  expect_caught(Rule::not_pinned, [&](Scene& scene, bool mistake) {
    const auto* source = mistake ? plain.data() : scene.pin(size);
    cu::cuMemcpyHtoDAsync_v2(scene.allocate(size), source, size, scene.stream());
  });
}

TEST(HostMemory, MustBePinnedUpToTheLastByteOfACopy) {
  expect_caught(Rule::not_pinned, [&](Scene& scene, bool mistake) {
    const auto* source = scene.pin(size);
    cu::cuMemcpyHtoDAsync_v2(scene.allocate(size), source + (mistake ? 1 : 0), size, scene.stream());
  });
}

TEST(HostMemory, MustBePinnedInOnePiece) {
  alignas(page_bytes) static std::byte plain[2 * page_bytes];
  expect_caught(Rule::not_pinned, [&](Scene& scene, bool mistake) {
    const auto target = scene.allocate(2 * page_bytes);
    const auto stream = scene.stream();
    for (std::byte* const page : {plain, plain + page_bytes}) {
      Scene::ok(cu::cuMemHostRegister_v2(page, page_bytes, cu::host_register_portable));
    }
    scene.copy_in(target, plain, page_bytes, stream);
    cu::cuMemcpyHtoDAsync_v2(target + page_bytes, plain + page_bytes - (mistake ? 1 : 0), page_bytes, stream);
    Scene::synchronize(stream);
    for (std::byte* const page : {plain, plain + page_bytes}) Scene::ok(cu::cuMemHostUnregister(page));
  });
}

TEST(HostMemory, IsPinnedByThePage) {
  alignas(page_bytes) static std::byte plain[2 * page_bytes];
  Scene scene;
  Scene::ok(cu::cuMemHostRegister_v2(plain + 100, 100, 0));
  EXPECT_EQ(cu::cuMemHostRegister_v2(plain, 10, 0), cu::Result::host_memory_already_registered);
  EXPECT_EQ(cu::cuMemHostRegister_v2(plain + page_bytes - 1, 2, 0), cu::Result::host_memory_already_registered);
  Scene::ok(cu::cuMemHostRegister_v2(plain + page_bytes, 1, 0));
  Scene::ok(cu::cuMemHostUnregister(plain + 100));
  Scene::ok(cu::cuMemHostUnregister(plain + page_bytes));
  scene.close();
  EXPECT_TRUE(take_violations().empty());
}

TEST(HostMemory, MustBeThereFromThePinningToItsEnd) {
  for (const bool late : {false, true}) {
    expect_caught(Rule::not_pinned, [&](Scene&, bool mistake) {
      void* const pages = mmap(nullptr, 2 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      ASSERT_NE(pages, MAP_FAILED);
      const auto unmap_half = [&] { munmap(static_cast<std::byte*>(pages) + page_bytes, page_bytes); };
      if (mistake && !late) unmap_half();
      const cu::Result pinned = cu::cuMemHostRegister_v2(pages, 2 * page_bytes, 0);
      EXPECT_EQ(pinned, mistake && !late ? cu::Result::invalid_value : cu::Result::success);
      if (mistake && late) unmap_half();
      if (pinned == cu::Result::success) Scene::ok(cu::cuMemHostUnregister(pages));
      munmap(pages, 2 * page_bytes);
    });
  }
}

TEST(HostMemory, MustBePinnedForTheDevice) {
  std::vector<std::byte> plain(size);
  expect_caught(Rule::not_pinned, [&](Scene& scene, bool mistake) {
    Scene::ok(cu::cuMemHostRegister_v2(plain.data(), size, mistake ? 0 : cu::host_register_portable));
    Scene::ok(cu::cuCtxSetCurrent(scene.contexts[1]));
    const auto stream = scene.stream();
    cu::cuMemcpyHtoDAsync_v2(scene.allocate(size), plain.data(), size, stream);
    Scene::synchronize(stream);
    Scene::ok(cu::cuMemHostUnregister(plain.data()));
  });
}

TEST(HostMemory, MustNotBePinnedTwice) {
  Scene scene;
  std::vector<std::byte> plain(size);
  Scene::ok(cu::cuMemHostRegister_v2(plain.data(), size, 0));
  EXPECT_EQ(cu::cuMemHostRegister_v2(plain.data() + size - 1, 1, 0), cu::Result::host_memory_already_registered);
  EXPECT_EQ(cu::cuMemHostUnregister(plain.data() + 1), cu::Result::host_memory_not_registered);
  Scene::ok(cu::cuMemHostUnregister(plain.data()));
  EXPECT_EQ(cu::cuMemHostUnregister(plain.data()), cu::Result::host_memory_not_registered);
}

TEST(HostMemory, MustNotChangeWhileACopyFromItIsPending) {
  expect_caught(Rule::overwritten, [](Scene& scene, bool mistake) {
    std::byte* slab = scene.pin(size);
    const auto stream = scene.stream();
    scene.copy_in(scene.allocate(size), slab, size, stream);
    if (!mistake) Scene::synchronize(stream);
    slab[size - 1] = std::byte{2};
  });
}

TEST(HostMemory, MustNotChangeBeforeTheHostAskedAboutTheRightEvent) {
  expect_caught(Rule::overwritten, [](Scene& scene, bool mistake) {
    std::byte* slab = scene.pin(size);
    const auto stream = scene.stream();
    const auto before = scene.event();
    const auto after = scene.event();
    Scene::ok(cu::cuEventRecord(before, stream));
    scene.copy_in(scene.allocate(size), slab, size, stream);
    Scene::ok(cu::cuEventRecord(after, stream));
    Scene::ok(cu::cuEventSynchronize(mistake ? before : after));
    slab[0] = std::byte{2};
  });
}

TEST(HostMemory, MustStayPinnedWhileACopyIsPending) {
  std::vector<std::byte> plain(size);
  expect_caught(Rule::in_use, [&](Scene& scene, bool mistake) {
    Scene::ok(cu::cuMemHostRegister_v2(plain.data(), size, 0));
    const auto stream = scene.stream();
    scene.copy_in(scene.allocate(size), plain.data(), size, stream);
    if (!mistake) Scene::synchronize(stream);
    Scene::ok(cu::cuMemHostUnregister(plain.data()));
  });
}

TEST(HostMemory, HoldsNothingOfACopyThatIsNotKnownToBeDone) {
  Settings settings;
  settings.policy = Policy::lazy;
  Scene scene(settings);
  const auto target = scene.allocate(size);
  const auto stream = scene.stream();
  scene.copy_in(target, scene.pin(size, 7), size, stream);
  std::byte* back = scene.pin(size);
  Scene::ok(cu::cuMemcpyDtoHAsync_v2(back, target, size, stream));
  EXPECT_EQ(back[0], std::byte{0xA5});
  Scene::synchronize(stream);
  EXPECT_EQ(back[0], std::byte{7});
}

}  // namespace
}  // namespace sluice::sim
