// LaneTrace: when the copies and kernels of one lane ran, for a load that keeps a trace. The device times them, by
// events before and after each; a copy's time begins when its stream comes to it, though the link may be another's. To
// set these times against the host's clock, an event on a stream of its own is recorded at a known time, and anew every
// second: clocks drift apart, and a float holds the milliseconds since that event. Profilers see for themselves what
// the device does, and are told only which extent a call of the driver is for. Threads: Scope on one, collect() on one
// other. What the driver refuses costs a span, not the load.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "cuda/context.hpp"
#include "loader/base/mutex.hpp"
#include "loader/base/tracer.hpp"
#include "loader/device/device.hpp"

namespace sluice {

class LaneTrace {
 public:
  /// REQUIRES: the context is current. All outlive it. Throws as Context::check() where the tracer keeps spans.
  LaneTrace(const Context& context, const PlanData& plan, Tracer& tracer);

  /// What is queued on `stream` while it lives is one span.
  class Scope {
   public:
    Scope(LaneTrace& trace, const Stream& stream, Span::What what, const LaneWork& work) noexcept;
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    LaneTrace& trace_;
    const Stream& stream_;
    const Span span_;
    const Tracer::Range range_;
    const Event* begin_ = nullptr;  // nullptr: not kept
  };

  /// Hands the spans that have ended by now to the tracer: all of them, once the streams have been waited for.
  /// REQUIRES: the context is current. Before this is destroyed the streams have been waited for.
  void collect() noexcept;

 private:
  /// An event and when, by the host's clock, it was recorded.
  struct Base {
    explicit Base(const Context& context) : event(context, 0) {}
    Event event;
    std::int64_t at_ns = 0;
  };
  struct Pending {
    Span span;
    const Event* begin = nullptr;
    const Event* end = nullptr;
    const Stream* stream = nullptr;
    std::shared_ptr<const Base> base;  // earlier than both
  };

  std::shared_ptr<const Base> make_base() const;
  const Event* record(const Stream& stream) noexcept;
  const Event* take_event();
  void keep(const Span& span, const Event* begin, const Event* end, const Stream& stream) noexcept;
  std::int64_t time_of(const Event& event, const Base& base) const;
  const Pending* first();
  bool collect_first();
  void renew_base();

  const Context& context_;
  const PlanData& plan_;
  Tracer& tracer_;
  const std::uint16_t copies_row_;
  const std::uint16_t kernels_row_;
  std::optional<const Stream> base_stream_;
  std::map<const Stream*, std::int64_t> ends_ns_;  // of the last span collected of each

  std::deque<Event> events_;  // all of them; grows on the thread of Scope

  Mutex mutex_;
  std::shared_ptr<const Base> base_ SLUICE_GUARDED_BY(mutex_);
  std::deque<Pending> pending_ SLUICE_GUARDED_BY(mutex_);
  std::vector<const Event*> free_events_ SLUICE_GUARDED_BY(mutex_);
};

}  // namespace sluice
