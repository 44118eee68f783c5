// The picture that `sluice bench --plot` writes: a bar for cold and warm starts, the limit of the machine beside each.
// SVG that needs nothing from outside of it: no fonts, no scripts, no style sheets. Pure function.
#pragma once

#include <string>
#include <string_view>

#include "loader/tool/bench_result.hpp"

namespace sluice::tool {

/// What every picture begins with, and few other files do.
inline constexpr std::string_view plot_first_bytes = "<!-- sluice bench -->\n<svg ";

/// An SVG document that begins with plot_first_bytes.
std::string plot_bench(const BenchResult& result);

}  // namespace sluice::tool
