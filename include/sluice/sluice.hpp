// Everything: open a checkpoint, write a request or read rules, make a plan, start a load, take the tensors.
#pragma once

#include "sluice/checkpoint.hpp"  // IWYU pragma: export
#include "sluice/device.hpp"      // IWYU pragma: export
#include "sluice/dtype.hpp"       // IWYU pragma: export
#include "sluice/engine.hpp"      // IWYU pragma: export
#include "sluice/error.hpp"       // IWYU pragma: export
#include "sluice/limits.hpp"      // IWYU pragma: export
#include "sluice/load.hpp"        // IWYU pragma: export
#include "sluice/options.hpp"     // IWYU pragma: export
#include "sluice/plan.hpp"        // IWYU pragma: export
#include "sluice/request.hpp"     // IWYU pragma: export
#include "sluice/rules.hpp"       // IWYU pragma: export
#include "sluice/stats.hpp"       // IWYU pragma: export
#include "sluice/tensor.hpp"      // IWYU pragma: export
#include "sluice/trace.hpp"       // IWYU pragma: export
