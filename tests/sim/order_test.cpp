// Goal: what nothing orders is reported, whatever order this run happened to take; what is ordered is not; and the
// policies do take different orders.
// Method: as in memory_test.cpp; then what is done when, seen by the data.
#include <set>
#include <thread>
#include <utility>

#include "tests/sim/scene.hpp"

namespace sluice::sim {
namespace {

TEST(Order, OfTwoCopiesToOnePlaceMustBeGivenByAnEvent) {
  expect_caught(Rule::race, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    const auto first = scene.stream();
    const auto second = scene.stream();
    scene.copy_in(target, scene.pin(size), size, first);
    if (!mistake) scene.join(first, second);
    scene.copy_in(target + size - 1, scene.pin(1), 1, second);
  });
}

TEST(Order, MayBeGivenByTheHost) {
  expect_caught(Rule::race, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    const auto first = scene.stream();
    const auto second = scene.stream();
    scene.copy_in(target, scene.pin(size), size, first);
    Scene::synchronize(mistake ? second : first);
    scene.copy_in(target, scene.pin(size), size, second);
  });
}

TEST(Order, GoesOnFromStreamToStream) {
  expect_caught(Rule::race,
                [](Scene& scene, bool mistake) {
                  const auto target = scene.allocate(size);
                  const auto first = scene.stream();
                  const auto second = scene.stream();
                  const auto third = scene.stream();
                  scene.copy_in(target, scene.pin(size), size, first);
                  scene.join(first, second);
                  if (!mistake) scene.join(second, third);
                  Scene::ok(cu::cuMemcpyDtoHAsync_v2(scene.pin(size), target, size, third));
                },
                {Rule::undefined});
}

TEST(Order, OfAnEventIsThatOfItsRecordNotOfLaterWork) {
  expect_caught(Rule::race, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    const auto first = scene.stream();
    const auto second = scene.stream();
    const auto done = scene.event();
    if (mistake) Scene::ok(cu::cuEventRecord(done, first));
    scene.copy_in(target, scene.pin(size), size, first);
    if (!mistake) Scene::ok(cu::cuEventRecord(done, first));
    Scene::ok(cu::cuStreamWaitEvent(second, done, 0));
    scene.copy_in(target, scene.pin(size), size, second);
  });
}

TEST(Order, OfReadersAmongEachOtherIsFree) {
  Scene scene;
  const auto target = scene.allocate(size);
  const auto writer = scene.stream();
  scene.copy_in(target, scene.pin(size), size, writer);
  for (int i = 0; i < 3; ++i) {
    const auto reader = scene.stream();
    scene.join(writer, reader);
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(scene.pin(size), target + 100u * static_cast<unsigned>(i), 500, reader));
  }
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(Order, OfAWriterMustComeAfterAllReaders) {
  expect_caught(Rule::race, [](Scene& scene, bool mistake) {
    const auto target = scene.allocate(size);
    const auto writer = scene.stream();
    const auto reader = scene.stream();
    scene.copy_in(target, scene.pin(size), size, writer);
    scene.join(writer, reader);
    Scene::ok(cu::cuMemcpyDtoHAsync_v2(scene.pin(size), target, size, reader));
    if (!mistake) scene.join(reader, writer);
    scene.copy_in(target, scene.pin(size), size, writer);
  });
}

TEST(Order, OfTheDefaultStreamIsNotThatOfNonBlockingOnes) {
  for (const unsigned flags : {cu::stream_non_blocking, 0u}) {
    Settings settings;
    Scene scene(settings);
    const auto target = scene.allocate(size);
    std::byte back[size];
    scene.copy_in(target, scene.pin(size), size, scene.stream(flags));
    Scene::ok(cu::cuMemcpyDtoH_v2(back, target, size));
    EXPECT_EQ(rules_of(take_violations()), flags == 0 ? std::vector<Rule>{} : std::vector<Rule>{Rule::race});
  }
}

TEST(Order, MustBeKnownToTheHostBeforeItFrees) {
  const auto play = [](Scene& scene, bool mistake) {
    cu::DevicePointer pointer = 0;
    Scene::ok(cu::cuMemAlloc_v2(&pointer, size));
    const auto stream = scene.stream();
    scene.copy_in(pointer, scene.pin(size), size, stream);
    if (!mistake) Scene::synchronize(stream);
    Scene::ok(cu::cuMemFree_v2(pointer));
  };
  expect_caught(Rule::in_use, play, {Rule::freed});
}

TEST(Order, MustBeKnownToTheHostBeforeItDestroysAStream) {
  expect_caught(Rule::in_use, [](Scene& scene, bool mistake) {
    cu::Stream stream = nullptr;
    Scene::ok(cu::cuStreamCreate(&stream, cu::stream_non_blocking));
    scene.copy_in(scene.allocate(size), scene.pin(size), size, stream);
    if (!mistake) Scene::synchronize(stream);
    Scene::ok(cu::cuStreamDestroy_v2(stream));
    if (mistake) {
      EXPECT_EQ(cu::cuStreamSynchronize(nullptr), cu::Result::success);
    }
  });
}

TEST(Order, OutlivesTheEventThatMadeIt) {
  expect_caught(Rule::race, [](Scene& scene, bool mistake) {
    const auto [earlier, later] = std::pair(scene.stream(), scene.stream());
    const auto target = scene.allocate(size);
    cu::Event event = nullptr;
    Scene::ok(cu::cuEventCreate(&event, cu::event_disable_timing));
    scene.copy_in(target, scene.pin(size), size, earlier);
    Scene::ok(cu::cuEventRecord(event, earlier));
    if (!mistake) Scene::ok(cu::cuStreamWaitEvent(later, event, 0));
    Scene::ok(cu::cuEventDestroy_v2(event));
    scene.copy_in(target, scene.pin(size), size, later);
  });
}

TEST(Order, NeedsHandlesThatAreAlive) {
  expect_caught(Rule::bad_handle, [](Scene& scene, bool mistake) {
    cu::Stream stream = nullptr;
    Scene::ok(cu::cuStreamCreate(&stream, cu::stream_non_blocking));
    if (!mistake) Scene::synchronize(stream);
    Scene::ok(cu::cuStreamDestroy_v2(stream));
    if (mistake) {
      EXPECT_EQ(cu::cuStreamSynchronize(stream), cu::Result::invalid_handle);
    }
    scene.stream();
  });
  expect_caught(Rule::bad_handle, [](Scene& scene, bool mistake) {
    const auto stream = scene.stream();
    const auto event = scene.event();
    const auto wrong = reinterpret_cast<cu::Event>(stream);
    EXPECT_EQ(cu::cuEventRecord(mistake ? wrong : event, stream),
              mistake ? cu::Result::invalid_handle : cu::Result::success);
  });
}

/// In which order ten independent copies are done, seen by a host that asks for nothing but how many were.
std::vector<std::uint64_t> progress(Policy policy, std::uint64_t seed) {
  Settings settings;
  settings.policy = policy;
  settings.seed = seed;
  Scene scene(settings);
  const auto target = scene.allocate(size);
  const auto* slab = scene.pin(size);
  std::vector<cu::Stream> streams;
  for (int i = 0; i < 10; ++i) streams.push_back(scene.stream());
  std::vector<std::uint64_t> done;
  for (unsigned i = 0; i < 10; ++i) {
    scene.copy_in(target + i, slab, 1, streams[i]);
    done.push_back(counters().copies_in);
  }
  Scene::synchronize(streams[9]);
  done.push_back(counters().copies_in);
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
  return done;
}

TEST(Policies, DoWorkAtOnceOrOnlyWhatSomebodyWaitsFor) {
  EXPECT_THAT(progress(Policy::eager, 1), testing::ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10));
  for (const Policy policy : {Policy::lazy, Policy::never}) {
    EXPECT_THAT(progress(policy, 1), testing::ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1));
  }
}

TEST(Policies, GiveAnotherOrderForEachSeedAndTheSameForTheSame) {
  std::set<std::vector<std::uint64_t>> orders;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    orders.insert(progress(Policy::random, seed));
    EXPECT_EQ(progress(Policy::random, seed), progress(Policy::random, seed));
  }
  EXPECT_GT(orders.size(), 40u);
}

TEST(Policies, LetASecondStreamOvertakeTheFirst) {
  // Two copies to one byte, a race by purpose: which value stays says which was last.
  std::set<std::byte> last;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Settings settings;
    settings.policy = Policy::random;
    settings.seed = seed;
    Scene scene(settings);
    const auto target = scene.allocate(1);
    scene.copy_in(target, scene.pin(1, 1), 1, scene.stream());
    scene.copy_in(target, scene.pin(1, 2), 1, scene.stream());
    for (const auto stream : scene.streams) Scene::synchronize(stream);
    last.insert(*peek(target));
    EXPECT_THAT(rules_of(take_violations()), testing::ElementsAre(Rule::race));
  }
  EXPECT_THAT(last, testing::ElementsAre(std::byte{1}, std::byte{2}));
}

TEST(Policies, FinishWhatSomebodyKeepsAskingFor) {
  for (const Policy policy : {Policy::eager, Policy::lazy, Policy::random}) {
    Settings settings;
    settings.policy = policy;
    Scene scene(settings);
    const auto first = scene.stream();
    const auto second = scene.stream();
    scene.copy_in(scene.allocate(size), scene.pin(size), size, first);
    scene.join(first, second);
    const auto done = scene.event();
    Scene::ok(cu::cuEventRecord(done, second));
    int polls = 0;
    while (cu::cuEventQuery(done) == cu::Result::not_ready) ASSERT_LT(++polls, 100);
    if (policy == Policy::lazy) {
      EXPECT_EQ(polls, 2);
    }
    while (cu::cuStreamQuery(first) == cu::Result::not_ready) ASSERT_LT(++polls, 100);
    scene.close();
    EXPECT_THAT(take_violations(), testing::IsEmpty());
  }
}

TEST(Policies, NeverDoWhatIsOnlyAskedForIfSoTold) {
  Settings settings;
  settings.policy = Policy::never;
  Scene scene(settings);
  const auto stream = scene.stream();
  const auto before = scene.event(0);
  Scene::ok(cu::cuEventRecord(before, stream));
  scene.copy_in(scene.allocate(size), scene.pin(size), size, stream);
  const auto after = scene.event(0);
  Scene::ok(cu::cuEventRecord(after, stream));
  float milliseconds = 0;
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(cu::cuEventQuery(after), cu::Result::not_ready);
    ASSERT_EQ(cu::cuStreamQuery(stream), cu::Result::not_ready);
    ASSERT_EQ(cu::cuEventElapsedTime(&milliseconds, before, after), cu::Result::not_ready);
  }
  EXPECT_EQ(counters().copies_in, 0u);
  Scene::ok(cu::cuEventSynchronize(after));
  Scene::ok(cu::cuStreamQuery(stream));
  EXPECT_EQ(counters().copies_in, 1u);
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(Policies, StandManyThreads) {
  for (const Policy policy : policies) {
    Settings settings;
    settings.policy = policy;
    Scene scene(settings);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      const auto target = scene.allocate(size);
      auto* slab = scene.pin(size);
      const auto copies = scene.stream();
      const auto done = scene.event();
      threads.emplace_back([&scene, target, slab, copies, done] {
        Scene::ok(cu::cuCtxSetCurrent(scene.contexts[0]));
        for (int i = 0; i < 100; ++i) {
          slab[0] = std::byte(i);
          scene.copy_in(target, slab, size, copies);
          Scene::ok(cu::cuEventRecord(done, copies));
          Scene::ok(cu::cuEventSynchronize(done));
          EXPECT_EQ(*peek(target), std::byte(i));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    scene.close();
    EXPECT_THAT(take_violations(), testing::IsEmpty());
    EXPECT_EQ(counters().copies_in, 400u);
  }
}

TEST(Events, ThatWereNeverRecordedAreDone) {
  Settings settings;
  settings.policy = Policy::lazy;
  Scene scene(settings);
  const auto event = scene.event();
  Scene::ok(cu::cuEventQuery(event));
  Scene::ok(cu::cuEventSynchronize(event));
  Scene::ok(cu::cuStreamWaitEvent(scene.stream(), event, 0));
  Scene::ok(cu::cuStreamQuery(scene.streams[0]));
}

TEST(Events, OrderStreamsOfDifferentDevices) {
  Settings settings;
  settings.policy = Policy::lazy;
  Scene scene(settings);
  const auto here = scene.stream();
  const auto target = scene.allocate(size);
  scene.copy_in(target, scene.pin(size), size, here);
  const auto done = scene.event();
  Scene::ok(cu::cuEventRecord(done, here));
  Scene::ok(cu::cuCtxSetCurrent(scene.contexts[1]));
  const auto there = scene.stream();
  Scene::ok(cu::cuStreamWaitEvent(there, done, 0));
  EXPECT_EQ(cu::cuEventRecord(done, there), cu::Result::invalid_handle);
  EXPECT_EQ(cu::cuMemcpyHtoDAsync_v2(target, scene.pinned[0], 1, here), cu::Result::invalid_handle);
  Scene::synchronize(there);
  EXPECT_EQ(counters().copies_in, 1u);
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

}  // namespace
}  // namespace sluice::sim
