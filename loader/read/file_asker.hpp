// FileAsker: threads that ask file systems about files: to open and close them, whether they have changed, what of them
// lies in the page cache. On a network any of that takes as long as a read, or much longer; so the engine's thread asks
// nothing by itself, and workers, which have to compute, are not kept from it. Threads: the engine's makes it; the rest
// any.
#pragma once

#include <functional>
#include <utility>

#include "loader/base/wakeup.hpp"
#include "loader/base/workers.hpp"

namespace sluice {

class FileAsker {
 public:
  // So that one answer that is late does not hold up the others.
  static constexpr unsigned threads = 4;

  /// `wakeup`, which outlives it, is notified by whoever has an answer. `before_each` is called, by the thread that
  /// asks, before each question: for tests, whose file systems take their time. Throws Error{system}.
  explicit FileAsker(Wakeup& wakeup, std::function<void()> before_each = nullptr)
      : wakeup_(wakeup), before_each_(std::move(before_each)), workers_(threads) {}

  Workers& workers() noexcept { return workers_; }
  Wakeup& wakeup() noexcept { return wakeup_; }
  void before_question() const {
    if (before_each_) before_each_();
  }

 private:
  Wakeup& wakeup_;
  const std::function<void()> before_each_;
  Workers workers_;
};

}  // namespace sluice
