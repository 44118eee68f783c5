// Deliveries: those of one extent to one device, made up one by one, each of a tensor of its own.
//
//     Deliveries deliveries;
//     deliveries.add(f32, bf16, one_row(8, 0, 400));
//     const PlanData& plan = deliveries.plan();
#pragma once

#include <string>

#include "loader/plan/plan.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {

class Deliveries {
 public:
  /// `delivery` is of a tensor of dtype `from`, delivered as `to`; its placement is filled in.
  void add(Dtype from, Dtype to, Delivery delivery) {
    delivery.placement = static_cast<std::uint32_t>(plan_.placements.size());
    delivery.source_dtype = from;
    Placement& placement = plan_.placements.emplace_back();
    placement.tensor = delivery.placement;
    placement.dtype = to;
    plan_.deliveries.push_back(delivery);
    builder_.tensor("t" + std::to_string(delivery.placement), from, {8});
  }

  /// All of them. Once, at the end.
  const PlanData& plan() {
    plan_.devices = {cuda(0)};
    plan_.catalogue = builder_.build();
    return plan_;
  }

 private:
  CatalogueBuilder builder_;
  PlanData plan_;
};

inline Delivery one_row(std::uint32_t source_offset, std::uint64_t target_offset, std::uint32_t run_bytes) {
  Delivery delivery;
  delivery.source_offset = source_offset;
  delivery.target_offset = target_offset;
  delivery.run_bytes = run_bytes;
  return delivery;
}

}  // namespace sluice
