// Loads of sluice.h.
#include "sluice/load.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "loader/c/border.hpp"
#include "loader/c/handles.hpp"
#include "loader/c/values.hpp"
#include "sluice/sluice.h"

using namespace sluice::border;

namespace {

const sluice::Load& load_of(const sluice_load* load) {
  return required(load, "load").load;
}

CUstream_st* stream_of(void* stream) noexcept {
  return static_cast<CUstream_st*>(stream);
}

const sluice::Tensor* find(const sluice::Load& load, sluice_string name, sluice_device device) {
  const std::string_view known = string(name, "name");
  const auto on = device_or_any(device);
  return on ? load.find(known, *on) : load.find(known);
}

// A tensor that the caller may not want. What cannot be written is told before anything is waited for.
void check_wanted(const sluice_tensor* wanted) {
  if (wanted != nullptr) check_size(wanted, first_bytes<sluice_tensor>, "tensor");
}
void give_if_wanted(const sluice::Tensor* tensor, sluice_tensor* wanted) {
  if (tensor != nullptr && wanted != nullptr) give(tensor_of(*tensor), wanted, "tensor");
}

// Waits until `is_there` or the time is up; whether it is there.
template <typename IsThere>
bool wait_until(std::int64_t timeout_ns, const IsThere& is_there) {
  const auto begin = std::chrono::steady_clock::now();
  for (;;) {
    if (is_there()) return true;
    if (std::chrono::steady_clock::now() - begin >= std::chrono::nanoseconds(timeout_ns)) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Where to say whether time was up. A wait without end need not say it.
void check_done(const int* done, std::int64_t timeout_ns) {
  if (timeout_ns >= 0) required(done, "done");
}
void say_done(int* done, bool is_there) noexcept {
  if (done != nullptr) *done = is_there ? 1 : 0;
}

}  // namespace

void sluice_load_free(sluice_load* load) {
  delete load;
}

int sluice_load_arrival(const sluice_load* load, std::uint64_t index, std::int64_t timeout_ns, sluice_tensor* tensor,
                        int* arrival, sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    int& outcome = required(arrival, "arrival");
    check_wanted(tensor);
    if (timeout_ns >= 0 && !wait_until(timeout_ns, [&] {
          const sluice::Progress progress = running.progress();
          return progress.finished || progress.tensors_ready > index;
        })) {
      outcome = SLUICE_TIME_UP;
      return;
    }
    const sluice::Tensor* const arrived = running.arrival(index);
    give_if_wanted(arrived, tensor);
    outcome = arrived == nullptr ? SLUICE_NO_MORE : SLUICE_ARRIVED;
  });
}
int sluice_load_find(const sluice_load* load, sluice_string name, sluice_device device, sluice_tensor* tensor,
                     int* found, sluice_error** error) {
  return run(error, [&] {
    const sluice::Tensor* const arrived = find(load_of(load), name, device);
    int& is_there = required(found, "found");
    give_if_wanted(arrived, tensor);
    is_there = arrived == nullptr ? 0 : 1;
  });
}
int sluice_load_wait(const sluice_load* load, std::int64_t timeout_ns, int* done, sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    check_done(done, timeout_ns);
    const bool is_there = timeout_ns < 0 || wait_until(timeout_ns, [&] { return running.progress().finished; });
    if (is_there) running.wait();
    say_done(done, is_there);
  });
}
int sluice_load_wait_tensor(const sluice_load* load, sluice_string name, sluice_device device, std::int64_t timeout_ns,
                            sluice_tensor* tensor, int* done, sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    const std::string_view known = string(name, "name");
    const auto on = device_or_any(device);
    check_done(done, timeout_ns);
    check_wanted(tensor);
    const bool is_there = timeout_ns < 0 || wait_until(timeout_ns, [&] {
                            return running.progress().finished || find(running, name, device) != nullptr;
                          });
    if (is_there) give_if_wanted(on ? &running.wait(known, *on) : &running.wait(known), tensor);
    say_done(done, is_there);
  });
}
int sluice_load_wait_group(const sluice_load* load, std::uint32_t group, sluice_device device, std::int64_t timeout_ns,
                           int* done, sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    const sluice::DeviceId on = device_of(device);
    check_done(done, timeout_ns);
    const bool is_there = timeout_ns < 0 || wait_until(timeout_ns, [&] {
                            return running.progress().finished || running.ready({group}, on);
                          });
    if (is_there) running.wait(sluice::Group{group}, on);
    say_done(done, is_there);
  });
}
int sluice_load_wait_on(const sluice_load* load, void* stream, sluice_string name, sluice_device device,
                        sluice_tensor* tensor, sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    const std::string_view known = string(name, "name");
    const auto on = device_or_any(device);
    give_if_wanted(on ? &running.wait_on(stream_of(stream), known, *on) : &running.wait_on(stream_of(stream), known),
                   tensor);
  });
}
int sluice_load_wait_on_group(const sluice_load* load, void* stream, std::uint32_t group, sluice_device device,
                              sluice_error** error) {
  return run(error, [&] { load_of(load).wait_on(stream_of(stream), sluice::Group{group}, device_of(device)); });
}

int sluice_load_ready(const sluice_load* load, std::uint32_t group, sluice_device device, int* ready,
                      sluice_error** error) {
  return run(error, [&] {
    const bool whole = load_of(load).ready({group}, device_of(device));
    required(ready, "ready") = whole ? 1 : 0;
  });
}
int sluice_load_prefer(sluice_load* load, std::uint32_t group, sluice_error** error) {
  return run(error, [&] { required(load, "load").load.prefer({group}); });
}
int sluice_load_cancel(sluice_load* load, sluice_error** error) {
  return run(error, [&] { required(load, "load").load.cancel(); });
}
int sluice_load_descriptor(const sluice_load* load, int* descriptor, sluice_error** error) {
  return run(error, [&] { required(descriptor, "descriptor") = load_of(load).descriptor(); });
}
int sluice_load_arenas(const sluice_load* load, sluice_memory* arenas, std::size_t capacity, std::size_t* count,
                       sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    check_list(arenas, capacity, SIZE_MAX, "arenas");
    std::size_t& all = required(count, "count");
    const std::vector<sluice::Memory> known = running.arenas();
    for (std::size_t i = 0; i < std::min(known.size(), capacity); ++i) {
      auto memory = SLUICE_INIT(sluice_memory);
      memory.device = device_of(known[i].device);
      memory.data = known[i].data;
      memory.bytes = known[i].bytes;
      give(memory, element_at(arenas, i, "arenas"), "arenas");
    }
    all = known.size();
  });
}
int sluice_load_read_back(const sluice_load* load, sluice_string name, sluice_device device, std::uint64_t offset,
                          void* target, std::uint64_t bytes, sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    const sluice::Tensor* const arrived = find(running, name, device);
    if (bytes != 0) required(static_cast<char*>(target), "target");
    if (arrived == nullptr) refuse("name", "is of no tensor that has arrived in this load: wait for it first");
    running.read_back(*arrived, offset, target, bytes);
  });
}

int sluice_load_progress(const sluice_load* load, sluice_progress* progress, sluice_error** error) {
  return run(error, [&] {
    const sluice::Progress now = load_of(load).progress();
    auto known = SLUICE_INIT(sluice_progress);
    known.is_finished = now.finished ? 1 : 0;
    known.bytes_read = now.bytes_read;
    known.bytes_total = now.bytes_total;
    known.tensors_ready = now.tensors_ready;
    known.tensors_total = now.tensors_total;
    give(known, progress, "progress");
  });
}
