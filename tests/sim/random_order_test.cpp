// Goal: a race is reported exactly when there is one, whatever the policy, in one piece of memory or two.
// Method: random programs of copies, events, waits and synchronisations on a few streams, beside an oracle that thinks
// otherwise: a graph of all operations, closed transitively, in which it looks for two accesses without a path.
#include <optional>
#include <random>

#include "tests/sim/scene.hpp"

namespace sluice::sim {
namespace {

constexpr std::size_t stream_count = 3;
constexpr std::size_t event_count = 2;
constexpr std::uint64_t memory_bytes = 40;
constexpr std::size_t steps_max = 14;

struct Step {
  enum Kind { write, read, record, wait, synchronize_stream, synchronize_event, kinds } kind;
  std::size_t stream;
  std::size_t event;
  std::uint64_t begin;
  std::uint64_t end;
};

std::vector<Step> random_program(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Step> steps(2 + random() % (steps_max - 1));
  for (Step& step : steps) {
    const std::uint64_t begin = random() % memory_bytes;
    step = {static_cast<Step::Kind>(random() % Step::kinds), random() % stream_count, random() % event_count, begin,
            begin + 1 + random() % (memory_bytes - begin)};
  }
  return steps;
}

/// Whether two accesses, one of them a write, touch the same byte and no path leads from one to the other.
bool has_race(const std::vector<Step>& steps) {
  constexpr std::size_t none = steps_max;
  bool before[steps_max][steps_max] = {};
  std::vector<std::size_t> last_of_stream(stream_count, none);
  std::vector<std::size_t> record_of_event(event_count, none);
  std::size_t last_of_host = none;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    const auto after = [&](std::size_t earlier) {
      if (earlier == none) return;
      before[earlier][i] = true;
      for (std::size_t j = 0; j < i; ++j) before[j][i] |= before[j][earlier];
    };
    after(last_of_host);
    if (step.kind == Step::synchronize_stream) {
      after(last_of_stream[step.stream]);
    } else if (step.kind == Step::synchronize_event) {
      after(record_of_event[step.event]);
    } else {
      after(last_of_stream[step.stream]);
      if (step.kind == Step::wait) after(record_of_event[step.event]);
      if (step.kind == Step::record) record_of_event[step.event] = i;
      last_of_stream[step.stream] = i;
      continue;
    }
    last_of_host = i;
  }
  for (std::size_t i = 0; i < steps.size(); ++i) {
    for (std::size_t j = i + 1; j < steps.size(); ++j) {
      const bool accesses = steps[i].kind <= Step::read && steps[j].kind <= Step::read;
      const bool writes = steps[i].kind == Step::write || steps[j].kind == Step::write;
      const bool overlap = steps[i].begin < steps[j].end && steps[j].begin < steps[i].end;
      if (accesses && writes && overlap && !before[i][j]) return true;
    }
  }
  return false;
}

/// A reservation of two pages, each with memory of its own.
class TwoPages {
 public:
  TwoPages() {
    Scene::ok(cu::cuMemAddressReserve(&begin_, 2 * page_bytes, 0, 0, 0));
    const cu::MemoryProperties properties;
    for (const std::size_t page : {1, 0}) {
      cu::MemoryHandle memory = 0;
      Scene::ok(cu::cuMemCreate(&memory, page_bytes, &properties, 0));
      Scene::ok(cu::cuMemMap(begin_ + page * page_bytes, page_bytes, 0, memory, 0));
      Scene::ok(cu::cuMemRelease(memory));
    }
    const cu::MemoryAccess access{{}, cu::Access::read_write};
    Scene::ok(cu::cuMemSetAccess(begin_, 2 * page_bytes, &access, 1));
  }
  void give_back() const {
    Scene::ok(cu::cuMemUnmap(begin_, 2 * page_bytes));
    Scene::ok(cu::cuMemAddressFree(begin_, 2 * page_bytes));
  }
  cu::DevicePointer across() const { return begin_ + page_bytes - memory_bytes / 2; }

  static constexpr std::size_t page_bytes = 4096;

 private:
  cu::DevicePointer begin_ = 0;
};

/// The same, as the simulator sees it, in memory that is allocated or mapped.
bool reports_race(const std::vector<Step>& steps, const Settings& settings, bool mapped) {
  Scene scene(settings);
  std::optional<TwoPages> pages;
  if (mapped) pages.emplace();
  const auto memory = mapped ? pages->across() : scene.allocate(memory_bytes);
  const auto* source = scene.pin(memory_bytes);
  std::vector<cu::Stream> streams;
  std::vector<cu::Event> events;
  for (std::size_t i = 0; i < stream_count; ++i) streams.push_back(scene.stream());
  for (std::size_t i = 0; i < event_count; ++i) events.push_back(scene.event());
  scene.copy_in(memory, source, memory_bytes, streams[0]);
  Scene::synchronize(streams[0]);
  for (const Step& step : steps) {
    const cu::Stream stream = streams[step.stream];
    switch (step.kind) {
      case Step::write:
        scene.copy_in(memory + step.begin, source, step.end - step.begin, stream);
        break;
      case Step::read:
        Scene::ok(
            cu::cuMemcpyDtoHAsync_v2(scene.pin(memory_bytes), memory + step.begin, step.end - step.begin, stream));
        break;
      case Step::record:
        Scene::ok(cu::cuEventRecord(events[step.event], stream));
        break;
      case Step::wait:
        Scene::ok(cu::cuStreamWaitEvent(stream, events[step.event], 0));
        break;
      case Step::synchronize_stream:
        Scene::synchronize(stream);
        break;
      default:
        Scene::ok(cu::cuEventSynchronize(events[step.event]));
    }
  }
  for (const cu::Stream stream : streams) Scene::synchronize(stream);
  if (pages) pages->give_back();
  scene.close();
  const auto found = rules_of(take_violations());
  EXPECT_THAT(found, testing::Each(Rule::race));
  return !found.empty();
}

TEST(RandomOrder, RacesAreReportedWhereThereAreSome) {
  int races = 0;
  constexpr int programs = 1000;
  for (std::uint64_t seed = 1; seed <= programs; ++seed) {
    const std::vector<Step> steps = random_program(seed);
    const bool expected = has_race(steps);
    races += expected ? 1 : 0;
    for (const Policy policy : policies) {
      Settings settings;
      settings.devices = {DeviceSettings{1 << 16}};
      settings.devices[0].granularity = TwoPages::page_bytes;
      settings.policy = policy;
      settings.seed = seed;
      ASSERT_EQ(reports_race(steps, settings, seed % 2 == 0), expected)
          << "seed " << seed << ", policy " << static_cast<int>(policy);
    }
  }
  EXPECT_GT(races, programs / 10);
  EXPECT_LT(races, programs * 9 / 10);
}

}  // namespace
}  // namespace sluice::sim
