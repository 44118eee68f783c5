#include "loader/rules/pieces.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "loader/plan/access.hpp"
#include "loader/plan/box.hpp"
#include "loader/plan/selection.hpp"
#include "loader/rules/cursor.hpp"
#include "sluice/plan.hpp"

namespace sluice::rules {
namespace {

class PieceCollector {
 public:
  PieceCollector(const Checkpoint& checkpoint, const Request& request)
      : checkpoint_(checkpoint),
        request_(request),
        selection_(select(*Access::catalogue(checkpoint), request, findings_)) {}

  Pieces run() && {
    for (std::uint32_t tensor = 0; tensor < selection_.rule_of.size(); ++tensor) {
      if (selection_.rule_of[tensor] == Selection::none) continue;
      ++pieces_.matched;
      add(tensor, request_.rules()[selection_.rule_of[tensor]]);
    }
    // Pieces are large to move, and mostly lie in order: all, where tensors go to themselves.
    const auto before = [](const Piece& a, const Piece& b) { return a.destination < b.destination; };
    if (!std::is_sorted(pieces_.pieces.begin(), pieces_.pieces.end(), before)) {
      std::stable_sort(pieces_.pieces.begin(), pieces_.pieces.end(), before);
    }
    return std::move(pieces_);
  }

 private:
  void add(std::uint32_t tensor, const Rule& rule) {
    if (rule.is_skip()) {
      pieces_.skipped.push_back(tensor);
    } else if (rule.targets().empty()) {
      add_itself(tensor, rule);
    } else {
      for (const Rule::Target& target : rule.targets()) {
        const Destination& destination = *target.destination;
        pieces_.pieces.push_back({tensor, selection_.destinations.at(&destination), destination.device(),
                                  destination.group(), destination.dtype(), target.from, target.into});
      }
    }
  }

  void add_itself(std::uint32_t tensor, const Rule& rule) {
    const TensorInfo& info = checkpoint_.tensors()[tensor];
    const std::vector<DeviceId>& devices = rule.devices().empty() ? request_.devices : rule.devices();
    for (std::size_t i = 0; i < devices.size(); ++i) {
      Piece piece;
      piece.tensor = tensor;
      piece.device = devices[i];
      piece.group = rule.group();
      piece.dtype = rule.cast() && is_castable(info.dtype) ? *rule.cast() : info.dtype;
      piece.from = slice_for(rule, i, devices.size());
      pieces_.pieces.push_back(std::move(piece));
    }
  }

  const Checkpoint& checkpoint_;
  const Request& request_;
  Findings findings_;  // none: the request was checked
  const Selection selection_;
  Pieces pieces_;
};

// What could drive a terminal, or is none of ASCII.
bool is_odd(char byte) noexcept {
  const auto value = static_cast<unsigned char>(byte);
  return value < 0x20 || value >= 0x7F;
}

std::string in_numbers(const Box& box, std::size_t dimension) {
  const std::uint64_t begin = box.begin[dimension];
  const std::uint64_t count = box.count[dimension];
  if (count == box.shape[dimension]) return ":";
  return count == 1 ? fmt::format("{}", begin) : fmt::format("{}:{}", begin, begin + count);
}

}  // namespace

std::span<const Piece> Pieces::of(std::uint32_t destination) const noexcept {
  const auto before = [](const Piece& piece, std::uint32_t number) { return piece.destination < number; };
  const auto first = std::lower_bound(pieces.begin(), pieces.end(), destination, before);
  const auto last =
      std::find_if(first, pieces.end(), [&](const Piece& piece) { return piece.destination != destination; });
  return {first, last};
}

Pieces pieces_of(const Checkpoint& checkpoint, const Request& request) {
  const std::vector<Error> errors = check(checkpoint, request);
  if (!errors.empty()) throw Error(errors.front());
  return PieceCollector(checkpoint, request).run();
}

std::string in_numbers(const Slice& slice, std::span<const std::uint64_t> shape) {
  const Box box = box_of(slice, shape);
  std::string all;
  if (!(box.count == box.shape)) {
    std::vector<std::string> dimensions;
    for (std::size_t i = 0; i < box.shape.size(); ++i) dimensions.push_back(in_numbers(box, i));
    all = fmt::format("[{}]", fmt::join(dimensions, ", "));
  }
  if (!std::equal(box.shape.begin(), box.shape.end(), shape.begin(), shape.end())) {
    all += fmt::format(" as [{}]", fmt::join(box.shape.all(), ", "));
  }
  if (!std::is_sorted(box.order.begin(), box.order.end())) {
    all += fmt::format(" order ({})", fmt::join(box.order.all(), ", "));
  }
  return all;
}

std::string spelled(std::string_view name) {
  constexpr std::array<std::string_view, 6> first_words = {"use", "let", "strict", "for", "end", "tensor"};
  const bool is_plain = !name.empty() && name.find('*') == std::string_view::npos &&
                        std::all_of(name.begin(), name.end(), is_bare) &&
                        std::none_of(name.begin(), name.end(), is_odd) &&
                        std::find(first_words.begin(), first_words.end(), name) == first_words.end();
  if (is_plain) return std::string(name);
  std::string quoted = "\"";
  for (const char letter : name) {
    if (letter == '"' || letter == '\\') {
      quoted += '\\';
      quoted += letter;
    } else if (is_odd(letter)) {
      fmt::format_to(std::back_inserter(quoted), "\\x{:02x}", static_cast<unsigned char>(letter));
    } else {
      quoted += letter;
    }
  }
  return quoted + '"';
}

}  // namespace sluice::rules
