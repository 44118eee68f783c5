#include "loader/tool/plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

#include "loader/tool/text.hpp"

namespace sluice::tool {

namespace {

// In pixels, which SVG scales to whatever is wanted.
constexpr double canvas_width = 760;
constexpr double margin = 24;
constexpr double bars_left = 80;
constexpr double bars_right = 560;
constexpr double row_height = 84;
constexpr double bar_height = 30;
constexpr double bar_top = 22;  // in its row, below what is written above the limit
constexpr double rows_top = 76;
constexpr double line_height = 15;
constexpr std::size_t text_columns = 112;  // of small text that fit between the margins

constexpr const char* cold_color = "#2b6cb0";
constexpr const char* warm_color = "#c05621";
constexpr const char* limit_color = "#1a202c";
constexpr const char* pale_color = "#718096";

/// Text as a document may hold it: what a terminal should not show is spelled out, what XML takes for its own escaped.
std::string xml(std::string_view text) {
  std::string safe;
  for (const char byte : escaped(text)) {
    switch (byte) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += byte;
    }
  }
  // U+FFFE and U+FFFF are UTF-8, but no characters of XML.
  for (const std::string_view no_character : {"\xef\xbf\xbe", "\xef\xbf\xbf"}) {
    for (std::size_t at = safe.find(no_character); at != std::string::npos; at = safe.find(no_character)) {
      safe.replace(at, no_character.size(), "?");
    }
  }
  return safe;
}

/// Lines of at most so many bytes, broken at blanks.
std::vector<std::string> wrapped(std::string_view text, std::size_t columns) {
  std::vector<std::string> lines_of_text;
  while (text.size() > columns) {
    std::size_t end = text.rfind(' ', columns);
    if (end == std::string_view::npos || end == 0) end = text.find(' ', columns);
    if (end == std::string_view::npos) break;
    lines_of_text.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  lines_of_text.emplace_back(text);
  return lines_of_text;
}

class Canvas {
 public:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(content_), format, std::forward<Args>(args)...);
    content_ += '\n';
  }
  void text(double x, double y, double size, const char* color, std::string_view words, const char* anchor = "start") {
    add(R"(<text x="{:.1f}" y="{:.1f}" font-size="{:.0f}" fill="{}" text-anchor="{}">{}</text>)", x, y, size, color,
        anchor, xml(words));
  }
  void line(double x1, double y1, double x2, double y2, const char* color, double thickness) {
    add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="{:.1f}"/>)", x1, y1, x2, y2,
        color, thickness);
  }
  /// Small text over as many lines as it needs; returns where the next would stand.
  double paragraph(double y, const char* color, std::string_view words) {
    for (const std::string& one : wrapped(words, text_columns)) {
      text(margin, y, 12, color, one);
      y += line_height;
    }
    return y;
  }
  std::string document(double height) const {
    return fmt::format(
        "{}xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" "
        "font-family=\"system-ui, sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
        plot_first_bytes, canvas_width, height, canvas_width, height, content_);
  }

 private:
  std::string content_;
};

struct Bar {
  const char* kind;
  const char* color;
  Summary summary;
  Spread gb_per_s;
  double limit_gb_per_s = 0;  // 0: none is known
};

Bar bar_of(const char* kind, const char* color, const BenchResult& result, const std::vector<Start>& starts) {
  Bar bar{kind, color, summarise(result, starts), {}, 0};
  std::vector<double> rates;
  rates.reserve(starts.size());
  for (const Start& start : starts) rates.push_back(start.gb_per_s());
  bar.gb_per_s = spread_of(std::move(rates));
  if (const auto& limit = bar.summary.diagnosis.limit) {
    bar.limit_gb_per_s = static_cast<double>(starts.front().bytes) / limit->seconds / 1e9;
  }
  return bar;
}

/// A step of 1, 2 or 5 times a power of ten, of which there are five or so up to `most`.
double axis_step(double most) {
  const double power = std::pow(10, std::floor(std::log10(most / 5)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (most / (factor * power) <= 6) return factor * power;
  }
  return 10 * power;
}

void draw_axis(Canvas& canvas, double most, double bottom) {
  const double step = axis_step(most);
  for (int tick = 0; tick * step <= most * 1.0001; ++tick) {
    const double x = bars_left + (bars_right - bars_left) * tick * step / most;
    canvas.line(x, rows_top, x, bottom, "#e2e8f0", 1);
    canvas.text(x, bottom + 14, 11, pale_color, fmt::format("{:.3g}", tick * step), "middle");
  }
  canvas.text(bars_right + 20, bottom + 14, 11, pale_color, "GB/s");
}

void draw_bar(Canvas& canvas, const Bar& bar, double most, double top) {
  const auto x_of = [&](double rate) { return bars_left + (bars_right - bars_left) * rate / most; };
  const double middle = top + bar_top + bar_height / 2;
  canvas.text(margin, middle + 5, 15, bar.color, bar.kind);
  canvas.add(R"(<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}"/>)", bars_left, top + bar_top,
             std::max(1.0, x_of(bar.gb_per_s.median) - bars_left), bar_height, bar.color);
  canvas.line(x_of(bar.gb_per_s.least), middle, x_of(bar.gb_per_s.most), middle, "#cbd5e0", 2);
  canvas.text(bars_right + 20, middle - 2, 14, bar.color, fmt::format("{:.3g} GB/s", bar.gb_per_s.median));
  canvas.text(bars_right + 20, middle + 15, 12, pale_color,
              fmt::format("{}; process {}", duration(bar.summary.seconds.median),
                          duration(bar.summary.process_seconds.median)));
  if (bar.limit_gb_per_s <= 0) return;
  const double x = x_of(bar.limit_gb_per_s);
  canvas.line(x, top + bar_top - 6, x, top + bar_top + bar_height + 6, limit_color, 2);
  canvas.text(std::min(x, bars_right), top + bar_top - 10, 11, limit_color,
              fmt::format("limit: {} {:.3g} GB/s, {:.0f} % reached", name(bar.summary.diagnosis.limit->resource),
                          bar.limit_gb_per_s, 100 * bar.summary.share_of_limit),
              x > (bars_left + bars_right) / 2 ? "end" : "start");
}

}  // namespace

std::string plot_bench(const BenchResult& result) {
  std::vector<Bar> bars;
  if (!result.cold.empty()) bars.push_back(bar_of("cold", cold_color, result, result.cold));
  if (!result.warm.empty()) bars.push_back(bar_of("warm", warm_color, result, result.warm));
  double most = 0;
  for (const Bar& bar : bars) most = std::max({most, bar.gb_per_s.most, bar.limit_gb_per_s});
  if (!(most > 0)) most = 1;
  most *= 1.02;

  Canvas canvas;
  canvas.text(margin, 32, 18, limit_color, result.checkpoint.path);
  canvas.text(margin, 52, 12, pale_color,
              fmt::format("{} in {}, {} to read, onto {}", count(result.checkpoint.tensors, "tensor"),
                          count(result.checkpoint.shards, "shard"), decimal_size(result.load.read_bytes),
                          fmt::join(result.load.devices, ", ")));
  const double bottom = rows_top + row_height * static_cast<double>(bars.size());
  draw_axis(canvas, most, bottom);
  for (std::size_t i = 0; i < bars.size(); ++i) {
    draw_bar(canvas, bars[i], most, rows_top + row_height * static_cast<double>(i));
  }
  double y = bottom + 44;
  for (const Bar& bar : bars) {
    y = canvas.paragraph(y, bar.color, fmt::format("{}: {}", bar.kind, bar.summary.diagnosis.sentence)) + 4;
  }
  const std::size_t rounds = std::max(result.cold.size(), result.warm.size());
  y = canvas.paragraph(y + 4, pale_color,
                       fmt::format("{}. Medians of {}; lines in the bars span least to most.", describe(result.machine),
                                   count(rounds, "round")));
  return canvas.document(y + 8);
}

}  // namespace sluice::tool
