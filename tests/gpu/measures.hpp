// How fast is it? The link's rate, and loads of checkpoints made for it, cold and warm, as they are and cast, beside
// what storage gives to a bare reader. Contenders take turns; medians count; no more rounds than there is time for.
#pragma once

#include "tests/gpu/checks.hpp"

namespace sluice::gpu_check {

void measure_link(const Setting& setting);

/// Makes each checkpoint, checks what arrives of it, measures, removes it.
void measure_loads(const Setting& setting);

}  // namespace sluice::gpu_check
