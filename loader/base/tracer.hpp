// Tracer: takes down what one load does and when, and tells the same to profilers that listen by NVTX. This is the one
// place that feeds both. It is off unless the caller wants a trace or a profiler listens; then it costs a branch per
// span and reads no clock. Threads: any, at any time. Taking spans never throws: what there is no memory for is counted
// as dropped.
#pragma once

#include <cstdint>
#include <string_view>

#include "loader/base/mutex.hpp"
#include "sluice/trace.hpp"

namespace sluice {

class Tracer {
 public:
  // The rows that every load has.
  static constexpr std::uint16_t caller = 0;
  static constexpr std::uint16_t engine = 1;
  static constexpr std::uint16_t reader = 2;
  static constexpr std::uint16_t host = 3;

  /// `keeps`: spans are kept for trace(), not only told to profilers.
  explicit Tracer(bool keeps);

  bool keeps() const noexcept { return keeps_; }
  /// The row of that name, made where there is none yet. Throws std::bad_alloc.
  std::uint16_t row(std::string_view name);
  /// What has ended so far. Throws std::bad_alloc.
  Trace trace() const;

  /// A span that has begun and may end on another thread.
  struct Begun {
    Span span;
    std::uint64_t range = 0;  // NVTX's
  };
  /// `span` begins now.
  Begun begin(const Span& span) const noexcept { return on_ ? begin_now(span) : Begun{}; }
  void end(const Begun& begun) noexcept {
    if (on_) end_now(begun);
  }

  /// Keeps a span that was timed elsewhere.
  void add(const Span& span) noexcept;
  /// Counts one that could not be.
  void drop() noexcept;

  /// A span of this thread, for as long as it lives; it begins now, or began at `span.begin_ns` where that is set.
  class Scope {
   public:
    Scope(Tracer& tracer, const Span& span) noexcept : tracer_(tracer.on_ ? &tracer : nullptr) {
      if (tracer_ != nullptr) begin(span);
    }
    ~Scope() {
      if (tracer_ != nullptr) end();
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    void begin(const Span& span) noexcept;
    void end() noexcept;

    Tracer* const tracer_;
    Span span_;
  };

  /// The same, told to profilers only: for what belongs to no load yet, or is timed elsewhere.
  class Range {
   public:
    explicit Range(const Span& span) noexcept;
    ~Range();
    Range(const Range&) = delete;
    Range& operator=(const Range&) = delete;
  };

 private:
  static Begun begin_now(const Span& span) noexcept;
  void end_now(const Begun& begun) noexcept;

  const bool keeps_;
  const bool on_;
  mutable Mutex mutex_;
  Trace trace_ SLUICE_GUARDED_BY(mutex_);
};

}  // namespace sluice
