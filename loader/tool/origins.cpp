#include "loader/tool/origins.hpp"

#include "loader/plan/access.hpp"
#include "loader/plan/plan.hpp"

namespace sluice::tool {
namespace {

// What stands in a column of its own needs no blank before it.
std::string trimmed(const std::string& text) {
  return text.starts_with(' ') ? text.substr(1) : text;
}

}  // namespace

Origins::Origins(const Checkpoint& checkpoint, const Request& request)
    : checkpoint_(checkpoint), pieces_(rules::pieces_of(checkpoint, request)) {
  for (std::size_t i = 0; i < pieces_.pieces.size(); ++i) {
    const rules::Piece& piece = pieces_.pieces[i];
    const std::string_view name = piece.destination == rules::Piece::itself
                                      ? tensor_of(piece)
                                      : std::string_view(request.destinations()[piece.destination].name());
    ++by_name_[piece.device].try_emplace(name, i, 0).first->second.second;
  }
}

std::span<const rules::Piece> Origins::of(const Tensor& tensor) const {
  const auto on_device = by_name_.find(tensor.device);
  if (on_device == by_name_.end()) return {};
  const auto found = on_device->second.find(tensor.name);
  if (found == on_device->second.end()) return {};
  return std::span(pieces_.pieces).subspan(found->second.first, found->second.second);
}

std::string_view Origins::tensor_of(const rules::Piece& piece) const noexcept {
  return checkpoint_.tensors()[piece.tensor].name;
}

std::string Origins::from(const rules::Piece& piece) const {
  return trimmed(rules::in_numbers(piece.from, checkpoint_.tensors()[piece.tensor].shape));
}

std::string Origins::into(const rules::Piece& piece, const Tensor& tensor) {
  return trimmed(rules::in_numbers(piece.into, tensor.shape));
}

ShortestRun shortest_run(const Plan& plan) {
  const PlanData& data = *Access::data(plan);
  ShortestRun shortest;
  for (const Route& route : data.routes) {
    if (data.is_one_run(route)) continue;
    const std::uint64_t bytes = run_bytes_of(route, data.loops_of(route));
    if (!shortest.tensor.empty() && bytes >= shortest.bytes) continue;
    shortest = {bytes, data.catalogue->tensors[route.tensor].name};
  }
  return shortest;
}

}  // namespace sluice::tool
