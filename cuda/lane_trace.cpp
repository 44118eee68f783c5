#include "cuda/lane_trace.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <utility>

#include "loader/base/stopwatch.hpp"

namespace sluice {
namespace {

constexpr std::int64_t base_lasts_ns = 1'000'000'000;
constexpr int base_tries = 3;

}  // namespace

LaneTrace::LaneTrace(const Context& context, const PlanData& plan, Tracer& tracer)
    : context_(context),
      plan_(plan),
      tracer_(tracer),
      copies_row_(tracer.row(name(cuda(context.ordinal())) + " copies")),
      kernels_row_(tracer.row(name(cuda(context.ordinal())) + " kernels")) {
  if (!tracer.keeps()) return;
  base_stream_.emplace(context);
  base_ = make_base();
}

/// The event was recorded between two looks at the clock: of a few tries, the one with the least between them.
std::shared_ptr<const LaneTrace::Base> LaneTrace::make_base() const {
  std::shared_ptr<const Base> best;
  std::int64_t least_ns = std::numeric_limits<std::int64_t>::max();
  for (int i = 0; i < base_tries; ++i) {
    const auto base = std::make_shared<Base>(context_);
    const std::int64_t before_ns = steady_now_ns();
    base->event.record(*base_stream_);
    const cu::Result result = context_.driver().cuEventSynchronize(base->event.handle());
    if (result != cu::Result::success) ignore(context_.driver().cuStreamSynchronize(base_stream_->handle()));
    context_.check(result, "cuEventSynchronize");  // the event goes, and must not be under way
    const std::int64_t window_ns = steady_now_ns() - before_ns;
    base->at_ns = before_ns + window_ns / 2;
    if (std::exchange(least_ns, std::min(least_ns, window_ns)) > window_ns) best = base;
  }
  return best;
}

LaneTrace::Scope::Scope(LaneTrace& trace, const Stream& stream, Span::What what, const LaneWork& work) noexcept
    : trace_(trace),
      stream_(stream),
      span_{.what = what,
            .row = what == Span::What::copy ? trace.copies_row_ : trace.kernels_row_,
            .extent = trace.plan_.index_of(*work.extent),
            .tensors = work.part->delivery_count,
            .bytes = work.extent->bytes},
      range_(span_) {
  if (trace.tracer_.keeps()) begin_ = trace.record(stream);
}

LaneTrace::Scope::~Scope() {
  if (begin_ != nullptr) trace_.keep(span_, begin_, trace_.record(stream_), stream_);
}

void LaneTrace::keep(const Span& span, const Event* begin, const Event* end, const Stream& stream) noexcept {
  try {
    const MutexLock lock(mutex_);
    if (end != nullptr) {
      pending_.push_back({span, begin, end, &stream, base_});
    } else {
      free_events_.push_back(begin);
    }
  } catch (const std::exception&) {
    tracer_.drop();
  }
}

const Event* LaneTrace::record(const Stream& stream) noexcept {
  try {
    const Event* event = take_event();
    event->record(stream);
    return event;
  } catch (const std::exception&) {
    tracer_.drop();
    return nullptr;
  }
}

const Event* LaneTrace::take_event() {
  {
    const MutexLock lock(mutex_);
    if (!free_events_.empty()) {
      const Event* event = free_events_.back();
      free_events_.pop_back();
      return event;
    }
  }
  return &events_.emplace_back(context_, cu::event_blocking_sync);
}

void LaneTrace::collect() noexcept {
  try {
    while (collect_first()) {
    }
    renew_base();
  } catch (const std::exception&) {
    // The driver refuses: the lane will hear of it by itself.
  }
}

void LaneTrace::renew_base() {
  {
    const MutexLock lock(mutex_);
    if (base_ == nullptr || steady_now_ns() - base_->at_ns <= base_lasts_ns) return;
  }
  std::shared_ptr<const Base> base = make_base();
  const MutexLock lock(mutex_);
  base_.swap(base);
}

/// The span that was queued first, nullptr where there is none. It stays where it is until it is collected.
const LaneTrace::Pending* LaneTrace::first() {
  const MutexLock lock(mutex_);
  return pending_.empty() ? nullptr : &pending_.front();
}

/// Whether the first has ended; those that were queued behind it wait for it, also on other streams.
bool LaneTrace::collect_first() {
  const Pending* const first = this->first();
  if (first == nullptr || context_.driver().cuEventQuery(first->end->handle()) != cu::Result::success) return false;
  // A stream does one thing after the other: where two bases disagree by some microseconds, the earlier is right.
  std::int64_t& last_end_ns = ends_ns_[first->stream];
  Span span = first->span;
  span.begin_ns = std::max(last_end_ns, time_of(*first->begin, *first->base));
  span.end_ns = std::max(span.begin_ns, time_of(*first->end, *first->base));
  {
    const MutexLock lock(mutex_);
    free_events_.insert(free_events_.end(), {first->begin, first->end});
    pending_.pop_front();
  }
  last_end_ns = span.end_ns;
  tracer_.add(span);
  return true;
}

std::int64_t LaneTrace::time_of(const Event& event, const Base& base) const {
  float milliseconds = 0;
  context_.check(context_.driver().cuEventElapsedTime(&milliseconds, base.event.handle(), event.handle()),
                 "cuEventElapsedTime");
  return base.at_ns + std::llround(double{milliseconds} * 1e6);
}

}  // namespace sluice
