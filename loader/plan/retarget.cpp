#include "loader/plan/retarget.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "loader/plan/box.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

class Retargeting {
 public:
  Retargeting(const PlanData& like, std::shared_ptr<const Catalogue> catalogue)
      : like_(like), plan_(std::make_shared<PlanData>()), number_of_(like.catalogue->tensors.size(), Placement::none) {
    plan_->catalogue = std::move(catalogue);
  }

  std::shared_ptr<PlanData> run() && {
    copy_frame();
    find_left_out();
    move_placements();
    move_routes();
    return std::move(plan_);
  }

 private:
  void copy_frame() {
    plan_->devices = like_.devices;
    plan_->descriptions = like_.descriptions;
    plan_->regions = like_.regions;
    plan_->fills = like_.fills;
    plan_->destination_count = like_.destination_count;
    plan_->destinations_by_name = like_.destinations_by_name;
    plan_->paths = like_.paths;
    plan_->loops = like_.loops;
    plan_->routed_bytes = like_.routed_bytes;
    plan_->costs.run_bytes_min = like_.costs.run_bytes_min;
    plan_->slab_bytes = like_.slab_bytes;
    plan_->staging_bytes = like_.staging_bytes;
    plan_->alignment_bytes = like_.alignment_bytes;
    plan_->strict = like_.strict;
    plan_->is_retargeted = true;
    plan_->costs.delivered_bytes = like_.costs.delivered_bytes;
    plan_->costs.devices = like_.costs.devices;
    for (PlanCosts::OnDevice& on : plan_->costs.devices) on.scratch_bytes = on.link_bytes = 0;
    plan_->costs.groups = like_.costs.groups;
    for (PlanCosts::OfGroup& group : plan_->costs.groups) group.read_bytes_until = 0;
  }

  // Tensors that the request did not match, and those that it was never tried on.
  void find_left_out() {
    std::vector<bool> unmatched(like_.catalogue->tensors.size());
    for (const std::uint32_t tensor : like_.left_out) unmatched[tensor] = true;
    std::uint64_t unknown = 0;
    std::string first;
    for (std::uint32_t i = 0; i < plan_->catalogue->tensors.size(); ++i) {
      const std::string_view name = plan_->catalogue->tensors[i].name;
      const auto before = like_.catalogue->find(name);
      if (!before && unknown++ == 0) first = name;
      if (!before || unmatched[*before]) plan_->left_out.push_back(i);
    }
    if (!plan_->strict || unknown == 0) return;
    throw Error(
        ErrorCode::incomplete,
        fmt::format("{} tensors are not in the checkpoint that the plan was made for, as \"{}\"", unknown, first),
        {plan_->catalogue->path.string(), {}, first}, "make a plan of this checkpoint by a request");
  }

  // The number of a tensor of the plan's own checkpoint in the other one.
  std::uint32_t number_of(std::uint32_t tensor) {
    std::uint32_t& number = number_of_[tensor];
    if (number != Placement::none) return number;
    const TensorInfo& before = like_.catalogue->tensors[tensor];
    const auto found = plan_->catalogue->find(before.name);
    const Error::Where where{plan_->catalogue->path.string(), {}, std::string(before.name)};
    if (!found) {
      throw Error(ErrorCode::tensor_not_found, "the checkpoint lacks a tensor of the plan", where,
                  "reload checkpoints of the same model only");
    }
    const TensorInfo& now = plan_->catalogue->tensors[*found];
    if (now.dtype != before.dtype ||
        !std::equal(now.shape.begin(), now.shape.end(), before.shape.begin(), before.shape.end())) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the tensor is {} {} here, and {} {} in the plan", name(now.dtype),
                              text_of_shape(now.shape), name(before.dtype), text_of_shape(before.shape)),
                  where, "reload checkpoints of the same model only");
    }
    return number = *found;
  }

  void move_placements() {
    const auto count = static_cast<std::uint32_t>(like_.placements.size());
    std::vector<std::uint32_t> order(count);  // new -> old
    std::iota(order.begin(), order.end(), 0);
    plan_->placements = like_.placements;
    for (Placement& placement : plan_->placements) {
      placement.deliveries = 0;
      if (placement.tensor != Placement::none) placement.tensor = number_of(placement.tensor);
    }
    const auto key = [&](std::uint32_t index) {
      return std::pair(plan_->placements[index].tensor, plan_->placements[index].device);
    };
    std::stable_sort(order.begin() + plan_->destination_count, order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
    BigVector<Placement> placements;
    placements.reserve(count);
    moved_.resize(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      placements.push_back(plan_->placements[order[i]]);
      moved_[order[i]] = i;
    }
    plan_->placements = std::move(placements);
  }

  void move_routes() {
    plan_->routes = like_.routes;
    for (Route& route : plan_->routes) {
      const TensorInfo& before = like_.catalogue->tensors[route.tensor];
      route.tensor = number_of(route.tensor);
      const TensorInfo& now = plan_->catalogue->tensors[route.tensor];
      route.shard = now.shard;
      route.begin = route.begin - before.offset + now.offset;
      route.end = route.end - before.offset + now.offset;
      route.first_placement = moved_[route.first_placement];
    }
    std::stable_sort(plan_->routes.begin(), plan_->routes.end(), comes_before);
  }

  const PlanData& like_;
  std::shared_ptr<PlanData> plan_;
  std::vector<std::uint32_t> number_of_;  // by tensor of the plan's own checkpoint
  std::vector<std::uint32_t> moved_;      // by placement of `like_`: its index now
};

}  // namespace

std::shared_ptr<PlanData> retarget(const PlanData& like, std::shared_ptr<const Catalogue> catalogue) {
  return Retargeting(like, std::move(catalogue)).run();
}

}  // namespace sluice
