#include "loader/base/tracer.hpp"

#include <algorithm>
#include <exception>

#include "loader/base/limits.hpp"
#include "loader/base/nvtx.hpp"
#include "loader/base/stopwatch.hpp"

namespace sluice {

std::string_view name(Span::What what) noexcept {
  switch (what) {
    case Span::What::open:
      return "open";
    case Span::What::plan:
      return "plan";
    case Span::What::start_up:
      return "start-up";
    case Span::What::populate:
      return "populate";
    case Span::What::read:
      return "read";
    case Span::What::copy:
      return "copy";
    case Span::What::deliver:
      return "deliver";
    case Span::What::wait:
      return "wait";
  }
  return "unknown";
}

Tracer::Tracer(bool keeps) : keeps_(keeps), on_(keeps || nvtx::listens()) {
  trace_.rows = {"caller", "engine", "reader", "host"};
}

std::uint16_t Tracer::row(std::string_view name) {
  const MutexLock lock(mutex_);
  const auto found = std::find(trace_.rows.begin(), trace_.rows.end(), name);
  const auto index = static_cast<std::uint16_t>(found - trace_.rows.begin());
  if (found == trace_.rows.end()) trace_.rows.emplace_back(name);
  return index;
}

Trace Tracer::trace() const {
  const MutexLock lock(mutex_);
  return trace_;
}

Tracer::Begun Tracer::begin_now(const Span& span) noexcept {
  Begun begun{span, nvtx::start(span)};
  begun.span.begin_ns = steady_now_ns();
  return begun;
}

void Tracer::end_now(const Begun& begun) noexcept {
  Span span = begun.span;
  span.end_ns = steady_now_ns();
  nvtx::end(begun.range);
  add(span);
}

void Tracer::add(const Span& span) noexcept {
  if (!keeps_) return;
  const MutexLock lock(mutex_);
  try {
    if (trace_.spans.size() < limits::trace_spans_max) return trace_.spans.push_back(span);
  } catch (const std::exception&) {  // no memory for it
  }
  ++trace_.dropped;
}

void Tracer::drop() noexcept {
  const MutexLock lock(mutex_);
  ++trace_.dropped;
}

void Tracer::Scope::begin(const Span& span) noexcept {
  nvtx::push(span);
  span_ = span;
  if (span_.begin_ns == 0) span_.begin_ns = steady_now_ns();
}

void Tracer::Scope::end() noexcept {
  span_.end_ns = steady_now_ns();
  nvtx::pop();
  tracer_->add(span_);
}

Tracer::Range::Range(const Span& span) noexcept {
  nvtx::push(span);
}

Tracer::Range::~Range() {
  nvtx::pop();
}

}  // namespace sluice
