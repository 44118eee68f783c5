// cast_elements: the host's array casts between F64 F32 F16 BF16 F8_E4M3 F8_E5M2, vectorised for the processor it runs
// on. The rules are those of loader/device/element_casts.hpp, element by element, to the bit. Pure functions; any
// thread.
#pragma once

#include <cstddef>

#include "sluice/dtype.hpp"

namespace sluice {

/// Converts `count` elements from `source` to `target`, which may be aligned to any byte and must not overlap.
/// Requires is_castable() of both dtypes. `from` == `to` copies bytes.
void cast_elements(Dtype from, const void* source, Dtype to, void* target, std::size_t count) noexcept;

}  // namespace sluice
