// The delivery kernel's code as it is embedded in the library; `sluice_deliver` in cuda/deliver.cu is its only entry.
#pragma once

#include <cstddef>
#include <span>

namespace sluice {

/// A fatbinary: code for each architecture from Turing to Blackwell, and the PTX text that all of it was assembled
/// from, uncompressed, for those that come later. Empty where sluice was built without nvcc. Aligned to 64.
std::span<const std::byte> kernel_fatbinary() noexcept;

/// The same PTX text, declared to be of an older version, for drivers that do not know the fatbinary's. A byte of zero
/// follows it, as drivers want. Empty where sluice was built without nvcc.
std::span<const std::byte> kernel_ptx_for_old_drivers() noexcept;

}  // namespace sluice
