// Origins: of which slices of which tensors each tensor of a plan is made. For listings and objects.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "loader/rules/pieces.hpp"
#include "sluice/checkpoint.hpp"
#include "sluice/plan.hpp"
#include "sluice/request.hpp"
#include "sluice/tensor.hpp"

namespace sluice::tool {

class Origins {
 public:
  /// Both must outlive it. Throws what make_plan() throws.
  Origins(const Checkpoint& checkpoint, const Request& request);

  std::uint64_t matched() const noexcept { return pieces_.matched; }
  std::uint64_t skipped() const noexcept { return pieces_.skipped.size(); }

  std::span<const rules::Piece> of(const Tensor& tensor) const;
  std::string_view tensor_of(const rules::Piece& piece) const noexcept;
  /// "[0:128, :]", or an empty text for all of it; what there is of the checkpoint's tensor, and of `tensor`.
  std::string from(const rules::Piece& piece) const;
  static std::string into(const rules::Piece& piece, const Tensor& tensor);

 private:
  using Range = std::pair<std::size_t, std::size_t>;  // the first piece, and how many

  const Checkpoint& checkpoint_;
  const rules::Pieces pieces_;
  std::map<DeviceId, std::unordered_map<std::string_view, Range>> by_name_;  // which the checkpoint and request keep
};

/// The shortest run of bytes that a tensor is cut into, and that tensor; an empty name where all are taken in one
/// piece.
struct ShortestRun {
  std::uint64_t bytes = 0;
  std::string_view tensor;
};
ShortestRun shortest_run(const Plan& plan);

}  // namespace sluice::tool
