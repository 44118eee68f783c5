// Progress: one line on a terminal that says how far a load is, at what rate, and how long it will take, or what a
// command is at. Nothing at all where standard error is no terminal. Threads: draw() on one, clear() after the last
// draw() on any.
#pragma once

#include <chrono>
#include <string>

#include "sluice/stats.hpp"

namespace sluice::tool {

/// The line for `now` seconds since the load began, at most `columns` wide.
std::string progress_line(const Progress& progress, double now, unsigned columns);

class ProgressLine {
 public:
  explicit ProgressLine(int descriptor);

  /// Whether there is somebody to draw for.
  bool is_visible() const noexcept { return visible_; }
  void draw(const Progress& progress) noexcept;
  /// Says what is being done, at once.
  void draw(const std::string& what) noexcept;
  void clear() noexcept;

 private:
  void draw_line(const std::string& line);

  int descriptor_;
  bool visible_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace sluice::tool
