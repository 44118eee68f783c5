// Loads of sluice.h.
#include "sluice/load.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "loader/c/border.hpp"
#include "loader/c/handles.hpp"
#include "loader/c/values.hpp"
#include "sluice/limits.hpp"
#include "sluice/sluice.h"

using namespace sluice::border;
using std::chrono::nanoseconds;

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

// For what is done with a tensor that has arrived.
const sluice::Tensor& present(const sluice::Load& load, sluice_string name, sluice_device device) {
  const sluice::Tensor* const tensor = find(load, name, device);
  if (tensor == nullptr) refuse("name", "is of no tensor that this load has: one that has arrived and was not dropped");
  return *tensor;
}

// Where to say whether time was up. A wait without end need not say it.
void check_done(const int* done, std::int64_t timeout_ns) {
  if (timeout_ns >= 0) required(done, "done");
}
// Of an argument `timeout_ns`, which is for ever where it is negative.
nanoseconds timeout_of(std::int64_t timeout_ns) noexcept {
  return timeout_ns < 0 ? nanoseconds::max() : nanoseconds(timeout_ns);
}
void say_done(int* done, bool is_there) noexcept {
  if (done != nullptr) *done = is_there ? 1 : 0;
}

std::unique_ptr<sluice_kept> kept_of(std::shared_ptr<const sluice::Tensor> tensor) {
  return std::make_unique<sluice_kept>(sluice_kept{std::move(tensor)});
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
    if (!running.wait_for_arrival(index, timeout_of(timeout_ns))) {
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
    say_done(done, running.wait_for(timeout_of(timeout_ns)));
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
    const nanoseconds timeout = timeout_of(timeout_ns);
    const sluice::Tensor* const there = on ? running.wait_for(known, *on, timeout) : running.wait_for(known, timeout);
    give_if_wanted(there, tensor);
    say_done(done, there != nullptr);
  });
}
int sluice_load_wait_group(const sluice_load* load, std::uint32_t group, sluice_device device, std::int64_t timeout_ns,
                           int* done, sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    const sluice::DeviceId on = device_of(device);
    check_done(done, timeout_ns);
    say_done(done, running.wait_for(sluice::Group{group}, on, timeout_of(timeout_ns)));
  });
}
int sluice_load_wait_on(const sluice_load* load, void* stream, sluice_string name, sluice_device device,
                        std::int64_t timeout_ns, sluice_tensor* tensor, int* done, sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    const std::string_view known = string(name, "name");
    const auto on = device_or_any(device);
    check_done(done, timeout_ns);
    check_wanted(tensor);
    CUstream_st* const its = stream_of(stream);
    const nanoseconds timeout = timeout_of(timeout_ns);
    const sluice::Tensor* const there =
        on ? running.wait_on_for(its, known, *on, timeout) : running.wait_on_for(its, known, timeout);
    give_if_wanted(there, tensor);
    say_done(done, there != nullptr);
  });
}
int sluice_load_wait_on_group(const sluice_load* load, void* stream, std::uint32_t group, sluice_device device,
                              std::int64_t timeout_ns, int* done, sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    const sluice::DeviceId on = device_of(device);
    check_done(done, timeout_ns);
    say_done(done, running.wait_on_for(stream_of(stream), sluice::Group{group}, on, timeout_of(timeout_ns)));
  });
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
    const auto element = [&](std::size_t i) { return element_at(arenas, i, "arenas"); };
    for (std::size_t i = 0; i < std::min<std::size_t>(capacity, sluice::limits::devices_max); ++i) element(i);
    const std::vector<sluice::Memory> known = running.arenas();
    for (std::size_t i = 0; i < std::min(known.size(), capacity); ++i) {
      auto memory = SLUICE_INIT(sluice_memory);
      memory.device = device_of(known[i].device);
      memory.data = known[i].data;
      memory.bytes = known[i].bytes;
      give(memory, element(i), "arenas");
    }
    all = known.size();
  });
}
int sluice_load_read_back(const sluice_load* load, sluice_string name, sluice_device device, std::uint64_t offset,
                          void* target, std::uint64_t bytes, sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    if (bytes != 0) required(static_cast<char*>(target), "target");
    running.read_back(present(running, name, device), offset, target, bytes);
  });
}

int sluice_load_keep(const sluice_load* load, sluice_string name, sluice_device device, sluice_kept** kept,
                     sluice_error** error) {
  return make(kept, "kept", error, [&] {
    const sluice::Load& running = load_of(load);
    return kept_of(running.keep(present(running, name, device)));
  });
}
int sluice_load_keep_on(const sluice_load* load, void* stream, sluice_string name, sluice_device device,
                        sluice_kept** kept, sluice_error** error) {
  return make(kept, "kept", error, [&] {
    const sluice::Load& running = load_of(load);
    return kept_of(running.keep(present(running, name, device), stream_of(stream)));
  });
}
int sluice_load_drop(const sluice_load* load, sluice_string name, sluice_device device, sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    running.drop(present(running, name, device));
  });
}
int sluice_load_drop_on(const sluice_load* load, void* stream, sluice_string name, sluice_device device,
                        sluice_error** error) {
  return run(error, [&] {
    const sluice::Load& running = load_of(load);
    running.drop(present(running, name, device), stream_of(stream));
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
    known.is_held_up = now.held_up ? 1 : 0;
    give(known, progress, "progress");
  });
}
