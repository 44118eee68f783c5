#include "tests/sim/ptx/error.hpp"

#include <fmt/format.h>

namespace sluice::sim::ptx {

Error::Error(std::uint32_t at_line, const std::string& message)
    : std::runtime_error(fmt::format("line {}: {}", at_line, message)), line(at_line) {}

Fault::Fault(const std::string& reason, std::uint32_t at_line, Index in_block, Index in_thread,
             std::optional<std::uint64_t> at_address)
    : std::runtime_error(fmt::format("line {}, block ({},{},{}), thread ({},{},{}): {}", at_line, in_block[0],
                                     in_block[1], in_block[2], in_thread[0], in_thread[1], in_thread[2], reason)),
      line(at_line),
      block(in_block),
      thread(in_thread),
      address(at_address) {}

}  // namespace sluice::sim::ptx
