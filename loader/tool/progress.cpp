#include "loader/tool/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <exception>

#include "loader/tool/text.hpp"

namespace sluice::tool {

namespace {

// A load that is over before this would only flicker.
constexpr double quiet_seconds = 0.3;

unsigned columns_of(int descriptor) noexcept {
  winsize size = {};
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string progress_line(const Progress& progress, double now, unsigned columns) {
  const auto read = static_cast<double>(progress.bytes_read);
  const auto total = static_cast<double>(std::max(progress.bytes_total, progress.bytes_read));
  const double share = total > 0 ? read / total : 1;
  const double rate = now > 0 ? read / now : 0;
  std::string text = fmt::format(" {:3.0f}%  {} of {}  {}/s", share * 100, decimal_size(progress.bytes_read),
                                 decimal_size(progress.bytes_total), decimal_size(static_cast<std::uint64_t>(rate)));
  if (rate > 0) text += fmt::format("  {} left", duration((total - read) / rate));
  constexpr unsigned bar_columns = 24;
  if (text.size() + bar_columns + 3 <= columns) {
    const auto filled = static_cast<std::size_t>(share * bar_columns);
    text = fmt::format("[{:<{}}]{}", std::string(filled, '#'), bar_columns, text);
  }
  return text.substr(0, columns > 0 ? columns - 1 : 0);
}

ProgressLine::ProgressLine(int descriptor) : descriptor_(descriptor), visible_(isatty(descriptor) == 1) {}

void ProgressLine::draw(const Progress& progress) noexcept {
  const double now = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  if (!visible_ || now < quiet_seconds) return;
  try {
    draw_line(progress_line(progress, now, columns_of(descriptor_)));
  } catch (const std::exception&) {
    visible_ = false;  // short of memory: the load matters more than the line
  }
}

void ProgressLine::draw(const std::string& what) noexcept {
  if (!visible_) return;
  try {
    draw_line(what.substr(0, columns_of(descriptor_) - 1));
  } catch (const std::exception&) {
    visible_ = false;
  }
}

void ProgressLine::draw_line(const std::string& line) {
  const std::string drawn = "\r" + line + "\033[K";
  [[maybe_unused]] const ssize_t written = write(descriptor_, drawn.data(), drawn.size());
  drawn_ = true;
}

void ProgressLine::clear() noexcept {
  if (drawn_) [[maybe_unused]]
    const ssize_t written = write(descriptor_, "\r\033[K", 4);
  drawn_ = false;
}

}  // namespace sluice::tool
