// Request: what the caller wants: which tensors, cast to what, onto which devices. A plain value; make_plan() checks
// it. Rules are tried in the order in which they were added; the first that matches a tensor decides. Tensors that no
// rule matches are left out. A rule that matches nothing at all is an error, unless it is optional: a model must not
// lose weights silently.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sluice/device.hpp"
#include "sluice/dtype.hpp"
#include "sluice/export.hpp"

namespace sluice {

class SLUICE_API Rule {
 public:
  /// `pattern`: a tensor's exact name, or a glob of fnmatch(3) in which `*` also matches dots and slashes.
  explicit Rule(std::string pattern) : pattern_(std::move(pattern)) {}

  /// Deliver as `to`, converted by the rules of PyTorch's Tensor.to, version 2.13: through F32, to nearest, ties to
  /// even. `to` must be castable (is_castable()); tensors of other dtypes (integers, packed formats) are delivered as
  /// they are.
  Rule& cast(Dtype to) {
    cast_ = to;
    return *this;
  }
  /// Deliver a whole copy to each of these devices, instead of the request's.
  Rule& on(std::vector<DeviceId> devices) {
    devices_ = std::move(devices);
    return *this;
  }
  Rule& on(DeviceId device) { return on(std::vector<DeviceId>{device}); }
  /// Allow that nothing matches.
  Rule& optional() {
    optional_ = true;
    return *this;
  }

  const std::string& pattern() const noexcept { return pattern_; }
  std::optional<Dtype> cast() const noexcept { return cast_; }
  const std::vector<DeviceId>& devices() const noexcept { return devices_; }
  bool is_optional() const noexcept { return optional_; }

 private:
  std::string pattern_;
  std::optional<Dtype> cast_;
  std::vector<DeviceId> devices_;  // empty: the request's
  bool optional_ = false;
};

class SLUICE_API Request {
 public:
  /// Where tensors go if their rule names no devices of its own.
  std::vector<DeviceId> devices = {host()};

  /// The least alignment in bytes of every tensor that sluice places: a power of two up to 4096. 0 leaves it to the
  /// device: on CUDA 256, or the tensor's size rounded down to a power of two if that is less. On the host the same
  /// holds for tensors that are cast; tensors taken as they are keep the alignment that they have in the shard, at
  /// least their dtype's, so that storage can be read straight into place. With an explicit value, host tensors that
  /// the shard does not align this way are copied once.
  std::uint32_t alignment_bytes = 0;

  /// Adds a rule behind the existing ones. It takes what `pattern` matches as a glob, and the tensor of exactly that
  /// name: a name may hold `*`, `?`, `[` or `\`. The reference stays valid as long as the request.
  Rule& add(std::string pattern) { return rules_.emplace_back(std::move(pattern)); }

  const std::deque<Rule>& rules() const noexcept { return rules_; }

 private:
  std::deque<Rule> rules_;
};

}  // namespace sluice
