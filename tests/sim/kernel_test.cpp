// Goal: kernels run on the simulated device as queued work does, from text and from the library's own fatbinary; and
// every mistake that a kernel can make with memory is caught.
// Method: a small kernel, one mistake after the other, as in memory_test.cpp.
#include <cstring>

#include "cuda/kernel_image.hpp"
#include "tests/sim/scene.hpp"

namespace sluice::sim {
namespace {

using cu::Result;

// target[i] = source[i] + 1 for i < count; if count is 0, traps.
constexpr const char* text = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry increment(.param .u64 source, .param .u64 target, .param .u32 count) {
  .reg .pred %p<3>;
  .reg .b32 %w<6>;
  .reg .b64 %l<6>;
  ld.param.u64 %l0, [source];
  ld.param.u64 %l1, [target];
  ld.param.u32 %w0, [count];
  setp.eq.u32 %p1, %w0, 0;
  @%p1 trap;
  mov.u32 %w1, %ctaid.x;
  mov.u32 %w2, %ntid.x;
  mov.u32 %w3, %tid.x;
  mad.lo.u32 %w4, %w1, %w2, %w3;
  setp.ge.u32 %p0, %w4, %w0;
  @%p0 bra done;
  mul.wide.u32 %l2, %w4, 4;
  add.u64 %l3, %l0, %l2;
  add.u64 %l4, %l1, %l2;
  ld.global.u32 %w5, [%l3];
  add.u32 %w5, %w5, 1;
  st.global.u32 [%l4], %w5;
done:
  ret;
}
)";

constexpr std::uint32_t count = 100;
constexpr std::size_t array_bytes = count * sizeof(std::uint32_t);

struct Code {
  Code() {
    Scene::ok(cu::cuLibraryLoadData(&library, text, nullptr, nullptr, 0, nullptr, nullptr, 0));
    cu::Kernel kernel = nullptr;
    Scene::ok(cu::cuLibraryGetKernel(&kernel, library, "increment"));
    function = reinterpret_cast<cu::Function>(kernel);
  }

  Result launch(cu::DevicePointer source, cu::DevicePointer target, std::uint32_t elements, cu::Stream stream) const {
    void* arguments[] = {&source, &target, &elements};
    return cu::cuLaunchKernel(function, 4, 1, 1, 32, 1, 1, 0, stream, arguments, nullptr);
  }
  /// Once nothing of it is under way.
  void unload() const { Scene::ok(cu::cuLibraryUnload(library)); }

  cu::Library library = nullptr;
  cu::Function function = nullptr;
};

/// A scene of expect_caught() with source and target on the device, and a kernel that only `launch` launches.
void expect_kernel_caught(Rule rule,
                          const std::function<Result(const Code&, cu::DevicePointer source, cu::DevicePointer target,
                                                     cu::Stream stream, bool mistake)>& launch) {
  expect_caught(rule, [&](Scene& scene, bool mistake) {
    const Code code;
    const auto source = scene.allocate(array_bytes);
    const auto target = scene.allocate(array_bytes);
    const auto stream = scene.stream();
    scene.copy_in(source, scene.pin(array_bytes), array_bytes, stream);
    launch(code, source, target, stream, mistake);
    cu::cuStreamSynchronize(stream);
    cu::cuLibraryUnload(code.library);
  });
}

TEST(Kernel, RunsAsWorkOfItsStream) {
  for (const Policy policy : policies) {
    Settings settings;
    settings.policy = policy;
    Scene scene(settings);
    const Code code;
    const auto source = scene.allocate(array_bytes);
    const auto target = scene.allocate(array_bytes);
    const auto stream = scene.stream();
    auto* slab = scene.pin(array_bytes, 0);
    auto* back = scene.pin(array_bytes, 0);
    for (std::uint32_t i = 0; i < count; ++i) std::memcpy(slab + i * sizeof i, &i, sizeof i);
    scene.copy_in(source, slab, array_bytes, stream);
    Scene::ok(code.launch(source, target, count, stream));
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(back, target, array_bytes, stream));
    Scene::synchronize(stream);
    for (std::uint32_t i = 0; i < count; ++i) {
      std::uint32_t value = 0;
      std::memcpy(&value, back + i * sizeof value, sizeof value);
      EXPECT_EQ(value, i + 1);
    }
    EXPECT_EQ(counters().launches, 1u);
    code.unload();
    scene.close();
    EXPECT_THAT(take_violations(), testing::IsEmpty());
  }
}

/// Two pieces of memory, neighbours in one reservation.
struct Neighbours {
  Neighbours() {
    Scene::ok(cu::cuMemAddressReserve(&begin, 2 * bytes, 0, 0, 0));
    const cu::MemoryProperties properties;
    for (std::size_t i = 2; i-- > 0;) {  // so that one does not lie behind the other
      Scene::ok(cu::cuMemCreate(&memory[i], bytes, &properties, 0));
      Scene::ok(cu::cuMemMap(begin + i * bytes, bytes, 0, memory[i], 0));
    }
    allow(cu::Access::read_write);
  }
  void allow(cu::Access access) const {
    const cu::MemoryAccess wanted{{}, access};
    Scene::ok(cu::cuMemSetAccess(begin, 2 * bytes, &wanted, 1));
  }
  // These act, whatever they answer: after a fault the context is dead.
  void unmap() const { cu::cuMemUnmap(begin, 2 * bytes); }
  void end() const {
    for (const cu::MemoryHandle its : memory) cu::cuMemRelease(its);
    cu::cuMemAddressFree(begin, 2 * bytes);
  }

  static constexpr std::size_t bytes = std::size_t{2} << 20;
  cu::DevicePointer begin = 0;
  cu::MemoryHandle memory[2] = {};
};

TEST(Kernel, SpansMappingsThatAreNeighbours) {
  for (const Policy policy : policies) {
    Settings settings;
    settings.policy = policy;
    Scene scene(settings);
    const Code code;
    const Neighbours mapped;
    const auto stream = scene.stream();
    const auto source = mapped.begin + Neighbours::bytes - array_bytes / 2;
    const auto target = source + array_bytes;
    auto* back = scene.pin(array_bytes, 0);
    Scene::ok(cu::cuMemsetD8Async(source, 1, array_bytes, stream));
    Scene::ok(code.launch(source, target, count, stream));
    Scene::ok(code.launch(target, source, count, stream));
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(back, source, array_bytes, stream));
    Scene::synchronize(stream);
    for (std::uint32_t i = 0; i < count; ++i) {
      std::uint32_t value = 0;
      std::memcpy(&value, back + i * sizeof value, sizeof value);
      EXPECT_EQ(value, 0x01010103u);
    }
    mapped.unmap();
    mapped.end();
    code.unload();
    scene.close();
    EXPECT_THAT(take_violations(), testing::IsEmpty());
  }
}

TEST(Kernel, IsCaughtWritingToReadOnlyMemory) {
  expect_kernel_caught(Rule::no_access, [](const Code& code, auto source, auto, auto stream, bool mistake) {
    const Neighbours mapped;
    if (mistake) mapped.allow(cu::Access::read);
    const Result result = code.launch(source, mapped.begin, count, stream);
    cu::cuStreamSynchronize(stream);
    mapped.unmap();
    mapped.end();
    return result;
  });
}

TEST(Kernel, IsCaughtInMemoryThatIsNotMapped) {
  expect_kernel_caught(Rule::no_access, [](const Code& code, auto source, auto target, auto stream, bool mistake) {
    const Neighbours mapped;
    mapped.unmap();
    const Result result = code.launch(source, mistake ? mapped.begin : target, count, stream);
    cu::cuStreamSynchronize(stream);
    mapped.end();
    return result;
  });
}

TEST(Kernel, RacesWithCopiesAtAnotherAddressOfItsTarget) {
  expect_kernel_caught(Rule::race, [](const Code& code, auto source, auto, auto stream, bool mistake) {
    const Neighbours mapped;
    cu::DevicePointer again = 0;
    Scene::ok(cu::cuMemAddressReserve(&again, Neighbours::bytes, 0, 0, 0));
    Scene::ok(cu::cuMemMap(again, Neighbours::bytes, 0, mapped.memory[0], 0));
    const cu::MemoryAccess wanted{{}, cu::Access::read_write};
    Scene::ok(cu::cuMemSetAccess(again, Neighbours::bytes, &wanted, 1));
    cu::Stream other = nullptr;
    Scene::ok(cu::cuStreamCreate(&other, cu::stream_non_blocking));
    const Result result = code.launch(source, mapped.begin, count, stream);
    Scene::ok(cu::cuMemsetD8Async(again + (mistake ? 0 : array_bytes), 0, 1, other));
    Scene::synchronize(other);
    Scene::synchronize(stream);
    Scene::ok(cu::cuStreamDestroy_v2(other));
    Scene::ok(cu::cuMemUnmap(again, Neighbours::bytes));
    Scene::ok(cu::cuMemAddressFree(again, Neighbours::bytes));
    mapped.unmap();
    mapped.end();
    return result;
  });
}

TEST(Kernel, IsCaughtBeyondItsTarget) {
  expect_kernel_caught(Rule::out_of_bounds, [](const Code& code, auto source, auto target, auto stream, bool mistake) {
    return code.launch(source, target + (mistake ? 4 : 0), count, stream);
  });
}

TEST(Kernel, IsCaughtBeyondItsSource) {
  expect_kernel_caught(Rule::out_of_bounds, [](const Code& code, auto source, auto target, auto stream, bool mistake) {
    return code.launch(source - (mistake ? 4 : 0), target, count, stream);
  });
}

TEST(Kernel, IsCaughtInHostMemory) {
  expect_kernel_caught(Rule::foreign, [](const Code& code, auto source, auto target, auto stream, bool mistake) {
    static std::uint32_t host[count];
    return code.launch(source, mistake ? reinterpret_cast<cu::DevicePointer>(&host) : target, count, stream);
  });
}

TEST(Kernel, IsCaughtInFreedMemory) {
  expect_kernel_caught(Rule::freed, [](const Code& code, auto source, auto target, auto stream, bool mistake) {
    cu::DevicePointer other = 0;
    Scene::ok(cu::cuMemAlloc_v2(&other, array_bytes));
    Scene::ok(cu::cuMemFree_v2(other));
    return code.launch(source, mistake ? other : target, count, stream);
  });
}

TEST(Kernel, IsCaughtReadingWhatNobodyWrote) {
  expect_kernel_caught(Rule::undefined, [](const Code& code, auto source, auto target, auto stream, bool mistake) {
    return mistake ? code.launch(target, source, count, stream) : code.launch(source, target, count, stream);
  });
}

TEST(Kernel, IsCaughtWithoutAlignment) {
  expect_kernel_caught(Rule::misaligned, [](const Code& code, auto source, auto target, auto stream, bool mistake) {
    return code.launch(source, target + (mistake ? 2 : 0), count - 1, stream);
  });
}

TEST(Kernel, IsCaughtInATrap) {
  expect_kernel_caught(Rule::bad_kernel, [](const Code& code, auto source, auto target, auto stream, bool mistake) {
    return code.launch(source, target, mistake ? 0 : count, stream);
  });
}

TEST(Kernel, IsCaughtReadingWhatAnotherStreamWrites) {
  const auto play = [](Scene& scene, bool mistake) {
    const Code code;
    const auto source = scene.allocate(array_bytes);
    const auto target = scene.allocate(array_bytes);
    const auto copies = scene.stream();
    const auto kernels = scene.stream();
    scene.copy_in(source, scene.pin(array_bytes), array_bytes, copies);
    if (!mistake) scene.join(copies, kernels);
    code.launch(source, target, count, kernels);
    for (const auto stream : {copies, kernels}) cu::cuStreamSynchronize(stream);
    cu::cuLibraryUnload(code.library);
  };
  // Where it comes first, it reads what nobody wrote, and is stopped by that.
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    for (const bool mistake : {false, true}) {
      Settings settings;
      settings.policy = seed == 1 ? Policy::eager : Policy::random;
      settings.seed = seed;
      Scene scene(settings);
      play(scene, mistake);
      const auto found = rules_of(take_violations());
      EXPECT_EQ(found.empty(), !mistake);
      EXPECT_THAT(found, testing::Each(testing::AnyOf(Rule::race, Rule::undefined)));
    }
  }
}

TEST(Kernel, IsCaughtWritingWhatAnotherStreamReads) {
  expect_caught(Rule::race, [](Scene& scene, bool mistake) {
    const Code code;
    const auto source = scene.allocate(array_bytes);
    const auto target = scene.allocate(array_bytes);
    const auto copies = scene.stream();
    const auto kernels = scene.stream();
    scene.copy_in(source, scene.pin(array_bytes), array_bytes, copies);
    scene.copy_in(target, scene.pin(array_bytes), array_bytes, copies);
    scene.join(copies, kernels);
    code.launch(source, target, count, kernels);
    if (!mistake) scene.join(kernels, copies);
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(scene.pin(array_bytes), target + array_bytes - 1, 1, copies));
    for (const auto stream : {copies, kernels}) Scene::synchronize(stream);
    code.unload();
  });
}

TEST(Kernel, MayReadWhatAnotherStreamReads) {
  Scene scene;
  const Code code;
  const auto source = scene.allocate(array_bytes);
  const auto copies = scene.stream();
  const auto kernels = scene.stream();
  scene.copy_in(source, scene.pin(array_bytes), array_bytes, copies);
  scene.join(copies, kernels);
  Scene::ok(code.launch(source, scene.allocate(array_bytes), count, kernels));
  Scene::ok(cu::cuMemcpyDtoHAsync_v2(scene.pin(array_bytes), source, array_bytes, copies));
  for (const auto stream : {copies, kernels}) Scene::synchronize(stream);
  code.unload();
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(Kernel, MayWriteBesideAnotherStream) {
  Scene scene;
  const Code code;
  const auto source = scene.allocate(array_bytes);
  const auto target = scene.allocate(2 * array_bytes);
  const auto copies = scene.stream();
  const auto kernels = scene.stream();
  scene.copy_in(source, scene.pin(array_bytes), array_bytes, copies);
  scene.join(copies, kernels);
  Scene::ok(code.launch(source, target, count, kernels));
  scene.copy_in(target + array_bytes, scene.pin(array_bytes), array_bytes,
                copies);  // begins with the byte after the kernel's last
  for (const auto stream : {copies, kernels}) Scene::synchronize(stream);
  code.unload();
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(Kernel, MayReadBesideWhatAnotherStreamWrites) {
  Scene scene;
  const Code code;
  const auto both = scene.allocate(2 * array_bytes);
  const auto copies = scene.stream();
  const auto kernels = scene.stream();
  const auto* slab = scene.pin(2 * array_bytes);
  scene.copy_in(both, slab, 2 * array_bytes, copies);
  scene.join(copies, kernels);
  Scene::ok(code.launch(both, scene.allocate(array_bytes), count, kernels));
  scene.copy_in(both + array_bytes, slab, array_bytes,
                copies);  // begins with the byte after the last that the kernel reads
  for (const auto stream : {copies, kernels}) Scene::synchronize(stream);
  EXPECT_THAT(take_violations(), testing::IsEmpty());
  scene.copy_in(both + array_bytes - 1, slab, 1, copies);
  Scene::synchronize(copies);
  EXPECT_THAT(take_violations(), testing::IsEmpty()) << "the host has waited";
  Scene::ok(code.launch(both, scene.allocations[1], count, kernels));
  scene.copy_in(both + array_bytes - 1, slab, 1, copies);
  EXPECT_THAT(rules_of(take_violations()), testing::ElementsAre(Rule::race));
  Scene::synchronize(kernels);
  Scene::synchronize(copies);
  code.unload();
}

TEST(Kernel, ThatFaultsKillsTheContext) {
  for (const auto& [offset, elements, expected] : {std::tuple{4u, count, Result::illegal_address},
                                                   {2u, count - 1, Result::misaligned_address},
                                                   {0u, 0u, Result::launch_failed}}) {
    Scene scene;
    const Code code;
    const auto source = scene.allocate(array_bytes);
    const auto target = scene.allocate(array_bytes);
    const auto stream = scene.stream();
    scene.copy_in(source, scene.pin(array_bytes), array_bytes, stream);
    code.launch(source, target + offset, elements, stream);
    EXPECT_EQ(cu::cuStreamSynchronize(stream), expected);
    EXPECT_EQ(cu::cuMemFree_v2(target), expected);
    EXPECT_EQ(take_violations().size(), 1u);
  }
}

TEST(Kernel, MustNotBeUnloadedWhileItMayRun) {
  expect_caught(Rule::in_use, [](Scene& scene, bool mistake) {
    const Code code;
    const auto source = scene.allocate(array_bytes);
    const auto stream = scene.stream();
    scene.copy_in(source, scene.pin(array_bytes), array_bytes, stream);
    Scene::ok(code.launch(source, source, count, stream));
    if (!mistake) Scene::synchronize(stream);
    code.unload();
  });
}

TEST(Kernel, IsRefusedInImpossibleShapes) {
  Scene scene;
  const Code code;
  const auto stream = scene.stream();
  std::uint64_t number = 1;
  void* arguments[] = {&number, &number, &number};
  const auto launch = [&](unsigned grid, unsigned threads, unsigned shared_bytes) {
    return cu::cuLaunchKernel(code.function, grid, 1, 1, threads, 1, 1, shared_bytes, stream, arguments, nullptr);
  };
  EXPECT_EQ(launch(0, 32, 0), Result::invalid_value);
  EXPECT_EQ(launch(1, 0, 0), Result::invalid_value);
  EXPECT_EQ(launch(1, 1025, 0), Result::invalid_value);
  EXPECT_EQ(launch(1, 1, 4), Result::not_supported);
  code.unload();
  EXPECT_EQ(launch(1, 1, 0), Result::invalid_handle);
  EXPECT_THAT(rules_of(take_violations()), testing::ElementsAre(Rule::bad_handle));
}

TEST(Kernel, TakesItsTimeBesideCopies) {
  Settings settings;
  settings.clock = Clock::stepped;
  settings.devices = {DeviceSettings{1 << 20, 90, 1e9, 100, 0, 1e9, 10}};
  Scene scene(settings);
  const Code code;
  const auto source = scene.allocate(array_bytes);
  const auto target = scene.allocate(3 * array_bytes);
  const auto copies = scene.stream();
  const auto kernels = scene.stream();
  const auto* slab = scene.pin(3 * array_bytes);
  scene.copy_in(source, slab, array_bytes, copies);
  scene.join(copies, kernels);
  Scene::ok(code.launch(source, target, count, kernels));
  scene.copy_in(target + array_bytes, slab, array_bytes, copies);
  advance_to(500);
  EXPECT_EQ(next_completion(), 500u + 500) << "the second copy";
  advance_to(1000);
  EXPECT_EQ(next_completion(), 500u + 10 + 2 * array_bytes) << "the kernel: it loads and stores 400 bytes";
  advance_to(1310);
  EXPECT_EQ(next_completion(), std::nullopt);
  Scene::synchronize(kernels);
  code.unload();
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(Image, MustNotBeNewerThanTheDriver) {
  const std::string newer = std::string(".version 9.0") + (std::strstr(text, "6.3") + 3);
  for (const auto& [driver_version, expected] :
       {std::pair{12040, Result::unsupported_ptx_version}, {13000, Result::success}}) {
    Settings settings;
    settings.driver_version = driver_version;
    Scene scene(settings);
    cu::Module module = nullptr;
    EXPECT_EQ(cu::cuModuleLoadData(&module, newer.c_str()), expected);
    Scene::ok(cu::cuModuleLoadData(&module, text));
    cu::Function function = nullptr;
    Scene::ok(cu::cuModuleGetFunction(&function, module, "increment"));
    EXPECT_EQ(cu::cuModuleGetFunction(&function, module, "decrement"), Result::not_found);
  }
}

TEST(Image, OfALibraryIsRefusedWhereItIsLaunchedIfDriversLoadLazily) {
  const std::string newer = std::string(".version 9.0") + (std::strstr(text, "6.3") + 3);
  for (const auto& [driver_version, is_lazy] : {std::pair{12010, false}, {12020, true}}) {
    Settings settings;
    settings.driver_version = driver_version;
    Scene scene(settings);
    cu::Library library = nullptr;
    const Result loaded = cu::cuLibraryLoadData(&library, newer.c_str(), nullptr, nullptr, 0, nullptr, nullptr, 0);
    EXPECT_EQ(loaded, is_lazy ? Result::success : Result::unsupported_ptx_version);
    if (!is_lazy) continue;
    cu::Kernel kernel = nullptr;
    Scene::ok(cu::cuLibraryGetKernel(&kernel, library, "increment"));
    EXPECT_EQ(cu::cuLaunchKernel(reinterpret_cast<cu::Function>(kernel), 1, 1, 1, 1, 1, 1, 0, scene.stream(), nullptr,
                                 nullptr),
              Result::unsupported_ptx_version);
    Scene::ok(cu::cuLibraryUnload(library));
    scene.close();
    EXPECT_THAT(take_violations(), testing::IsEmpty());
  }
}

TEST(Image, MustParse) {
  Scene scene;
  cu::Module module = nullptr;
  EXPECT_EQ(cu::cuModuleLoadData(&module, ".version 6.3\n.target sm_75\nnonsense\n"), Result::invalid_ptx);
  EXPECT_THAT(rules_of(take_violations()), testing::ElementsAre(Rule::bad_kernel));
}

TEST(Image, MayBeTheLibrarysOwn) {
  if (kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
  for (const auto image : {kernel_fatbinary(), kernel_ptx_for_old_drivers()}) {
    Scene scene;
    cu::Library library = nullptr;
    cu::Kernel kernel = nullptr;
    Scene::ok(cu::cuLibraryLoadData(&library, image.data(), nullptr, nullptr, 0, nullptr, nullptr, 0));
    Scene::ok(cu::cuLibraryGetKernel(&kernel, library, "sluice_deliver"));
    Scene::ok(cu::cuLibraryUnload(library));
    scene.close();
    EXPECT_THAT(take_violations(), testing::IsEmpty());
  }
}

}  // namespace
}  // namespace sluice::sim
