// Goal: wherever memory runs out within a function of sluice.h, it returns SLUICE_OUT_OF_MEMORY, and nothing leaks or
// ends the process.
// Method: an operator new that fails at the Nth allocation of the calling thread, N rising until a whole load and all
// that can be asked of it meet no failure. (Memory that is refused to the library's own threads: tests/allocations.)
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "sluice/sluice.h"
#include "tests/loader/support/shard_writer.hpp"

namespace {

thread_local long left = -1;  // allocations that succeed before one fails; negative: none fails
thread_local bool has_failed = false;

void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
  if (left >= 0 && left-- == 0) {
    has_failed = true;
    return nullptr;
  }
  return std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
}
void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  void* const memory = allocate(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The other forms call these.
void* operator new(std::size_t bytes) {
  return allocate_or_throw(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace sluice {
namespace {

// All that a caller holds.
struct Handles {
  sluice_engine* engine = nullptr;
  sluice_checkpoint* checkpoint = nullptr;
  sluice_request* request = nullptr;
  sluice_slice* slice = nullptr;
  sluice_plan* plan = nullptr;
  sluice_findings* findings = nullptr;
  sluice_load* load = nullptr;
  sluice_trace* trace = nullptr;
  sluice_text* text = nullptr;

  Handles() = default;
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;
  ~Handles() {
    sluice_text_free(text);
    sluice_trace_free(trace);
    sluice_load_free(load);
    sluice_findings_free(findings);
    sluice_plan_free(plan);
    sluice_slice_free(slice);
    sluice_request_free(request);
    sluice_checkpoint_free(checkpoint);
    sluice_engine_free(engine);
  }
};

int ask(Handles& h, sluice_string path, sluice_error** error) {
  constexpr std::uint64_t shape[] = {8, 16};
  sluice_rule* rule = nullptr;
  sluice_destination* destination = nullptr;
  int code = sluice_checkpoint_open(path, 1, &h.checkpoint, error);
  if (code == 0) code = sluice_request_new(&h.request, error);
  if (code == 0) code = sluice_request_set_text(h.request, sluice_str("a text too long to lie in place"), error);
  if (code == 0) {
    code = sluice_request_destination(h.request, sluice_str("a destination with a long name"), shape, 2, SLUICE_F32,
                                      sluice_host(), &destination, error);
  }
  if (code == 0) code = sluice_slice_new(&h.slice, error);
  for (std::uint32_t i = 0; i < 6 && code == 0; ++i) code = sluice_slice_take(h.slice, 0, 0, 8, error);
  if (code == 0) code = sluice_request_add(h.request, sluice_str("first"), &rule, error);
  if (code == 0) code = sluice_rule_to(rule, destination, h.slice, nullptr, error);
  if (code == 0) code = sluice_request_add(h.request, sluice_str("second"), &rule, error);
  if (code == 0) code = sluice_rule_cast(rule, SLUICE_BF16, error);
  if (code == 0) code = sluice_check(h.checkpoint, h.request, &h.findings, error);
  if (code == 0) code = sluice_write_rules(h.checkpoint, h.request, &h.text, error);
  if (code == 0) code = sluice_make_plan(h.checkpoint, h.request, nullptr, &h.plan, error);
  return code;
}

int carry_out(Handles& h, sluice_error** error) {
  auto options = SLUICE_INIT(sluice_options);
  options.trace = 1;
  auto tensor = SLUICE_INIT(sluice_tensor);
  auto info = SLUICE_INIT(sluice_tensor_info);
  auto stats = SLUICE_INIT(sluice_stats);
  auto memory = SLUICE_INIT(sluice_memory);
  std::size_t count = 0;
  std::array<std::byte, 64> bytes{};
  int code = sluice_plan_tensor(h.plan, 0, &tensor, error);
  if (code == 0) code = sluice_plan_left_out(h.plan, 0, &info, error);
  if (code == 0) code = sluice_engine_new(&options, &h.engine, error);
  if (code == 0) code = sluice_engine_start(h.engine, h.plan, nullptr, &h.load, error);
  if (code == 0) code = sluice_load_wait(h.load, SLUICE_FOREVER, nullptr, error);
  if (code == 0) code = sluice_load_arenas(h.load, &memory, 1, &count, error);
  if (code == 0) code = sluice_load_statistics(h.load, &stats, error);
  for (std::uint32_t i = 0; i < stats.fallbacks && code == 0; ++i) {
    sluice_string what;
    sluice_string reason;
    code = sluice_load_fallback(h.load, i, &what, &reason, error);
  }
  if (code == 0) code = sluice_load_trace(h.load, &h.trace, error);
  if (code == 0) {
    code = sluice_load_read_back(h.load, sluice_str("second"), sluice_any(), 0, bytes.data(), bytes.size(), error);
  }
  return code;
}

// What a whole load gives where the allocation behind the first `successes` fails; none where they are negative.
int load_with(const std::string& path, long successes) {
  Handles handles;
  sluice_error* error = nullptr;
  has_failed = false;
  left = successes;
  int code = ask(handles, sluice_str(path.c_str()), &error);
  if (code == 0) code = carry_out(handles, &error);
  left = -1;
  if (has_failed && code != 0) {
    EXPECT_EQ(code, SLUICE_OUT_OF_MEMORY) << successes << ": " << sluice_error_text(error);
  }
  sluice_error_free(error);
  return code;
}

TEST(RefusedMemory, IsACodeAndNothingElse) {
  const TemporaryFolder folder;
  const std::string path =
      write_shard(folder, "model.safetensors", {{"first", f32, {8, 16}}, {"second", f32, {32}}, {"third", f32, {1}}});
  // Once in a process simdjson chooses what it runs on, and ends it where that finds no memory.
  ASSERT_EQ(load_with(path, -1), 0);
  long failures = 0;
  int code = 0;
  do {
    code = load_with(path, failures);
    ++failures;
  } while (has_failed);
  EXPECT_EQ(code, 0);
  EXPECT_GT(failures, 100);
}

}  // namespace
}  // namespace sluice
