#include "loader/rules/decisions.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "loader/plan/box.hpp"
#include "loader/rules/exact_pattern.hpp"

namespace sluice::rules {
namespace {

std::string text_of_cast(std::optional<Dtype> cast) {
  return cast ? fmt::format("cast to {}", name(*cast)) : "not cast";
}

}  // namespace

Decisions::Decisions(const RulesText& text, const NameIndex& names, Request& request)
    : text_(text),
      names_(names),
      request_(request),
      rules_(names.checkpoint().tensors().size()),
      copied_(rules_.size()),
      skipped_(rules_.size()) {}

Decisions::OnDevice& Decisions::on(DeviceId device) {
  for (OnDevice& known : devices_) {
    if (known.device == device) return known;
  }
  OnDevice& added = devices_.emplace_back();
  added.device = device;
  added.decided.resize(rules_.size());
  return added;
}

Rule& Decisions::rule_for(std::uint32_t tensor) {
  return request_.add(exact_pattern(names_.tensor(tensor).name));
}

void Decisions::copy(std::uint32_t tensor, Place place, std::optional<Dtype> cast, Destination& destination,
                     const Slice& from, const Slice& into) {
  Rule*& rule = rules_[tensor];
  if (rule == nullptr) {
    rule = &rule_for(tensor);
    if (cast) rule->cast(*cast);
    copied_[tensor] = place;
  } else if (rule->cast() != cast) {
    text_.refuse(place,
                 fmt::format("the tensor \"{}\" is {} here, and {} in line {}", names_.tensor(tensor).name,
                             text_of_cast(cast), text_of_cast(rule->cast()), text_.line_of(copied_[tensor])),
                 "all copies of a tensor have the same cast");
  }
  rule->said_at(text_.said_at(place)).to(destination, from, into);
}

void Decisions::deliver(std::uint32_t tensor, Place place, DeviceId device, const Delivery& delivery) {
  delivered_.push_back({tensor, place, device, delivery});
}

// What is delivered to devices differently, or beside copies, is a destination of the tensor's name on each.
void Decisions::copy(const Delivered& delivered) {
  const TensorInfo& tensor = names_.tensor(delivered.tensor);
  const bool casts = delivered.delivery.cast && is_castable(tensor.dtype);
  std::vector<std::uint64_t> shape;
  try {
    const Few<std::uint64_t> counts = counts_of(box_of(delivered.delivery.slice, tensor.shape));
    shape.assign(counts.begin(), counts.end());
  } catch (const Error& error) {
    throw Error(error.code(), error.message(), text_.where(delivered.place, std::string(tensor.name)), error.hint());
  }
  Destination& destination = request_.destination(std::string(tensor.name), shape,
                                                  casts ? *delivered.delivery.cast : tensor.dtype, delivered.device);
  destination.group(delivered.delivery.group).said_at(text_.said_at(delivered.place));
  copy(delivered.tensor, delivered.place, casts ? delivered.delivery.cast : std::nullopt, destination,
       delivered.delivery.slice, {});
}

void Decisions::finish(std::uint32_t tensor, const Delivered* first, const Delivered* last) {
  const Delivery& delivery = first->delivery;
  const bool alike = std::all_of(first, last, [&](const Delivered& other) {
    return other.delivery.slice == delivery.slice && other.delivery.cast == delivery.cast &&
           other.delivery.group == delivery.group;
  });
  if (!alike || rules_[tensor] != nullptr) {
    for (; first != last; ++first) copy(*first);
    return;
  }
  Rule& rule = rule_for(tensor).group(delivery.group).said_at(text_.said_at(first->place));
  if (!(delivery.slice == Slice())) rule.take(delivery.slice);
  if (delivery.cast) rule.cast(*delivery.cast);
  std::vector<DeviceId> devices;
  for (; first != last; ++first) devices.push_back(first->device);
  if (devices != request_.devices) rule.on(std::move(devices));
}

void Decisions::finish() {
  std::stable_sort(delivered_.begin(), delivered_.end(),
                   [](const Delivered& a, const Delivered& b) { return a.tensor < b.tensor; });
  for (std::size_t i = 0; i < delivered_.size();) {
    std::size_t last = i;
    while (last < delivered_.size() && delivered_[last].tensor == delivered_[i].tensor) ++last;
    skipped_[delivered_[i].tensor] = false;
    finish(delivered_[i].tensor, &delivered_[i], delivered_.data() + last);
    i = last;
  }
  for (std::uint32_t tensor = 0; tensor < skipped_.size(); ++tensor) {
    if (skipped_[tensor] && rules_[tensor] == nullptr) rule_for(tensor).skip();
  }
}

}  // namespace sluice::rules
