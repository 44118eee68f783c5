// Access: the door from a public handle to what it holds. Only the library, its tests and its tool go through it; a
// public header names what is inside by a forward declaration. Pure; as safe between threads as the handles are.
#pragma once

#include <memory>
#include <utility>

#include "sluice/checkpoint.hpp"
#include "sluice/load.hpp"
#include "sluice/plan.hpp"

namespace sluice {

struct Access {
  static const std::shared_ptr<const Catalogue>& catalogue(const Checkpoint& checkpoint) noexcept {
    return checkpoint.catalogue_;
  }

  static const std::shared_ptr<const PlanData>& data(const Plan& plan) noexcept { return plan.data_; }
  static const std::shared_ptr<const Bindings>& bindings(const Plan& plan) noexcept { return plan.bindings_; }
  static Plan plan(std::shared_ptr<const PlanData> data, std::shared_ptr<const Bindings> bindings) noexcept {
    return Plan(std::move(data), std::move(bindings));
  }

  static Load load(std::shared_ptr<LoadState> state) noexcept { return Load(std::move(state)); }
};

}  // namespace sluice
