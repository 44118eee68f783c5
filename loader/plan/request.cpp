#include "sluice/request.hpp"

#include <tsl/robin_map.h>

#include <string_view>
#include <unordered_map>
#include <utility>

#include "loader/format/name_table.hpp"

namespace sluice {

// Patterns are names for the most part, and there may be as many as tensors.
class Request::Index {
 public:
  /// `rule`, or the one that was entered with its pattern before. Its pattern must stay where it is.
  Rule& enter(Rule& rule) { return *rules_.try_emplace(rule.pattern(), &rule).first->second; }

 private:
  struct Hash {
    std::size_t operator()(std::string_view pattern) const noexcept { return NameTable::hash(pattern); }
  };
  static constexpr bool stores_hashes = true;

  tsl::robin_map<std::string_view, Rule*, Hash, std::equal_to<>, std::allocator<std::pair<std::string_view, Rule*>>,
                 stores_hashes>
      rules_;
};

Request::Request() = default;
Request::Request(Request&& other) noexcept = default;
Request& Request::operator=(Request&& other) noexcept = default;
Request::~Request() = default;

Request::Request(const Request& other)
    : devices(other.devices),
      alignment_bytes(other.alignment_bytes),
      budget_bytes(other.budget_bytes),
      piece_bytes(other.piece_bytes),
      strict(other.strict),
      text(other.text),
      rules_(other.rules_),
      destinations_(other.destinations_),
      index_(std::make_unique<Index>()) {
  std::unordered_map<const Destination*, const Destination*> mine;  // by the other's
  for (std::size_t i = 0; i < destinations_.size(); ++i) mine.emplace(&other.destinations_[i], &destinations_[i]);
  for (Rule& rule : rules_) {
    index_->enter(rule);
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
  if (index_ == nullptr) index_ = std::make_unique<Index>();
  Rule& rule = rules_.emplace_back(std::move(pattern));
  try {
    Rule& entered = index_->enter(rule);
    if (&entered != &rule) rules_.pop_back();
    return entered;
  } catch (...) {
    rules_.pop_back();
    throw;
  }
}

Destination& Request::destination(std::string name, std::vector<std::uint64_t> shape, Dtype dtype, DeviceId device) {
  destinations_.push_back(Destination(std::move(name), std::move(shape), dtype, device));
  return destinations_.back();
}

}  // namespace sluice
