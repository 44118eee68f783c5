// Bindings: where the caller's memory lies that a plan speaks of by number. Beside the plan and not in it: two
// processes make the same plan though their addresses differ. Plain data.
#pragma once

#include <cstddef>
#include <vector>

namespace sluice {

struct Bindings {
  std::vector<std::byte*> regions;  // by number in PlanData::regions
};

}  // namespace sluice
