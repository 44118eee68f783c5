// Goal: the sentence names the resource that needs most of the time by itself; none where none does; numbers in it are
// those that were measured.
// Method: a table of machines by numbers, each with one thing that is slow.
#include "loader/tool/diagnosis.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace sluice::tool {
namespace {

using testing::HasSubstr;
using testing::Not;

/// A cold start of 1 GB onto a GPU that takes a second, on a machine where nothing needs more than a tenth of that.
Evidence fast_machine() {
  Evidence evidence;
  evidence.seconds = 1;
  evidence.phases = {{"open", 0.01}, {"plan", 0.01}, {"start-up", 0.1}, {"load", 0.88}};
  evidence.storage_bytes = 1'000'000'000;
  evidence.storage_bytes_per_second = 10e9;
  evidence.links = {{"cuda:0", 1'000'000'000, 50e9}, {"cuda:1", 500'000'000, 50e9}};
  evidence.driver_seconds = 0.05;
  evidence.cpu_seconds = 0.2;
  evidence.processors = 8;
  evidence.threads = 8;
  return evidence;
}

struct Case {
  const char* what;
  std::function<void(Evidence&)> spoil;
  std::optional<Resource> bottleneck;
  const char* said;
};

TEST(Diagnosis, NamesWhatNeedsMostOfTheTime) {
  const Case cases[] = {
      {"nothing", [](Evidence&) {}, std::nullopt,
       "nothing measured explains it: of the 1 s, storage would take 100 ms"},
      {"a slow disk", [](Evidence& it) { it.storage_bytes_per_second = 1.1e9; }, Resource::storage,
       "1.0 GB at 1.1 GB/s from storage takes 909 ms of the 1 s (91 %)"},
      {"a slow link to the second GPU", [](Evidence& it) { it.links[1].bytes_per_second = 0.6e9; }, Resource::link,
       "500.0 MB at 0.6 GB/s over the link to cuda:1 takes 833 ms"},
      {"a slow driver", [](Evidence& it) { it.driver_seconds = 0.6; }, Resource::driver,
       "starting the driver takes 600 ms of the 1 s (60 %)"},
      {"one processor",
       [](Evidence& it) {
         it.cpu_seconds = 0.95;
         it.processors = it.threads = 1;
       },
       Resource::processor, "950 ms of processor time on 1 processor takes 950 ms"},
      {"one thread on many processors",
       [](Evidence& it) {
         it.cpu_seconds = 0.95;
         it.threads = 1;
       },
       Resource::processor, "on 1 thread"},
      {"many tensors",
       [](Evidence& it) {
         it.cpu_seconds = 4.8;
         it.phases = {{"open", 0.8}, {"plan", 0.1}, {"start-up", 0.05}, {"load", 0.05}};
       },
       Resource::processor, "most of it went into open and plan"},
      {"fresh memory",
       [](Evidence& it) {
         it.fresh_bytes = 1'000'000'000;
         it.fresh_bytes_per_second = 1.4e9;
       },
       Resource::memory, "making 1.0 GB at 1.4 GB/s of fresh memory present"},
      {"a slow page cache",
       [](Evidence& it) {
         it.storage_bytes = 0;
         it.cached_bytes = 1'000'000'000;
         it.cache_bytes_per_second = 1.4e9;
       },
       Resource::memory, "1.0 GB at 1.4 GB/s out of the page cache takes"},
      {"two that take most of it: the longer",
       [](Evidence& it) {
         it.storage_bytes_per_second = 1.5e9;
         it.driver_seconds = 0.8;
       },
       Resource::driver, "driver start-up holds it back"},
      {"three that share it",
       [](Evidence& it) {
         it.storage_bytes_per_second = 2.5e9;
         it.driver_seconds = 0.3;
         it.cpu_seconds = 2.4;
       },
       std::nullopt, "the longest phase was load with 880 ms"},
      {"others on the machine", [](Evidence& it) { it.others_share = 0.7; }, std::nullopt,
       "while others used 70 % of the processors"},
      {"a limit that the load passed", [](Evidence& it) { it.storage_bytes_per_second = 0.8e9; }, Resource::storage,
       "took 1.25 s by itself, where all of the start took 1 s"},
  };
  for (const Case& one : cases) {
    Evidence evidence = fast_machine();
    one.spoil(evidence);
    const Diagnosis diagnosis = diagnose(evidence);
    EXPECT_EQ(diagnosis.bottleneck, one.bottleneck) << one.what;
    EXPECT_THAT(diagnosis.sentence, HasSubstr(one.said)) << one.what;
    EXPECT_THAT(diagnosis.sentence, Not(HasSubstr("\n"))) << one.what;
  }
}

TEST(Diagnosis, TakesProcessorsThatCopyForMemory) {
  Evidence evidence = fast_machine();
  evidence.storage_bytes = 0;
  evidence.cached_bytes = 1'000'000'000;
  evidence.cache_bytes_per_second = 1.3e9;
  evidence.cache_into_fresh_memory = true;
  evidence.cpu_seconds = 0.9 * evidence.processors;
  EXPECT_EQ(diagnose(evidence).bottleneck, Resource::memory);
  EXPECT_THAT(diagnose(evidence).sentence, HasSubstr("into fresh memory"));
  // A cast on top of the copying is more than that.
  evidence.cache_bytes_per_second = 3e9;
  evidence.casts = true;
  EXPECT_EQ(diagnose(evidence).bottleneck, Resource::processor);
  EXPECT_THAT(diagnose(evidence).sentence, HasSubstr("a dtype that needs no cast"));
  evidence.casts = false;
  EXPECT_THAT(diagnose(evidence).sentence, Not(HasSubstr("cast")));
}

TEST(Diagnosis, DoesNotCallItTheProcessorWhereOtherThreadsWorked) {
  // Sixteen threads of a reader beside one that copies: 4 s of processor time in 1 s, on 8 processors.
  Evidence evidence = fast_machine();
  evidence.threads = 1;
  evidence.cpu_seconds = 4;
  const Diagnosis diagnosis = diagnose(evidence);
  EXPECT_EQ(diagnosis.explanations.front().resource, Resource::processor);
  EXPECT_DOUBLE_EQ(diagnosis.explanations.front().seconds, 1);
}

TEST(Diagnosis, KnowsTheLimitOfTheMachine) {
  Evidence evidence = fast_machine();
  evidence.driver_seconds = 0.9;
  const Diagnosis diagnosis = diagnose(evidence);
  ASSERT_TRUE(diagnosis.limit);
  EXPECT_EQ(diagnosis.limit->resource, Resource::storage);  // neither driver nor processor: those a loader can hide
  EXPECT_DOUBLE_EQ(diagnosis.limit->seconds, 0.1);
  for (std::size_t i = 1; i < diagnosis.explanations.size(); ++i) {
    EXPECT_GE(diagnosis.explanations[i - 1].seconds, diagnosis.explanations[i].seconds);
  }
}

TEST(Diagnosis, NothingMeasuredExplainsNothing) {
  Evidence evidence;
  evidence.seconds = 0.002;
  const Diagnosis diagnosis = diagnose(evidence);
  EXPECT_FALSE(diagnosis.bottleneck);
  EXPECT_FALSE(diagnosis.limit);
  EXPECT_THAT(diagnosis.sentence, HasSubstr("nothing measured explains it"));
}

TEST(Diagnosis, EveryResourceHasAName) {
  EXPECT_EQ(name(Resource::storage), "storage");
  EXPECT_EQ(name(Resource::link), "link");
  EXPECT_EQ(name(Resource::memory), "memory");
  EXPECT_EQ(name(Resource::processor), "processor");
  EXPECT_EQ(name(Resource::driver), "driver start-up");
}

}  // namespace
}  // namespace sluice::tool
