// Session: a load as Python has it: held by the Load and by its iterators. When the last of them goes, or it is closed,
// the load is cancelled and its reads are drained; tensors that were handed out keep their memory.
// Threads: any; the GIL is not needed, and must not be held by who may be the last.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "loader/python/own_engine.hpp"
#include "loader/python/python.hpp"
#include "sluice/checkpoint.hpp"
#include "sluice/load.hpp"
#include "sluice/plan.hpp"

namespace sluice::python {

/// How long a signal may wait before Python is asked about it.
inline constexpr std::chrono::milliseconds signal_delay_max{50};

struct Session {
  std::shared_ptr<OwnEngine> engine;
  Checkpoint checkpoint;
  Plan plan;
  Load load;
  bool has_budget = false;  // then each tensor is handed out once, and is the load's no more
  bool waits_when_full = false;
};

/// A tensor that is held beyond its load. Throws Error{invalid_argument} where it was handed out before and there is a
/// budget.
std::shared_ptr<const Tensor> keep(const Session& session, const Tensor& tensor);

/// Whether a tensor that arrived was handed out, and there is a budget.
bool has_left(const Session& session, const Tensor& tensor);

/// That nothing more arrives before somebody lets go of tensors.
[[noreturn]] void throw_held_up(const Session& session);

/// Waits until `there(timeout)` says that there is nothing to wait for, or throws; false where time is up. Other
/// threads run Python meanwhile. Where a signal's handler raises, as Ctrl-C does, the load is cancelled, and
/// PythonError thrown. Where nothing more arrives before somebody lets go of tensors, and the session does not
/// wait for others to do that, Python's collector frees what only it can; where that was not enough, throws
/// Error{out_of_memory}. `there` is called without the GIL where its timeout is not 0. REQUIRES: the GIL.
template <typename There>
bool wait_with_signals(const std::shared_ptr<Session>& session, std::optional<double> seconds, There there) {
  using Clock = std::chrono::steady_clock;
  // Who is held up has to look once more: it may have happened behind the last arrival.
  const auto is_stuck = [&] { return session->load.progress().held_up && !there(std::chrono::nanoseconds(0)); };
  if (there(std::chrono::nanoseconds(0))) return true;
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(std::min(seconds.value_or(1e9), 1e9)));
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(end - Clock::now());
    if (left.count() <= 0) return false;
    const auto slice = std::min<std::chrono::nanoseconds>(left, signal_delay_max);
    if (without_gil([&] { return there(slice); })) return true;
    if (PyErr_CheckSignals() != 0) {
      session->load.cancel();
      throw PythonError();
    }
    if (session->waits_when_full || !is_stuck()) continue;
    PyGC_Collect();
    if (is_stuck()) throw_held_up(*session);
  }
}

/// Load::wait_for() of one tensor, on a device or on the first that has it.
const Tensor* wait_for(const Load& load, const std::string& name, const std::optional<DeviceId>& device,
                       std::chrono::nanoseconds timeout);

}  // namespace sluice::python
