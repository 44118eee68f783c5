// The settings of a program that knows nothing of the simulator, from SLUICE_SIM_* (README.md lists them).
#pragma once

#include "tests/sim/control.hpp"

namespace sluice::sim {

/// Prints what is wrong with them, and ends the process.
Settings settings_of_environment();

}  // namespace sluice::sim
