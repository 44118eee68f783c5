// Engines of sluice.h.
#include "sluice/engine.hpp"

#include <memory>

#include "loader/c/border.hpp"
#include "loader/c/handles.hpp"
#include "loader/c/values.hpp"
#include "sluice/limits.hpp"
#include "sluice/sluice.h"

using namespace sluice::border;

namespace {

sluice::StartOptions start_options_of(const sluice_start_options* options) {
  const sluice_start_options given = taken(options, "options");
  check_flags(given.flags);
  check_list(given.arenas, given.arena_count, sluice::limits::devices_max, "arenas");
  check_list(given.after, given.after_count, sluice::limits::devices_max, "after");
  sluice::StartOptions known;
  for (std::uint32_t i = 0; i < given.arena_count; ++i) {
    const sluice_memory memory = taken(element_at(given.arenas, i, "arenas"), "arenas");
    check_flags(memory.flags);
    known.arenas.push_back({.device = device_of(memory.device), .data = memory.data, .bytes = memory.bytes});
  }
  for (std::uint32_t i = 0; i < given.after_count; ++i) {
    const sluice_after after = taken(element_at(given.after, i, "after"), "after");
    check_flags(after.flags);
    known.after.push_back({.device = device_of(after.device), .stream = static_cast<CUstream_st*>(after.stream)});
  }
  return known;
}

}  // namespace

int sluice_engine_new(const sluice_options* options, sluice_engine** engine, sluice_error** error) {
  return make(engine, "engine", error,
              [&] { return std::unique_ptr<sluice_engine>(new sluice_engine{sluice::Engine(options_of(options))}); });
}
void sluice_engine_free(sluice_engine* engine) {
  delete engine;
}
int sluice_engine_prepare(sluice_engine* engine, const sluice_device* devices, std::uint32_t count,
                          sluice_error** error) {
  return run(error, [&] { required(engine, "engine").engine.prepare(devices_of(devices, count)); });
}
int sluice_engine_start(sluice_engine* engine, const sluice_plan* plan, const sluice_start_options* options,
                        sluice_load** load, sluice_error** error) {
  return make(load, "load", error, [&] {
    return std::make_unique<sluice_load>(
        required(engine, "engine").engine.start(required(plan, "plan").plan, start_options_of(options)));
  });
}
int sluice_engine_options(const sluice_engine* engine, sluice_options* options, sluice_error** error) {
  return run(error, [&] { give(options_of(required(engine, "engine").engine.options()), options, "options"); });
}
