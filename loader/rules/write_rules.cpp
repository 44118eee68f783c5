#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iterator>
#include <string>

#include "loader/rules/pieces.hpp"
#include "sluice/rules.hpp"

namespace sluice {
namespace {

class RulesWriter {
 public:
  RulesWriter(const Checkpoint& checkpoint, const Request& request)
      : checkpoint_(checkpoint), request_(request), pieces_(rules::pieces_of(checkpoint, request)) {}

  std::string run() && {
    if (request_.strict) line("strict");
    std::uint32_t number = 0;
    for (const Destination& destination : request_.destinations()) {
      write(destination);
      for (const rules::Piece& piece : pieces_.of(number++)) write(piece, &destination);
    }
    for (const rules::Piece& piece : pieces_.of(rules::Piece::itself)) write(piece, nullptr);
    for (const std::uint32_t tensor : pieces_.skipped) {
      line("{}  skip", rules::spelled(checkpoint_.tensors()[tensor].name));
    }
    return std::move(text_);
  }

 private:
  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    text_ += '\n';
  }

  static std::string group(Group group) { return group.number == 0 ? "" : fmt::format("  group {}", group.number); }

  void write(const Destination& destination) {
    const char* const unwritten = destination.unwritten() == Destination::Unwritten::zero   ? "  zero"
                                  : destination.unwritten() == Destination::Unwritten::kept ? "  keep"
                                                                                            : "";
    line("tensor {}  {} [{}]{}{}  on {}", rules::spelled(destination.name()), name(destination.dtype()),
         fmt::join(destination.shape(), ", "), group(destination.group()), unwritten, name(destination.device()));
  }

  void write(const rules::Piece& piece, const Destination* destination) {
    const TensorInfo& tensor = checkpoint_.tensors()[piece.tensor];
    const std::string from = rules::spelled(tensor.name) + rules::in_numbers(piece.from, tensor.shape);
    const std::string cast = piece.dtype == tensor.dtype ? "" : fmt::format("  cast {}", name(piece.dtype));
    if (destination == nullptr) {
      line("{}{}{}  on {}", from, cast, group(piece.group), name(piece.device));
    } else {
      line("{}{}  -> {}{}  on {}", from, cast, rules::spelled(destination->name()),
           rules::in_numbers(piece.into, destination->shape()), name(piece.device));
    }
  }

  const Checkpoint& checkpoint_;
  const Request& request_;
  const rules::Pieces pieces_;
  std::string text_;
};

}  // namespace

std::string write_rules(const Checkpoint& checkpoint, const Request& request) {
  return RulesWriter(checkpoint, request).run();
}

}  // namespace sluice
