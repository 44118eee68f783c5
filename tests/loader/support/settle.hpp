// settle(): waits until workers have done what they were given before.
#pragma once

#include <latch>
#include <memory>

#include "loader/base/workers.hpp"

namespace sluice {

/// REQUIRES: nobody gives them anything meanwhile, and all of their threads can be made.
inline void settle(Workers& workers) {
  // Each of the threads takes one of these, and comes to it only from what it did before.
  const auto all = std::make_shared<std::latch>(static_cast<std::ptrdiff_t>(workers.count()) + 1);
  for (std::size_t i = 0; i < workers.count(); ++i) {
    workers.run([all] { all->arrive_and_wait(); });
  }
  all->arrive_and_wait();
}

}  // namespace sluice
