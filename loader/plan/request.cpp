#include "sluice/request.hpp"

#include <utility>

namespace sluice {

Request::Request(const Request& other)
    : devices(other.devices),
      alignment_bytes(other.alignment_bytes),
      strict(other.strict),
      rules_(other.rules_),
      destinations_(other.destinations_) {
  std::unordered_map<const Destination*, const Destination*> mine;  // by the other's
  for (std::size_t i = 0; i < destinations_.size(); ++i) mine.emplace(&other.destinations_[i], &destinations_[i]);
  by_pattern_.reserve(rules_.size());
  for (Rule& rule : rules_) {
    by_pattern_.emplace(rule.pattern(), &rule);
    for (Rule::Target& target : rule.targets_) {
      // What was not the other's stays as it is, for make_plan() to refuse.
      const auto found = mine.find(target.destination);
      if (found != mine.end()) target.destination = found->second;
    }
  }
}

Request& Request::operator=(const Request& other) {
  if (this != &other) *this = Request(other);
  return *this;
}

Rule& Request::add(std::string pattern) {
  const auto found = by_pattern_.find(pattern);
  if (found != by_pattern_.end()) return *found->second;
  Rule& rule = rules_.emplace_back(std::move(pattern));
  by_pattern_.emplace(rule.pattern(), &rule);
  return rule;
}

Destination& Request::destination(std::string name, std::vector<std::uint64_t> shape, Dtype dtype, DeviceId device) {
  destinations_.push_back(Destination(std::move(name), std::move(shape), dtype, device));
  return destinations_.back();
}

}  // namespace sluice
