// Goal: copies in rows, and what sets memory, do what the manual says, in the order of their streams; and every mistake
// with them is caught, to the byte of a row.
// Method: as in memory_test.cpp; then the data, beside what plain loops make of it.
#include <cstring>
#include <thread>
#include <vector>

#include "tests/sim/scene.hpp"

namespace sluice::sim {
namespace {

using cu::Result;

constexpr std::size_t row_bytes = 10;
constexpr std::size_t row_count = 7;
constexpr std::size_t source_pitch = 16;
constexpr std::size_t target_pitch = 33;
constexpr std::size_t source_span = (row_count - 1) * source_pitch + row_bytes;
constexpr std::size_t target_span = (row_count - 1) * target_pitch + row_bytes;

cu::Copy2D copy_of_rows(const std::byte* source, cu::DevicePointer target) {
  cu::Copy2D copy;
  copy.source_type = cu::MemoryType::host;
  copy.source_host = source;
  copy.source_pitch = source_pitch;
  copy.target_type = cu::MemoryType::device;
  copy.target_device = target;
  copy.target_pitch = target_pitch;
  copy.width_bytes = row_bytes;
  copy.height = row_count;
  return copy;
}

Result queue_rows(const std::byte* source, cu::DevicePointer target, cu::Stream stream) {
  const cu::Copy2D copy = copy_of_rows(source, target);
  return cu::cuMemcpy2DAsync_v2(&copy, stream);
}

/// The device's bytes, all of which must have been written.
std::vector<std::byte> bytes_at(Scene& scene, cu::DevicePointer pointer, std::size_t bytes, cu::Stream stream) {
  const std::byte* const back = scene.pin(bytes);
  Scene::ok(cu::cuMemcpyDtoHAsync_v2(const_cast<std::byte*>(back), pointer, bytes, stream));
  Scene::synchronize(stream);
  return {back, back + bytes};
}

TEST(Rows, AreCopiedAndNothingBetweenThem) {
  for (const Policy policy : policies) {
    Settings settings;
    settings.policy = policy;
    Scene scene(settings);
    const auto stream = scene.stream();
    const auto target = scene.allocate(target_pitch * row_count);
    std::byte* const slab = scene.pin(3 + 2 * source_pitch + source_span);
    for (std::size_t i = 0; i < 3 + 2 * source_pitch + source_span; ++i) slab[i] = static_cast<std::byte>(i);
    Scene::ok(cu::cuMemsetD8Async(target, 0xEE, target_pitch * row_count, stream));
    cu::Copy2D copy = copy_of_rows(slab, target);
    copy.source_x_bytes = 3;
    copy.source_y = 2;
    copy.target_x_bytes = 5;
    copy.target_y = 1;
    copy.height = row_count - 1;
    Scene::ok(cu::cuMemcpy2DAsync_v2(&copy, stream));
    const std::vector<std::byte> got = bytes_at(scene, target, target_pitch * row_count, stream);
    std::vector<std::byte> want(target_pitch * row_count, std::byte{0xEE});
    for (std::size_t row = 0; row + 1 < row_count; ++row) {
      std::memcpy(want.data() + (row + 1) * target_pitch + 5, slab + (row + 2) * source_pitch + 3, row_bytes);
    }
    EXPECT_EQ(got, want);
    EXPECT_EQ(counters().copies_in, 1u);
    EXPECT_EQ(counters().bytes_in, (row_count - 1) * row_bytes);
    scene.close();
    EXPECT_THAT(take_violations(), testing::IsEmpty());
  }
}

TEST(Rows, LeaveWhatIsBetweenThemUndefined) {
  expect_caught(Rule::undefined, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(target_span);
    const auto stream = scene.stream();
    Scene::ok(queue_rows(scene.pin(source_span), target, stream));
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(scene.pin(row_bytes + 1), target, row_bytes + (mistake ? 1 : 0), stream));
  });
}

TEST(Rows, MustBeOfOneAllocationUpToTheLastByte) {
  expect_caught(Rule::out_of_bounds, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(target_span);
    const Result result = queue_rows(scene.pin(source_span), target + (mistake ? 1 : 0), scene.stream());
    EXPECT_EQ(result, mistake ? Result::invalid_value : Result::success);
  });
}

TEST(Rows, MustBePinnedUpToTheLastByte) {
  expect_caught(Rule::not_pinned, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(target_span);
    const std::byte* const source = scene.pin(source_span);
    const Result result = queue_rows(source + (mistake ? 1 : 0), target, scene.stream());
    EXPECT_EQ(result, mistake ? Result::invalid_value : Result::success);
  });
}

TEST(Rows, MustBePinnedInOnePiece) {
  alignas(page_bytes) static std::byte plain[2 * page_bytes];
  std::byte* const begin = plain + page_bytes - source_pitch;  // the second row begins a page
  expect_caught(Rule::not_pinned, [&](Scene& scene, bool mistake) {
    const auto target = scene.allocate(target_span);
    const auto stream = scene.stream();
    const std::size_t first = mistake ? source_pitch : source_span;
    Scene::ok(cu::cuMemHostRegister_v2(begin, first, 0));
    if (mistake) Scene::ok(cu::cuMemHostRegister_v2(begin + first, source_span - first, 0));
    queue_rows(begin, target, stream);
    Scene::synchronize(stream);
    Scene::ok(cu::cuMemHostUnregister(begin));
    if (mistake) Scene::ok(cu::cuMemHostUnregister(begin + first));
  });
}

TEST(Rows, MustStayPinnedWhileACopyIsPending) {
  std::vector<std::byte> plain(source_span);
  expect_caught(Rule::in_use, [&](Scene& scene, bool mistake) {
    Scene::ok(cu::cuMemHostRegister_v2(plain.data(), source_span, 0));
    const auto stream = scene.stream();
    Scene::ok(queue_rows(plain.data(), scene.allocate(target_span), stream));
    if (!mistake) Scene::synchronize(stream);
    Scene::ok(cu::cuMemHostUnregister(plain.data()));
  });
}

TEST(Rows, MustNotChangeWhileACopyIsPending) {
  expect_caught(Rule::overwritten, [](Scene& scene, bool mistake) {
    std::byte* const slab = scene.pin(source_span);
    const auto stream = scene.stream();
    Scene::ok(queue_rows(slab, scene.allocate(target_span), stream));
    slab[row_bytes] = std::byte{2};  // between the first two
    if (!mistake) Scene::synchronize(stream);
    slab[source_span - 1] = std::byte{2};
  });
}

TEST(Rows, MustNotBeFreedWhileACopyIsPending) {
  expect_caught(Rule::in_use,
                [](Scene& scene, bool mistake) {
                  cu::DevicePointer target = 0;
                  Scene::ok(cu::cuMemAlloc_v2(&target, target_span));
                  const auto stream = scene.stream();
                  Scene::ok(queue_rows(scene.pin(source_span), target, stream));
                  if (!mistake) Scene::synchronize(stream);
                  Scene::ok(cu::cuMemFree_v2(target));
                },
                {Rule::freed});
}

TEST(Rows, RaceWithWhatTouchesThemAndNotWithWhatLiesBetween) {
  expect_caught(Rule::race, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(target_span);
    Scene::ok(queue_rows(scene.pin(source_span), target, scene.stream()));
    const auto place = target + target_pitch + row_bytes - (mistake ? 1 : 0);
    scene.copy_in(place, scene.pin(1), 1, scene.stream());
  });
}

TEST(Rows, AreRefusedWhereTheyDoNotFitTheirPitch) {
  Scene scene;
  const auto target = scene.allocate(size);
  const std::byte* const source = scene.pin(size);
  const auto stream = scene.stream();
  const auto answer = [&](const std::function<void(cu::Copy2D&)>& change) {
    cu::Copy2D copy = copy_of_rows(source, target);
    change(copy);
    return cu::cuMemcpy2DAsync_v2(&copy, stream);
  };
  EXPECT_EQ(answer([](cu::Copy2D& copy) { copy.source_pitch = row_bytes; }), Result::success);
  EXPECT_EQ(answer([](cu::Copy2D& copy) { copy.source_pitch = row_bytes - 1; }), Result::invalid_value);
  EXPECT_EQ(answer([](cu::Copy2D& copy) { copy.target_pitch = row_bytes - 1; }), Result::invalid_value);
  EXPECT_EQ(answer([](cu::Copy2D& copy) { copy.source_x_bytes = source_pitch - row_bytes + 1; }),
            Result::invalid_value);
  int most = 0;
  Scene::ok(cu::cuDeviceGetAttribute(&most, cu::DeviceAttribute::max_pitch, 0));
  const auto with_pitch = [&](std::size_t pitch) {
    return answer([&](cu::Copy2D& copy) {
      copy.target_pitch = pitch;
      copy.height = 1;
    });
  };
  EXPECT_EQ(with_pitch(static_cast<std::size_t>(most)), Result::success);
  EXPECT_EQ(with_pitch(static_cast<std::size_t>(most) + 1), Result::invalid_value);
  EXPECT_EQ(answer([](cu::Copy2D& copy) { copy.height = 0; }), Result::success);
  EXPECT_EQ(answer([](cu::Copy2D& copy) { copy.source_type = cu::MemoryType::device; }), Result::not_supported)
      << "only copies to the device are simulated";
  EXPECT_EQ(cu::cuMemsetD2D8Async(target, row_bytes - 1, 0, row_bytes, 2, stream), Result::invalid_value);
  EXPECT_EQ(cu::cuMemsetD2D8Async(target, 0, 0, row_bytes, 1, stream), Result::success) << "of one row it is unused";
  EXPECT_EQ(cu::cuMemsetD8Async(target, 0, 0, stream), Result::success);
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(Memset, SetsWhatItSaysInTheOrderOfItsStream) {
  for (const Policy policy : policies) {
    Settings settings;
    settings.policy = policy;
    Scene scene(settings);
    const auto stream = scene.stream();
    const auto target = scene.allocate(target_span);
    Scene::ok(cu::cuMemsetD8Async(target, 1, target_span, stream));
    scene.copy_in(target, scene.pin(1, 2), 1, stream);
    Scene::ok(cu::cuMemsetD2D8Async(target + 1, target_pitch, 3, row_bytes - 1, row_count, stream));
    std::vector<std::byte> want(target_span, std::byte{1});
    for (std::size_t row = 0; row < row_count; ++row) std::memset(&want[row * target_pitch + 1], 3, row_bytes - 1);
    want[0] = std::byte{2};
    EXPECT_EQ(bytes_at(scene, target, target_span, stream), want);
    EXPECT_EQ(counters().launches, 0u);
    scene.close();
    EXPECT_THAT(take_violations(), testing::IsEmpty());
  }
}

TEST(Memset, StaysWithinItsAllocation) {
  for (const bool in_rows : {false, true}) {
    expect_caught(Rule::out_of_bounds, [in_rows](Scene& scene, bool mistake) {
      const auto target = scene.allocate(target_span) + (mistake ? 1 : 0);
      const auto stream = scene.stream();
      in_rows ? cu::cuMemsetD2D8Async(target, target_pitch, 0, row_bytes, row_count, stream)
              : cu::cuMemsetD8Async(target, 0, target_span, stream);
    });
  }
}

TEST(Memset, RacesAsOtherWritesDo) {
  for (const bool in_rows : {false, true}) {
    expect_caught(Rule::race, [in_rows](Scene& scene, bool mistake) {
      const auto target = scene.allocate(target_span);
      const auto first = scene.stream();
      const auto second = scene.stream();
      scene.copy_in(target, scene.pin(target_span), target_span, first);
      if (!mistake) scene.join(first, second);
      in_rows ? cu::cuMemsetD2D8Async(target, target_pitch, 0, row_bytes, row_count, second)
              : cu::cuMemsetD8Async(target, 0, target_span, second);
    });
  }
}

TEST(Memset, FailsAsOtherWorkDoes) {
  Scene scene;
  const auto stream = scene.stream();
  fail_operation(1);
  Scene::ok(cu::cuMemsetD8Async(scene.allocate(size), 0, size, stream));
  EXPECT_EQ(cu::cuStreamSynchronize(stream), Result::illegal_address);
}

TEST(Memset, TakesTheTimeOfAKernel) {
  Settings settings;
  settings.clock = Clock::stepped;
  settings.devices[0].kernel_bytes_per_second = 1e9;
  settings.devices[0].kernel_latency = 10;
  settings.devices[0].link_bytes_per_second = 1e9;
  settings.devices[0].link_latency = 100;
  Scene scene(settings);
  const auto target = scene.allocate(2 * size);
  const auto setting = scene.stream();
  const auto copying = scene.stream();
  Scene::ok(cu::cuMemsetD8Async(target, 0, size, setting));
  Scene::ok(queue_rows(scene.pin(source_span), target + size, copying));
  EXPECT_EQ(next_completion(), 100u + row_count * row_bytes);
  advance_to(10 + size - 1);
  EXPECT_EQ(cu::cuStreamQuery(copying), Result::success);
  EXPECT_EQ(cu::cuStreamQuery(setting), Result::not_ready);
  advance_to(10 + size);
  EXPECT_EQ(cu::cuStreamQuery(setting), Result::success);
}

TEST(Streams, TellTheirContext) {
  Scene scene;
  const auto mine = scene.stream();
  Scene::ok(cu::cuCtxSetCurrent(scene.contexts[1]));
  cu::Context context = nullptr;
  Scene::ok(cu::cuStreamGetCtx(mine, &context));
  EXPECT_EQ(context, scene.contexts[0]) << "whatever is current";
  for (const std::uint64_t special : {0, 1, 2}) {
    Scene::ok(cu::cuStreamGetCtx(reinterpret_cast<cu::Stream>(special), &context));
    EXPECT_EQ(context, scene.contexts[1]) << special;
  }
  Scene::ok(cu::cuCtxSetCurrent(nullptr));
  Scene::ok(cu::cuStreamGetCtx(mine, &context));
  EXPECT_EQ(cu::cuStreamGetCtx(nullptr, &context), Result::invalid_context);
}

TEST(Streams, HaveNumbersThatTheirHandlesDoNotSay) {
  Scene scene;
  const auto number_of = [](cu::Stream stream) {
    std::uint64_t number = 0;
    Scene::ok(cu::cuStreamGetId(stream, &number));
    return number;
  };
  const auto special = [](std::uint64_t handle) { return reinterpret_cast<cu::Stream>(handle); };
  const cu::Stream one = scene.stream();
  EXPECT_EQ(number_of(one), number_of(one));
  EXPECT_NE(number_of(one), number_of(scene.stream()));
  EXPECT_EQ(number_of(nullptr), number_of(special(1)));
  const std::uint64_t mine = number_of(special(2));
  EXPECT_EQ(number_of(special(2)), mine);
  std::thread([&] {
    std::uint64_t number = 0;
    EXPECT_EQ(cu::cuStreamGetId(special(2), &number), Result::invalid_context);
    Scene::ok(cu::cuCtxSetCurrent(scene.contexts[0]));
    EXPECT_NE(number_of(special(2)), mine);
  }).join();
}

TEST(Streams, TellNoContextOnceTheyAreDestroyed) {
  expect_caught(Rule::bad_handle, [](Scene& scene, bool mistake) {
    cu::Stream stream = nullptr;
    Scene::ok(cu::cuStreamCreate(&stream, 0));
    Scene::ok(cu::cuStreamDestroy_v2(stream));
    cu::Context context = nullptr;
    cu::cuStreamGetCtx(mistake ? stream : scene.stream(), &context);
  });
}

}  // namespace
}  // namespace sluice::sim
