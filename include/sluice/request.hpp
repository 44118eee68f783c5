// Request: what the caller wants: which tensors, cast to what, onto which devices. A plain value; make_plan() checks
// it. Rules are tried in the order in which they were added; the first that matches a tensor decides. Tensors that no
// rule matches are left out, unless the request is strict. A rule that decides nothing is an error, unless it is
// optional: a model must not lose weights silently.
//
// A rule delivers what it matches in one of three ways: as tensors of their own, whole or cut; as parts of
// destinations; or not at all. Destinations belong to their request, and so do the references that add() and
// destination() give: they stay valid while the request lives and is not moved. A copy of a request has rules and
// destinations of its own, which belong together as those of the original did.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sluice/destination.hpp"
#include "sluice/device.hpp"
#include "sluice/dtype.hpp"
#include "sluice/export.hpp"
#include "sluice/slice.hpp"

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
  /// Elements `from` of what the rule matches become elements `into` of `destination`, one of this rule's request. Both
  /// slices must have the same counts in the same order, dimensions of one element aside. May be called several times:
  /// each is a copy of its own. The rule then delivers no tensor of its own. The destination's dtype must be the
  /// tensor's, or that of cast().
  Rule& to(Destination& destination, const Slice& from = {}, const Slice& into = {}) {
    targets_.push_back({&destination, from, into, said_at_});
    return *this;
  }
  /// Without to(): deliver only these elements, as a tensor of the tensor's name and the slice's counts. The same on
  /// each device.
  Rule& take(const Slice& from) {
    take_.assign(1, from);
    return *this;
  }
  /// Without to(): device i of the rule's n gets part i * parts / n of a dimension, of what take() leaves if it is
  /// there. `parts` divides n or is it (0: n): where there are fewer parts than devices they repeat, as kv heads do.
  Rule& split(unsigned dimension, std::uint64_t parts = 0) {
    split_ = Split{dimension, parts};
    return *this;
  }
  /// The group of the tensors that the rule itself delivers; a destination has its own.
  Rule& group(Group group) {
    group_ = group;
    return *this;
  }
  /// Leave out what it matches: known, and not wanted.
  Rule& skip() {
    skip_ = true;
    return *this;
  }
  /// Allow that nothing matches, or that earlier rules take all that does.
  Rule& optional() {
    optional_ = true;
    return *this;
  }

  /// Errors of make_plan() about what is said of the rule from here on, each to() for itself, name this place.
  Rule& said_at(TextPlace place) {
    said_at_ = place;
    return *this;
  }

  const std::string& pattern() const noexcept { return pattern_; }
  std::optional<Dtype> cast() const noexcept { return cast_; }
  const std::vector<DeviceId>& devices() const noexcept { return devices_; }
  /// One call of to().
  struct Target {
    const Destination* destination = nullptr;
    Slice from;
    Slice into;
    TextPlace said_at;
  };
  const std::vector<Target>& targets() const noexcept { return targets_; }
  /// What take() said, or nullptr.
  const Slice* taken() const noexcept { return take_.empty() ? nullptr : take_.data(); }
  struct Split {
    unsigned dimension = 0;
    std::uint64_t parts = 0;
  };
  std::optional<Split> split() const noexcept { return split_; }
  Group group() const noexcept { return group_; }
  TextPlace said_at() const noexcept { return said_at_; }
  bool is_skip() const noexcept { return skip_; }
  bool is_optional() const noexcept { return optional_; }

 private:
  friend class Request;

  std::string pattern_;
  std::optional<Dtype> cast_;
  std::vector<DeviceId> devices_;  // empty: the request's
  std::vector<Target> targets_;
  std::vector<Slice> take_;  // one, or none: most rules have none, and a Slice is large
  std::optional<Split> split_;
  Group group_;
  TextPlace said_at_;
  bool skip_ = false;
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

  /// The most bytes of the load's own arenas that are there at a time, on each device by itself; 0: each device has one
  /// arena, which is there as a whole from the beginning to the end. With a budget an arena's addresses are reserved as
  /// a whole, and its memory comes and goes in pieces, in the order of reading: a piece is allocated when its first
  /// extent is due, and given back when all of its tensors have been dropped (Load::drop()) and none is kept
  /// (Load::keep()); none is begun while that would exceed the budget. A load whose caller drops nothing therefore
  /// stops when the budget is used up. A tensor that is larger than a piece has one of its own: memory exceeds the
  /// budget by no more than the largest tensor and, where a caller drops each only when he has the next, two units of
  /// limits::piece_bytes_unit. Groups are read in the order of files, and Load::prefer() does nothing.
  /// Memory of the caller's does not count. A CUDA device must manage virtual memory (CUDA VMM): else the load fails
  /// with Error{device_unavailable}. At least limits::budget_bytes_min.
  std::uint64_t budget_bytes = 0;
  /// Bytes of a piece: a multiple of limits::piece_bytes_unit, at most half the budget. 0: a quarter of the budget, and
  /// at most limits::piece_bytes_default_max. Without a budget it means nothing.
  std::uint64_t piece_bytes = 0;

  /// Every tensor of the checkpoint must be matched by a rule, be it one that skips it: else make_plan() throws
  /// Error{incomplete}.
  bool strict = false;

  /// What messages call the text that the request was made from, if there is one: read_rules() gives its path.
  /// TextPlaces are places in it.
  std::string text;

  Request();
  Request(const Request& other);
  Request(Request&& other) noexcept;
  Request& operator=(const Request& other);
  Request& operator=(Request&& other) noexcept;
  ~Request();

  /// Adds a rule behind the existing ones, or gives the one of this very pattern. It takes what `pattern` matches as a
  /// glob, and the tensor of exactly that name: a name may hold `*`, `?`, `[` or `\`.
  Rule& add(std::string pattern);
  /// Adds a destination: `shape` in elements, row-major, outermost first; empty for a scalar. Names are unique on a
  /// device. Load::find() and its like know it by its name.
  Destination& destination(std::string name, std::vector<std::uint64_t> shape, Dtype dtype, DeviceId device);

  const std::deque<Rule>& rules() const noexcept { return rules_; }
  const std::deque<Destination>& destinations() const noexcept { return destinations_; }

 private:
  class Index;

  std::deque<Rule> rules_;
  std::deque<Destination> destinations_;
  std::unique_ptr<Index> index_;  // of rules by pattern; none until there are some
};

}  // namespace sluice
