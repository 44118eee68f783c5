// Decisions: what the lines of a rules file decide about each tensor on each device. The first line that matches a
// tensor decides it. Once all lines have been carried out, finish() makes rules of what they decided. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "loader/rules/name_index.hpp"
#include "loader/rules/rules_text.hpp"
#include "sluice/request.hpp"

namespace sluice::rules {

class Decisions {
 public:
  /// What a line decided about a tensor.
  enum class Way : std::uint8_t { nothing, copied, delivered, skipped };
  struct Decided {
    Way way = Way::nothing;
    Place place = 0;  // of the line
  };
  /// A tensor that is delivered by itself.
  struct Delivery {
    Slice slice;
    std::optional<Dtype> cast;
    Group group;
  };
  struct Declared {
    Destination* destination = nullptr;
    Place place = 0;
  };
  struct OnDevice {
    DeviceId device;
    std::vector<Decided> decided;                        // by tensor
    std::unordered_map<std::string, Declared> declared;  // destinations by their names
  };

  /// All of these must outlive it.
  Decisions(const RulesText& text, const NameIndex& names, Request& request);

  /// The same for every call with that device.
  OnDevice& on(DeviceId device);

  /// A copy of `tensor` to a destination, beside those that it has. A tensor has one cast: Error{bad_rules}.
  void copy(std::uint32_t tensor, Place place, std::optional<Dtype> cast, Destination& destination, const Slice& from,
            const Slice& into);
  void deliver(std::uint32_t tensor, Place place, DeviceId device, const Delivery& delivery);
  void skip(std::uint32_t tensor) { skipped_[tensor] = true; }

  /// Makes rules of what has been decided. Throws Error{invalid_argument} for a slice that does not fit its tensor
  /// where devices differ in it, and as copy().
  void finish();

 private:
  // What is delivered of one tensor to one device.
  struct Delivered {
    std::uint32_t tensor = 0;
    Place place = 0;
    DeviceId device;
    Delivery delivery;
  };

  Rule& rule_for(std::uint32_t tensor);
  void finish(std::uint32_t tensor, const Delivered* first, const Delivered* last);
  void copy(const Delivered& delivered);

  const RulesText& text_;
  const NameIndex& names_;
  Request& request_;
  std::deque<OnDevice> devices_;
  std::vector<Rule*> rules_;   // by tensor: of those that are copied
  std::vector<Place> copied_;  // by tensor: the line that said so first
  std::vector<bool> skipped_;  // by tensor
  std::vector<Delivered> delivered_;
};

}  // namespace sluice::rules
