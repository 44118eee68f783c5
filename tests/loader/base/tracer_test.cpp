// Goal: what a load did and when can be had from it, whole and in order, where it was asked for; and profilers that
// listen to NVTX are told the same.
// Method: small loads, whose plan says which spans there must be. The program itself takes the place of a profiler, by
// the door that NVTX has for those that are linked in; it counts ranges.
#include "loader/base/tracer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <thread>

#include "loader/base/limits.hpp"
#include "tests/loader/support/small_model.hpp"

namespace {

thread_local bool allocations_fail = false;  // of this thread

}  // namespace

void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return allocations_fail ? nullptr : std::malloc(bytes);
}
void* operator new(std::size_t bytes) {
  void* const memory = operator new(bytes, std::nothrow);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  std::free(memory);
}

#ifdef SLUICE_NVTX
#define NVTX_NO_IMPL  // types only: the library has the rest
#include <nvtx3/nvToolsExtPayload.h>

namespace {

struct Profiler {
  std::mutex mutex;
  std::map<std::string, unsigned> ranges;  // begun, by name
  unsigned open = 0;
  std::uint64_t bytes = 0;  // of all reads
  std::string domain;
};

Profiler& profiler() {
  static auto* const its = new Profiler;
  return *its;
}

/// A registered string is its own text here.
void begin(const nvtxEventAttributes_t* attributes) {
  Profiler& its = profiler();
  const std::lock_guard lock(its.mutex);
  const std::string name = reinterpret_cast<const char*>(attributes->message.registered);
  ++its.ranges[name];
  ++its.open;
  if (name != "read") return;
  const auto* data = reinterpret_cast<const nvtxPayloadData_t*>(attributes->payload.ullValue);
  std::uint64_t values[3];
  std::memcpy(values, data->payload, sizeof values);
  its.bytes += values[2];
}

void end() {
  const std::lock_guard lock(profiler().mutex);
  --profiler().open;
}

int listen(NvtxGetExportTableFunc_t get_table) {
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) == 0) return 0;
  const auto set = [&](int call, auto* function) { *table[call] = reinterpret_cast<NvtxFunctionPointer>(function); };
  set(
      NVTX_CBID_CORE2_DomainCreateA, +[](const char* name) {
        profiler().domain = name;
        return reinterpret_cast<nvtxDomainHandle_t>(&profiler());
      });
  set(
      NVTX_CBID_CORE2_DomainRegisterStringA, +[](nvtxDomainHandle_t, const char* text) {
        return reinterpret_cast<nvtxStringHandle_t>(const_cast<char*>(text));
      });
  set(
      NVTX_CBID_CORE2_DomainRangePushEx, +[](nvtxDomainHandle_t, const nvtxEventAttributes_t* attributes) {
        begin(attributes);
        return 0;
      });
  set(
      NVTX_CBID_CORE2_DomainRangePop, +[](nvtxDomainHandle_t) {
        end();
        return 0;
      });
  set(
      NVTX_CBID_CORE2_DomainRangeStartEx, +[](nvtxDomainHandle_t, const nvtxEventAttributes_t* attributes) {
        begin(attributes);
        return nvtxRangeId_t{1};
      });
  set(
      NVTX_CBID_CORE2_DomainRangeEnd, +[](nvtxDomainHandle_t, nvtxRangeId_t) { end(); });
  return 1;
}

int listen_to_extension(nvtxExtModuleInfo_t* module) {
  if (module->moduleId != NVTX_EXT_PAYLOAD_MODULEID) return 0;
  const auto take_schema = +[](nvtxDomainHandle_t, const nvtxPayloadSchemaAttr_t* schema) {
    return std::uint64_t{schema->numEntries == 3 && schema->payloadStaticSize == 24 ? 1u : 0u};
  };
  module->segments[0].functionSlots[NVTX3EXT_CBID_nvtxPayloadSchemaRegister] = reinterpret_cast<intptr_t>(take_schema);
  return 1;
}

}  // namespace

extern "C" {
NvtxInitializeInjectionNvtxFunc_t InitializeInjectionNvtx2_fnptr = listen;
NvtxExtInitializeInjectionFunc_t InitializeInjectionNvtxExtension_fnptr = listen_to_extension;
}
#endif

namespace sluice {
namespace {

using What = Span::What;

std::map<std::string, std::uint64_t> counts(const Trace& trace) {
  std::map<std::string, std::uint64_t> count;
  for (const Span& span : trace.spans) ++count[std::string(name(span.what))];
  return count;
}

TEST(Tracer, KeepsNothingUnlessAskedTo) {
  Tracer tracer(false);
  { const Tracer::Scope scope(tracer, {.what = What::wait}); }
  tracer.end(tracer.begin({.what = What::read}));
  tracer.add({.what = What::copy});
  EXPECT_TRUE(tracer.trace().spans.empty());
  EXPECT_EQ(tracer.trace().dropped, 0u);
}

TEST(Tracer, KeepsSpansOfSeveralThreadsWithTheirTimes) {
  Tracer tracer(true);
  const Tracer::Begun begun = tracer.begin({.what = What::read, .row = Tracer::reader, .extent = 3, .bytes = 7});
  std::thread([&] { const Tracer::Scope scope(tracer, {.what = What::populate, .row = Tracer::host}); }).join();
  std::thread([&] { tracer.end(begun); }).join();
  const std::vector<Span> spans = tracer.trace().spans;
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].what, What::populate);
  EXPECT_EQ(spans[1].what, What::read);
  EXPECT_EQ(spans[1].extent, 3u);
  EXPECT_EQ(spans[1].bytes, 7u);
  EXPECT_LE(spans[1].begin_ns, spans[0].begin_ns);
  EXPECT_LE(spans[0].begin_ns, spans[0].end_ns);
  EXPECT_LE(spans[0].end_ns, spans[1].end_ns);
}

TEST(Tracer, GivesEachNameOneRow) {
  Tracer tracer(true);
  EXPECT_EQ(tracer.row("reader"), Tracer::reader);
  const auto row = tracer.row("cuda:0 copies");
  EXPECT_EQ(tracer.row("cuda:0 copies"), row);
  EXPECT_EQ(tracer.trace().rows.at(row), "cuda:0 copies");
}

TEST(Tracer, CountsWhatIsBeyondItsLimit) {
  Tracer tracer(true);
  for (std::uint64_t i = 0; i < limits::trace_spans_max; ++i) tracer.add({});
  EXPECT_EQ(tracer.trace().dropped, 0u);
  tracer.add({});
  tracer.drop();
  EXPECT_EQ(tracer.trace().spans.size(), limits::trace_spans_max);
  EXPECT_EQ(tracer.trace().dropped, 2u);
}

TEST(Tracer, CountsWhatThereIsNoMemoryFor) {
  {
    Tracer other(true);  // has the listening profiler allocate what it needs
    other.end(other.begin({.what = What::read}));
    const Tracer::Scope scope(other, {.what = What::wait});
  }
  Tracer tracer(true);
  constexpr std::uint64_t spans = 1000;
  allocations_fail = true;
  for (std::uint64_t i = 0; i < spans; ++i) {
    tracer.end(tracer.begin({.what = What::read}));
    { const Tracer::Scope scope(tracer, {.what = What::wait}); }
    tracer.drop();
  }
  allocations_fail = false;
  const Trace trace = tracer.trace();
  EXPECT_TRUE(trace.spans.empty());
  EXPECT_EQ(trace.dropped, 3 * spans);
  tracer.add({});
  EXPECT_EQ(tracer.trace().spans.size(), 1u);
}

class TracedLoad : public testing::Test {
 protected:
  Load load(const Options& options, std::optional<Dtype> cast = {}) {
    write_shard(folder_, "a.safetensors", small_model);
    plan_.emplace(make_plan(Checkpoint::open(folder_.path()), everything(cast), options));
    engine_.emplace(options);
    return engine_->start(*plan_);
  }
  static Options traced() {
    Options options = small_options();
    options.trace = true;
    return options;
  }

  TemporaryFolder folder_;
  std::optional<Plan> plan_;
  std::optional<Engine> engine_;
};

TEST_F(TracedLoad, HasNoSpansUnlessAskedFor) {
  const Load load = this->load(small_options());
  load.wait();
  EXPECT_TRUE(load.trace().spans.empty());
}

TEST_F(TracedLoad, TellsOfEachExtentWhenItWasReadAndDelivered) {
  const Load load = this->load(traced(), bf16);
  load.wait();
  const Trace trace = load.trace();
  EXPECT_EQ(trace.dropped, 0u);
  const PlanCosts& costs = plan_->costs();
  auto count = counts(trace);
  EXPECT_EQ(count["open"], 1u);
  EXPECT_EQ(count["plan"], 1u);
  EXPECT_EQ(count["start-up"], 1u);
  EXPECT_EQ(count["read"], costs.extents);
  EXPECT_EQ(count["deliver"], costs.extents - costs.in_place_extents);
  EXPECT_EQ(count["copy"], 0u) << "of GPUs only";

  std::map<std::uint32_t, Span> reads;
  std::uint64_t bytes = 0;
  for (const Span& span : trace.spans) {
    EXPECT_LE(span.begin_ns, span.end_ns);
    ASSERT_LT(span.row, trace.rows.size());
    if (span.what == What::read) {
      reads[span.extent] = span;
      bytes += span.bytes;
    }
  }
  EXPECT_EQ(reads.size(), costs.extents) << "each once";
  EXPECT_EQ(bytes, costs.read_bytes);
  for (const Span& span : trace.spans) {
    if (span.what != What::deliver) continue;
    EXPECT_EQ(trace.rows[span.row], "host");
    EXPECT_GT(span.tensors, 0u);
    EXPECT_GE(span.begin_ns, reads.at(span.extent).begin_ns) << "nothing is delivered before it is read";
  }
}

TEST_F(TracedLoad, BeginsWithOpenAndPlan) {
  const Load load = this->load(traced());
  load.wait();
  const std::vector<Span> spans = load.trace().spans;
  ASSERT_GE(spans.size(), 3u);
  EXPECT_EQ(spans[0].what, What::open);
  EXPECT_EQ(spans[0].tensors, small_model.size());
  EXPECT_EQ(spans[1].what, What::plan);
  EXPECT_EQ(spans[1].bytes, plan_->costs().read_bytes);
  EXPECT_LE(spans[0].end_ns, spans[1].begin_ns);
  for (const Span& span : spans) EXPECT_GE(span.begin_ns, spans[0].begin_ns);
}

TEST_F(TracedLoad, HasEndsOfAllThatWasReadBeforeItWasCancelled) {
  Load load = this->load(traced());
  load.arrival(0);
  load.cancel();
  try {
    load.wait();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::cancelled);
  }
  const std::vector<Span> spans = load.trace().spans;
  EXPECT_GE(counts(load.trace())["read"], load.statistics().extents);
  for (const Span& span : spans) EXPECT_LE(span.begin_ns, span.end_ns);
}

#ifdef SLUICE_NVTX
TEST_F(TracedLoad, ProfilersAreToldTheSameWithoutATrace) {
  {
    const std::lock_guard lock(profiler().mutex);
    profiler().ranges.clear();
    profiler().bytes = 0;
  }
  {
    const Load load = this->load(small_options(), bf16);
    load.wait();
    engine_.reset();
  }
  const std::lock_guard lock(profiler().mutex);
  EXPECT_EQ(profiler().domain, "sluice");
  EXPECT_EQ(profiler().open, 0u) << "each range ended";
  const PlanCosts& costs = plan_->costs();
  EXPECT_EQ(profiler().ranges["open"], 1u);
  EXPECT_EQ(profiler().ranges["plan"], 1u);
  EXPECT_EQ(profiler().ranges["start-up"], 1u);
  EXPECT_EQ(profiler().ranges["read"], costs.extents);
  EXPECT_EQ(profiler().ranges["deliver"], costs.extents - costs.in_place_extents);
  EXPECT_EQ(profiler().bytes, costs.read_bytes);
}
#endif

}  // namespace
}  // namespace sluice
