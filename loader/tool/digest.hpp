// Digests of tensors as they were delivered, whatever device they are on.
#pragma once

#include <atomic>
#include <span>
#include <string>
#include <vector>

#include "sluice/load.hpp"
#include "sluice/tensor.hpp"

namespace sluice::tool {

/// The sha256 of each tensor's bytes in row-major order, in lower-case hex, in the order given. Reads them back in
/// pieces, on up to `threads` threads; what it holds does not grow with the tensors. Ends early, with what it has, once
/// `stop` is set. Throws the load's Error.
std::vector<std::string> sha256_digests(const Load& load, std::span<const Tensor> tensors, unsigned threads,
                                        const std::atomic<bool>& stop);

}  // namespace sluice::tool
