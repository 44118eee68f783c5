// LaneTrace: when the copies and kernels of one lane ran, for a load that keeps a trace. The times are the device's, by
// events before and after each; so that they can be set against the host's clock, an event on a stream of its own is
// recorded at a known time, again every second, as clocks drift apart and a float holds milliseconds since that event.
// Profilers see what the device does by themselves, and are told only which extent a call into the driver is for.
// Threads: Scope on the engine's, collect() on one other. What the driver refuses costs a span, not the load.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "cuda/context.hpp"
#include "loader/base/tracer.hpp"
#include "loader/device/device.hpp"

namespace sluice {

class LaneTrace {
 public:
  /// With the context current. All outlive it. Throws as Context::check() where the tracer keeps spans.
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

  /// Hands the spans that have ended by now to the tracer. With the context current. Once the streams have been waited
  /// for, those are all; they must be before this is destroyed.
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
    std::shared_ptr<const Base> base;  // earlier than both
  };

  std::shared_ptr<const Base> make_base() const;
  const Event* record(const Stream& stream) noexcept;
  const Event* take_event();
  void keep(const Span& span, const Event* begin, const Event* end) noexcept;
  std::int64_t time_of(const Event& event, const Base& base) const;
  bool collect_first();

  const Context& context_;
  const PlanData& plan_;
  Tracer& tracer_;
  const std::uint16_t copies_row_;
  const std::uint16_t kernels_row_;
  std::optional<const Stream> base_stream_;
  std::int64_t copies_end_ns_ = 0;  // of the last span collected
  std::int64_t kernels_end_ns_ = 0;

  std::mutex mutex_;
  std::shared_ptr<const Base> base_;
  std::deque<Pending> pending_;
  std::deque<Event> events_;  // destroyed last, when the streams have been waited for
  std::vector<const Event*> free_events_;
};

}  // namespace sluice
